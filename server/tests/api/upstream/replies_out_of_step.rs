//! U1 and U2: a vendor whose replies are out of step, and callers of two tenants who share its connections.
//!
//! One worker, so that there is one pool of connections and every caller shares it with every other.

use serde_json::Value;
use weir_upstream::{Behaviour, Cut, Fault, Options, Then, Vendor};

use super::{MODEL, ONE, bench_with, plain, resources, start};
use crate::support::{
    Bench, Raw, SOON,
    gateway::{KEY, OTHER_KEY, hello, hello_stream},
    window,
};

fn one_worker() -> Vec<(&'static str, String)> {
    vec![("WEIR_WORKERS", "1".to_owned())]
}

/// A vendor that answers with what it was asked, before a gateway with one worker.
async fn echoing() -> (Bench, Vendor) {
    let options = Options {
        demo: true,
        ..Options::default()
    };
    let vendor = Vendor::start(options).unwrap();
    let channel = format!(
        r#"{{name: vendor, kind: openai, base_url: "{}", {}}}"#,
        vendor.base_url(),
        plain()
    );
    let bench = start(one_worker(), resources(&channel, "{channel: vendor}")).await;
    (bench, vendor)
}

/// What `caller` asks in `round`: a word that nobody else ever says.
fn word(caller: usize, round: usize) -> String {
    format!("mark{caller}x{round}x")
}

/// Sixteen callers of two tenants, 63 rounds each. Every answer is the caller's own or an error; how many were answers.
async fn rounds(bench: &Bench, vendor: &Vendor, behaviours: &[Behaviour]) -> (usize, usize) {
    const CALLERS: usize = 16;
    let rounds_each = window(63, 630);
    for at in 0..CALLERS * rounds_each {
        vendor.push(behaviours[at % behaviours.len()].clone());
    }
    let caller = |caller: usize| async move {
        let mut answered = 0;
        for round in 0..rounds_each {
            let own = word(caller, round);
            let streamed = round % 2 == 1;
            let mut body = if streamed {
                hello_stream(MODEL)
            } else {
                hello(MODEL)
            };
            body["messages"][0]["content"] = own.clone().into();
            let request = bench
                .http
                .post(format!("{}/v1/chat/completions", bench.url))
                .bearer_auth(if caller.is_multiple_of(2) {
                    KEY
                } else {
                    OTHER_KEY
                });
            let answer = request.json(&body).send().await.unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap();
            assert_eq!(
                text.matches("mark").count(),
                text.matches(&own).count(),
                "{own}: {text}"
            );
            if status == 200 && !text.contains("upstream_error") {
                assert!(text.contains(&own), "{own} got {text}");
                answered += 1;
            } else if status == 200 {
                assert!(streamed && text.ends_with("data: [DONE]\n\n"), "{text}");
            } else {
                assert_eq!(status, 502, "{text}");
                assert!(
                    text.contains("upstream_error") && !text.contains("mark"),
                    "{text}"
                );
            }
        }
        answered
    };
    let answered = futures_util::future::join_all((0..CALLERS).map(caller)).await;
    (answered.iter().sum(), CALLERS * rounds_each)
}

fn interim(status: u16, gap_ms: u64, count: u32) -> Behaviour {
    Behaviour::fault(Fault::Interim {
        status,
        gap_ms,
        count,
    })
}

/// Threats: U1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_answers_never_put_replies_out_of_step() {
    let (bench, vendor) = echoing().await;
    let behaviours = [
        interim(103, 3, 1),
        Behaviour::default(),
        interim(102, 1, 3),
        interim(103, 0, 1),
        interim(100, 2, 2),
    ];
    let (answered, calls) = rounds(&bench, &vendor, &behaviours).await;
    assert_eq!(answered, calls, "an interim answer is no error");
    let books = bench.books().await;
    assert_eq!(books.events.len(), calls);
    assert!(
        books
            .events
            .iter()
            .all(|event| event.outcome == "ok" && !event.estimated)
    );
    let billed = vendor.counters();
    assert_eq!(books.tokens(), (billed.input_tokens, billed.output_tokens));
    assert!(
        billed.connections < calls as u64 / 4,
        "connections are reused: {billed:?}"
    );
    let tenants: std::collections::HashSet<_> =
        books.events.iter().map(|event| event.tenant_id).collect();
    assert_eq!(tenants.len(), 2);
    books.assert_sums();
}

