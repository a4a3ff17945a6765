//! The command line as people use it: the real binary against a running server.

mod demo;
mod doctor;
mod exits;
mod output;
mod people;
mod tokens;
mod watch;

use std::path::Path;

use serde_json::{Value, json};
use weir_upstream::Behaviour;

use crate::{
    both_stores,
    support::{
        Bench, Binary, Store, Stores,
        binary::{failed, succeeded, token, weir, weir_with_input},
        gateway::{KEY, hello},
    },
};

/// A command against the bench's gateway.
async fn cli(bench: &Bench, arguments: &[&str]) -> std::process::Output {
    weir(
        &[("WEIR_URL".to_owned(), bench.url.clone()), token()],
        arguments,
    )
    .await
}

/// What such a command prints as JSON.
async fn told(bench: &Bench, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    serde_json::from_str(&succeeded(&cli(bench, &arguments).await)).unwrap()
}

/// A file beside the stores.
fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

const NEW_MODEL: &str = "models:\n  - {name: new-model, prices: {input: \"3\", output: \"4\"}, routes: [{channel: vendor, model: gpt-test-upstream}]}\n";

both_stores!(
    a_file_is_compared_applied_and_then_has_nothing_left_to_change,
    |bench| {
        let file = write(bench.stores.folder.path(), "new.yaml", NEW_MODEL);
        let differs = cli(&bench, &["diff", "-f", &file]).await;
        assert_eq!(differs.status.code(), Some(2));
        let told = String::from_utf8(differs.stdout).unwrap();
        assert!(
            told.starts_with("+ model new-model\n") && told.ends_with("1 change to make.\n"),
            "{told}"
        );
        assert_eq!(
            bench.chat(hello("new-model")).await.status(),
            404,
            "diff changes nothing"
        );

        let told = succeeded(&cli(&bench, &["apply", "-f", &file]).await);
        assert!(told.ends_with("1 change made.\n"), "{told}");
        assert_eq!(
            bench.chat(hello("new-model")).await.status(),
            200,
            "in force when apply returns"
        );

        let same = cli(&bench, &["diff", "-f", &file]).await;
        assert_eq!(succeeded(&same), "Nothing to change.\n");
        let names = succeeded(&cli(&bench, &["models", "list", "--output", "csv"]).await);
        assert!(
            names.contains(",new-model,true,vendor:gpt-test-upstream,"),
            "{names}"
        );
    }
);

both_stores!(
    /// Threats: D4.
    an_export_applied_changes_nothing_and_shows_no_secret,
    |bench| {
        let exported = succeeded(&cli(&bench, &["export"]).await);
        assert!(
            exported.contains("keep:") && exported.contains("zhang@acme.example"),
            "{exported}"
        );
        for secret in ["sk-vendor-credential", "sk-dedicated-credential", KEY] {
            assert!(!exported.contains(secret), "{exported}");
        }
        let file = write(bench.stores.folder.path(), "export.yaml", &exported);
        // With everything given and --prune, too: the file is the whole truth and the truth is the file.
        let applied = cli(&bench, &["apply", "--prune", "-f", &file]).await;
        assert_eq!(succeeded(&applied), "Nothing to change.\n");
        assert_eq!(succeeded(&cli(&bench, &["export"]).await), exported);
        assert_eq!(
            bench.chat(hello("gpt-test")).await.status(),
            200,
            "the kept credentials still open the vendor"
        );
    }
);

#[tokio::test]
async fn a_file_is_checked_without_a_server_and_refused_with_line_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let good = write(
        folder.path(),
        "good.yaml",
        "channels: [{name: a, kind: openai, base_url: \"http://127.0.0.1:1\", credentials: [\"${SOME_KEY}\"]}]\n",
    );
    let with_key = [("SOME_KEY".to_owned(), "x".to_owned())];
    let told = succeeded(&weir(&with_key, &["validate", "-f", &good]).await);
    assert_eq!(
        told,
        "The file is well-formed, and all its variables are set.\n"
    );
    let unset = failed(&weir(&[], &["validate", "-f", &good]).await, 5);
    assert!(unset.contains("SOME_KEY"), "{unset}");

    for (text, reason) in [
        (
            "models:\n  - name: a\n    colour: red\n",
            "line 3 column 5: unknown field `colour`",
        ),
        ("models:\n  - name: a\n  rules: []\n", "line 3"),
        (
            "tenants:\n  - name: a\n    rules: []\n",
            "line 3 column 5: rules is not built in this version (tenants[0].rules)",
        ),
        (
            "rules: []\n",
            "line 1 column 1: rules is not built in this version (rules)",
        ),
        ("models: [\n", "line "),
    ] {
        let file = write(folder.path(), "bad.yaml", text);
        let said = failed(&weir(&[], &["validate", "-f", &file]).await, 5);
        assert!(
            said.contains("bad.yaml is refused:") && said.contains(reason),
            "{text}: {said}"
        );
    }
}

