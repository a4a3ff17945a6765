//! Marked secrets, and all places where none of them may ever be found (threats.md, D1).

use std::{cell::RefCell, path::Path};

use sea_orm::{ConnectionTrait as _, Database, DbBackend, Statement};
use serde_json::json;
use weir_upstream::{Behaviour, Cut, Fault, Then, Vendor};

use crate::support::{
    SOON, Store, Stores,
    binary::{failed, run, succeeded, weir},
    gateway::KEY,
    stores::ADMIN_TOKEN,
};

use super::{binary, http, traces::Collector};

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

/// Everything that a Redis holds under a prefix, as text.
async fn redis_dump(url: &str, prefix: &str) -> String {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(format!("{prefix}*"))
        .query_async(&mut connection)
        .await
        .unwrap();
    let mut dump = String::new();
    for key in keys {
        let value: Vec<u8> = redis::cmd("DUMP")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .unwrap();
        dump.push_str(&key);
        dump.push_str(&String::from_utf8_lossy(&value));
    }
    dump
}

/// Secrets, each made for the place that it is put in.
#[derive(Default)]
struct Planted(RefCell<Vec<String>>);

impl Planted {
    /// A secret for a place. Its word stays together however it is escaped.
    fn at(&self, place: &str) -> String {
        let secret = format!("canary{place}{:016x}", rand::random::<u64>());
        self.0.borrow_mut().push(secret.clone());
        secret
    }

    /// A secret that must have a form of its own.
    fn given(&self, secret: &str) -> String {
        self.0.borrow_mut().push(secret.to_owned());
        secret.to_owned()
    }

    /// Which of them a text holds, in whatever form.
    fn in_text(&self, text: &str) -> Vec<String> {
        let planted = self.0.borrow();
        let secrets: Vec<&str> = planted.iter().map(String::as_str).collect();
        leaks(text, &secrets)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }
}

/// Headers that callers send, each with a secret in it. What names the call (`x-request-id`) is no secret: it is kept.
fn hostile_headers(planted: &Planted) -> Vec<(&'static str, String)> {
    let plain = [
        "accept-language",
        "user-agent",
        "cookie",
        "referer",
        "origin",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-real-ip",
        "forwarded",
        "tracestate",
        "traceparent",
        "baggage",
        "openai-organization",
        "openai-project",
        "openai-beta",
        "idempotency-key",
        "x-stainless-lang",
        "x-weir-anything",
        "x-own-header",
        "proxy-authorization",
        "if-none-match",
        "sec-websocket-protocol",
        "via",
    ];
    let planted = plain.map(|name| (name, planted.at(&name.replace('-', ""))));
    planted.to_vec()
}

/// Bodies that callers send: prompts, tools, files, whole and broken.
fn bodies(planted: &Planted) -> Vec<(&'static str, String)> {
    let prompt = format!("{} of the \"river\" 河", planted.at("prompt"));
    let chat = json!({
        "model": "gpt-test",
        "messages": [
            {"role": "system", "content": planted.at("system")},
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function",
                "function": {"name": "f", "arguments": planted.at("arguments")}}]},
            {"role": "tool", "tool_call_id": "1", "content": planted.at("toolresult")},
            {"role": "user", "content": [{"type": "text", "text": prompt},
                {"type": "file", "file": {"file_data": planted.at("file")}}]},
        ],
        "tools": [{"type": "function", "function": {"name": planted.at("tool"), "description": planted.at("toolwords")}}],
        "metadata": {"secret": planted.at("metadata")},
        planted.at("fieldname"): 1,
    });
    let streamed = {
        let mut body = chat.clone();
        body["stream"] = true.into();
        body
    };
    let unknown = {
        let mut body = chat.clone();
        body["model"] = "no-such-model".into();
        body
    };
    let form = format!(
        "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\ngpt-test\r\n--b\r\ncontent-disposition: form-data; \
         name=\"file\"; filename=\"{}\"\r\n\r\n{}\r\n--b--\r\n",
        planted.at("filename"),
        planted.at("filecontent"),
    );
    vec![
        ("application/json", chat.to_string()),
        ("application/json", streamed.to_string()),
        ("application/json", unknown.to_string()),
        (
            "application/json",
            format!(
                "{{\"model\": \"gpt-test\", \"messages\": \"{}",
                planted.at("broken")
            ),
        ),
        (
            "application/json",
            format!("{{\"model\": 1, \"model\": \"{}\"}}", planted.at("doubled")),
        ),
        ("multipart/form-data; boundary=b", form.clone()),
        ("multipart/form-data", form),
        ("text/plain", planted.at("plain")),
    ]
}

