//! Retries and fallbacks: on what, how often, where to, and each attempt in the books.

use serde_json::Value;
use weir_upstream::{Behaviour, ConnectionPolicy, Cut, Fault, Vendor};

use super::{MODEL, ONE, TWO, bench, code, failures, resources, start};
use crate::support::{
    Bench,
    gateway::{hello, hello_stream},
};

/// A bench with channels `first` and `second`, each before a vendor of its own; the bench's own vendor is the first.
async fn two_channels(fields: &str, routes: &str) -> (Bench, Vendor) {
    let second = Vendor::spawn();
    let channels = format!(
        r#"{{name: first, kind: openai, base_url: "{{vendor}}", credentials: [{ONE}], {fields}}}, {{name: second, kind: openai, base_url: "{}", credentials: [{TWO}]}}"#,
        second.base_url()
    );
    let bench = start(Vec::new(), resources(&channels, routes)).await;
    (bench, second)
}

#[tokio::test]
async fn each_cause_is_retried_if_and_only_if_the_channel_says_so() {
    let fault = Behaviour::fault;
    let causes = [
        ("connect", "broken", fault(Fault::Close(Cut::BeforeHead))),
        ("connect", "broken", fault(Fault::Reset(Cut::BeforeHead))),
        ("timeout", "timeout", fault(Fault::Hang(Cut::BeforeHead))),
        ("5xx", "5xx", Behaviour::status(500)),
        ("5xx", "5xx", Behaviour::status(503)),
        ("\"503\"", "5xx", Behaviour::status(503)),
        ("\"429\"", "429", Behaviour::status(429).with_retry_after(0)),
        ("\"409\"", "4xx", Behaviour::status(409)),
    ];
    let bench = bench(&format!("credentials: [{ONE}]")).await;
    for (on, word, behaviour) in causes {
        for (policy, retried) in [(on, true), ("\"418\"", false)] {
            let change = format!(
                "channels: [{{name: vendor, retry: {{attempts: 2, on: [{policy}]}}, timeouts: {{first_byte: 150ms}}}}]"
            );
            bench.apply(&change).await;
            // A connection used before would be given a second chance within the attempt.
            let connections = bench.vendor.counters().requests;
            bench.vendor.set_connections(ConnectionPolicy {
                close_after_requests: Some(1),
                ..ConnectionPolicy::default()
            });
            bench.vendor.push(behaviour.clone());
            let answer = bench.chat(hello_stream(MODEL)).await;
            let status = answer.status();
            answer.bytes().await.unwrap();
            assert_eq!(status == 200, retried, "{on} {status} {behaviour:?}");
            let sent = bench.vendor.counters().requests - connections;
            assert!(sent > u64::from(retried), "{on}: {sent} sent");
            let books = bench.books().await;
            let event = books.events.last().unwrap();
            let expected: &[&str] = if retried { &[word, "ok"] } else { &[word] };
            let failed = failures(&event.attempts);
            assert_eq!(failed.len(), expected.len(), "{on}: {failed:?}");
            if retried {
                assert_eq!(failed, expected, "{on}");
            }
            assert!(bench.vendor.bill().iter().all(|line| line.method == "POST"));
        }
    }
}

#[tokio::test]
async fn a_call_that_nobody_can_mend_is_made_once() {
    let bench = bench(&format!("credentials: [{ONE}], retry: {{attempts: 5}}")).await;
    for status in [400, 404, 413, 422] {
        bench.vendor.push(Behaviour::status(status));
        let answer = bench.chat(hello(MODEL)).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["x-weir-attempts"], "1");
    }
    assert_eq!(bench.vendor.bill().len(), 4);
}

/// B15: a body that the vendor always answers with 500.
#[tokio::test]
async fn attempts_of_one_request_are_bounded_over_all_channels() {
    let channel = |name: &str| {
        format!(
            r#"{{name: {name}, kind: openai, base_url: "{{vendor}}", credentials: [sk-of-{name}-0123456789], retry: {{attempts: 5}}}}"#
        )
    };
    let names = ["one", "two", "three", "four"];
    let channels = names.map(channel).join(", ");
    let routes = names.map(|name| format!("{{channel: {name}}}")).join(", ");
    let bench = start(Vec::new(), resources(&channels, &routes)).await;
    bench.vendor.set_default(Behaviour::status(500));
    let answer = bench.chat(hello(MODEL)).await;
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.headers()["x-weir-attempts"], "8");
    assert_eq!(bench.vendor.bill().len(), 8);
    let books = bench.books().await;
    assert_eq!(failures(&books.only().attempts), ["5xx"; 8]);
    assert_eq!(books.only().cost_nanos, 0);
}

#[tokio::test]
async fn after_the_first_byte_nothing_is_tried_again() {
    let (bench, second) = two_channels(
        "retry: {attempts: 3}",
        "{channel: first, priority: 2}, {channel: second, priority: 1}",
    )
    .await;
    let behaviour = Behaviour::tokens(20)
        .with_chunk_delay_ms(10)
        .with_fault(Fault::Reset(Cut::AfterChunks(4)));
    bench.vendor.push(behaviour);
    let text = bench.chat(hello_stream(MODEL)).await.text().await.unwrap();
    assert!(text.contains("upstream_error"), "{text}");
    assert_eq!((bench.vendor.bill().len(), second.bill().len()), (1, 0));
}

