//! An upstream that lies about usage, or does not tell it (B9).

use serde_json::{Value, json};
use weir_upstream::{Behaviour, Fault};

use crate::{
    both_stores,
    support::gateway::{hello, hello_stream},
};

/// Reports that no vendor could mean.
fn lies() -> Vec<(&'static str, Fault)> {
    let usage = |value: Value| Fault::LyingUsage(value);
    vec![
        (
            "negative",
            usage(json!({"prompt_tokens": -5, "completion_tokens": -7, "total_tokens": -12})),
        ),
        (
            "absurd",
            usage(
                json!({"prompt_tokens": 1_000_000_000_000_000_000_i64, "completion_tokens": 1_000_000_000_000_000_000_i64, "total_tokens": 1}),
            ),
        ),
        (
            "beyond 64 bits",
            usage(json!({"prompt_tokens": 1e30, "completion_tokens": 3, "total_tokens": 4})),
        ),
        (
            "more cached than input",
            usage(
                json!({"prompt_tokens": 5, "completion_tokens": 16, "total_tokens": 21, "prompt_tokens_details": {"cached_tokens": 6}}),
            ),
        ),
        (
            "more reasoning than output",
            usage(
                json!({"prompt_tokens": 5, "completion_tokens": 16, "total_tokens": 21, "completion_tokens_details": {"reasoning_tokens": 17}}),
            ),
        ),
        (
            "a billion for a line",
            usage(
                json!({"prompt_tokens": 1_000_000_000, "completion_tokens": 1_000_000_000, "total_tokens": 2_000_000_000}),
            ),
        ),
        (
            "words",
            usage(
                json!({"prompt_tokens": "many", "completion_tokens": "few", "total_tokens": null}),
            ),
        ),
        (
            "fractions",
            usage(json!({"prompt_tokens": 5.5, "completion_tokens": 16.5, "total_tokens": 22})),
        ),
        ("an empty report", usage(json!({}))),
        ("no object", usage(json!("free of charge"))),
        ("none", Fault::NoUsage),
    ]
}

both_stores!(
    /// B9: what nobody can mean is counted by Weir and marked.
    /// Threats: B9.
    usage_that_cannot_be_true_is_estimated_and_never_reaches_the_bill,
    |bench| {
        for streamed in [false, true] {
            for (lie, fault) in lies() {
                bench.vendor.push(Behaviour::fault(fault));
                let body = if streamed { hello_stream("gpt-test") } else { hello("gpt-test") };
                let answer = bench.post("/v1/chat/completions").header("x-request-id", format!("{lie} {streamed}").replace(' ', "-")).json(&body).send().await.unwrap();
                assert_eq!(answer.status(), 200, "{lie}");
                drop(answer.bytes().await.unwrap());
            }
        }
        let books = bench.books().await;
        assert_eq!(books.events.len(), 2 * lies().len());
        for (event, line) in books.events.iter().zip(bench.vendor.bill()) {
            let context = format!("{event:#?}\n{line:#?}");
            assert!(event.estimated && event.outcome == "ok", "{context}");
            assert_eq!(event.output_tokens as u64, line.tokens.output, "{context}");
            assert!(event.input_tokens > 0 && event.input_tokens as u64 <= 4 * line.tokens.input + 16, "{context}");
            assert_eq!((event.cached_tokens, event.reasoning_tokens), (0, 0), "{context}");
            assert_eq!(event.charge_nanos, 1_000 * event.input_tokens + 2_000 * event.output_tokens, "{context}");
        }
        books.assert_sums();
    }
);

both_stores!(
    /// B9: a vendor that reports after each event, and once more at the end, is billed for its last word alone.
    /// Threats: B9.
    usage_that_is_reported_again_and_again_counts_once,
    |bench| {
        let event = |output: u64| json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "word "}}], "usage": {"prompt_tokens": 6, "completion_tokens": output, "total_tokens": 6 + output}});
        let events: String = (1..=5).chain([5]).map(|output| format!("data: {}\n\n", event(output))).collect();
        bench.vendor.push(Behaviour::body(events + "data: [DONE]\n\n"));
        drop(bench.chat(hello_stream("gpt-test")).await.text().await.unwrap());
        let books = bench.books().await;
        let event = books.only();
        assert_eq!((event.input_tokens, event.output_tokens, event.estimated), (6, 5, false));
        books.assert_sums();
    }
);

both_stores!(
    /// A vendor that never stops talking within one event cannot make the estimate forget what it had no room for.
    a_cut_answer_with_unreadable_events_is_estimated_with_them,
    |bench| {
        let event = |text: &str| format!("data: {}\n\n", json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}));
        let mut body = event("The river");
        body.push_str(&format!("data: {{broken {}\n\n", "x".repeat(4_000)));
        bench.vendor.push(Behaviour::body(body).with_header("content-type", "text/event-stream"));
        let text = bench.chat(hello_stream("gpt-test")).await.text().await.unwrap();
        assert!(text.contains("upstream_error"), "it never ended regularly: {text}");
        let books = bench.books().await;
        let event = books.only();
        assert!(event.estimated && event.output_tokens > 1_000, "{event:#?}");
        books.assert_sums();
    }
);
