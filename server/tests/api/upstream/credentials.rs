//! The pool of a channel's credentials, where they travel, and where they never go.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use weir_upstream::{Behaviour, Cut, Fault, Vendor};

use super::{MODEL, ONE, TWO, bench, code, failures, resources, start, three_times};
use crate::support::{
    Bench, Raw,
    gateway::{KEY, OTHER_KEY, hello, hello_stream},
};

fn pool(fields: &str) -> String {
    format!("credentials: [{ONE}, {TWO}], {fields}")
}

/// What the management API shows of a channel's credentials: hint and state.
async fn shown(bench: &Bench, channel: &str) -> Vec<(String, Value)> {
    let answer = bench.admin(Method::GET, "/channels").send().await.unwrap();
    let page: Value = answer.json().await.unwrap();
    let text = page.to_string();
    assert!(!text.contains(ONE) && !text.contains(TWO), "{text}");
    let channels = page["data"].as_array().unwrap();
    let channel = channels
        .iter()
        .find(|item| item["name"] == channel)
        .unwrap();
    let credentials = channel["credentials"].as_array().unwrap();
    credentials
        .iter()
        .map(|item| {
            (
                item["hint"].as_str().unwrap_or_default().to_owned(),
                item["state"].clone(),
            )
        })
        .collect()
}

fn used(bench: &Bench) -> Vec<String> {
    let bill = bench.vendor.bill();
    bill.into_iter()
        .map(|line| line.credential.unwrap_or_default())
        .collect()
}

#[tokio::test]
async fn the_pool_takes_turns() {
    let bench = bench(&pool("retry: {attempts: 1}")).await;
    for _ in 0..10 {
        bench.chat(hello(MODEL)).await;
    }
    let used = used(&bench);
    assert_eq!(
        used.iter().filter(|used| *used == ONE).count(),
        5,
        "{used:?}"
    );
    assert!(used.windows(2).all(|pair| pair[0] != pair[1]), "{used:?}");
}

#[tokio::test]
async fn the_least_used_credential_is_taken_where_the_channel_says_so() {
    let bench = bench(&pool(
        "settings: {rotation: least_used}, retry: {attempts: 1}",
    ))
    .await;
    bench
        .vendor
        .push(Behaviour::tokens(3).with_fault(Fault::Hang(Cut::AfterChunks(2))));
    let busy = bench.chat(hello_stream(MODEL)).await;
    for _ in 0..5 {
        bench.chat(hello(MODEL)).await;
    }
    let during = used(&bench);
    assert!(
        during[1..].iter().all(|used| *used != during[0]),
        "one call is under way with {}: {during:?}",
        during[0]
    );
    drop(busy);
    let left = three_times(Duration::from_secs(1));
    bench.vendor.client_left(1, left).await.unwrap();
    for _ in 0..4 {
        bench.chat(hello(MODEL)).await;
    }
    assert!(used(&bench)[6..].contains(&during[0]), "it is free again");
}

#[tokio::test]
async fn a_refused_credential_is_set_aside_and_shown_and_the_call_goes_on_with_another() {
    for status in [401, 403] {
        let bench = bench(&pool("retry: {attempts: 1}")).await;
        bench.vendor.push(Behaviour::status(status));
        let answer = bench.chat(hello(MODEL)).await;
        assert_eq!(
            answer.status(),
            200,
            "one refused credential is no failed call"
        );
        assert_eq!(answer.headers()["x-weir-attempts"], "2");
        for _ in 0..6 {
            assert_eq!(bench.chat(hello(MODEL)).await.status(), 200);
        }
        let used = used(&bench);
        let refused = used[0].clone();
        assert!(used[1..].iter().all(|used| *used != refused), "{used:?}");
        let states: Vec<Value> = shown(&bench, "vendor")
            .await
            .into_iter()
            .map(|(_, state)| state)
            .collect();
        let set_aside = json!({"is": "set_aside", "status": status});
        assert!(
            states.contains(&set_aside) && states.contains(&json!({"is": "ready"})),
            "{states:?}"
        );

        // The other one as well: the platform's failure, never the caller's 401.
        bench.vendor.push(Behaviour::status(status));
        let answer = bench.chat(hello(MODEL)).await;
        assert_eq!(answer.status(), 502);
        assert_eq!(code(answer).await, "upstream_error");
        let calls = bench.vendor.bill().len();
        let answer = bench.chat(hello(MODEL)).await;
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["x-should-retry"], "true");
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(code(answer).await, "no_healthy_upstream");
        assert_eq!(bench.vendor.bill().len(), calls, "no credential, no call");
        let books = bench.books().await;
        let first = &books.events[0];
        assert_eq!(failures(&first.attempts), ["credential", "ok"]);
        let last = books.events.last().unwrap();
        assert_eq!(
            (last.outcome.as_str(), last.error_code.as_deref()),
            ("refused", Some("no_healthy_upstream"))
        );
        assert!(failures(&last.attempts).is_empty());
        // A new secret is a new credential.
        bench
            .apply("channels: [{name: vendor, credentials: [sk-entirely-new-credential-9]}]")
            .await;
        assert_eq!(bench.chat(hello(MODEL)).await.status(), 200);
    }
}