/// These bytes and the end of the connection.
fn raw(text: String) -> Behaviour {
    Behaviour::raw_then([(0, text)], Then::Close)
}

/// What upstreams answer, each with secrets where upstreams have them.
fn answers(planted: &Planted, credential: &str) -> Vec<Behaviour> {
    let completion = json!({
        "id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant",
            "content": planted.at("answer"), "tool_calls": [{"id": "call_1", "type": "function", "function": {
                "name": planted.at("calledtool"),
                // What would look like a line of the log's own, or turn a terminal red, had anybody written it there (L4).
                "arguments": format!("{} \u{1b}[31m\n2026-01-01T00:00:00Z  INFO access: id=forged", planted.at("calledarguments")),
        }}]}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    });
    let refusal = |word: &str| {
        let words = format!(
            "Incorrect API key provided: {credential}, {}",
            planted.at(word)
        );
        json!({"error": {"message": words, "type": "x", "code": planted.at(&format!("{word}code"))}}).to_string()
    };
    let with_status = |status: u16, body: String| {
        let head = format!(
            "HTTP/1.1 {status} {}\r\ncontent-type: application/json\r\nx-own: {}\r\nset-cookie: {}\r\ncontent-length: {}\r\n\r\n",
            planted.at("reason"),
            planted.at("upstreamheader"),
            planted.at("upstreamcookie"),
            body.len(),
        );
        raw(format!("{head}{body}"))
    };
    vec![
        Behaviour::body(completion.to_string()).with_header("x-echo", planted.at("echo")),
        with_status(400, refusal("badrequest")),
        with_status(401, refusal("unauthorized")),
        with_status(429, refusal("toomany")),
        with_status(500, refusal("failure")),
        with_status(302, planted.at("redirect")),
        raw(format!(
            "HTTP/1.1 garbage {}\r\n\r\n",
            planted.at("badhead")
        )),
        raw(planted.at("nothttp")),
        raw(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {{\"x\": \"{}\n\n",
            planted.at("brokenevent")
        )),
        raw(format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloXX{}",
            planted.at("brokenchunk")
        )),
        Behaviour::fault(Fault::Refuse),
        Behaviour::fault(Fault::TruncatedJson),
        Behaviour::fault(Fault::Gzip),
        Behaviour::fault(Fault::Reset(Cut::AfterHead)),
    ]
}

/// The settings that are secrets, and what stands beside them in the environment and in files.
struct Settings {
    environment: Vec<(String, String)>,
    redis: Option<(String, String)>,
}

impl Settings {
    fn new(stores: &Stores, planted: &Planted) -> Self {
        let given = stores.environment("one");
        let named = |name: &str| {
            given
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        };
        planted.given(&named("WEIR_MASTER_KEY").unwrap());
        planted.given(ADMIN_TOKEN);
        let mut environment = vec![
            ("WEIR_METRICS_TOKEN_FILE", {
                let file = stores.folder.path().join("metrics-token");
                std::fs::write(&file, planted.at("metricstoken")).unwrap();
                file.display().to_string()
            }),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                format!("x-key={}", planted.at("collectorkey")),
            ),
            ("OPENAI_API_KEY", planted.at("openaikey")),
            ("SOMETHING_ELSE", planted.at("elsewhere")),
        ];
        // The servers trust anybody from this machine, so any password opens them.
        if let Some(url) = named("WEIR_DATABASE_URL") {
            let password = format!(":{}@", planted.at("databasepassword"));
            environment.push(("WEIR_DATABASE_URL", url.replacen('@', &password, 1)));
        }
        let redis = named("WEIR_REDIS_URL").zip(named("WEIR_REDIS_PREFIX"));
        if let Some((url, _)) = &redis {
            let password = format!("redis://default:{}@", planted.at("redispassword"));
            environment.push(("WEIR_REDIS_URL", url.replacen("redis://", &password, 1)));
        }
        let environment = environment
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        Self {
            environment: environment.collect(),
            redis,
        }
    }
}

