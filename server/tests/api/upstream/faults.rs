//! Vendors that break: what the caller is told, and what the books say.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use weir_upstream::{Behaviour, Cut, Fault, Then};

use super::{MODEL, ONE, bench, code, failures, plain};
use crate::support::{
    Bench,
    gateway::{hello, hello_stream},
};

/// The events of a stream as JSON; `[DONE]` is the text.
fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| data.into()))
        .collect()
}

/// A stream that broke off ends with the dialect's error and the end mark; its error.
fn told_at_the_end(text: &str) -> Value {
    let events = events(text);
    let [.., error, done] = &events[..] else {
        panic!("{text}");
    };
    assert_eq!(done, "[DONE]", "{text}");
    assert!(error["error"]["request_id"].is_string(), "{text}");
    error["error"].clone()
}

async fn ask(bench: &Bench, behaviour: Behaviour, body: Value) -> reqwest::Response {
    bench.vendor.push(behaviour);
    bench.chat(body).await
}

#[tokio::test]
async fn a_refused_connection_is_a_502_with_a_code_and_an_event() {
    // A port that is taken, so that nobody else gets it, and that nobody listens on.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    let channel = format!(
        "{{name: vendor, kind: openai, base_url: \"http://{address}/v1\", {}}}",
        plain()
    );
    let bench = super::start(Vec::new(), super::resources(&channel, "{channel: vendor}")).await;
    for body in [hello(MODEL), hello_stream(MODEL)] {
        let answer = bench.chat(body).await;
        assert_eq!(answer.status(), 502);
        assert_eq!(code(answer).await, "upstream_error");
    }
    let books = bench.books().await;
    assert_eq!(books.events.len(), 2);
    for event in &books.events {
        assert_eq!(
            (
                event.outcome.as_str(),
                event.status,
                event.error_code.as_deref()
            ),
            ("upstream_error", 502, Some("upstream_error"))
        );
        assert_eq!(failures(&event.attempts), ["connect"]);
        assert_eq!((event.input_tokens, event.charge_nanos), (0, 0));
    }
}

#[tokio::test]
async fn a_vendors_json_errors_are_relayed_with_its_status() {
    let bench = bench("retry: {attempts: 1}").await;
    for (status, outcome) in [
        (400, "client_error"),
        (404, "client_error"),
        (422, "client_error"),
        (429, "upstream_error"),
        (500, "upstream_error"),
        (503, "upstream_error"),
    ] {
        let given = json!({"error": {"message": "no", "type": "t", "param": null, "code": "theirs", "more": [1.0, 1e3]}});
        // The vendor's own spelling stays.
        let given = given.to_string().replace("1000.0", "1e3");
        let behaviour = Behaviour {
            status: Some(status),
            ..Behaviour::body(given.clone()).with_retry_after(7)
        };
        for body in [hello(MODEL), hello_stream(MODEL)] {
            let answer = ask(&bench, behaviour.clone(), body).await;
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()["retry-after"], "7");
            assert_eq!(answer.headers()["content-type"], "application/json");
            assert!(answer.headers().contains_key("x-request-id"));
            assert!(answer.headers().contains_key("x-weir-upstream-request-id"));
            assert!(!answer.headers().contains_key("x-weir-cost"));
            assert_eq!(answer.text().await.unwrap(), given);
        }
        let books = bench.books().await;
        let event = books.events.last().unwrap();
        assert_eq!(
            (
                event.outcome.as_str(),
                event.status as u16,
                event.charge_nanos
            ),
            (outcome, status, 0)
        );
    }
}

#[tokio::test]
async fn an_error_page_is_replaced_and_its_status_kept() {
    let bench = bench(&plain()).await;
    let page = "<html><script>alert(1)</script>sk-vendor-credential-one-1111</html>";
    for status in [404, 500, 503] {
        let behaviour = Behaviour {
            status: Some(status),
            ..Behaviour::body(page).with_header("content-type", "text/html")
        };
        let answer = ask(&bench, behaviour, hello(MODEL)).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(
            answer.headers()["content-security-policy"],
            "sandbox; default-src 'none'"
        );
        assert_eq!(code(answer).await, "upstream_error");
    }
}