both_stores!(a_key_is_made_used_disabled_and_then_stops, |bench| {
    let made = cli(
        &bench,
        &[
            "keys", "create", "--tenant", "acme", "--name", "ci", "--models", "gpt-*",
        ],
    )
    .await;
    let value = succeeded(&made).trim().to_owned();
    assert!(value.starts_with("wk-"), "{value}");
    let chat = |model: &'static str| {
        let request = bench
            .http
            .post(format!("{}/v1/chat/completions", bench.url));
        request.bearer_auth(&value).json(&hello(model)).send()
    };
    assert_eq!(chat("gpt-test").await.unwrap().status(), 200);
    assert_eq!(chat("unpriced").await.unwrap().status(), 403);

    let listed = succeeded(
        &cli(
            &bench,
            &["keys", "list", "--tenant", "acme", "--output", "json"],
        )
        .await,
    );
    assert!(!listed.contains(&value), "{listed}");
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let key = listed.iter().find(|key| key["name"] == "ci").unwrap();
    let id = key["id"].as_str().unwrap();

    succeeded(&cli(&bench, &["keys", "disable", id]).await);
    let refused = chat("gpt-test").await.unwrap();
    assert_eq!(refused.status(), 401, "in force when the command returns");
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["error"]["code"], "key_disabled");
    succeeded(&cli(&bench, &["keys", "enable", id]).await);
    assert_eq!(chat("gpt-test").await.unwrap().status(), 200);
    succeeded(&cli(&bench, &["keys", "delete", id]).await);
    assert_eq!(chat("gpt-test").await.unwrap().status(), 401);
    let gone = failed(&cli(&bench, &["keys", "disable", id]).await, 3);
    assert!(gone.contains("not_found"), "{gone}");
});

both_stores!(a_credential_set_aside_is_shown, |bench| {
    let listed = || cli(&bench, &["channels", "list"]);
    let before = succeeded(&listed().await);
    assert!(
        before.contains("ready") && !before.contains("set aside"),
        "{before}"
    );
    bench.vendor.set_default(Behaviour::status(401));
    assert_eq!(bench.chat(hello("gpt-same")).await.status(), 502);
    let after = succeeded(&listed().await);
    assert!(after.contains("set aside after 401"), "{after}");
    assert!(!after.contains("sk-vendor-credential-"), "{after}");
});

both_stores!(
    usage_is_told_as_table_csv_and_json_right_after_the_calls,
    |bench| {
        for model in ["gpt-test", "gpt-test", "embed-test-none"] {
            bench.chat(hello(model)).await;
        }
        let billed = bench.vendor.bill();
        let (input, output) = billed.iter().fold((0, 0), |(input, output), line| {
            (input + line.tokens.input, output + line.tokens.output)
        });
        let nanos = 1_000 * input + 2_000 * output;
        let cost = format!("0.{nanos:09}");

        let ask = async |format: &str| {
            cli(&bench, &["usage", "--by", "model,key", "--output", format]).await
        };
        let rows: Vec<Value> = serde_json::from_str(&succeeded(&ask("json").await)).unwrap();
        let row = rows.iter().find(|row| row["model"] == "gpt-test").unwrap();
        assert_eq!(
            (
                &row["key"],
                &row["requests"],
                &row["errors"],
                &row["input_tokens"],
                &row["output_tokens"],
                &row["cost_usd"]
            ),
            (
                &"laptop".into(),
                &2.into(),
                &0.into(),
                &input.into(),
                &output.into(),
                &cost.as_str().into()
            ),
            "{rows:?}"
        );
        let csv = succeeded(&ask("csv").await);
        assert!(
            csv.starts_with(
                "model,key,requests,errors,input_tokens,cached_tokens,output_tokens,cost_usd\r\n"
            ),
            "{csv}"
        );
        assert!(
            csv.contains(&format!(
                "\r\ngpt-test,laptop,2,0,{input},0,{output},{cost}\r\n"
            )),
            "{csv}"
        );
        let table = succeeded(&ask("table").await);
        assert!(
            table.starts_with("MODEL") && table.contains("gpt-test"),
            "{table}"
        );

        let by_day = cli(
            &bench,
            &[
                "usage",
                "--by",
                "tenant",
                "--grain",
                "day",
                "--tz",
                "Asia/Shanghai",
                "--output",
                "json",
            ],
        )
        .await;
        let by_day: Vec<Value> = serde_json::from_str(&succeeded(&by_day)).unwrap();
        assert_eq!(by_day[0]["tenant"], "acme");
        let today = by_day[0]["time"].as_str().unwrap();
        assert!(
            today.len() == "2026-01-01".len() && today.starts_with("20"),
            "{by_day:?}"
        );
        let bad = failed(&cli(&bench, &["usage", "--tz", "Mars/Olympus"]).await, 5);
        assert!(
            bad.contains("is not an IANA name such as Asia/Shanghai (time_zone)"),
            "{bad}"
        );
    }
);

