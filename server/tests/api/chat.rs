//! Chat completions as programs use them: whole and streamed, byte for byte, booked to the token.

use serde_json::{Value, json};

use crate::{
    both_stores,
    support::gateway::{hello, hello_stream},
};

both_stores!(an_answer_is_relayed_byte_for_byte_and_booked, |bench| {
    let answer = bench.chat(hello("gpt-test")).await;
    assert_eq!(answer.status(), 200);
    let cost = answer.headers()["x-weir-cost"].to_str().unwrap().to_owned();
    let id = answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(
        body["model"], "gpt-test-upstream",
        "`model` in an answer stays the upstream's"
    );

    let received = &bench.vendor.requests()[0];
    assert_eq!(
        received.json()["model"],
        "gpt-test-upstream",
        "the route's name goes upstream"
    );
    assert_eq!(received.header("accept-encoding"), Some("identity"));
    assert!(
        received
            .header("authorization")
            .unwrap()
            .starts_with("Bearer sk-vendor-credential-")
    );

    let books = bench.books().await;
    let event = books.only();
    let billed = bench.vendor.bill()[0].tokens;
    assert_eq!(
        (event.input_tokens as u64, event.output_tokens as u64),
        (billed.input, billed.output)
    );
    assert_eq!(
        (
            event.id.to_string(),
            event.outcome.as_str(),
            event.estimated
        ),
        (id, "ok", false)
    );
    let nanos = 1_000 * event.input_tokens + 2_000 * event.output_tokens;
    assert_eq!((event.charge_nanos, event.cost_nanos), (nanos, nanos));
    assert_eq!(cost, format!("0.{nanos:09}"));
    books.assert_sums();
});

both_stores!(
    a_stream_hides_the_usage_chunk_that_only_weir_asked_for,
    |bench| {
        let answer = bench.chat(hello_stream("gpt-same")).await;
        assert_eq!(
            answer.headers()["content-type"],
            "text/event-stream; charset=utf-8"
        );
        let text = answer.text().await.unwrap();
        assert!(
            text.ends_with("data: [DONE]\n\n") && !text.contains("\"choices\":[]"),
            "{text}"
        );
        assert_eq!(
            bench.vendor.requests()[0].json()["stream_options"],
            json!({"include_usage": true})
        );
        let books = bench.books().await;
        let billed = bench.vendor.bill()[0].tokens;
        let event = books.only();
        assert_eq!(
            (event.input_tokens as u64, event.output_tokens as u64),
            (billed.input, billed.output)
        );
        assert!(!event.estimated && event.streamed && event.first_byte_us.is_some());
    }
);