#[tokio::test]
async fn a_credential_rests_as_long_as_the_vendor_says_and_then_works_again() {
    let bench = bench(&pool("retry: {attempts: 2}")).await;
    bench
        .vendor
        .push(Behaviour::status(429).with_retry_after(1));
    let answer = bench.chat(hello(MODEL)).await;
    assert_eq!(answer.status(), 200);
    for _ in 0..4 {
        bench.chat(hello(MODEL)).await;
    }
    let before = used(&bench);
    assert!(
        before[1..].iter().all(|used| *used != before[0]),
        "{before:?}"
    );
    assert!(
        shown(&bench, "vendor")
            .await
            .iter()
            .any(|(_, state)| state["is"] == "resting")
    );
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    for _ in 0..2 {
        bench.chat(hello(MODEL)).await;
    }
    assert!(
        used(&bench)[before.len()..].contains(&before[0]),
        "it has rested"
    );
}

/// U3: a vendor's word sets nothing aside for ever, and a tenant's own vendor sets aside only what is the tenant's.
/// Threats: U3.
#[tokio::test]
async fn a_vendor_cannot_ban_a_credential_and_a_tenants_vendor_touches_no_other() {
    let rogue = Vendor::spawn();
    let platform = format!(
        r#"{{name: vendor, kind: openai, base_url: "{{vendor}}", credentials: [{ONE}], retry: {{attempts: 1}}}}"#
    );
    let own = format!(
        r#"{{name: own, tenant: acme, kind: openai, base_url: "{0}", allowed_origin: "{0}", credentials: [{ONE}], retry: {{attempts: 1}}}}"#,
        rogue.base_url()
    );
    let bench = start(
        Vec::new(),
        resources(&format!("{platform}, {own}"), "{channel: vendor}"),
    )
    .await;
    for behaviour in [
        Behaviour::status(401),
        Behaviour::status(429).with_retry_after(1_000_000_000),
    ] {
        bench
            .apply("channels: [{name: own, tenant: acme, credentials: []}]")
            .await;
        bench
            .apply(&format!(
                "channels: [{{name: own, tenant: acme, credentials: [{ONE}]}}]"
            ))
            .await;
        rogue.push(behaviour);
        let answer = bench
            .post("/v1/own/chat/completions")
            .json(&hello("any"))
            .send()
            .await
            .unwrap();
        assert!(answer.status().as_u16() >= 429, "{}", answer.status());
        let answer = bench
            .post("/v1/own/chat/completions")
            .json(&hello("any"))
            .send()
            .await
            .unwrap();
        assert_eq!(code(answer).await, "no_healthy_upstream");
        for key in [KEY, OTHER_KEY] {
            let request = bench
                .http
                .post(format!("{}/v1/chat/completions", bench.url))
                .bearer_auth(key);
            assert_eq!(
                request.json(&hello(MODEL)).send().await.unwrap().status(),
                200
            );
        }
    }
    let states = shown(&bench, "own").await;
    let until: &str = states[0].1["until"].as_str().unwrap();
    let until = jiff_seconds(until);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    assert!(
        until > now + 200 && until <= now + 301,
        "{until} is not five minutes after {now}"
    );
}

/// Unix seconds of an RFC 3339 moment.
fn jiff_seconds(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_second()
}

#[tokio::test]
async fn a_credential_travels_as_the_channel_says_and_the_callers_never() {
    let odd = "sk-odd+a/b=c&d%41";
    let header = |name: &str, value: &str| format!("auth: {{header: {name}, value: \"{value}\"}}");
    let cases = [
        (
            "openai",
            String::new(),
            "authorization",
            format!("Bearer {odd}"),
        ),
        (
            "custom",
            String::new(),
            "authorization",
            format!("Bearer {odd}"),
        ),
        ("azure-openai", String::new(), "api-key", odd.to_owned()),
        (
            "openai",
            header("X-Custom-Auth", "Token {secret};v=1"),
            "x-custom-auth",
            format!("Token {odd};v=1"),
        ),
        (
            "openai",
            header("x-api-key", "{secret}"),
            "x-api-key",
            odd.to_owned(),
        ),
    ];
    for (kind, auth, name, value) in cases {
        let channel = format!(
            r#"{{name: vendor, kind: {kind}, base_url: "{{vendor}}", credentials: ["{odd}"], {auth}}}"#
        );
        let bench = start(Vec::new(), resources(&channel, "{channel: vendor}")).await;
        assert_eq!(bench.chat(hello(MODEL)).await.status(), 200);
        let received = &bench.vendor.requests()[0];
        assert_eq!(received.header(name), Some(value.as_str()));
        let head = String::from_utf8_lossy(&received.head).into_owned();
        assert_eq!(head.matches("sk-odd").count(), 1, "{head}");
        assert!(!head.contains(KEY), "{head}");
    }
    let auth = r#"auth: {query: {name: key, value: "{secret}"}}"#;
    let channel = format!(
        r#"{{name: vendor, kind: openai, base_url: "{{vendor}}", credentials: ["{odd}"], {auth}}}"#
    );
    let bench = start(Vec::new(), resources(&channel, "{channel: vendor}")).await;
    let url = format!("{}/v1/chat/completions?key={KEY}&trace=1", bench.url);
    let answer = bench
        .http
        .post(url)
        .json(&hello(MODEL))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let received = &bench.vendor.requests()[0];
    assert_eq!(
        received.path,
        "/v1/chat/completions?trace=1&key=sk-odd%2Ba%2Fb%3Dc%26d%2541"
    );
    assert!(!String::from_utf8_lossy(&received.head).contains(KEY));
}