async fn no_secret_is_told(kind: Store, format: &str) {
    let (stores, vendor, http, collector) = (
        Stores::create(kind).await,
        Vendor::spawn(),
        http(),
        Collector::start().await,
    );
    let planted = Planted::default();
    let settings = Settings::new(&stores, &planted);
    let mut further: Vec<(&str, &str)> = vec![
        ("WEIR_LOG", "trace"),
        ("WEIR_LOG_FORMAT", format),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    further.extend(
        settings
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let server = binary(&stores, &vendor, &further).await;
    let credential = planted.given("sk-vendor-credential-one-1111");
    planted.given("sk-vendor-credential-two-2222");
    planted.given(KEY);

    // All that callers get.
    let mut told = String::new();
    let keep = async |told: &mut String, answer: reqwest::Result<reqwest::Response>| {
        let Ok(answer) = answer else { return };
        told.push_str(&format!("{:?}", answer.headers()));
        // A stream that an upstream breaks is an error of the client's own.
        told.push_str(&answer.text().await.unwrap_or_default());
    };
    let url = |path: &str| format!("{}{path}", server.url);
    let headers = hostile_headers(&planted);
    let with_headers = |request: reqwest::RequestBuilder| {
        headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, value)
        })
    };
    let bodies = bodies(&planted);
    let nearly = planted.given(&format!("{}X", &KEY[..KEY.len() - 1]));
    let paths = [
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/audio/transcriptions",
        "/v1/nothing",
        "/proxy/vendor/chat/completions",
        "/proxy/vendor/../x",
        "/nothing/at/all",
        "/v1/admin/keys",
        "/v1/admin/resources/apply",
    ];
    for key in [KEY, nearly.as_str()] {
        for path in paths {
            let path = format!("{path}?q={}", planted.at("query"));
            for (content_type, body) in &bodies {
                let request = || {
                    let request = http.post(url(&path)).header("content-type", *content_type);
                    with_headers(request).body(body.clone())
                };
                keep(&mut told, request().bearer_auth(key).send().await).await;
            }
            let (_, body) = &bodies[0];
            for carrier in ["x-api-key", "api-key", "x-goog-api-key"] {
                keep(
                    &mut told,
                    http.post(url(&path))
                        .header(carrier, key)
                        .body(body.clone())
                        .send()
                        .await,
                )
                .await;
            }
            let in_query = http.post(url(&format!("{path}&key={key}")));
            keep(&mut told, in_query.body(body.clone()).send().await).await;
        }
    }
    // What upstreams say is relayed to those who asked them, and told to nobody else.
    let upstreams = Planted::default();
    let asked = answers(&upstreams, &credential);
    let asked = asked
        .iter()
        .flat_map(|answer| [0, 1].map(|body| (answer, &bodies[body])));
    for (number, (answer, (content_type, body))) in asked.enumerate() {
        // A channel each: what one answers may take its credentials away.
        let (name, base) = (format!("m{number}"), vendor.base_url());
        vendor.on_model(&name, answer.clone());
        let more = format!(
            "channels: [{{name: {name}, kind: openai, base_url: \"{base}\", credentials: [{credential}]}}]\n\
             models: [{{name: {name}, routes: [{{channel: {name}, model: {name}}}]}}]"
        );
        let file = stores.folder.path().join("more.yaml");
        std::fs::write(&file, more).unwrap();
        let file = file.display().to_string();
        succeeded(&server.weir(&["apply", "-f", &file]).await);
        let request = http
            .post(url("/v1/chat/completions"))
            .header("content-type", *content_type);
        let request = with_headers(request).bearer_auth(KEY);
        let answer = request.body(body.replace("gpt-test", &name)).send();
        keep(&mut told, answer.await).await;
    }
    assert!(!told.contains("no_healthy_upstream"), "each was asked");
    // A file that is refused has its secrets in the wrong places.
    let file = wrong_resources(stores.folder.path(), &planted);
    let said = failed(&server.weir(&["apply", "-f", &file]).await, 5);
    assert_eq!(planted.in_text(&said), Vec::<String>::new());

    // All that can be asked for, and all that is kept.
    let mut seen = Vec::new();
    for command in [
        &["usage", "--by", "key"][..],
        &["usage", "--by", "model", "-o", "json"],
        &["export"],
        &["keys", "list"],
        &["channels", "list"],
        &["models", "list"],
        &["tenants", "list"],
    ] {
        let output = server.weir(command).await;
        seen.push(("commands", succeeded(&output)));
    }
    let metrics = http.get(url("/metrics")).send().await.unwrap();
    seen.push(("metrics", metrics.text().await.unwrap()));
    let health = http.get(url("/health")).send().await.unwrap();
    seen.push(("health", health.text().await.unwrap()));
    let (code, log) = server.stop().await;
    assert_eq!(code, Some(0));
    assert!(
        log.lines().filter(|line| line.contains("access")).count() > 50,
        "the calls are in the log"
    );
    assert!(!log.contains('\u{1b}') && !log.contains("id=forged"));
    let traces = collector.text();
    assert!(traces.contains("gpt-test"), "there are traces");
    // The search itself works.
    let last = planted.0.borrow().last().unwrap().clone();
    assert_eq!(
        planted.in_text(&format!("{log}{}", forms(&last)[3])),
        [last]
    );
    seen.extend([("log", log), ("traces", traces)]);
    if let Some((url, prefix)) = &settings.redis {
        let environment = stores.environment("one");
        let database = environment
            .iter()
            .find(|(name, _)| name == "WEIR_DATABASE_URL");
        seen.push(("database", dump(&database.unwrap().1).await));
        seen.push(("redis", redis_dump(url, prefix).await));
    }
    for (place, text) in &seen {
        assert_eq!(planted.in_text(text), Vec::<String>::new(), "{place}");
    }
    // Books, spool, in-flight record, configuration: whatever lies on the disk.
    let words = planted.0.borrow().join("\n");
    let list = stores.folder.path().join("secrets");
    std::fs::write(&list, words).unwrap();
    let mut grep = std::process::Command::new("grep");
    grep.args(["-raoF", "-f"])
        .arg(&list)
        .arg(stores.folder.path().join("one"));
    let found = run(grep).await;
    let said = String::from_utf8_lossy(&found.stdout);
    assert_eq!(found.status.code(), Some(1), "{said}");
}