both_stores!(
    health_needs_no_token_and_everything_else_needs_one,
    |bench| {
        let url = [("WEIR_URL".to_owned(), bench.url.clone())];
        assert_eq!(succeeded(&weir(&url, &["health"]).await), "ok\n");
        let nowhere = [
            ("WEIR_DATA_DIR".to_owned(), "/nonexistent".to_owned()),
            url[0].clone(),
        ];
        let said = failed(&weir(&nowhere, &["export"]).await, 1);
        assert!(said.contains("WEIR_TOKEN is not set"), "{said}");
        let wrong = [
            url[0].clone(),
            (
                "WEIR_TOKEN".to_owned(),
                "wa-wrong-token-that-is-long-enough".to_owned(),
            ),
        ];
        let said = failed(&weir(&wrong, &["keys", "list"]).await, 4);
        assert!(said.contains("unauthorized"), "{said}");
        let dead = [
            ("WEIR_URL".to_owned(), "http://127.0.0.1:1".to_owned()),
            token(),
        ];
        // Containers know 0 and 1 alone.
        failed(&weir(&dead, &["health"]).await, 1);
        let said = failed(&weir(&dead, &["export"]).await, 6);
        assert!(said.contains("no answer from http://127.0.0.1:1"), "{said}");
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_of_a_machine_that_is_gone_is_booked_once_by_replay() {
    let bench = Bench::start(Store::Embedded, crate::support::Setup::default()).await;
    let stores = Stores::create(Store::Embedded).await;
    let mut environment = stores.environment("one");
    // Nothing is booked while the server lives.
    environment.push(("WEIR_SPOOL_SEGMENT_AGE".to_owned(), "1h".to_owned()));
    let server = Binary::serve(&environment, &[]).await;
    let resources = Bench::usual_resources().replace("{vendor}", &bench.vendor.base_url());
    let file = write(stores.folder.path(), "usual.yaml", &resources);
    succeeded(&server.weir(&["apply", "-f", &file]).await);
    for _ in 0..3 {
        let request = bench
            .http
            .post(format!("{}/v1/chat/completions", server.url))
            .bearer_auth(KEY);
        let answer = request.json(&hello("gpt-test")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    }
    drop(server);

    let spool = stores.folder.path().join("one/spool");
    let rescued = stores.folder.path().join("rescued");
    std::fs::rename(&spool, &rescued).unwrap();
    let segments = std::fs::read_dir(&rescued)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let segments: Vec<_> = segments
        .filter(|path| path.extension().is_some_and(|ending| ending == "segment"))
        .collect();
    assert_eq!(segments.len(), 1, "{segments:?}");
    let segment = segments[0].display().to_string();
    let replay = ["usage", "replay", &segment];
    let first = succeeded(&weir(&environment, &replay).await);
    assert!(
        first.starts_with("3 events booked, 0 had been booked before, 0 records are damaged"),
        "{first}"
    );
    let second = succeeded(&weir(&environment, &replay).await);
    assert!(
        second.starts_with("0 events booked, 3 had been booked before"),
        "{second}"
    );

    let mut foreign = environment.clone();
    let key = weir::secrets::Sealer::generate_base64().to_string();
    foreign
        .iter_mut()
        .filter(|(name, _)| name == "WEIR_MASTER_KEY")
        .for_each(|(_, value)| value.clone_from(&key));
    let forged = weir(&foreign, &replay).await;
    assert!(
        !String::from_utf8_lossy(&forged.stdout).contains("3 events booked"),
        "a foreign segment is not believed"
    );

    let server = Binary::serve(&environment, &[]).await;
    let words = [
        "audit",
        "list",
        "--action",
        "usage_replay",
        "--output",
        "json",
    ];
    let noted: Value = serde_json::from_str(&succeeded(&server.weir(&words).await)).unwrap();
    let told = noted.as_array().unwrap().iter().map(|row| &row["after"]);
    // Each time, whatever was booked before; not the file of somebody else.
    assert_eq!(
        told.collect::<Vec<_>>(),
        [&json!({"events": 3}); 2],
        "{noted}"
    );
    let usage = succeeded(
        &server
            .weir(&["usage", "--by", "model", "--output", "json"])
            .await,
    );
    let usage: Vec<Value> = serde_json::from_str(&usage).unwrap();
    let billed = bench.vendor.totals_by_model();
    let billed = &billed["gpt-test-upstream"];
    assert_eq!(
        (
            &usage[0]["requests"],
            &usage[0]["input_tokens"],
            &usage[0]["output_tokens"]
        ),
        (&3.into(), &billed.input.into(), &billed.output.into())
    );
}

/// Threats: D7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_head_of_the_audit_log_is_told_to_the_own_log_where_it_can_be_held_against_it() {
    let stores = Stores::create(Store::Embedded).await;
    let environment = stores.environment("one");
    let server = Binary::serve(&environment, &[]).await;
    let file = write(stores.folder.path(), "a.yaml", "tenants: [{name: acme}]");
    succeeded(&server.weir(&["apply", "-f", &file]).await);
    drop(server.stop().await);
    let server = Binary::serve(&environment, &[]).await;
    let told = server.logged("the audit log's head").await;
    let word = |name: &str| {
        let (_, behind) = told.split_once(&format!("{name}=")).unwrap();
        let word = behind.split_whitespace().next().unwrap();
        word.trim_matches('"').to_owned()
    };
    let (seq, hash) = (word("seq"), word("hash"));
    let verify = ["audit", "verify", "--seq", &seq, "--head", &hash];
    succeeded(&server.weir(&verify).await);
    let other = "0".repeat(hash.len());
    let verify = ["audit", "verify", "--seq", &seq, "--head", &other];
    let refused = failed(&server.weir(&verify).await, 1);
    assert!(refused.contains("not the one that was kept"), "{refused}");
}

both_stores!(a_part_of_a_field_is_set_and_the_rest_of_it_stays, |bench| {
    let change = ["tenants", "change", "acme", "--set"];
    let own = [
        &change[..],
        &[
            "policies.own_channels=true",
            "--set",
            "policies.keys_per_user=3",
        ],
    ];
    told(&bench, &own.concat()).await;
    let changed = told(
        &bench,
        &[&change[..], &["policies.keys_per_user=1"]].concat(),
    )
    .await;
    assert_eq!(
        (
            &changed["policies"]["own_channels"],
            &changed["policies"]["keys_per_user"]
        ),
        (&json!(true), &json!(1)),
        "{changed}"
    );
    // A field that is given is the whole of it, by a file, too.
    let file = write(
        bench.stores.folder.path(),
        "whole.yaml",
        "policies: {keys_per_user: 2}",
    );
    let whole = [
        "tenants",
        "change",
        "acme",
        "--file",
        &file,
        "--set",
        "policies.own_channels=false",
    ];
    let changed = told(&bench, &whole).await;
    assert_eq!(
        (
            &changed["policies"]["own_channels"],
            &changed["policies"]["keys_per_user"]
        ),
        (&json!(false), &json!(2)),
        "{changed}"
    );
    let model = ["models", "change", "gpt-test", "--set", "routes.x=1"];
    assert!(failed(&cli(&bench, &model).await, 1).contains("routes is a list now"));
});

both_stores!(what_was_tried_and_does_not_work_is_no_success, |bench| {
    let shown = told(&bench, &["channels", "show", "vendor"]).await;
    let credential = shown["pool"][0]["id"].as_str().unwrap();
    let validate = ["channels", "credentials", "validate", "vendor", credential];
    succeeded(&cli(&bench, &validate).await);
    bench.vendor.push(Behaviour::status(401));
    assert!(failed(&cli(&bench, &validate).await, 5).contains("does not work"));
});

both_stores!(what_a_file_changes_is_told_as_csv, |bench| {
    let text = format!("{NEW_MODEL}tenants: [{{name: acme, keys: [{{name: made}}]}}]\n");
    let file = write(bench.stores.folder.path(), "new.yaml", &text);
    let rows = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
    let differs = cli(&bench, &["diff", "-f", &file, "-o", "csv"]).await;
    assert_eq!(differs.status.code(), Some(2));
    assert!(rows(differs).starts_with("action,kind,tenant,name,field,before,after\r\n"));
    let applied = cli(&bench, &["apply", "-f", &file, "-o", "csv"]).await;
    assert!(applied.status.success());
    let applied = rows(applied);
    let value = applied
        .lines()
        .find_map(|row| row.strip_prefix("value,key,acme,made,value,,"));
    let value = value.unwrap_or_else(|| panic!("{applied}"));
    let called = crate::support::gateway::status(&bench.http, &bench.url, value, "new-model").await;
    assert_eq!(called, 200);
});
