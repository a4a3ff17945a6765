//! Bodies that nobody should send: each gets the dialect's error, and an event that says so (threats.md, B2, B3, H4, L1).

mod numbers;

use std::time::Duration;

use serde_json::json;
use weir_upstream::{Behaviour, Reading};

use crate::{
    both_stores,
    support::{
        Bench, Raw, SOON, Setup, assert_refused,
        gateway::{KEY, hello},
        raw, refused,
    },
};

const CHAT: &str = "/v1/chat/completions";

async fn post(bench: &Bench, path: &str, body: impl Into<reqwest::Body>) -> reqwest::Response {
    let request = bench.post(path).header("content-type", "application/json");
    request.body(body).send().await.unwrap()
}

/// A chat request for `gpt-test` with further members.
fn with(members: &str) -> String {
    format!(r#"{{"model":"gpt-test","messages":[{{"role":"user","content":"hi"}}],{members}}}"#)
}

both_stores!(
    a_body_that_cannot_be_read_is_refused_with_the_field_and_booked,
    |bench| {
        let deep = |depth: usize| {
            with(&format!(
                r#""x":{}{}"#,
                "[".repeat(depth),
                "]".repeat(depth)
            ))
        };
        let bodies: Vec<(Vec<u8>, &str, &str)> = vec![
            (b"".to_vec(), "invalid_json", ""),
            (b"{".to_vec(), "invalid_json", ""),
            (b"hello".to_vec(), "invalid_json", ""),
            (b"[]".to_vec(), "invalid_json", ""),
            (b"null".to_vec(), "invalid_json", ""),
            (b"\"gpt-test\"".to_vec(), "invalid_json", ""),
            (
                b"\xEF\xBB\xBF{\"model\":\"gpt-test\"}".to_vec(),
                "invalid_json",
                "",
            ),
            (
                b"{\"model\":\"gpt-test\",\"messages\":[]} {}".to_vec(),
                "invalid_json",
                "",
            ),
            (b"{\"model\":\"gpt-test\",}".to_vec(), "invalid_json", ""),
            (b"{'model':'gpt-test'}".to_vec(), "invalid_json", ""),
            (b"{\"model\":\"gpt\xFF-test\"}".to_vec(), "invalid_json", ""),
            (
                b"{\"model\":\"gpt-test\",\"x\":\"\xC3\x28\"}".to_vec(),
                "invalid_json",
                "",
            ),
            (
                b"{\"model\":\"gpt-test\",\"x\":\"\\ud800\"}".to_vec(),
                "",
                "",
            ),
            (b"{\"model\":\"\\ud800\"}".to_vec(), "invalid_json", ""),
            (
                b"{\"model\":\"gpt-test\",\"x\":\"a\nb\"}".to_vec(),
                "invalid_json",
                "",
            ),
            (deep(10_000).into(), "invalid_json", ""),
            (deep(200).into(), "invalid_json", ""),
            (vec![b'['; 100_000], "invalid_json", ""),
            (b"{}".to_vec(), "missing_model", "model"),
            (b"{\"messages\":[]}".to_vec(), "missing_model", "model"),
            (b"{\"model\":null}".to_vec(), "invalid_value", "model"),
            (b"{\"model\":1}".to_vec(), "invalid_value", "model"),
            (
                b"{\"model\":[\"gpt-test\"]}".to_vec(),
                "invalid_value",
                "model",
            ),
            (b"{\"model\":\"\"}".to_vec(), "invalid_value", "model"),
            (with(r#""stream":"true""#).into(), "invalid_value", "stream"),
            (with(r#""stream":1"#).into(), "invalid_value", "stream"),
            (
                with(r#""stream_options":[]"#).into(),
                "invalid_value",
                "stream_options",
            ),
            (
                with(r#""stream_options":{"include_usage":1}"#).into(),
                "invalid_value",
                "stream_options.include_usage",
            ),
            (with(r#""user":{}"#).into(), "invalid_value", "user"),
        ];
        let mut refusals = 0;
        let total = bodies.len();
        for (body, code, param) in bodies {
            let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
            let answer = post(&bench, CHAT, body).await;
            if code.is_empty() {
                // Carried untouched: none of Weir's business. The stand-in may like it or not.
                assert!([200, 400].contains(&answer.status().as_u16()), "{shown}");
                continue;
            }
            let error = refused(answer, 400, code).await;
            assert_eq!(
                error["param"].as_str().unwrap_or_default(),
                param,
                "{shown}: {error}"
            );
            refusals += 1;
        }
        assert!(bench.vendor.requests().len() <= total - refusals);
        let books = bench.books().await;
        let refused_events: i32 = books
            .events
            .iter()
            .filter(|event| event.outcome == "refused" && event.status == 400)
            .map(|event| event.count)
            .sum();
        assert_eq!(refused_events as usize, refusals);
        books.assert_sums();
    }
);

both_stores!(
    /// Threats: B2.
    doubled_keys_and_other_cases_never_serve_what_was_not_booked,
    |bench| {
        // Whatever the vendor reads, it reads what is booked: or it reads nothing.
        let bodies = [
            r#"{"model":"gpt-same","messages":[],"model":"gpt-dear"}"#.to_owned(),
            r#"{"Model":"gpt-dear","model":"gpt-same","messages":[]}"#.to_owned(),
            r#"{"model":"gpt-same","MODEL":"gpt-dear","messages":[]}"#.to_owned(),
            r#"{"model":"gpt-same","\u006dodel":"gpt-dear","messages":[]}"#.to_owned(),
            r#"{"model":"gpt-same","mode\u217c":"gpt-dear","messages":[]}"#.to_owned(),
            with(r#""max_tokens":1,"max_tokens":500"#),
            with(r#""max_tokens":1,"Max_Tokens":500"#),
            with(r#""n":1,"n":3"#),
            with(r#""n":1,"N":3"#),
            with(r#""stream":false,"stream":true"#),
            with(r#""stream":false,"Stream":true"#),
            with(r#""\u0073tream":true,"stream":false"#),
            with(r#""stream_options":{"include_usage":true,"include_usage":false}"#),
            with(r#""messages":[]"#),
            // Doubled deeper down, and what is not acted on, passes.
            with(r#""metadata":{"model":"a","model":"b"}"#),
            with(r#""temperature":1,"temperature":2"#),
        ];
        let passing = 2;
        for reading in [Reading::FirstWins, Reading::LastWins, Reading::CaseBlind] {
            bench.vendor.set_default(Behaviour {
                reading,
                ..Behaviour::default()
            });
            for (at, body) in bodies.iter().enumerate() {
                let answer = post(&bench, CHAT, body.clone()).await;
                if at + passing >= bodies.len() {
                    assert_eq!(answer.status(), 200, "{body}");
                } else if body.contains("u217c") {
                    // Not a letter `l` to a case-blind reader: the member is carried, the model is the plain one.
                    assert_eq!(answer.status(), 200, "{body}");
                } else {
                    refused(answer, 400, "invalid_json").await;
                }
            }
        }
        assert!(
            bench
                .vendor
                .bill()
                .iter()
                .all(|line| line.model.as_deref() != Some("gpt-dear"))
        );
        assert_books_equal_the_bill(&bench).await;
    }
);

/// Model, tokens and number of the vendor's bill are those of the books.
async fn assert_books_equal_the_bill(bench: &Bench) {
    let books = bench.books().await;
    let mut booked: Vec<_> = books
        .calls()
        .map(|event| {
            let model = event.upstream_model.clone().unwrap_or_default();
            (model, event.input_tokens as u64, event.output_tokens as u64)
        })
        .collect();
    let mut billed: Vec<_> = bench
        .vendor
        .bill()
        .into_iter()
        .map(|line| {
            (
                line.model.unwrap_or_default(),
                line.tokens.input,
                line.tokens.output,
            )
        })
        .collect();
    booked.sort();
    billed.sort();
    assert_eq!(booked, billed);
    books.assert_sums();
}

both_stores!(
    /// Threats: H4.
    a_body_over_the_bound_is_refused_unread_and_the_connection_ends_cleanly,
    Setup {
        environment: vec![("WEIR_PROXY_BODY_BYTES", "1MiB".to_owned())],
        ..Setup::default()
    },
    |bench| {
        // Announced: refused before any of it is read.
        let mut raw = Raw::connect(&bench.url).await;
        let head = format!("POST {CHAT} HTTP/1.1\r\nhost: weir\r\nauthorization: Bearer {KEY}\r\n");
        raw.send(format!("{head}content-length: 104857600\r\n\r\n{{"))
            .await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, 413, "{answer:?}");
        let id = &answer.head.split("x-request-id: ").nth(1).unwrap()[..36];
        assert_refused(&answer.body, "request_too_large", id);
        assert!(
            raw.is_closed(SOON).await,
            "what follows must not be read as a request"
        );

        // A program that sends 100 MB nonetheless still reads the answer.
        let answer = post(&bench, CHAT, vec![b' '; 100 << 20]).await;
        refused(answer, 413, "request_too_large").await;

        // In chunks nothing is announced: refused where the bound is passed.
        let mut raw = Raw::connect(&bench.url).await;
        raw.send(format!("{head}transfer-encoding: chunked\r\n\r\n"))
            .await;
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        for _ in 0..16 {
            raw.send(&chunk).await;
        }
        raw.send("1\r\n ").await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, 413, "{answer:?}");

        // Exactly the bound is taken.
        let mut body = hello("gpt-test").to_string().into_bytes();
        body.resize(1 << 20, b' ');
        assert_eq!(post(&bench, CHAT, body).await.status(), 200);

        assert_eq!(bench.vendor.requests().len(), 1);
        let books = bench.books().await;
        let too_large = books.events.iter().filter(|event| event.status == 413);
        assert_eq!(too_large.count(), 3);
    }
);

both_stores!(
    /// Threats: H4.
    a_sender_that_drips_is_timed_out,
    Setup {
        environment: vec![
            ("WEIR_PROXY_HEAD_TIMEOUT", "1s".to_owned()),
            ("WEIR_PROXY_BODY_IDLE_TIMEOUT", "200ms".to_owned()),
            ("WEIR_PROXY_BODY_TIMEOUT", "500ms".to_owned()),
            ("WEIR_PROXY_KEEP_ALIVE", "1s".to_owned()),
        ],
        ..Setup::default()
    },
    |bench| {
        // Of a deadline of a second, at most three times as much.
        let within = Duration::from_secs(3);
        let head = format!("POST {CHAT} HTTP/1.1\r\nhost: weir\r\nauthorization: Bearer {KEY}\r\n");

        let mut slow_head = Raw::connect(&bench.url).await;
        let mut silent_body = Raw::connect(&bench.url).await;
        let mut dripped_body = Raw::connect(&bench.url).await;
        let mut dripped_extension = Raw::connect(&bench.url).await;
        let mut second_head = Raw::connect(&bench.url).await;
        slow_head.send(&head).await;
        silent_body
            .send(format!("{head}content-length: 100\r\n\r\n{{"))
            .await;
        dripped_body
            .send(format!("{head}content-length: 100\r\n\r\n"))
            .await;
        // A chunk whose size line never ends.
        dripped_extension
            .send(format!("{head}transfer-encoding: chunked\r\n\r\n5;a="))
            .await;
        second_head
            .send("GET /health HTTP/1.1\r\nhost: weir\r\n\r\n")
            .await;
        assert_eq!(second_head.answer().await.unwrap().status, 200);
        second_head.send("GET /health HTTP/1.1\r\n").await;

        let dripped = drip(&mut dripped_body);
        let extended = drip(&mut dripped_extension);
        let second = async {
            for _ in 0..60 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                use tokio::io::AsyncWriteExt as _;
                if second_head.0.write_all(b"x: y\r\n").await.is_err() {
                    return true;
                }
            }
            false
        };
        let timed = async {
            tokio::join!(
                slow_head.read_to_end(within),
                silent_body.answer(),
                dripped,
                extended,
                second
            )
        };
        let (slow, silent, dripped, extended, second_ended) = tokio::time::timeout(within * 2, Box::pin(timed))
            .await
            .expect("in time");
        assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
        for answer in [silent, dripped, extended] {
            let answer = answer.expect("an answer");
            assert_eq!(answer.status, 408, "{answer:?}");
            assert!(answer.body.contains("request_timeout"), "{answer:?}");
        }
        assert!(second_ended, "a second head has a deadline too");
        assert!(bench.vendor.requests().is_empty());
        let books = bench.books().await;
        assert_eq!(books.events.len(), 3);
        assert!(
            books
                .events
                .iter()
                .all(|event| event.error_code.as_deref() == Some("request_timeout"))
        );
    }
);

/// Sends so that each byte comes in time and the whole does not. The other side may be gone when the last ones come.
async fn drip(to: &mut Raw) -> Option<raw::Answer> {
    use tokio::io::AsyncWriteExt as _;
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        if to.0.write_all(b" ").await.is_err() {
            break;
        }
    }
    to.answer().await
}

both_stores!(
    a_caller_who_leaves_in_the_middle_of_a_body_is_booked_as_refused,
    |bench| {
        let mut raw = Raw::connect(&bench.url).await;
        let head = format!("POST {CHAT} HTTP/1.1\r\nhost: weir\r\nauthorization: Bearer {KEY}\r\n");
        raw.send(format!("{head}content-length: 100\r\n\r\n{{\"model\""))
            .await;
        raw.leave().await;
        let books = bench.books_when(|books| !books.events.is_empty()).await;
        assert_eq!(books.only().outcome, "refused");
        assert!(bench.vendor.requests().is_empty());
    }
);

// Threats: H4.
both_stores!(an_encoded_body_and_a_doubled_header_are_refused, |bench| {
    let hello = hello("gpt-test").to_string();
    for path in [
        CHAT,
        "/v1/embeddings",
        "/v1/audio/speech",
        "/proxy/dedicated/v1/x",
        "/proxy/vendor/v1/chat/completions",
    ] {
        for encoding in ["gzip", "br", "zstd", "deflate", "identity, gzip", "x"] {
            let asked = bench
                .post(path)
                .header("content-encoding", encoding)
                .body(hello.clone());
            refused(asked.send().await.unwrap(), 415, "encoded_body").await;
        }
        for (name, one, other) in [
            ("content-encoding", "identity", "gzip"),
            (
                "content-type",
                "application/json",
                "multipart/form-data; boundary=x",
            ),
        ] {
            let asked = bench
                .post(path)
                .header(name, one)
                .header(name, other)
                .body(hello.clone());
            let error = refused(asked.send().await.unwrap(), 400, "invalid_header").await;
            assert_eq!(error["param"], name);
        }
    }
    let asked = bench
        .post(CHAT)
        .header("content-encoding", "identity")
        .body(hello);
    assert_eq!(asked.send().await.unwrap().status(), 200);
    assert_eq!(bench.vendor.requests().len(), 1);
});

// Threats: H9, H10, L1.
both_stores!(a_models_name_is_no_weapon, |bench| {
    let names = [
        "x".repeat(65_536),
        "x".repeat(257),
        "<script>alert(1)</script>".to_owned(),
        "\"quoted\"".to_owned(),
        "../../etc/passwd".to_owned(),
        "a/b/c".to_owned(),
        "gpt-test\n".to_owned(),
        "gpt-test\r\nset-cookie: a=b".to_owned(),
        "gpt\u{0}test".to_owned(),
        "\u{1B}[31mred".to_owned(),
        "gpt\u{2028}test".to_owned(),
        "gpt\u{202E}tset".to_owned(),
        "${WEIR_MASTER_KEY}".to_owned(),
        "{}:*".to_owned(),
        "%2e%2e%2f".to_owned(),
    ];
    for name in &names {
        for path in [
            CHAT,
            "/v1/completions",
            "/v1/embeddings",
            "/v1/moderations",
            "/v1/vendor/chat/completions",
            "/proxy/vendor/v1/chat/completions",
        ] {
            let answer = bench
                .post(path)
                .json(&json!({"model": name, "input": "a", "messages": []}))
                .send()
                .await
                .unwrap();
            let status = answer.status().as_u16();
            let headers = format!("{:?}", answer.headers());
            assert!([400, 404].contains(&status), "{path} {name:?}: {status}");
            assert!(status == 400 || name.len() <= 256, "{path}: {status}");
            let code = if status == 400 {
                "invalid_value"
            } else {
                "model_not_found"
            };
            let error = refused(answer, status, code).await;
            let message = error["message"].as_str().unwrap();
            assert!(message.chars().count() < 250, "{message}");
            assert!(
                !message.contains(|c: char| c.is_control() || c == '\u{202E}' || c == '\u{2028}'),
                "{message:?}"
            );
            assert!(!headers.contains("set-cookie"), "{headers}");
        }
    }
    assert!(bench.vendor.requests().is_empty());
    let events = bench.books().await.events;
    assert!(events.iter().all(|event| event.model.len() <= 256));
    let metrics = bench
        .http
        .get(format!("{}/metrics", bench.admin_url))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        !metrics.contains("alert(1)") && !metrics.contains("xxxxx"),
        "unknown names are `other`"
    );
});
