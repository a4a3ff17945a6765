//! The vendors' own clients, unchanged but for base URL and key: what works with the vendor works with Weir.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use weir_upstream::{Behaviour, Vendor};

use crate::support::{
    Bench, Setup, Store,
    binary::{run, succeeded},
    gateway::KEY,
};

/// A gateway with the models that the client suites expect. What fails does so on channels of its own, whose credentials
/// rest or not without the others'.
struct Suite {
    bench: Bench,
    /// Answers 429 to its first call.
    _once: Vendor,
}

impl Suite {
    async fn start(kind: Store) -> Self {
        let once = Vendor::spawn();
        once.push(Behaviour::status(429).with_retry_after(1));
        let resources = format!(
            r#"
channels:
  - {{name: vendor, kind: openai, base_url: "{{vendor}}", credentials: [sk-vendor-credential-one-1111]}}
  - {{name: limited, kind: openai, base_url: "{{vendor}}", credentials: [sk-limited-credential-2222]}}
  - {{name: broken, kind: openai, base_url: "{{vendor}}", credentials: [sk-broken-credential-3333]}}
  - {{name: once, kind: openai, base_url: "{once}", credentials: [sk-once-credential-4444], retry: {{attempts: 1}}}}
models:
  - {{name: stub-chat, prices: {{input: "1", output: "2"}}, routes: [{{channel: vendor, model: stub-chat}}]}}
  - {{name: stub-tools, prices: {{input: "1", output: "2"}}, routes: [{{channel: vendor, model: stub-tools}}]}}
  - {{name: stub-embed, prices: {{input: "1"}}, routes: [{{channel: vendor, model: stub-embed}}]}}
  - {{name: stub-slow, prices: {{input: "1", output: "2"}}, routes: [{{channel: vendor, model: stub-slow-100ms-tokens-10}}]}}
  - {{name: stub-429, routes: [{{channel: limited, model: stub-status-429}}]}}
  - {{name: stub-500, routes: [{{channel: broken, model: stub-status-500}}]}}
  - {{name: stub-429-once, routes: [{{channel: once, model: stub-chat}}]}}
tenants:
  - name: acme
    keys: [{{name: laptop, value: "{KEY}"}}]
"#,
            once = once.base_url()
        );
        let setup = Setup {
            resources: Some(resources),
            ..Setup::default()
        };
        Self {
            bench: Bench::start(kind, setup).await,
            _once: once,
        }
    }

    /// Runs a client's suite; all that it says is shown where it fails.
    async fn passes(&self, mut command: Command) {
        command
            .env("WEIR_BASE_URL", format!("{}/v1", self.bench.url))
            .env("WEIR_KEY", KEY)
            // A proxy of the machine's is none of the test's.
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null());
        let output = run(command).await;
        assert!(
            output.status.success(),
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        // Nothing that a client of a vendor does may leave the books in disorder, nor a token unbooked.
        let books = self.bench.books().await;
        books.assert_sums();
        let billed = self.bench.vendor.totals_by_credential();
        let billed = billed.values().fold((0, 0), |(input, output), tokens| {
            (input + tokens.input, output + tokens.output)
        });
        let booked = books
            .events
            .iter()
            .filter(|event| event.model != "stub-429-once");
        let booked = booked.fold((0, 0), |(input, output), event| {
            (
                input + event.input_tokens as u64,
                output + event.output_tokens as u64,
            )
        });
        assert!(booked.0 > 0, "the suite called nothing");
        // A stream that was left early is billed up to the client's leaving, and Weir counts it itself.
        let is_exact = books.events.iter().all(|event| !event.estimated);
        assert!(
            !is_exact || booked == billed,
            "booked {booked:?}, billed {billed:?}"
        );
    }
}

/// A tool of the client tests by its variable. In CI its absence is a failure, elsewhere it is said.
pub fn tool(variable: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.exists());
    assert!(
        found.is_some() || std::env::var_os("CI").is_none(),
        "CI runs the vendors' clients too: use `make test`"
    );
    if found.is_none() {
        eprintln!("skipped: no {variable}; `make test` sets it");
    }
    found
}

fn suite(name: &str) -> PathBuf {
    Path::new("tests/clients").join(name)
}

async fn python(kind: Store) {
    let Some(python) = tool("WEIR_TEST_PYTHON") else {
        return;
    };
    let mut command = Command::new(python);
    command.arg("-B").arg(suite("test_openai.py"));
    Suite::start(kind).await.passes(command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_works_unchanged_on_embedded() {
    python(Store::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_works_unchanged_on_a_cluster() {
    if Store::cluster_is_there() {
        python(Store::Cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_client_works_unchanged() {
    let Some(modules) = tool("WEIR_TEST_NODE_MODULES") else {
        return;
    };
    let mut command = Command::new("node");
    command
        .arg("--test")
        .arg(suite("openai.test.mjs"))
        .env("WEIR_TEST_NODE_MODULES", modules);
    Suite::start(Store::Embedded).await.passes(command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_sees_each_chunk_when_it_comes() {
    let suite = Suite::start(Store::Embedded).await;
    let mut curl = tokio::process::Command::new("curl")
        .args(["--no-buffer", "--silent", "--show-error", "--fail", "--noproxy", "*"])
        .arg(format!("{}/v1/chat/completions", suite.bench.url))
        .args(["-H", &format!("authorization: Bearer {KEY}"), "-H", "content-type: application/json"])
        .args(["-d", r#"{"model": "stub-slow", "stream": true, "messages": [{"role": "user", "content": "hi"}]}"#])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if !line.is_empty() {
            seen.push((Instant::now(), line));
        }
    }
    assert!(curl.wait().await.unwrap().success());
    assert_eq!(seen.last().unwrap().1, "data: [DONE]");
    assert!(seen.len() > 10, "{seen:?}");
    // Ten tokens 100 ms apart: were anything gathered on the way, the first would come with the last.
    let took = seen.last().unwrap().0 - seen[0].0;
    assert!(took > Duration::from_millis(600), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_is_told_what_is_wrong_with_its_key() {
    let suite = Suite::start(Store::Embedded).await;
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--noproxy",
        "*",
        "--write-out",
        "\n%{http_code}",
    ])
    .arg(format!("{}/v1/models", suite.bench.url))
    .args(["-H", "authorization: Bearer wk-not-a-key"]);
    let told = succeeded(&run(curl).await);
    let (body, status) = told.rsplit_once('\n').unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (status, &body["error"]["code"]),
        ("401", &"invalid_api_key".into())
    );
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("Check that it is a Weir proxy key")
    );
}
