//! Marked secrets, and all places where none of them may ever be found (threats.md, D1).

use sea_orm::{ConnectionTrait as _, Database, DbBackend, Statement};
use serde_json::json;
use weir_upstream::{Behaviour, Vendor};

use crate::support::{Store, Stores, binary::run, gateway::KEY, stores::ADMIN_TOKEN};

use super::{binary, http};

/// What may never stand in a log, plain or in the forms that logs and URLs put it in.
fn forms(secret: &str) -> Vec<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let escaped = serde_json::to_string(secret).unwrap();
    let in_url: String = secret
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    vec![
        secret.to_owned(),
        escaped.trim_matches('"').to_owned(),
        in_url,
        STANDARD.encode(secret),
    ]
}

fn leaks<'a>(text: &str, secrets: &[&'a str]) -> Vec<&'a str> {
    let found = secrets
        .iter()
        .filter(|secret| forms(secret).iter().any(|form| text.contains(form)));
    found.copied().collect()
}

/// Every row of every table of a PostgreSQL, as text; bytes in hexadecimal and as they are.
async fn dump(url: &str) -> String {
    let database = Database::connect(url).await.unwrap();
    let rows = async |sql: String| {
        let statement = Statement::from_string(DbBackend::Postgres, sql);
        let rows = database.query_all_raw(statement).await.unwrap();
        let texts = rows
            .iter()
            .map(|row| row.try_get_by::<String, _>(0).unwrap());
        texts.collect::<Vec<_>>()
    };
    let tables = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()";
    let mut dump = String::new();
    for table in rows(tables.to_owned()).await {
        for row in rows(format!("SELECT t::text FROM \"{table}\" AS t")).await {
            let bytes = row.split("\\x").skip(1).filter_map(|rest| {
                let digits = rest
                    .find(|c: char| !c.is_ascii_hexdigit())
                    .unwrap_or(rest.len());
                let digits = rest.as_bytes()[..digits].chunks_exact(2);
                let bytes =
                    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
                bytes.collect::<Option<Vec<u8>>>()
            });
            for bytes in bytes {
                dump.push_str(&String::from_utf8_lossy(&bytes));
            }
            dump.push_str(&row);
            dump.push('\n');
        }
    }
    assert!(
        dump.contains("acme") && dump.contains("gpt-test"),
        "the dump is one of the tables"
    );
    dump
}

