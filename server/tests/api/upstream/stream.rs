//! Streams as they flow: no chunk waits, nothing is buffered, nothing is said before the upstream has spoken.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use weir_upstream::{Behaviour, Cut, Fault};

use super::{MODEL, bench, bench_with, plain, received, three_times};
use crate::support::{
    Bench, Raw,
    gateway::{KEY, hello, hello_stream},
};

/// Reads a stream and gives each chunk with the moment at which it was there.
async fn chunks(answer: reqwest::Response) -> Vec<(Instant, String)> {
    let mut chunks = Vec::new();
    let mut stream = answer.bytes_stream();
    while let Some(piece) = stream.next().await {
        let piece = piece.unwrap();
        chunks.push((Instant::now(), String::from_utf8_lossy(&piece).into_owned()));
    }
    chunks
}

/// The send times that the vendor wrote into its chunks.
fn stamps(text: &str) -> impl Iterator<Item = u64> + '_ {
    text.split(" t=")
        .skip(1)
        .filter_map(|rest| rest.get(..19)?.parse().ok())
}

/// Delayed ACKs take 40 ms: if any write waited for one, half the chunks would be that late, and each time again. A busy
/// machine is late at times: so the best of a few rounds counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_chunk_waits_for_an_ack() {
    let bench = bench(&plain()).await;
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let (middle, worst) = lateness(&bench).await;
        if middle < Duration::from_millis(10) && worst < Duration::from_millis(30) {
            return;
        }
        rounds.push((middle, worst));
    }
    panic!("each time half the chunks, or one in a hundred, came late: {rounds:?}");
}

/// How late the chunks of one stream come: half of them at most, and one in a hundred.
async fn lateness(bench: &Bench) -> (Duration, Duration) {
    let paced = Behaviour {
        stamp: true,
        ..Behaviour::tokens(200).with_chunk_delay_ms(5)
    };
    bench.vendor.push(paced);
    let read = chunks(bench.chat(hello_stream(MODEL)).await).await;
    let mut late: Vec<Duration> = Vec::new();
    for (at, text) in &read {
        for stamp in stamps(text) {
            late.push(at.saturating_duration_since(bench.vendor.instant(stamp)));
        }
    }
    let text: String = read.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(late.len(), 200, "{} pieces: {text}", read.len());
    assert!(read.len() < 220, "chunks were cut: {}", read.len());
    late.sort_unstable();
    // Chunks that were put together hide how late the first of them is; a delayed ACK joins eight of them.
    if read.len() < 150 {
        return (Duration::MAX, Duration::MAX);
    }
    (late[100], late[197])
}

#[tokio::test]
async fn carriage_returns_comments_and_split_data_pass_untouched_and_are_understood() {
    let bench = bench(&plain()).await;
    let body = concat!(
        ": OPENROUTER PROCESSING\r\n\r\n",
        "event: message\r\nid: 7\r\ndata: {\"choices\":[{\"index\":0,\r\ndata: \"delta\":{\"content\":\"Hi\"}}]}\r\n\r\n",
        ":\r\n\r\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\r\ndata:  \"finish_reason\":\"stop\"}]}\r\n\r\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{}}],\r\ndata: \"usage\":{\"prompt_tokens\":41,\"completion_tokens\":17}}\r\n\r\n",
        "data: [DONE]\r\n\r\n",
    );
    for cut in [None, Some(1), Some(7)] {
        let mut behaviour = Behaviour::body(body);
        behaviour.chunk_bytes = cut;
        bench.vendor.push(behaviour);
        let text = bench.chat(hello_stream(MODEL)).await.text().await.unwrap();
        assert_eq!(text, body, "cut: {cut:?}");
    }
    let books = bench.books().await;
    assert_eq!(books.events.len(), 3);
    for event in &books.events {
        let tokens = (event.input_tokens, event.output_tokens, event.estimated);
        assert_eq!((tokens, event.outcome.as_str()), ((41, 17, false), "ok"));
    }
}

