//! The command line as people use it: the real binary against a running server.

use std::{
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use weir_upstream::Behaviour;

use crate::{
    both_stores,
    support::{
        Bench, Binary, SOON, Store, Stores,
        binary::{failed, run, succeeded, token, weir},
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
    let unset = failed(&weir(&[], &["validate", "-f", &good]).await, 1);
    assert!(unset.contains("SOME_KEY"), "{unset}");

    for (text, reason) in [
        (
            "models:\n  - name: a\n    colour: red\n",
            "line 3 column 5: unknown field `colour`",
        ),
        ("models:\n  - name: a\n  limits: []\n", "line 3"),
        (
            "tenants:\n  - name: a\n    limits: []\n",
            "line 3 column 5: limits is not built in this version (tenants[0].limits)",
        ),
        (
            "rules: []\n",
            "line 1 column 1: rules is not built in this version (rules)",
        ),
        ("models: [\n", "line "),
    ] {
        let file = write(folder.path(), "bad.yaml", text);
        let said = failed(&weir(&[], &["validate", "-f", &file]).await, 1);
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
    let gone = failed(&cli(&bench, &["keys", "disable", id]).await, 1);
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
        let bad = failed(&cli(&bench, &["usage", "--tz", "Mars/Olympus"]).await, 1);
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
        let said = failed(&weir(&wrong, &["keys", "list"]).await, 1);
        assert!(said.contains("unauthorized"), "{said}");
        let dead = [
            ("WEIR_URL".to_owned(), "http://127.0.0.1:1".to_owned()),
            token(),
        ];
        let said = failed(&weir(&dead, &["export"]).await, 1);
        assert!(said.contains("no answer from http://127.0.0.1:1"), "{said}");
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_finds_what_is_wrong_and_nothing_else() {
    let stores = Stores::create(Store::Embedded).await;
    let environment = stores.environment("one");
    let before = weir(&environment, &["doctor"]).await;
    assert!(String::from_utf8_lossy(&before.stdout).contains("`weir serve` makes it"));
    assert_eq!(before.status.code(), Some(1));
    let server = Binary::serve(&environment, &[]).await;
    let well = succeeded(&weir(&environment, &["doctor"]).await);
    assert_eq!(
        well,
        "settings: ok\ndata directory: ok\nmaster key: ok\nstores: ok\n"
    );
    assert_eq!(server.stop().await.0, Some(0));

    let data = stores.folder.path().join("one");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let sick = weir(&environment, &["doctor"]).await;
    let told = String::from_utf8_lossy(&sick.stdout).into_owned();
    assert!(told.contains("is open to others: chmod 700 it"), "{told}");
    failed(&sick, 1);
}

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

/// The models that a key sees, once they fit.
async fn models_when(
    url: &str,
    http: &reqwest::Client,
    fits: impl Fn(&[String]) -> bool,
) -> Vec<String> {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = http
            .get(format!("{url}/v1/models"))
            .bearer_auth(KEY)
            .send()
            .await
            .unwrap();
        let body: Value = answer.json().await.unwrap();
        let models = body["data"].as_array().into_iter().flatten();
        let names: Vec<String> = models
            .map(|model| model["id"].as_str().unwrap().to_owned())
            .collect();
        if fits(&names) || Instant::now() > deadline {
            return names;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_watched_file(kind: Store) {
    let stores = Stores::create(kind).await;
    let file = |models: &str| {
        format!(
            "tenants: [{{name: acme, keys: [{{name: laptop, value: \"{KEY}\"}}]}}]\nmodels:\n{models}"
        )
    };
    let path = write(
        stores.folder.path(),
        "platform.yaml",
        &file("  - name: first\n"),
    );
    let server = Binary::serve(
        &stores.environment("one"),
        &["--resources", &path, "--watch"],
    )
    .await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(
        models_when(&server.url, &http, |_| true).await,
        ["first"],
        "applied before it is ready"
    );

    // As editors and Kubernetes do it: another file in the old one's place.
    let next = write(
        stores.folder.path(),
        "next.yaml",
        &file("  - name: first\n  - name: second\n"),
    );
    std::fs::rename(next, &path).unwrap();
    let names = models_when(&server.url, &http, |names| names.len() == 2).await;
    assert_eq!(names, ["first", "second"]);

    // One good change and one bad: the whole file is refused.
    std::fs::write(
        &path,
        file("  - name: third\n  - name: fourth\n    colour: red\n"),
    )
    .unwrap();
    let refused = server
        .logged("line 5 column 5: unknown field `colour`")
        .await;
    assert!(refused.contains("configuration file refused"), "{refused}");
    assert!(refused.contains("the old configuration stays"), "{refused}");
    assert_eq!(
        models_when(&server.url, &http, |_| true).await,
        ["first", "second"]
    );

    std::fs::write(
        &path,
        file("  - name: first\n    enabled: false\n  - name: third\n"),
    )
    .unwrap();
    let names = models_when(&server.url, &http, |names| {
        names.contains(&"third".to_owned())
    })
    .await;
    assert_eq!(names, ["second", "third"]);
    assert_eq!(server.stop().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_file_is_applied_when_it_changes_and_refused_whole_when_broken() {
    a_watched_file(Store::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_file_does_the_same_on_a_cluster() {
    if Store::cluster_is_there() {
        a_watched_file(Store::Cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_broken_at_the_start_stops_it_with_line_and_reason() {
    let stores = Stores::create(Store::Embedded).await;
    let path = write(
        stores.folder.path(),
        "platform.yaml",
        "models:\n  - name: a\n    colour: red\n",
    );
    let said = failed(
        &weir(&stores.environment("one"), &["serve", "--resources", &path]).await,
        1,
    );
    assert!(
        said.contains("line 3 column 5: unknown field `colour`"),
        "{said}"
    );
}

/// The lines of what the demo printed from one that holds a text to the next empty one.
fn pasted(printed: &str, from: &str) -> String {
    let lines = printed.lines().skip_while(|line| !line.contains(from));
    let lines = lines.take_while(|line| !line.trim().is_empty());
    // Python minds the indentation.
    lines
        .map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_demo_prints_works_as_pasted() {
    let stores = Stores::create(Store::Embedded).await;
    let data = stores.folder.path().join("data");
    let environment = vec![
        ("WEIR_DATA_DIR".to_owned(), data.display().to_string()),
        ("WEIR_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
    ];
    let first = Binary::serve(&environment, &["--demo"]).await;
    first.printed("print()").await;
    let printed = first.output();
    assert!(
        printed.contains(&format!("address   {}\n", first.url)),
        "{printed}"
    );

    let mut shell = Command::new("bash");
    shell
        .args(["-e", "-c", &pasted(&printed, "curl -N")])
        .env("no_proxy", "*");
    let answered = succeeded(&run(shell).await);
    assert!(
        answered.contains("\"object\":\"chat.completion.chunk\"")
            && answered.ends_with("data: [DONE]\n\n"),
        "{answered}"
    );
    if let Some(python) = std::env::var_os("WEIR_TEST_PYTHON") {
        let mut python = Command::new(python);
        python
            .arg("-")
            .env("no_proxy", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = python.spawn().unwrap();
        let script = pasted(&printed, "from openai import OpenAI");
        child
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        let said = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
            .await
            .unwrap();
        let said = succeeded(&said);
        assert!(
            said.contains("not a model") && said.contains("Hello, Weir!"),
            "the answer says what it is: {said}"
        );
    } else {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI runs the Python snippet too: use `make test`"
        );
    }
    // On this machine the commands find the token by themselves.
    let here = [
        ("WEIR_URL".to_owned(), first.url.clone()),
        environment[0].clone(),
    ];
    let usage =
        succeeded(&weir(&here, &["usage", "--by", "tenant,model", "--output", "csv"]).await);
    assert!(usage.contains("\r\ndemo,demo,"), "{usage}");
    assert_eq!(first.stop().await.0, Some(0));

    for (name, mode) in [
        ("", 0o700),
        ("master-key", 0o600),
        ("admin-token", 0o600),
        ("demo-key", 0o600),
        ("weir.db", 0o600),
        ("usage.db", 0o600),
    ] {
        let path = data.join(name);
        let found =
            std::fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(
            found.permissions().mode() & 0o777,
            mode,
            "{}",
            path.display()
        );
    }

    // Warm: less than two seconds are promised, and the same key again.
    let started = Instant::now();
    let again = Binary::serve(&environment, &["--demo"]).await;
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
    again.printed("print()").await;
    let key = |text: &str| pasted(text, "key  ").lines().next().unwrap().to_owned();
    assert_eq!(key(&again.output()), key(&printed));
}
