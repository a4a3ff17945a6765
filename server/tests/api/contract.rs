//! The management API against its own OpenAPI document, by schemathesis: whatever the document allows, and much that it does not,
//! is answered as the document says, and nothing is a server's error.

use std::{path::Path, process::Command};

use crate::{
    both_stores,
    clients::tool,
    support::{
        Bench, Setup,
        binary::{run, succeeded},
        people::Person,
        stores::ADMIN_TOKEN,
        window,
    },
};

/// What an answer must be. What may be refused is the server's to say: a name that is taken, an id that nothing has.
const CHECKS: &str = "not_a_server_error,response_schema_conformance,status_code_conformance,content_type_conformance";

/// Nobody else calls, and as fast as it can.
fn setup() -> Setup {
    let often = ("WEIR_MANAGEMENT_CALLS_PER_MINUTE", "1000000".to_owned());
    Setup {
        environment: vec![often],
        ..Setup::default()
    }
}

/// Runs it as whoever has the token, with further arguments. It must find nothing.
async fn conforms(bench: &Bench, python: &Path, token: &str, arguments: &[&str]) {
    let program = python.with_file_name("schemathesis");
    let url = format!("{}/v1/admin/openapi.json", bench.admin_url);
    let authorization = format!("Authorization: Bearer {token}");
    // Thousands of calls, none of them in a hurry: the tests beside this one are.
    let mut command = Command::new("nice");
    command
        .args(["-n", "15"])
        .arg(program)
        .current_dir(bench.stores.folder.path())
        .args(["run", &url, "--header", &authorization])
        .args(["--checks", CHECKS])
        // Every field at its edges; at full length by chance too.
        .args([
            "--phases",
            window("examples,coverage", "examples,coverage,fuzzing"),
        ])
        .args(["--max-examples", "50", "--seed", "1"])
        .args(arguments)
        .args(["--continue-on-failure", "--no-color", "--warnings", "off"]);
    let told = run(command).await;
    let printed = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success(), "{printed}");
    let printed = succeeded(&told);
    assert!(printed.contains("Test cases:"), "{printed}");
}

both_stores!(
    what_the_document_says_is_what_is_answered,
    setup(),
    |bench| {
        let Some(python) = tool("WEIR_TEST_PYTHON") else {
            return;
        };
        // As somebody, for what is everybody's own; signing out would end that.
        let owner = Person::invited(&bench, "owner@acme.example", "acme", "owner").await;
        let own = ["--include-path-regex", "^/v1/admin/(me|search|permissions)"];
        let stay = ["--exclude-operation-id", "delete_me_sessions"];
        conforms(&bench, &python, &owner.access, &[own, stay].concat()).await;
        let others = ["--exclude-operation-id", "patch_settings"];
        conforms(&bench, &python, ADMIN_TOKEN, &others).await;
        // Last, as it switches management off for all others.
        let last = ["--include-operation-id", "patch_settings"];
        conforms(&bench, &python, ADMIN_TOKEN, &last).await;
    }
);