/// K1: another origin gets not one byte of a credential.
/// Threats: K1.
#[tokio::test]
async fn a_channel_that_moves_loses_its_credentials() {
    let bench = bench(&pool("retry: {attempts: 1}")).await;
    assert_eq!(bench.chat(hello(MODEL)).await.status(), 200);
    // Another path is no other origin.
    let root = bench.vendor.root_url();
    bench
        .apply(&format!(
            "channels: [{{name: vendor, base_url: \"{root}/other/v1\"}}]"
        ))
        .await;
    assert_eq!(bench.chat(hello(MODEL)).await.status(), 200);
    assert!(bench.vendor.bill()[1].credential.is_some());

    let ids: Value = bench
        .admin(Method::GET, "/channels")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let id = ids["data"][0]["credentials"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let rogue = Vendor::spawn();
    let url = rogue.base_url();
    let kept = bench
        .try_apply(&format!(
            "channels: [{{name: vendor, base_url: \"{url}\", credentials: [{{keep: {id}}}]}}]"
        ))
        .await;
    assert!(
        kept.status().is_client_error(),
        "a secret cannot be taken along: {}",
        kept.status()
    );
    bench
        .apply(&format!(
            "channels: [{{name: vendor, base_url: \"{url}\"}}]"
        ))
        .await;
    for body in [hello(MODEL), hello_stream(MODEL)] {
        bench.chat(body).await.bytes().await.unwrap();
    }
    assert_eq!(rogue.bill().len(), 2, "the channel has moved");
    // And back again: they are gone, not hidden.
    bench
        .apply(&format!(
            "channels: [{{name: vendor, base_url: \"{root}/v1\"}}]"
        ))
        .await;
    bench.chat(hello(MODEL)).await;
    assert_eq!(bench.vendor.bill().last().unwrap().credential, None);
    for received in rogue.requests() {
        let raw = [&received.head[..], &received.body[..]].concat();
        for secret in [ONE, TWO] {
            for window in secret.as_bytes().windows(8) {
                assert!(
                    !raw.windows(8).any(|piece| piece == window),
                    "{}",
                    String::from_utf8_lossy(&raw)
                );
            }
        }
    }
}

/// K1: nothing in a request chooses an address.
/// Threats: K1.
#[tokio::test]
async fn no_part_of_a_request_chooses_where_it_goes() {
    let bench = bench(&pool("retry: {attempts: 1}")).await;
    let rogue = Vendor::spawn();
    let (authority, url) = (rogue.addr.to_string(), rogue.base_url());
    let mut body = hello(MODEL);
    for field in [
        "api_base", "base_url", "api_url", "endpoint", "target", "host",
    ] {
        body[field] = url.clone().into();
    }
    let request = bench
        .post(&format!(
            "/v1/chat/completions?api_base={url}&base_url={url}"
        ))
        .header("x-base-url", &url)
        .header("x-openai-base-url", &url)
        .header("x-forwarded-host", &authority)
        .header("x-original-url", &url)
        .header("forwarded", format!("host={authority}"));
    assert_eq!(request.json(&body).send().await.unwrap().status(), 200);
    let body = hello(MODEL).to_string();
    let paths = [
        format!("http://{authority}/v1/chat/completions"),
        format!("/proxy/vendor/@{authority}/v1/chat/completions"),
        format!("/proxy/vendor//{authority}/v1/chat/completions"),
        format!("/proxy/vendor/v1/chat/completions@{authority}"),
        format!("/proxy/vendor/http://{authority}/v1/chat/completions"),
        format!("/proxy/vendor/..%2f@{authority}/v1/chat/completions"),
        format!("/v1/@{authority}/chat/completions"),
    ];
    for path in paths {
        let mut client = Raw::connect(&bench.url).await;
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        let answer = client.read_to_end(super::SOON).await;
        assert!(answer.starts_with("HTTP/1.1 "), "{path}: {answer}");
    }
    assert_eq!(rogue.counters().connections, 0);
    let host = bench.vendor.addr.to_string();
    assert!(
        bench
            .vendor
            .requests()
            .iter()
            .all(|received| received.header("host") == Some(&host))
    );
}