/// Threats: U1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_break_never_reach_another_caller() {
    let (bench, vendor) = echoing().await;
    // What follows an answer at once can be told from the next one; what comes after the connection has been given to
    // another caller cannot, by anybody.
    let behaviours = [
        interim(103, 2, 1),
        Behaviour::fault(Fault::CloseDelimited),
        Behaviour::default(),
        Behaviour::fault(Fault::Close(Cut::BeforeHead)),
        Behaviour::default()
            .with_chunk_bytes(20)
            .with_chunk_delay_ms(1),
        Behaviour::fault(Fault::Close(Cut::AfterBytes(40))),
        interim(102, 1, 1).with_fault(Fault::Reset(Cut::AfterHead)),
    ];
    let (answered, calls) = rounds(&bench, &vendor, &behaviours).await;
    assert!(answered > calls / 2, "{answered} of {calls}");
    let books = bench.books().await;
    assert_eq!(books.events.len(), calls, "one event each");
    books.assert_sums();
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
const BODY: &str =
    r#"{"id":"mine","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
const SECOND: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"a\":\"evil\"}";

/// What a rogue's answer must come to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Comes {
    /// 200 and the body.
    Well,
    /// 502 and no byte of it.
    Bad,
    /// Either: which one depends on when its bytes come.
    Either,
}

