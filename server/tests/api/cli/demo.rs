//! What the demo prints.

use std::{
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    Binary, Store, Stores,
    binary::{run, succeeded, weir},
};

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

/// With a vendor's usual variable there is a real channel too; its secret is sealed and shown nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vendors_usual_variable_brings_a_real_channel() {
    let stores = Stores::create(Store::Embedded).await;
    let data = stores.folder.path().join("data").display().to_string();
    let mut environment = vec![
        ("WEIR_DATA_DIR".to_owned(), data),
        ("WEIR_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
    ];
    let here = |url: &str| {
        [
            ("WEIR_URL".to_owned(), url.to_owned()),
            environment[0].clone(),
        ]
    };
    let first = Binary::serve(&environment, &["--demo"]).await;
    first.printed("print()").await;
    assert!(!first.output().contains("Real channels"));
    let channels = succeeded(&weir(&here(&first.url), &["channels", "list"]).await);
    assert!(!channels.contains("openai.com"), "{channels}");
    assert_eq!(first.stop().await.0, Some(0));

    let here = here("");
    environment.push((
        "OPENAI_API_KEY".to_owned(),
        "sk-canary-0123456789".to_owned(),
    ));
    environment.push(("MISTRAL_API_KEY".to_owned(), "canary-9876543210".to_owned()));
    environment.push(("GROQ_API_KEY".to_owned(), String::new()));
    let second = Binary::serve(&environment, &["--demo"]).await;
    second
        .printed("Real channels, by the keys in your environment: openai, mistral")
        .await;
    let here = [("WEIR_URL".to_owned(), second.url.clone()), here[1].clone()];
    let exported = succeeded(&weir(&here, &["export"]).await);
    for expected in [
        "base_url: https://api.openai.com/v1",
        "base_url: https://api.mistral.ai/v1",
        "name: gpt-4o-mini",
    ] {
        assert!(exported.contains(expected), "{expected}: {exported}");
    }
    let output = second.output();
    let (code, log) = second.stop().await;
    assert_eq!(code, Some(0));
    for said in [exported, output, log] {
        assert!(!said.contains("canary") && !said.contains("groq"), "{said}");
    }
}
