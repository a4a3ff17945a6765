//! The access log.

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use weir_upstream::Vendor;

use crate::support::{
    Raw, SOON, Store, Stores,
    gateway::{KEY, hello, hello_stream},
};

use super::{binary, http};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_leaves_one_line_that_says_what_an_operator_asks() {
    let (stores, vendor, http) = (
        Stores::create(Store::Embedded).await,
        Vendor::spawn(),
        http(),
    );
    let server = binary(&stores, &vendor, &[("WEIR_LOG_FORMAT", "json")]).await;
    let chat = |body: Value| {
        let request = http.post(format!(
            "{}/v1/chat/completions?key=query-secret-key",
            server.url
        ));
        request.bearer_auth("query-secret-key").json(&body).send()
    };
    assert_eq!(chat(hello("gpt-test")).await.unwrap().status(), 401);
    let url = format!("{}/v1/chat/completions?harmless=query-canary", server.url);
    let answer = http
        .post(url)
        .bearer_auth(KEY)
        .json(&hello_stream("gpt-test"))
        .send()
        .await
        .unwrap();
    let id = answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    answer.bytes().await.unwrap();
    server.logged(&id).await;
    let (code, log) = server.stop().await;
    assert_eq!(code, Some(0));

    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    let of = |id: &str| {
        lines
            .iter()
            .filter(|line| line["id"] == id)
            .collect::<Vec<_>>()
    };
    let [line] = of(&id)[..] else { panic!("{log}") };
    let billed = &vendor.bill()[0].tokens;
    let nanos = 1_000 * billed.input + 2_000 * billed.output;
    let expected = json!({
        "timestamp": line["timestamp"], "level": "INFO", "target": "access", "id": id, "tenant": "acme", "key": "laptop",
        "method": "POST", "endpoint": "/v1/chat/completions", "model": "gpt-test", "channel": "vendor", "status": 200,
        "input_tokens": billed.input, "output_tokens": billed.output, "charge_usd": format!("0.{nanos:09}"),
        "first_byte_ms": line["first_byte_ms"], "total_ms": line["total_ms"], "overhead_us": line["overhead_us"],
        "attempts": 1, "outcome": "ok", "client": "127.0.0.1",
    });
    assert_eq!(line, &expected);
    let first_byte = line["first_byte_ms"].as_f64().unwrap();
    assert!(first_byte > 0.0 && line["total_ms"].as_f64().unwrap() >= first_byte);
    assert!(line["overhead_us"].as_u64().unwrap() > 0);
    for secret in [
        KEY,
        "query-secret-key",
        "query-canary",
        "hello to the river",
    ] {
        assert!(!log.contains(secret), "{log}");
    }
    // At the default level libraries are heard only when something is wrong.
    for line in &lines {
        let target = line["target"].as_str().unwrap();
        assert!(
            target.starts_with("weir") || target == "access" || line["level"] != "INFO",
            "{line}"
        );
    }
    assert!(
        lines.len() < 40,
        "a start and two calls said too much: {log}"
    );
}

/// A caller who is refused on and on, a stranger whose requests are none, and an upstream that fails each time: the log
/// grows by some lines and a count.
///
/// Threats: D5.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_can_fill_the_log() {
    const CALLS: usize = 1_500;
    let (stores, vendor, http) = (
        Stores::create(Store::Embedded).await,
        Vendor::spawn(),
        http(),
    );
    let server = binary(&stores, &vendor, &[]).await;
    let url = format!("{}/v1/chat/completions", server.url);
    let refused = stream::iter(0..CALLS).map(async |_| {
        let call = http.post(&url).bearer_auth(KEY).body("{ \"model\"");
        assert_eq!(call.send().await.unwrap().status(), 400);
    });
    let strangers = stream::iter(0..CALLS).map(async |_| {
        let call = http.post(&url).bearer_auth("nobody").body("{}");
        assert!([401, 429].contains(&call.send().await.unwrap().status().as_u16()));
    });
    let malformed = stream::iter(0..CALLS).map(async |_| {
        let mut raw = Raw::connect(&server.url).await;
        raw.send("GET / HTTP/1.1\r\n: nothing\r\n\r\n").await;
        assert!(raw.read_to_end(SOON).await.starts_with("HTTP/1.1 400"));
    });
    tokio::join!(
        refused.buffer_unordered(8).collect::<Vec<()>>(),
        strangers.buffer_unordered(8).collect::<Vec<()>>(),
        malformed.buffer_unordered(8).collect::<Vec<()>>(),
    );
    let (code, log) = server.stop().await;
    assert_eq!(code, Some(0));
    // Ten-second windows, of which a busy machine may need several.
    assert!(log.len() < 300_000, "{} bytes: {log}", log.len());
    assert!(log.contains("invalid_json"), "the first are told: {log}");
    let left_out: usize = log
        .lines()
        .filter_map(|line| line.split_once("of=\"refused\" lines="))
        .map(|(_, count)| count.trim().parse::<usize>().unwrap())
        .sum();
    let told = log.matches("code=\"invalid_json\"").count();
    assert_eq!(told + left_out, CALLS, "none is forgotten");
}