fn scripts() -> Vec<(&'static str, Comes, Behaviour)> {
    let n = BODY.len();
    let with = |fields: &str, body: &str| format!("{HEAD}{fields}\r\n{body}");
    let right = with(&format!("content-length: {n}\r\n"), BODY);
    let keep = |text: String| Behaviour::raw([(0, text)]);
    let close = |text: String| Behaviour::raw_then([(0, text)], Then::Close);
    let headers = |count: usize| {
        (0..count)
            .map(|at| format!("x-h-{at}: v\r\n"))
            .collect::<String>()
    };
    let length = format!("content-length: {n}\r\n");
    let chunked = "transfer-encoding: chunked\r\n";
    vec![
        (
            "extra bytes at once",
            Comes::Well,
            keep(format!("{right}{SECOND}")),
        ),
        (
            "extra bytes later",
            Comes::Well,
            Behaviour::raw([(0, right.clone()), (10, SECOND.to_owned())]),
        ),
        ("one byte too many", Comes::Well, keep(format!("{right}\n"))),
        ("until close", Comes::Well, close(with("", BODY))),
        ("until close, cut", Comes::Bad, close(with("", &BODY[..20]))),
        (
            "101",
            Comes::Bad,
            keep(format!(
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n{SECOND}"
            )),
        ),
        (
            "length and chunks",
            Comes::Bad,
            keep(with(&format!("{length}{chunked}"), "0\r\n\r\n")),
        ),
        (
            "two lengths",
            Comes::Bad,
            keep(with(&format!("{length}content-length: 3\r\n"), BODY)),
        ),
        (
            "the same length twice",
            Comes::Bad,
            keep(with(&format!("{length}{length}"), BODY)),
        ),
        (
            "a list of lengths",
            Comes::Bad,
            keep(with(&format!("content-length: {n}, {n}\r\n"), BODY)),
        ),
        (
            "a negative length",
            Comes::Bad,
            keep(with("content-length: -1\r\n", BODY)),
        ),
        (
            "a length with a sign",
            Comes::Bad,
            keep(with(&format!("content-length: +{n}\r\n"), BODY)),
        ),
        (
            "another coding",
            Comes::Bad,
            keep(with("transfer-encoding: gzip, chunked\r\n", BODY)),
        ),
        (
            "no number of a chunk",
            Comes::Bad,
            keep(with(chunked, "zz\r\nab\r\n0\r\n\r\n")),
        ),
        (
            "a negative chunk",
            Comes::Bad,
            keep(with(chunked, "-1\r\nab\r\n0\r\n\r\n")),
        ),
        (
            "a huge chunk",
            Comes::Bad,
            keep(with(chunked, "ffffffffffffffffff\r\nab")),
        ),
        (
            "a chunk without its end",
            Comes::Bad,
            keep(with(chunked, "2\r\n{}XX0\r\n\r\n")),
        ),
        (
            "chunks and trailers",
            Comes::Well,
            keep(with(
                chunked,
                &format!("{n:x};ext=1\r\n{BODY}\r\n0\r\nx-trailer: 1\r\n\r\n"),
            )),
        ),
        (
            "chunks, then more",
            Comes::Well,
            keep(format!(
                "{}{SECOND}",
                with(chunked, &format!("{n:x}\r\n{BODY}\r\n0\r\n\r\n"))
            )),
        ),
        (
            "a thousand headers",
            Comes::Bad,
            keep(with(&format!("{}{length}", headers(1_000)), BODY)),
        ),
        (
            "fifty headers",
            Comes::Well,
            keep(with(&format!("{}{length}", headers(50)), BODY)),
        ),
        (
            "a head of 200 kB",
            Comes::Bad,
            keep(with(
                &format!("x-long: {}\r\n{length}", "a".repeat(200_000)),
                BODY,
            )),
        ),
        (
            "a head without end",
            Comes::Bad,
            close(format!("{HEAD}x-a: b\r\n")),
        ),
        (
            "a folded header",
            Comes::Bad,
            keep(with(&format!("x-a: b\r\n c\r\n{length}"), BODY)),
        ),
        (
            "no HTTP",
            Comes::Bad,
            keep("SSH-2.0-OpenSSH_9.7\r\n\r\n".to_owned()),
        ),
        (
            "a status below 100",
            Comes::Bad,
            keep(format!("HTTP/1.1 099 Odd\r\n{length}\r\n{BODY}")),
        ),
        (
            "a status above 599",
            Comes::Bad,
            keep(format!("HTTP/1.1 700 Odd\r\n{length}\r\n{BODY}")),
        ),
        (
            "too short a body",
            Comes::Bad,
            close(with(&length, &BODY[..20])),
        ),
        (
            "too short a body, reset",
            Comes::Bad,
            Behaviour::raw_then([(0, with(&length, &BODY[..20]))], Then::Reset),
        ),
        (
            "fifty interim answers",
            Comes::Well,
            keep(format!(
                "{}{right}",
                "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(50)
            )),
        ),
        (
            "an interim answer with a body",
            Comes::Bad,
            keep(format!(
                "HTTP/1.1 103 Early Hints\r\ncontent-length: 4\r\n\r\nbody{right}"
            )),
        ),
        (
            "an interim answer in pieces",
            Comes::Well,
            Behaviour::raw([
                (0, "HTTP/1.1 10".to_owned()),
                (3, "3 Early Hints\r\nlink: </a>".to_owned()),
                (3, format!("\r\n\r\n{right}")),
            ]),
        ),
        (
            "interim answers alone",
            Comes::Bad,
            close("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(3)),
        ),
        (
            "no content with content",
            Comes::Either,
            keep(format!(
                "HTTP/1.1 204 No Content\r\ncontent-length: {}\r\n\r\n{SECOND}",
                SECOND.len()
            )),
        ),
    ]
}

/// Those after which the connection serves on; giving one up is never wrong.
fn leaves_it_clean(name: &str) -> Option<bool> {
    match name {
        "fifty headers" | "fifty interim answers" | "an interim answer in pieces" => Some(true),
        "chunks and trailers" => None,
        _ => Some(false),
    }
}

/// Threats: U1, U2.
#[tokio::test]
async fn every_odd_reply_has_a_clean_end_and_its_connection_none_to_follow() {
    let bench = bench_with(one_worker(), &plain()).await;
    let mut calls = 0;
    for (name, comes, script) in scripts() {
        for streamed in [false, true] {
            let body = if streamed {
                hello_stream(MODEL)
            } else {
                hello(MODEL)
            };
            bench.vendor.push(script.clone());
            let sent = bench.post("/v1/chat/completions").json(&body).send().await;
            let answer = sent.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            let odd = bench.vendor.bill().pop().unwrap();
            match comes {
                Comes::Well => assert_eq!((status, text.as_str()), (200, BODY), "{name}"),
                Comes::Bad => {
                    assert_eq!(status, 502, "{name}: {text}");
                    let error: Value = serde_json::from_str(&text).unwrap();
                    assert_eq!(error["error"]["code"], "upstream_error", "{name}");
                    assert!(
                        !text.contains("mine") && !text.contains("evil"),
                        "{name}: {text}"
                    );
                }
                Comes::Either => assert!(matches!(status, 204 | 502), "{name}: {status}"),
            }
            // Once it was written, not even a late one may be left for somebody.
            if name == "extra bytes later" {
                tokio::time::sleep(std::time::Duration::from_millis(60)).await;
            }
            // The next caller is another tenant, and nothing of the former is left for it.
            let request = bench
                .http
                .post(format!("{}/v1/chat/completions", bench.url))
                .bearer_auth(OTHER_KEY);
            let next = request.json(&hello(MODEL)).send().await.unwrap();
            assert_eq!(next.status(), 200, "after {name}");
            let next: Value = next.json().await.unwrap();
            assert!(
                next["choices"][0]["message"]["content"].is_string(),
                "after {name}: {next}"
            );
            let line = bench.vendor.bill().pop().unwrap();
            if let Some(clean) = leaves_it_clean(name) {
                assert_eq!(
                    line.connection == odd.connection,
                    clean,
                    "the connection after {name}"
                );
            }
            calls += 2;
        }
    }
    let books = bench.books().await;
    assert_eq!(books.events.len(), calls, "one event each");
    assert!(
        books
            .events
            .iter()
            .all(|event| event.attempts.as_array().unwrap().len() == 1)
    );
}

/// Threats: U1, U2.
#[tokio::test]
async fn odd_streams_end_cleanly_too() {
    let bench = bench_with(one_worker(), &plain()).await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"}}]}\n\n";
    let done = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
    let scripts = [
        (
            "a second reply",
            true,
            Behaviour::raw([(
                0,
                format!("{chunked}{}{}0\r\n\r\n{SECOND}", chunk(event), chunk(done)),
            )]),
        ),
        (
            "a late second reply",
            true,
            Behaviour::raw([
                (
                    0,
                    format!("{chunked}{}{}0\r\n\r\n", chunk(event), chunk(done)),
                ),
                (5, SECOND.to_owned()),
            ]),
        ),
        (
            "until close",
            true,
            Behaviour::raw_then([(0, format!("{head}\r\n{event}{done}"))], Then::Close),
        ),
        (
            "a bad chunk",
            false,
            Behaviour::raw([
                (0, format!("{chunked}{}", chunk(event))),
                (10, "zz\r\n".to_owned()),
            ]),
        ),
        (
            "a reset",
            false,
            Behaviour::raw_then(
                [
                    (0, format!("{chunked}{}", chunk(event))),
                    (30, String::new()),
                ],
                Then::Reset,
            ),
        ),
        (
            "a close in an event",
            false,
            Behaviour::raw_then(
                [(0, format!("{chunked}{}", chunk(&event[..30])))],
                Then::Close,
            ),
        ),
    ];
    for (name, whole, script) in scripts {
        bench.vendor.push(script);
        let answer = bench.chat(hello_stream(MODEL)).await;
        assert_eq!(answer.status(), 200, "{name}");
        let text = answer.text().await.unwrap();
        let odd = bench.vendor.bill().pop().unwrap();
        assert!(
            text.ends_with("data: [DONE]\n\n") && !text.contains("evil"),
            "{name}: {text}"
        );
        assert_eq!(text.contains("upstream_error"), !whole, "{name}: {text}");
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        let next = bench.chat(hello(MODEL)).await;
        assert_eq!(next.status(), 200, "after {name}");
        let line = bench.vendor.bill().pop().unwrap();
        assert_ne!(
            line.connection, odd.connection,
            "the connection after {name}"
        );
    }
    let books = bench.books().await;
    assert_eq!(books.events.len(), 12);
}

/// U2: a line without an end. The observer gives up, the bytes flow on, and the books say that they estimate.
/// Threats: U2.
#[tokio::test]
async fn a_line_without_an_end_flows_on_and_is_estimated() {
    let bench = bench_with(one_worker(), &plain()).await;
    let bytes = 9 << 20;
    let line = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}",
        "x".repeat(bytes)
    );
    let mut behaviour = Behaviour::body(line.clone());
    behaviour.chunk_bytes = Some(1 << 20);
    bench.vendor.push(behaviour);
    let answer = bench.chat(hello_stream(MODEL)).await;
    let read = answer.bytes().await.unwrap();
    assert!(
        read.starts_with(line.as_bytes()),
        "{} of {}",
        read.len(),
        line.len()
    );
    let books = bench.books().await;
    let event = books.only();
    assert!(event.estimated && event.output_tokens > 0, "{event:?}");
}