#[tokio::test]
async fn an_event_of_a_megabyte_passes_and_its_usage_is_found() {
    let bench = bench(&plain()).await;
    let long = "river ".repeat(180_000);
    let body = format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{long}\"}},\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":5,\"completion_tokens\":180000}}}}\n\ndata: [DONE]\n\n"
    );
    bench.vendor.push(Behaviour::body(&body));
    let text = bench.chat(hello_stream(MODEL)).await.text().await.unwrap();
    assert!(text == body, "{} bytes of {}", text.len(), body.len());
    let books = bench.books().await;
    let event = books.only();
    assert_eq!((event.output_tokens, event.estimated), (180_000, false));
}

#[tokio::test]
async fn a_silent_stream_gets_comments_until_its_first_event() {
    let settings = vec![("WEIR_PROXY_SILENCE_COMMENT", "100ms".to_owned())];
    let bench = bench_with(settings, &plain()).await;
    // The head comes at once, the first event after 550 ms, and the next ones with pauses as long.
    let slow = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let event = |text: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    };
    let last = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    bench.vendor.push(Behaviour::raw_then(
        [
            (0, slow.to_owned()),
            (550, event("a")),
            (350, event("b")),
            (0, last.to_owned()),
        ],
        weir_upstream::Then::Close,
    ));
    let text = bench.chat(hello_stream(MODEL)).await.text().await.unwrap();
    let first = text.find("data:").unwrap();
    let (silence, rest) = text.split_at(first);
    let comments = silence.matches(": waiting for the model\n\n").count();
    assert!((1..=5).contains(&comments), "{comments} in {text}");
    assert_eq!(
        silence.len(),
        comments * ": waiting for the model\n\n".len()
    );
    assert_eq!(
        rest,
        format!("{}{}{last}", event("a"), event("b")),
        "no comment later"
    );
}

#[tokio::test]
async fn before_the_upstreams_head_nothing_is_sent() {
    let settings = vec![("WEIR_PROXY_SILENCE_COMMENT", "50ms".to_owned())];
    let bench = bench_with(settings, &plain()).await;
    bench
        .vendor
        .push(Behaviour::status(400).with_first_byte_delay_ms(400));
    let mut client = Raw::connect(&bench.url).await;
    client
        .post(
            "/v1/chat/completions",
            KEY,
            &hello_stream(MODEL).to_string(),
        )
        .await;
    received(&bench.vendor, 1).await;
    let mut byte = [0; 1];
    let early = tokio::time::timeout(Duration::from_millis(250), client.0.read(&mut byte)).await;
    assert!(early.is_err(), "{early:?} before the vendor had answered");
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
}

#[tokio::test]
async fn a_stream_carries_its_cost_for_callers_who_ask() {
    let bench = bench(&plain()).await;
    let ask = |include_usage: bool| {
        let mut body = hello_stream(MODEL);
        if include_usage {
            body["stream_options"] = json!({"include_usage": true});
        }
        body
    };
    for include_usage in [true, false] {
        let request = bench
            .post("/v1/chat/completions")
            .header("x-weir-cost", "1");
        let text = request
            .json(&ask(include_usage))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let usage = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .find(|chunk| chunk["usage"].is_object())
            .unwrap_or_else(|| panic!("no usage in {text}"));
        let cost = usage["usage"]["cost"].to_string();
        let tokens = |name: &str| usage["usage"][name].as_i64().unwrap();
        let nanos = 1_000 * tokens("prompt_tokens") + 2_000 * tokens("completion_tokens");
        let exact = format!("0.{nanos:09}");
        assert_eq!(
            cost.trim_end_matches('0'),
            exact.trim_end_matches('0'),
            "{usage}"
        );
        assert!(
            text.contains(&format!("\"cost\":{exact}")),
            "all nine places: {text}"
        );
    }
    let asked = bench.chat(ask(true)).await.text().await.unwrap();
    assert!(asked.contains("\"choices\":[]") && !asked.contains("\"cost\""));
    let books = bench.books().await;
    assert!(books.events.iter().all(|event| !event.estimated));
}

#[tokio::test]
async fn a_channel_can_stop_weir_from_asking_for_usage() {
    let bench = bench(&format!("{}, settings: {{ask_usage: false}}", plain())).await;
    bench.chat(hello_stream(MODEL)).await.text().await.unwrap();
    assert!(bench.vendor.requests()[0].json()["stream_options"].is_null());
    let books = bench.books().await;
    let billed = bench.vendor.bill()[0].tokens;
    let event = books.only();
    assert!(event.estimated);
    assert_eq!(
        event.output_tokens as u64, billed.output,
        "one token a word"
    );
}