#[tokio::test]
async fn a_page_in_place_of_an_answer_is_an_error() {
    let bench = bench(&format!("credentials: [{ONE}], retry: {{attempts: 2}}")).await;
    for body in [hello(MODEL), hello_stream(MODEL)] {
        bench.vendor.push(Behaviour::fault(Fault::WrongContentType));
        bench.vendor.push(Behaviour::fault(Fault::WrongContentType));
        let answer = bench.chat(body.clone()).await;
        assert_eq!(answer.status(), 502);
        assert_eq!(code(answer).await, "upstream_error");
        // Once is not twice.
        let answer = ask(&bench, Behaviour::fault(Fault::WrongContentType), body).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-weir-attempts"], "2");
    }
    let books = bench.books().await;
    let tried: Vec<_> = books
        .events
        .iter()
        .map(|event| failures(&event.attempts))
        .collect();
    assert_eq!(tried[0], ["bad_answer", "bad_answer"]);
    assert_eq!(tried[1], ["bad_answer", "ok"]);
}

#[tokio::test]
async fn truncated_json_is_asked_for_again_and_then_told() {
    let bench = bench(&format!("credentials: [{ONE}], retry: {{attempts: 2}}")).await;
    let cuts = [
        Fault::TruncatedJson,
        Fault::Close(Cut::AfterBytes(60)),
        Fault::Reset(Cut::AfterBytes(60)),
    ];
    for fault in cuts {
        let answer = ask(&bench, Behaviour::fault(fault.clone()), hello(MODEL)).await;
        assert_eq!(answer.status(), 200, "{fault:?}");
        assert_eq!(answer.headers()["x-weir-attempts"], "2");
        assert!(answer.json::<Value>().await.unwrap()["choices"].is_array());
        bench.vendor.push(Behaviour::fault(fault.clone()));
        let answer = ask(&bench, Behaviour::fault(fault.clone()), hello(MODEL)).await;
        assert_eq!(answer.status(), 502, "{fault:?}");
        assert_eq!(code(answer).await, "upstream_error");
    }
    let books = bench.books().await;
    assert_eq!(books.events.len(), 6);
    for pair in books.events.chunks(2) {
        assert_eq!(failures(&pair[0].attempts), ["broken", "ok"]);
        assert_eq!(pair[0].outcome, "ok");
        // What was generated in vain costs the platform, and the tenant pays the answer alone.
        assert!(pair[0].cost_nanos > pair[0].charge_nanos && pair[0].charge_nanos > 0);
        assert_eq!(failures(&pair[1].attempts), ["broken", "broken"]);
        assert!(pair[1].estimated && pair[1].input_tokens > 0);
    }
    books.assert_sums();
}