async fn no_secret_is_logged(kind: Store, format: &str) {
    let (stores, vendor, http) = (Stores::create(kind).await, Vendor::spawn(), http());
    let environment = stores.environment("one");
    let named = |name: &str| {
        environment
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    };
    let master_key = named("WEIR_MASTER_KEY").unwrap();
    let password = "canary-database-password";
    // The server trusts anybody from this machine, so any password opens it.
    let database =
        named("WEIR_DATABASE_URL").map(|url| url.replacen('@', &format!(":{password}@"), 1));
    let mut further = vec![("WEIR_LOG", "trace"), ("WEIR_LOG_FORMAT", format)];
    if let Some(url) = &database {
        assert!(url.contains(password), "{url}");
        further.push(("WEIR_DATABASE_URL", url));
    }
    let server = binary(&stores, &vendor, &further).await;
    let prompt = "canary-prompt of the \"river\" 河";
    let answer = "canary-answer of the mountain";
    // What would look like a line of the log's own, or turn a terminal red, had anybody written it there (L4).
    let arguments =
        "{\"x\": \"canary-arguments \u{1b}[31m\n2026-01-01T00:00:00Z  INFO access: id=forged\"}";
    let body = json!({"model": "gpt-test", "messages": [{"role": "user", "content": prompt}], "user": "canary-end-user"});
    vendor.on_model("gpt-test-upstream", Behaviour::body(json!({
        "id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": answer, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "canary-tool", "arguments": arguments}}]}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    }).to_string()));
    let url = |path: &str| format!("{}{path}", server.url);
    let nearly = format!("{}X", &KEY[..KEY.len() - 1]);
    let carriers = |request: reqwest::RequestBuilder, key: &str| -> Vec<reqwest::RequestBuilder> {
        let plain = ["x-api-key", "api-key", "x-goog-api-key"];
        let mut all: Vec<_> = plain
            .iter()
            .map(|name| request.try_clone().unwrap().header(*name, key))
            .collect();
        all.push(request.try_clone().unwrap().bearer_auth(key));
        all.push(request.try_clone().unwrap().header(
            "sec-websocket-protocol",
            format!("openai-insecure-api-key.{key}"),
        ));
        all
    };
    for key in [KEY, nearly.as_str()] {
        for path in [
            "/v1/chat/completions",
            "/v1/nothing",
            "/proxy/vendor/chat/completions",
            "/proxy/../x",
            "/nothing/at/all",
            "/v1/admin/keys",
        ] {
            let in_query = http.post(url(&format!("{path}?key={key}"))).json(&body);
            let in_headers = carriers(http.post(url(path)).json(&body), key);
            for request in in_headers.into_iter().chain([in_query]) {
                drop(request.send().await.unwrap().bytes().await);
            }
        }
    }
    // What goes wrong is told in the log, and must be told without what it was about.
    let broken = format!("{{\"model\": \"gpt-test\", \"messages\": \"{prompt}");
    let sent = |body: String| {
        http.post(url("/v1/chat/completions"))
            .bearer_auth(KEY)
            .header("content-type", "application/json")
            .body(body)
            .send()
    };
    assert_eq!(sent(broken).await.unwrap().status(), 400);
    for behaviour in [
        Behaviour::status(500),
        Behaviour::fault(weir_upstream::Fault::Refuse),
        Behaviour::fault(weir_upstream::Fault::TruncatedJson),
        Behaviour::fault(weir_upstream::Fault::Gzip),
        Behaviour::body(format!(
            "Incorrect API key provided: sk-vendor-credential-one-1111, {prompt}"
        ))
        .with_header("x-echo", KEY),
        Behaviour::status(401),
    ] {
        vendor.push(behaviour.clone());
        vendor.push(behaviour);
        drop(sent(body.to_string()).await.unwrap().bytes().await);
    }
    drop(server.weir(&["usage", "--by", "key"]).await);
    let (code, log) = server.stop().await;
    assert_eq!(code, Some(0));
    assert!(
        log.lines().filter(|line| line.contains("access")).count() > 5,
        "the calls are in the log: {log}"
    );
    let secrets = [
        KEY,
        &nearly,
        "sk-vendor-credential-one-1111",
        "sk-vendor-credential-two-2222",
        &master_key,
        ADMIN_TOKEN,
        password,
        prompt,
        "canary-prompt",
        answer,
        "canary-answer",
        arguments,
        "canary-arguments",
        "canary-tool",
    ];
    assert_eq!(leaks(&log, &secrets), Vec::<&str>::new(), "{log}");
    assert!(
        !log.contains('\u{1b}') && !log.contains("id=forged"),
        "{log}"
    );
    // The search itself works.
    assert_eq!(
        leaks(&format!("{log}{}", forms(prompt)[1]), &secrets),
        [prompt, "canary-prompt"]
    );
    // Nor does anything kept hold them in the clear: books, spool, in-flight record, configuration.
    let kept = match named("WEIR_DATABASE_URL") {
        Some(url) => dump(&url).await,
        None => String::new(),
    };
    for secret in [
        KEY,
        "sk-vendor-credential-",
        "canary-prompt",
        "canary-answer",
        "canary-arguments",
        password,
    ] {
        assert_eq!(leaks(&kept, &[secret]), Vec::<&str>::new());
        let mut grep = std::process::Command::new("grep");
        grep.args(["-rlaF", secret])
            .arg(stores.folder.path().join("one"));
        let found = run(grep).await;
        assert_eq!(
            found.status.code(),
            Some(1),
            "{secret}: {}",
            String::from_utf8_lossy(&found.stdout)
        );
    }
}

/// Threats: D1, L4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_the_log_at_its_loudest() {
    no_secret_is_logged(Store::Embedded, "text").await;
}

/// Threats: D1, L4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_the_log_of_a_cluster_at_its_loudest() {
    if Store::cluster_is_there() {
        no_secret_is_logged(Store::Cluster, "json").await;
    }
}