/// Threats: K7.
#[tokio::test]
async fn the_trace_goes_upstream_and_account_headers_do_not() {
    let bench = bench(&plain()).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = bench
        .post("/v1/chat/completions")
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))
        .header("openai-organization", "org-somebody-else")
        .header("openai-project", "proj-somebody-else")
        .header("x-goog-user-project", "other")
        .header("cookie", "session=1")
        .header("x-forwarded-for", "10.1.2.3")
        .header("api_base", "http://evil.example")
        .header("x-base-url", "http://evil.example");
    let answer = request.json(&hello(MODEL)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let received = &bench.vendor.requests()[0];
    let sent_on = received.header("traceparent").expect("a traceparent");
    assert!(sent_on.starts_with(&format!("00-{trace}-")), "{sent_on}");
    let head = String::from_utf8_lossy(&received.head).to_ascii_lowercase();
    for word in [
        "organization",
        "proj-",
        "user-project",
        "cookie",
        "forwarded",
        "evil",
        KEY,
    ] {
        assert!(
            !head.contains(&word.to_ascii_lowercase()),
            "{word} in {head}"
        );
    }
}

/// Each comment is a piece that the vendor writes by itself; what it could write bounds what Weir holds.
/// Threats: H4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_slows_its_own_upstream() {
    let bench = bench(&plain()).await;
    let piece = format!(": {}\n\n", "w".repeat(8_000));
    bench.vendor.push(Behaviour::body(piece.repeat(4_000)));
    let mut client = Raw::connect(&bench.url).await;
    client
        .post(
            "/v1/chat/completions",
            KEY,
            &hello_stream(MODEL).to_string(),
        )
        .await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // It has come to a stand when nothing more was written for a while.
    let mut written = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = bench.vendor.bill()[0].pieces;
        if now == written {
            break;
        }
        written = now;
    }
    // The kernel's buffers take a few megabytes on each of the two connections.
    let bytes = written * piece.len() as u64;
    assert!(
        bytes < 20 << 20,
        "the vendor could write {bytes} bytes to a client who reads nothing"
    );
    let line = &bench.vendor.bill()[0];
    assert!(line.end.is_none(), "{line:?}");
    // Once the client reads, the stream goes on.
    let mut buffer = vec![0; 1 << 20];
    let before = Instant::now();
    while bench.vendor.bill()[0].pieces == written {
        assert!(client.0.read(&mut buffer).await.unwrap() > 0);
        assert!(before.elapsed() < three_times(Duration::from_secs(2)));
    }
}

/// Who takes nothing is not asked for more, so nothing of the relay's own runs: the call's time is over all the same.
/// Threats: H4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_has_its_upstream_for_the_calls_time_alone() {
    let bench = bench(&plain()).await;
    bench
        .apply("channels: [{name: vendor, timeouts: {total: 2s}}]")
        .await;
    let piece = format!(": {}\n\n", "w".repeat(8_000));
    bench.vendor.push(Behaviour::body(piece.repeat(4_000)));
    let mut client = Raw::connect(&bench.url).await;
    let ask = hello_stream(MODEL).to_string();
    let began = Instant::now();
    client.post("/v1/chat/completions", KEY, &ask).await;
    client.read_until("\r\n\r\n").await;
    while bench.vendor.bill()[0].end.is_none() {
        assert!(
            began.elapsed() < three_times(Duration::from_secs(3)),
            "the upstream call goes on for nobody"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Thirty connections end in the middle, each at another byte, and each is told in an event of its own.
#[tokio::test]
async fn an_error_event_is_never_glued_to_half_an_event() {
    let bench = bench(&plain()).await;
    for bytes in (100..400).step_by(10) {
        bench
            .vendor
            .push(Behaviour::tokens(16).with_fault(Fault::Close(Cut::AfterBytes(bytes))));
        let text = bench.chat(hello_stream(MODEL)).await.text().await.unwrap();
        let events: Vec<&str> = text
            .split("\n\n")
            .filter(|event| !event.is_empty())
            .collect();
        let [.., error, done] = events[..] else {
            panic!("{text}");
        };
        assert_eq!(done, "data: [DONE]", "{text}");
        let error: Value = serde_json::from_str(error.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(error["error"]["code"], "upstream_error");
    }
}