#[tokio::test]
async fn a_packed_answer_passes_and_is_estimated() {
    let bench = bench(&plain()).await;
    for body in [hello(MODEL), hello_stream(MODEL)] {
        let answer = ask(&bench, Behaviour::fault(Fault::Gzip), body.clone()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        let packed = answer.bytes().await.unwrap();
        assert_eq!(packed[..2], [0x1f, 0x8b]);
        // As much as the vendor sent, end included: nothing was taken out and nothing put in.
        let direct = bench
            .http
            .post(format!("{}/chat/completions", bench.vendor.base_url()))
            .header("authorization", "Bearer direct");
        bench.vendor.push(Behaviour::fault(Fault::Gzip));
        let mut body = body;
        if body["stream"] == true {
            body["stream_options"] = json!({"include_usage": true});
        }
        let direct = direct.json(&body).send().await.unwrap();
        let direct = direct.bytes().await.unwrap();
        // Ids and times within differ, their length does not.
        assert!(
            packed.len().abs_diff(direct.len()) < 64,
            "{} and {}",
            packed.len(),
            direct.len()
        );
        assert_eq!(packed[packed.len() - 4..].len(), 4);
    }
    let books = bench.books().await;
    assert_eq!(books.events.len(), 2);
    for event in &books.events {
        assert_eq!(
            (event.outcome.as_str(), event.estimated),
            ("ok", true),
            "{event:?}"
        );
        assert!(event.input_tokens > 0 && event.output_tokens > 0);
    }
}

#[tokio::test]
async fn a_damaged_event_flows_on() {
    let bench = bench(&plain()).await;
    let answer = ask(
        &bench,
        Behaviour::fault(Fault::MalformedSse),
        hello_stream(MODEL),
    )
    .await;
    let text = answer.text().await.unwrap();
    assert!(
        text.contains("####") && text.ends_with("data: [DONE]\n\n"),
        "{text}"
    );
    let books = bench.books().await;
    let billed = bench.vendor.bill()[0].tokens;
    let event = books.only();
    assert_eq!(event.outcome, "ok");
    assert_eq!(
        event.output_tokens as u64, billed.output,
        "the report came all the same"
    );
}

#[tokio::test]
async fn an_error_inside_a_stream_is_relayed_as_it_is() {
    let bench = bench(&plain()).await;
    let recording = include_str!(
        "../../../../loadtest/upstream/recordings/openai-chat/made-error-in-stream/stream.sse"
    );
    let behaviour = Behaviour::recording("openai-chat/made-error-in-stream");
    let answer = ask(&bench, behaviour, hello_stream(MODEL)).await;
    assert_eq!(answer.text().await.unwrap(), recording);
    let books = bench.books().await;
    assert_eq!((books.only().status, books.only().estimated), (200, true));
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_told_and_booked_as_generated() {
    let bench = bench(&plain()).await;
    let faults = [
        Fault::Reset(Cut::AfterChunks(6)),
        Fault::Close(Cut::AfterChunks(6)),
    ];
    for fault in &faults {
        // The pause lets a reset not overtake what was sent before it.
        let behaviour = Behaviour::tokens(50)
            .with_chunk_delay_ms(20)
            .with_fault(fault.clone());
        let answer = ask(&bench, behaviour, hello_stream(MODEL)).await;
        assert_eq!(answer.status(), 200);
        let error = told_at_the_end(&answer.text().await.unwrap());
        assert_eq!(error["code"], "upstream_error");
    }
    let books = bench.books().await;
    assert_eq!(books.events.len(), 2);
    for (event, line) in books.events.iter().zip(bench.vendor.bill()) {
        assert_eq!(
            (
                event.outcome.as_str(),
                event.error_code.as_deref(),
                event.estimated
            ),
            ("cut_by_upstream", Some("upstream_error"), true)
        );
        assert_eq!(line.tokens.output, 5);
        let late = line.tokens.output - event.output_tokens as u64;
        assert!(
            late <= 1,
            "{} booked of {}",
            event.output_tokens,
            line.tokens.output
        );
    }
}

/// Without an end mark or a finish reason a regular end is a cut all the same.
#[tokio::test]
async fn a_stream_that_ends_without_saying_so_was_cut() {
    let bench = bench(&plain()).await;
    let body = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"}}]}\n\n";
    let answer = ask(&bench, Behaviour::body(body), hello_stream(MODEL)).await;
    let text = answer.text().await.unwrap();
    assert!(text.starts_with(body), "{text}");
    assert_eq!(told_at_the_end(&text)["code"], "upstream_error");
    let books = bench.books().await;
    assert_eq!(books.only().outcome, "cut_by_upstream");
}

/// More than is gathered passes as it comes; when it breaks, the caller can tell.
#[tokio::test]
async fn a_large_answer_that_breaks_is_no_whole_body() {
    let settings = vec![("WEIR_PROXY_GATHERED_BYTES", "1KiB".to_owned())];
    let bench = super::bench_with(settings, &plain()).await;
    let behaviour = Behaviour::tokens(2_000)
        .with_chunk_bytes(4_000)
        .with_chunk_delay_ms(20)
        .with_fault(Fault::Close(Cut::AfterBytes(8_000)));
    let answer = ask(&bench, behaviour, hello(MODEL)).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err());
    let books = bench.books_when(|books| books.events.len() == 1).await;
    assert_eq!(books.only().outcome, "cut_by_upstream");
    let answer = ask(&bench, Behaviour::tokens(2_000), hello(MODEL)).await;
    assert!(answer.headers().contains_key("content-length"));
    assert!(
        !answer.headers().contains_key("x-weir-cost"),
        "its cost was not known"
    );
    let body: Value = answer.json().await.unwrap();
    let books = bench.books().await;
    let event = books.events.last().unwrap();
    assert_eq!(
        event.output_tokens,
        body["usage"]["completion_tokens"].as_i64().unwrap()
    );
    assert_eq!((event.outcome.as_str(), event.estimated), ("ok", false));
}

#[tokio::test]
async fn a_usage_that_cannot_be_true_is_estimated() {
    let bench = bench(&plain()).await;
    for lie in [
        json!({"prompt_tokens": -5, "completion_tokens": -7}),
        json!({"prompt_tokens": 1e300, "completion_tokens": 1}),
        json!({"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 99}}),
        json!({"prompt_tokens": "many", "completion_tokens": null}),
    ] {
        let behaviour = Behaviour::tokens(8).with_fault(Fault::LyingUsage(lie.clone()));
        let answer = ask(&bench, behaviour, hello(MODEL)).await;
        assert_eq!(answer.json::<Value>().await.unwrap()["usage"], lie);
    }
    let books = bench.books().await;
    assert_eq!(books.events.len(), 4);
    for event in &books.events {
        assert!(event.estimated && event.input_tokens > 0, "{event:?}");
        assert_eq!(event.output_tokens, 8, "one token a word");
    }
}

/// K4: an upstream that repeats all it got, in headers and in the bodies of errors.
/// Threats: K4.
#[tokio::test]
async fn no_piece_of_a_credential_comes_back() {
    let bench = bench(&plain()).await;
    let halves = [&ONE[..12], &ONE[ONE.len() - 9..]];
    for status in [400, 429, 500] {
        let body = json!({"error": {
            "message": format!("Incorrect API key provided: {ONE}. Bearer {} and ...{}", halves[0], halves[1]),
            "code": null,
        }});
        let behaviour = Behaviour {
            status: Some(status),
            ..Behaviour::body(body.to_string())
                .with_retry_after(0)
                .with_header("x-echo", format!("Bearer {ONE}"))
                .with_header("x-tail", halves[1])
                .with_header("openai-organization", "org-shared")
                .with_header("openai-project", "proj-shared")
                .with_header("set-cookie", "vendor=1")
                .with_header("x-ratelimit-remaining-requests", "3")
                .with_header("x-harmless", "stays")
        };
        let answer = ask(&bench, behaviour, hello(MODEL)).await;
        assert_eq!(answer.status(), status);
        let headers = format!("{:?}", answer.headers());
        let text = answer.text().await.unwrap();
        for window in ONE.as_bytes().windows(8) {
            let piece = std::str::from_utf8(window).unwrap();
            assert!(!text.contains(piece), "{piece} in {text}");
            assert!(!headers.contains(piece), "{piece} in {headers}");
        }
        for word in ["org-shared", "proj-shared", "vendor=1", "\"x-ratelimit"] {
            assert!(!headers.contains(word), "{word} in {headers}");
        }
        assert!(headers.contains("x-harmless"));
        assert!(text.contains("Incorrect API key provided: ***"));
    }
    // A right answer keeps its body, and loses the header that echoes.
    let behaviour = Behaviour::default().with_header("x-echo", ONE);
    let answer = ask(&bench, behaviour, hello(MODEL)).await;
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key("x-echo"));
}

/// H9: what an upstream puts into ids and names ends no line of ours.
/// Threats: D5, H9.
#[tokio::test]
async fn odd_words_of_an_upstream_stay_one_line() {
    let bench = bench(&plain()).await;
    let body = "{\"id\":\"a\\r\\nx: y\",\"model\":\"evil\\r\\n\\u2028data: [DONE]\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}";
    let behaviour = Behaviour::body(body).with_header("x-request-id", "id\u{2028}\u{0}odd");
    let answer = ask(&bench, behaviour, hello(MODEL)).await;
    // A NUL in a header is no header: the answer is refused whole, or the header is dropped.
    if answer.status() == 200 {
        assert_eq!(answer.text().await.unwrap(), body);
    } else {
        assert_eq!(code(answer).await, "upstream_error");
    }
    let answer = ask(&bench, Behaviour::body(body), hello(MODEL)).await;
    assert_eq!(answer.text().await.unwrap(), body);
    // The caller's own: refused with the name quoted, in one line.
    let mut odd = hello("gpt\r\nx-weir-cost: 0\r\n\u{2028}");
    odd["user"] = "line\r\nline\u{0}".into();
    let answer = bench.chat(odd).await;
    assert_eq!(answer.status(), 400);
    assert!(
        answer
            .headers()
            .values()
            .all(|value| !value.as_bytes().contains(&b'\n'))
    );
    assert_eq!(code(answer).await, "invalid_value");
    assert!(bench.books().await.events.len() >= 3);
}

/// Neither to another host nor to a trap of this machine, whatever the status says.
/// Threats: K1, S2.
#[tokio::test]
async fn a_redirect_is_no_answer_and_costs_nothing() {
    let bench = bench(&plain()).await;
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inward = format!("http://{}/v1", trap.local_addr().unwrap());
    let statuses = [301, 302, 303, 307, 308];
    for status in statuses {
        for location in ["https://elsewhere.example/v1", &inward] {
            let page = Behaviour::status(status).with_header("location", location);
            let answer = ask(&bench, page, hello(MODEL)).await;
            assert_eq!(answer.status(), 502);
            assert!(!answer.headers().contains_key("location"));
            assert_eq!(code(answer).await, "upstream_error");
        }
    }
    let books = bench.books().await;
    assert_eq!(books.events.len(), 2 * statuses.len());
    for event in &books.events {
        assert_eq!(failures(&event.attempts), ["bad_answer"]);
    }
    let came = tokio::time::timeout(Duration::from_millis(50), trap.accept()).await;
    assert!(came.is_err(), "somebody came");
}

#[tokio::test]
async fn nothing_is_put_into_a_stream_under_proxy() {
    let bench = bench(&plain()).await;
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"}}]}\n\n";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
    // The good part and the end arrive together: the good part is passed on all the same.
    let at_once = |rest: &str| {
        let bytes = format!("{head}\r\n\r\n{:x}\r\n{event}\r\n{rest}", event.len());
        Behaviour::raw_then([(0, bytes)], Then::Close)
    };
    let cuts = [
        Behaviour::fault(Fault::Close(Cut::AfterChunks(3))),
        at_once(""),
        at_once("zz\r\n"),
    ];
    let rounds = 8;
    let began = Instant::now();
    for cut in cuts.iter().cycle().take(cuts.len() * rounds) {
        bench.vendor.push(cut.clone());
        let sent = bench
            .post("/proxy/vendor/v1/chat/completions")
            .header("x-weir-cost", "1")
            .json(&hello_stream(MODEL));
        let mut answer = sent.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut text = Vec::new();
        let ended = loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => text.extend_from_slice(&chunk),
                other => break other,
            }
        };
        assert!(ended.is_err(), "the caller can tell that it is not whole");
        let text = String::from_utf8_lossy(&text);
        assert!(text.starts_with("data: {"), "{text}");
        assert!(!text.contains("request_id"), "{text}");
    }
    // A handle of the connection that outlives its answer would hide the end from the caller.
    assert!(began.elapsed() < Duration::from_secs(5), "{began:?}");
    let all = cuts.len() * rounds;
    let books = bench.books_when(|books| books.events.len() == all).await;
    for event in &books.events {
        assert_eq!(event.outcome, "cut_by_upstream");
    }
}