/// Threats: D1, D4, L4, A11.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_told_or_kept_at_the_loudest() {
    no_secret_is_told(Store::Embedded, "text").await;
}

/// Threats: D1, D4, L4, A11.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_told_or_kept_by_a_cluster_at_the_loudest() {
    if Store::cluster_is_there() {
        no_secret_is_told(Store::Cluster, "json").await;
    }
}

/// Arguments and variables of a start that fails.
type Failing<'a> = (&'a [&'a str], Vec<(&'static str, String)>);

/// A start that fails says why without what it was about.
///
/// Threats: D1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_shows_no_secret() {
    let planted = Planted::default();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let toml = format!("admin_token = \"{}\nx = ", planted.at("toml"));
    let config = file("weir.toml", toml);
    let resources = wrong_resources(folder.path(), &planted);
    let flag = format!("admin_token={}", planted.at("flag"));
    let other =
        |scheme: &str, word: &str| format!("{scheme}://u:{}@127.0.0.1:1/x", planted.at(word));
    let key = |word: &str| format!("-----BEGIN PRIVATE KEY-----\n{}\n", planted.at(word));
    let broken: [Failing<'_>; 11] = [
        (&[], vec![("WEIR_MASTER_KEY", planted.at("masterkey"))]),
        (
            &[],
            vec![("WEIR_MASTER_KEY_FILE", file("key", planted.at("keyfile")))],
        ),
        (
            &[],
            vec![("WEIR_ADMIN_TOKEN", planted.given("short-canary"))],
        ),
        (
            &[],
            vec![(
                "WEIR_ADMIN_TOKEN_FILE",
                file("token", planted.given("short-canary-file")),
            )],
        ),
        (
            &[],
            vec![("WEIR_DATABASE_URL", other("mysql", "otherdatabase"))],
        ),
        (
            &[],
            vec![("WEIR_DATABASE_URL", other("postgres", "nodatabase"))],
        ),
        (&[], vec![("WEIR_REDIS_URL", other("http", "noredis"))]),
        (
            &[],
            vec![
                ("WEIR_TLS_CERT", file("cert", planted.at("certificate"))),
                ("WEIR_TLS_KEY", file("tlskey", key("tlskey"))),
            ],
        ),
        (&["--config", &config], vec![]),
        (&["--resources", &resources], vec![]),
        (&["--set", &flag], vec![]),
    ];
    for (arguments, settings) in broken {
        let names: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
        let data = tempfile::tempdir().unwrap();
        let mut environment = vec![
            (
                "WEIR_DATA_DIR".to_owned(),
                data.path().display().to_string(),
            ),
            ("WEIR_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("WEIR_LOG".to_owned(), "trace".to_owned()),
        ];
        let given = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        environment.extend(given);
        let command = [&["serve"], arguments].concat();
        let started = weir(&environment, &command);
        let output = tokio::time::timeout(6 * SOON, started).await;
        let output = output.unwrap_or_else(|_| panic!("it serves: {names:?} {arguments:?}"));
        assert!(!output.status.success(), "{names:?} {arguments:?}");
        for said in [&output.stdout, &output.stderr] {
            let said = String::from_utf8_lossy(said);
            assert_eq!(
                planted.in_text(&said),
                Vec::<String>::new(),
                "{names:?}: {said}"
            );
        }
    }
}

/// A file of resources with secrets in the wrong places.
fn wrong_resources(folder: &Path, planted: &Planted) -> String {
    let path = folder.join("wrong.yaml");
    let secret = planted.at("wrongplace");
    let text = format!("channels:\n  - name: x\n    kind: openai\n    credentials: {secret}\n");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}