#[tokio::test]
async fn answers_to_head_have_no_body_and_leave_the_connection_in_step() {
    let channel = format!(
        r#"{{name: own, tenant: acme, kind: openai, base_url: "{{vendor}}", allowed_origin: "{{vendor}}", credentials: [{ONE}]}}"#
    );
    let bench = start(one_worker(), resources(&channel, "")).await;
    for _ in 0..3 {
        let mut client = Raw::connect(&bench.url).await;
        client
            .send(format!("HEAD /proxy/own/v1/models HTTP/1.1\r\nhost: weir\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n\r\n"))
            .await;
        let answer = client.read_to_end(SOON).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );
        let request = bench
            .http
            .get(format!("{}/proxy/own/v1/models", bench.url))
            .bearer_auth(KEY);
        let list: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(list["data"].is_array(), "{list}");
    }
    assert_eq!(bench.books().await.events.len(), 6);
}

#[tokio::test]
async fn an_answer_before_the_request_has_ended_leaves_nothing_behind() {
    let bench = bench_with(one_worker(), &plain()).await;
    let mut large = hello(MODEL);
    large["messages"][0]["content"] = "word ".repeat(400_000).into();
    for body in [hello(MODEL), large] {
        bench.vendor.push(Behaviour::fault(Fault::EarlyReply));
        let early = bench.chat(body).await.status();
        assert!(early == 200 || early == 502, "{early}");
        for _ in 0..3 {
            let next: Value = bench.chat(hello(MODEL)).await.json().await.unwrap();
            assert_eq!(next["model"], MODEL, "{next}");
        }
    }
    assert_eq!(bench.books().await.events.len(), 8);
}