#[tokio::test]
async fn what_another_kind_of_vendor_reports_is_estimated_until_its_dialect_is_read() {
    let channel = |kind: &str| {
        format!(
            "{{name: vendor, kind: {kind}, base_url: \"{{vendor_root}}\", {}}}",
            plain()
        )
    };
    let route = "{channel: vendor, model: claude-upstream}";
    let bench = super::start(Vec::new(), super::resources(&channel("anthropic"), route)).await;
    let reported = json!({"type": "message", "content": [{"type": "text", "text": "hello there"}],
        "usage": {"input_tokens": 7, "cache_read_input_tokens": 900, "output_tokens": 3}});
    bench.vendor.push(Behaviour::body(reported.to_string()));
    let body = json!({"model": "claude-upstream", "max_tokens": 9, "messages": []});
    let sent = bench.post("/proxy/vendor/v1/messages").json(&body);
    assert_eq!(sent.send().await.unwrap().status(), 200);
    let books = bench.books().await;
    let event = books.only();
    assert_eq!(
        (event.model.as_str(), event.estimated, event.unpriced),
        (MODEL, true, false)
    );
    assert!(event.charge_nanos > 0, "{event:#?}");
}

#[tokio::test]
async fn a_model_that_stands_in_the_path_is_checked_and_priced_there() {
    let channel = format!(
        "{{name: vendor, kind: gemini, base_url: \"{{vendor_root}}\", {}}}",
        plain()
    );
    let route = "{channel: vendor, model: gemini-upstream}";
    let bench = super::start(Vec::new(), super::resources(&channel, route)).await;
    let post = |model: &str, body: Value| {
        let path = format!("/proxy/vendor/v1beta/models/{model}:generateContent");
        bench.post(&path).json(&body).send()
    };
    let plain = json!({"contents": []});
    assert_eq!(
        post("gemini-upstream", plain.clone())
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(post("gemini-dear", plain).await.unwrap().status(), 404);
    let doubled = json!({"contents": [], "model": "models/gemini-dear"});
    assert_eq!(
        post("gemini-upstream", doubled).await.unwrap().status(),
        400
    );
    assert_eq!(bench.vendor.requests().len(), 1);
    let books = bench.books().await;
    let served: Vec<_> = books.calls().collect();
    assert_eq!((served.len(), served[0].model.as_str()), (1, MODEL));
}