#[tokio::test]
async fn the_next_route_by_priority_takes_over_and_both_are_booked() {
    let routes = "{channel: second, priority: 1, model: other-name}, {channel: first, priority: 2}";
    let (bench, second) = two_channels("retry: {attempts: 2}", routes).await;
    for fault in [Fault::TruncatedJson, Fault::TruncatedJson] {
        bench.vendor.push(Behaviour::tokens(40).with_fault(fault));
    }
    let answer = bench.chat(hello(MODEL)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-weir-channel"], "second");
    assert_eq!(answer.headers()["x-weir-attempts"], "3");
    let cost = answer.headers()["x-weir-cost"].to_str().unwrap().to_owned();
    assert_eq!(bench.vendor.bill().len(), 2);
    assert_eq!(second.bill().len(), 1);
    assert_eq!(second.requests()[0].json()["model"], "other-name");
    assert_eq!(second.bill()[0].credential.as_deref(), Some(TWO));

    let books = bench.books().await;
    let event = books.only();
    let attempts = event.attempts.as_array().unwrap();
    assert_eq!(failures(&event.attempts), ["broken", "broken", "ok"]);
    let billed = second.bill()[0].tokens;
    let tokens = |attempt: &Value, name: &str| attempt["usage"][name].as_i64().unwrap();
    assert_eq!(tokens(&attempts[2], "input") as u64, billed.input);
    assert_eq!(tokens(&attempts[2], "output") as u64, billed.output);
    let nanos =
        |attempt: &Value| 1_000 * tokens(attempt, "input") + 2_000 * tokens(attempt, "output");
    assert!(
        attempts[..2]
            .iter()
            .all(|attempt| nanos(attempt) > 0 && attempt["estimated"] == true)
    );
    assert_eq!(event.cost_nanos, attempts.iter().map(nanos).sum::<i64>());
    assert_eq!(event.charge_nanos, nanos(&attempts[2]));
    assert_eq!(cost, format!("0.{:09}", event.charge_nanos));
    books.assert_sums();
}

#[tokio::test]
async fn a_higher_priority_goes_first_and_weights_share_among_equals() {
    let routes = "{channel: first, weight: 3}, {channel: second, weight: 1}";
    let (bench, second) = two_channels("retry: {attempts: 1}", routes).await;
    let calls = 200;
    for _ in 0..calls {
        assert_eq!(bench.chat(hello(MODEL)).await.status(), 200);
    }
    // Three in four: 150 expected, and further than five standard deviations (6.1 each) once in a million runs.
    let first = bench.vendor.bill().len();
    assert!((119..=181).contains(&first), "{first} of {calls}");
    assert_eq!(first + second.bill().len(), calls);

    bench
        .apply(&format!("models: [{{name: {MODEL}, routes: [{{channel: first, weight: 100}}, {{channel: second, priority: 1}}]}}]"))
        .await;
    for _ in 0..20 {
        bench.chat(hello(MODEL)).await;
    }
    assert_eq!(
        bench.vendor.bill().len(),
        first,
        "the lower priority got nothing"
    );
}

#[tokio::test]
async fn a_keys_own_order_of_channels_goes_before_the_routes() {
    let routes = "{channel: first, priority: 9}, {channel: second, priority: 1}";
    let (bench, second) = two_channels("retry: {attempts: 1}", routes).await;
    let own = "tenants: [{name: acme, keys: [{name: laptop, channels: [{channel: second, priority: 5}, {channel: first, priority: 4}]}]}]";
    bench.apply(own).await;
    assert_eq!(
        bench.chat(hello(MODEL)).await.headers()["x-weir-channel"],
        "second"
    );
    second.set_default(Behaviour::status(500));
    let answer = bench.chat(hello(MODEL)).await;
    assert_eq!(
        (
            answer.status().as_u16(),
            &answer.headers()["x-weir-channel"]
        ),
        (200, &"first".parse().unwrap())
    );
    let only = "tenants: [{name: acme, keys: [{name: laptop, channels: [{channel: second}]}]}]";
    bench.apply(only).await;
    let before = bench.vendor.bill().len();
    assert_eq!(bench.chat(hello(MODEL)).await.status(), 500);
    assert_eq!(
        bench.vendor.bill().len(),
        before,
        "a channel that the key may not use is no fallback"
    );
}

#[tokio::test]
async fn a_body_that_is_streamed_upstream_is_sent_once() {
    let channel = format!(
        r#"{{name: vendor, tenant: acme, kind: openai, base_url: "{{vendor}}", allowed_origin: "{{vendor}}", credentials: [{ONE}], retry: {{attempts: 5}}}}"#
    );
    let bench = start(Vec::new(), resources(&channel, "")).await;
    bench.vendor.set_default(Behaviour::status(500));
    let part = |name: &str, value: &str| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let file = format!(
        "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n{}\r\n--b--\r\n",
        "x".repeat(3 << 20)
    );
    let body = format!("{}{file}", part("purpose", "batch"));
    let answer = bench
        .post("/v1/files")
        .header("content-type", "multipart/form-data; boundary=b")
        .body(body.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.headers()["x-weir-attempts"], "1");
    assert_eq!(bench.vendor.bill().len(), 1);
    assert_eq!(bench.vendor.requests()[0].body_bytes, body.len() as u64);
    let books = bench.books().await;
    assert_eq!(books.only().attempts.as_array().unwrap().len(), 1);
}

/// The vendor closes connections that Weir believes to be good; nobody but the vendor and Weir may notice.
/// Threats: U1.
#[tokio::test]
async fn a_call_that_met_a_closing_connection_is_sent_once_more_within_the_attempt() {
    let policies = [
        ConnectionPolicy {
            close_after_requests: Some(1),
            ..ConnectionPolicy::default()
        },
        ConnectionPolicy {
            idle_close_after_ms: Some(100),
            ..ConnectionPolicy::default()
        },
        ConnectionPolicy {
            idle_408_after_ms: Some(100),
            ..ConnectionPolicy::default()
        },
    ];
    let bench = bench(&format!("credentials: [{ONE}], retry: {{attempts: 1}}")).await;
    let mut calls = 0;
    for policy in policies {
        bench.vendor.set_connections(policy);
        for pause in [0, 97, 98, 99, 100, 101, 120] {
            tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
            for body in [hello(MODEL), hello_stream(MODEL)] {
                let answer = bench.chat(body).await;
                assert_eq!(answer.status(), 200, "{policy:?} {pause}");
                assert_eq!(answer.headers()["x-weir-attempts"], "1");
                answer.bytes().await.unwrap();
                calls += 1;
            }
        }
    }
    let answered = bench
        .vendor
        .bill()
        .iter()
        .filter(|line| line.status == Some(200))
        .count();
    assert_eq!(answered, calls);
    let books = bench.books().await;
    assert_eq!(books.events.len(), calls);
    assert!(
        books
            .events
            .iter()
            .all(|event| failures(&event.attempts) == ["ok"])
    );
    let billed = bench.vendor.counters();
    assert_eq!(books.tokens(), (billed.input_tokens, billed.output_tokens));
}

/// A 408 that was on its way before the request was is about the connection; on a new one it is the vendor's word.
#[tokio::test]
async fn a_408_on_a_reused_connection_is_no_answer() {
    let settings = vec![("WEIR_WORKERS", "1".to_owned())];
    let bench = super::bench_with(settings, &super::plain()).await;
    let timed_out = || Behaviour::status(408).with_header("connection", "close");
    bench.vendor.push(timed_out());
    assert_eq!(bench.chat(hello(MODEL)).await.status(), 408);
    for body in [hello(MODEL), hello_stream(MODEL)] {
        assert_eq!(bench.chat(hello(MODEL)).await.status(), 200);
        bench.vendor.push(timed_out());
        let answer = bench.chat(body).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-weir-attempts"], "1");
        answer.bytes().await.unwrap();
    }
    let books = bench.books().await;
    assert_eq!(books.events.len(), 5);
    let billed = bench.vendor.counters();
    assert_eq!(books.tokens(), (billed.input_tokens, billed.output_tokens));
}

/// The connection dies under the very request: not before it, as above.
#[tokio::test]
async fn a_call_that_dies_on_a_reused_connection_is_sent_once_more_and_only_once() {
    let bench = bench(&format!("credentials: [{ONE}], retry: {{attempts: 1}}")).await;
    for fault in [
        Fault::Close(Cut::BeforeHead),
        Fault::Reset(Cut::BeforeHead),
        Fault::Refuse,
    ] {
        // Both workers get a connection to reuse.
        for _ in 0..4 {
            assert_eq!(bench.chat(hello(MODEL)).await.status(), 200);
        }
        let before = bench.vendor.bill().len();
        bench.vendor.push(Behaviour::fault(fault.clone()));
        // The next one is about a connection, whoever's: one that is reused sees it, or a new one is refused.
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(bench.chat(hello(MODEL)).await.status().as_u16());
        }
        let answered = bench.vendor.bill()[before..]
            .iter()
            .filter(|line| line.status == Some(200) && line.tokens.output > 0)
            .count();
        assert_eq!(
            answered,
            statuses.iter().filter(|status| **status == 200).count()
        );
        assert_eq!(statuses, [200, 200, 200], "{fault:?}");
        bench.vendor.push(Behaviour::fault(fault.clone()));
        bench.vendor.push(Behaviour::fault(fault.clone()));
        let answer = bench.chat(hello(MODEL)).await;
        assert_eq!(answer.status(), 502, "twice is once too often: {fault:?}");
        assert_eq!(code(answer).await, "upstream_error");
    }
}
