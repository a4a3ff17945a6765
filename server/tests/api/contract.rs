//! The management API against its own OpenAPI document, by schemathesis: whatever the document allows, and much that it does not,
//! is answered as the document says, and nothing is a server's error.

use std::{path::Path, process::Command};

use reqwest::Method;
use serde_json::json;

use crate::{
    both_stores,
    clients::tool,
    support::{
        Bench, Setup,
        binary::{run, succeeded},
        gateway::hello,
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

/// How many answers are held against their schemas, of which there are: all that is to be read, what is somebody's own, or what is made
/// twice.
async fn answers(python: &Path, bench: &Bench, token: &str, which: &str) -> usize {
    let mut command = Command::new(python);
    command
        .args(["-B", "tests/clients/known_answers.py", which])
        .env("WEIR_ADMIN_URL", &bench.admin_url)
        .env("WEIR_KEY", token)
        .env("NO_PROXY", "127.0.0.1");
    let known: Vec<String> = serde_json::from_str(&succeeded(&run(command).await)).unwrap();
    known.len()
}

both_stores!(
    what_there_is_to_read_is_as_the_document_says,
    setup(),
    |bench| {
        let Some(python) = tool("WEIR_TEST_PYTHON") else {
            return;
        };
        bench
            .apply("{tenants: [{name: acme, roles: [{name: auditor, permissions: ['audit:read']}], limits: [{metric: requests, per: day, max: 1000}], budgets: [{amount: '5', period: month}]}]}")
            .await;
        for (path, order) in [
            (
                "/invitations",
                json!({"tenant": "acme", "email": "new@acme.example", "role": "viewer"}),
            ),
            (
                "/service-tokens",
                json!({"tenant": "acme", "name": "ci", "role": "viewer"}),
            ),
            (
                "/operators",
                json!({"email": "ops@weir.example", "role": "platform_viewer"}),
            ),
            (
                "/identity-providers",
                json!({"tenant": "acme", "name": "id", "issuer": "https://id.example", "client_id": "weir"}),
            ),
        ] {
            let made = bench
                .admin(Method::POST, path)
                .json(&order)
                .send()
                .await
                .unwrap();
            assert_eq!(made.status(), 201, "{path}: {}", made.text().await.unwrap());
        }
        assert_eq!(bench.chat(hello("gpt-test")).await.status(), 200);
        bench.books().await;
        let owner = Person::invited(&bench, "owner@acme.example", "acme", "owner").await;
        let order = json!({"name": "mine"});
        let mine = bench
            .http
            .post(format!("{}/v1/admin/me/keys", bench.admin_url));
        let mine = mine
            .bearer_auth(&owner.access)
            .json(&order)
            .send()
            .await
            .unwrap();
        assert_eq!(mine.status(), 201);
        // All of it as an operator; what is somebody's own as they are.
        let mut all = 0;
        for (token, which) in [(ADMIN_TOKEN, "all"), (owner.access.as_str(), "own")] {
            all += answers(&python, &bench, token, which).await;
        }
        assert!(all > 50, "{all}");
        assert_eq!(answers(&python, &bench, ADMIN_TOKEN, "twice").await, 9);
    }
);
