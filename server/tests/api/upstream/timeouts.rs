//! The times of a channel, as its YAML says them: connect, first_byte, idle, total.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;
use weir_upstream::{Behaviour, Cut, Fault, Then};

use super::{MODEL, ONE, SOON, bench, bench_with, code, failures, three_times};
use crate::support::{
    gateway::{hello, hello_stream},
    window,
};

/// A channel's time: short, or in `make faults` as long as people set it.
fn time(short_ms: u64) -> Duration {
    window(Duration::from_millis(short_ms), Duration::from_secs(5))
}

/// The same as YAML says it.
fn said(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

fn times(fields: &str) -> String {
    format!("credentials: [{ONE}], retry: {{attempts: 1}}, timeouts: {{{fields}}}")
}

#[tokio::test]
async fn a_connection_that_never_stands_ends_with_the_connect_timeout() {
    // Connections stand here, but nobody ever says a word of TLS.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let promised = time(200);
    let url = format!("https://{}/v1", mute.local_addr().unwrap());
    let channel = format!(
        "{{name: vendor, kind: openai, base_url: \"{url}\", {}}}",
        times(&format!("connect: {}", said(promised)))
    );
    let bench = super::start(Vec::new(), super::resources(&channel, "{channel: vendor}")).await;
    let before = Instant::now();
    let answer = bench.chat(hello(MODEL)).await;
    let took = before.elapsed();
    assert_eq!(answer.status(), 502);
    assert_eq!(code(answer).await, "upstream_error");
    assert!(took >= promised && took < three_times(promised), "{took:?}");
    assert_eq!(failures(&bench.books().await.only().attempts), ["connect"]);
}

#[tokio::test]
async fn a_stream_without_a_head_ends_with_the_first_byte_timeout_and_a_whole_answer_does_not() {
    let promised = time(300);
    let bench = bench(&times(&format!("first_byte: {}", said(promised)))).await;
    bench
        .vendor
        .push(Behaviour::fault(Fault::Hang(Cut::BeforeHead)));
    let before = Instant::now();
    let answer = bench.chat(hello_stream(MODEL)).await;
    let took = before.elapsed();
    assert_eq!(answer.status(), 504);
    assert_eq!(code(answer).await, "upstream_timeout");
    assert!(took < three_times(promised), "{took:?}");
    let serial = bench.vendor.bill()[0].serial;
    bench
        .vendor
        .client_left(serial, three_times(Duration::from_secs(1)))
        .await
        .unwrap();
    // What a model thinks about before a whole answer may take longer.
    bench
        .vendor
        .push(Behaviour::default().with_first_byte_delay_ms(promised.as_millis() as u64 + 200));
    assert_eq!(bench.chat(hello(MODEL)).await.status(), 200);
    let books = bench.books().await;
    let event = &books.events[0];
    assert_eq!(failures(&event.attempts), ["timeout"]);
    assert_eq!(
        (event.status, event.error_code.as_deref(), event.estimated),
        (504, Some("upstream_timeout"), true)
    );
    assert!(event.input_tokens > 0, "the vendor had read the question");
}

/// awc itself gives up on a head after five seconds.
#[tokio::test]
async fn a_head_may_take_longer_than_the_client_library_would_wait() {
    let bench = bench(&times("idle: 60s")).await;
    let late = Behaviour::default().with_first_byte_delay_ms(5_500);
    bench.vendor.push(late);
    assert_eq!(bench.chat(hello_stream(MODEL)).await.status(), 200);
    assert_eq!(bench.vendor.bill().len(), 1, "and nobody asked again");
}

#[tokio::test]
async fn silence_in_the_middle_of_a_stream_is_told_as_a_timeout() {
    let promised = time(250);
    let bench = bench(&times(&format!("idle: {}", said(promised)))).await;
    bench
        .vendor
        .push(Behaviour::tokens(50).with_fault(Fault::Hang(Cut::AfterChunks(5))));
    let before = Instant::now();
    let text = bench.chat(hello_stream(MODEL)).await.text().await.unwrap();
    assert!(before.elapsed() < three_times(promised));
    let error = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .next_back()
        .unwrap();
    assert_eq!(error["error"]["code"], "upstream_timeout", "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let books = bench.books().await;
    let event = books.only();
    let billed = bench.vendor.bill()[0].tokens;
    assert_eq!(
        (event.outcome.as_str(), event.output_tokens as u64),
        ("cut_by_upstream", billed.output)
    );
    assert_eq!((billed.output, event.estimated), (4, true));
}

/// Weir's own comments and changes of the configuration are no life sign of the upstream's.
#[tokio::test]
async fn comments_and_changes_do_not_put_the_idle_timeout_off() {
    let settings = vec![("WEIR_PROXY_SILENCE_COMMENT", "60ms".to_owned())];
    let promised = time(400);
    let bench = bench_with(settings, &times(&format!("idle: {}", said(promised)))).await;
    bench
        .vendor
        .push(Behaviour::fault(Fault::Hang(Cut::AfterHead)));
    let before = Instant::now();
    let answer = bench.chat(hello_stream(MODEL)).await;
    let changes = async {
        for turn in 0.. {
            let channel = format!("channels: [{{name: vendor, priority: {turn}}}]");
            bench.apply(&channel).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let text = tokio::select! {
        text = answer.text() => text.unwrap(),
        () = changes => unreachable!(),
        () = tokio::time::sleep(SOON + three_times(promised)) => panic!("the stream is still open"),
    };
    let took = before.elapsed();
    assert!(took < three_times(promised), "{took:?}");
    assert!(text.starts_with(": waiting for the model\n\n"), "{text}");
    assert!(text.contains("upstream_timeout"), "{text}");
}

#[tokio::test]
async fn an_answer_in_drops_ends_with_the_total_timeout() {
    let promised = time(400);
    let bench = bench(&times(&format!("idle: 30s, total: {}", said(promised)))).await;
    let drip = Fault::Drip {
        bytes: 1,
        every_ms: 20,
    };
    for body in [hello(MODEL), hello_stream(MODEL)] {
        bench
            .vendor
            .push(Behaviour::tokens(100).with_fault(drip.clone()));
        let streamed = body["stream"] == true;
        let before = Instant::now();
        let answer = bench.chat(body).await;
        let status = answer.status();
        let text = answer.text().await.unwrap();
        let took = before.elapsed();
        assert!(took < three_times(promised), "{took:?}");
        assert_eq!(status, if streamed { 200 } else { 504 });
        assert!(text.contains("upstream_timeout"), "{text}");
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_at_the_total_timeout() {
    let promised = time(500);
    let bench = bench(&times(&format!("total: {}", said(promised)))).await;
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let spaces = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let pieces = std::iter::once((0, head.to_owned()))
        .chain(std::iter::repeat_n((1, spaces), window(2_000, 20_000)));
    bench.vendor.push(Behaviour::raw_then(pieces, Then::Hang));
    let before = Instant::now();
    let answer = bench.chat(hello(MODEL)).await;
    // Over a mebibyte it is relayed as it comes, and then it cannot be a status any more.
    let ended = answer.bytes().await;
    assert!(before.elapsed() < three_times(promised));
    assert!(ended.is_err() || ended.unwrap().starts_with(b"{\"error\""));
    let books = bench.books_when(|books| books.events.len() == 1).await;
    assert_eq!(books.only().error_code.as_deref(), Some("upstream_timeout"));
}
