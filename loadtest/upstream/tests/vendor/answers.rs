//! Generated chat answers have OpenAI's shapes and the number of tokens that was asked.

use serde_json::json;
use weir_upstream::{Behaviour, Options, Reading, Tokens, Vendor};

use crate::client::{CHAT, Client, SOON, chat};

#[tokio::test]
async fn chat_has_the_tokens_asked_and_says_so() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    let reply = client.ask(CHAT, &chat(5, false)).await;
    assert_eq!(reply.status, 200);
    assert!(reply.header("x-request-id").unwrap().starts_with("req_"));
    let json = reply.json();
    assert_eq!(json["object"], "chat.completion");
    assert_eq!(
        json["choices"][0]["message"]["content"],
        "the river water stone light"
    );
    assert_eq!(json["choices"][0]["finish_reason"], "length");
    assert_eq!(json["usage"]["prompt_tokens"], 4);
    assert_eq!(json["usage"]["completion_tokens"], 5);
    assert_eq!(json["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    assert_eq!(
        json["usage"]["completion_tokens_details"]["reasoning_tokens"],
        0
    );
    let bill = vendor.bill();
    assert_eq!(
        bill[0].tokens,
        Tokens {
            input: 4,
            output: 5,
            ..Tokens::default()
        }
    );
    assert!(bill[0].usage_reported);
    assert_eq!(bill[0].credential.as_deref(), Some("sk-test"));
}

#[tokio::test]
async fn stream_is_one_chunk_a_token_with_usage_only_if_asked() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    let reply = client.ask(CHAT, &chat(3, true)).await;
    assert_eq!(
        reply.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    // Role, three tokens, finish, usage, [DONE].
    assert_eq!(reply.chunks.len(), 7);
    assert_eq!(reply.chunks[6], b"data: [DONE]\n\n");
    let events = reply.events();
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(events[2]["choices"][0]["delta"]["content"], " river");
    assert_eq!(events[2]["usage"], json!(null));
    assert_eq!(events[4]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[5]["choices"], json!([]));
    assert_eq!(events[5]["usage"]["total_tokens"], 7);

    let mut ask = chat(3, true);
    ask["stream_options"] = json!(null);
    let reply = client.ask(CHAT, &ask).await;
    assert_eq!(reply.chunks.len(), 6);
    assert!(
        reply
            .events()
            .iter()
            .all(|event| event.get("usage").is_none())
    );
    let bill = vendor.bill();
    assert_eq!(bill[0].tokens, bill[1].tokens);
    assert!(bill[0].usage_reported && !bill[1].usage_reported);
}

#[tokio::test]
async fn choices_multiply_and_interleave() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    let mut ask = chat(2, true);
    ask["n"] = json!(2);
    let events = client.ask(CHAT, &ask).await.events();
    let indices: Vec<_> = events[2..6]
        .iter()
        .map(|event| &event["choices"][0]["index"])
        .collect();
    assert_eq!(indices, [0, 1, 0, 1]);
    assert_eq!(vendor.bill()[0].tokens.output, 4);
    ask["n"] = json!(1_000_000);
    assert_eq!(client.ask(CHAT, &ask).await.status, 400);
    assert_eq!(vendor.bill()[1].tokens, Tokens::default());
}

#[tokio::test]
async fn tools_are_called_and_schemas_followed() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    let mut ask = chat(100, false);
    ask["model"] = json!("gpt-tools");
    ask["tools"] = json!([{"type": "function", "function": {"name": "weather"}}]);
    let choice = &client.ask(CHAT, &ask).await.json()["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    let call = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "weather");
    let arguments = call["arguments"].as_str().unwrap();
    assert!(
        serde_json::from_str::<serde_json::Value>(arguments)
            .unwrap()
            .is_object()
    );

    ask["stream"] = json!(true);
    let events = client.ask(CHAT, &ask).await.events();
    let deltas = events
        .iter()
        .map(|event| &event["choices"][0]["delta"]["tool_calls"][0]["function"]);
    let streamed: String = deltas
        .filter_map(|function| function["arguments"].as_str())
        .collect();
    assert_eq!(streamed, arguments);
    let bill = vendor.bill();
    assert_eq!(bill[0].tokens, bill[1].tokens);

    ask["tool_choice"] = json!("none");
    ask["stream"] = json!(false);
    ask["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {
        "type": "object", "required": ["ok", "name"],
        "properties": {"ok": {"type": "boolean"}, "name": {"type": "string"}}}}});
    let json = client.ask(CHAT, &ask).await.json();
    let content = json["choices"][0]["message"]["content"].as_str().unwrap();
    let content: serde_json::Value = serde_json::from_str(content).unwrap();
    assert_eq!(content, json!({"ok": true, "name": "river"}));
}

#[tokio::test]
async fn behaviours_are_chosen_by_queue_then_model_then_default() {
    let vendor = Vendor::spawn();
    vendor.set_default(Behaviour::status(503));
    vendor.on_model("gpt-4o", Behaviour::tokens(2));
    vendor.push(Behaviour::status(429).with_retry_after(7));
    let mut client = Client::connect(&vendor).await;
    let reply = client.ask(CHAT, &chat(9, false)).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (429, Some("7"))
    );
    assert_eq!(reply.json()["error"]["code"], "rate_limit_exceeded");
    let reply = client.ask(CHAT, &chat(9, false)).await;
    assert_eq!(reply.json()["usage"]["completion_tokens"], 2);
    let mut ask = chat(9, false);
    ask["model"] = json!("other");
    assert_eq!(client.ask(CHAT, &ask).await.status, 503);
    ask["model"] = json!("stub-tokens-3-cached-2-reasoning-4");
    let usage = &client.ask(CHAT, &ask).await.json()["usage"];
    assert_eq!(usage["completion_tokens"], 7);
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 4);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 2);
    let billed = vendor.totals_by_model();
    assert_eq!(billed["other"], Tokens::default());
    assert_eq!(billed["stub-tokens-3-cached-2-reasoning-4"].reasoning, 4);
}

#[tokio::test]
async fn doubled_keys_are_read_as_told() {
    let vendor = Vendor::spawn();
    let body = r#"{"model":"cheap","max_tokens":1,"messages":[],"model":"dear","max_tokens":3,"Model":"case"}"#;
    let mut client = Client::connect(&vendor).await;
    for (reading, model, tokens) in [
        (Reading::LastWins, "dear", 3),
        (Reading::FirstWins, "cheap", 1),
        (Reading::CaseBlind, "case", 3),
    ] {
        vendor.push(Behaviour {
            reading,
            ..Behaviour::default()
        });
        client.send(crate::client::request(CHAT, body)).await;
        let json = client.reply().await.json();
        assert_eq!(json["model"], model);
        assert_eq!(json["usage"]["completion_tokens"], tokens);
    }
}

#[tokio::test]
async fn stamps_are_in_the_stream_and_in_the_bill() {
    let vendor = Vendor::spawn();
    vendor.push(
        Behaviour {
            stamp: true,
            ..Behaviour::default()
        }
        .with_chunk_delay_ms(5),
    );
    let before = std::time::Instant::now();
    let mut client = Client::connect(&vendor).await;
    let events = client.ask(CHAT, &chat(3, true)).await.events();
    let stamps: Vec<u64> = events
        .iter()
        .filter_map(|event| {
            event["choices"][0]["delta"]["content"]
                .as_str()?
                .strip_prefix(" t=")
        })
        .map(|digits| digits.parse().unwrap())
        .collect();
    assert_eq!(stamps, vendor.bill()[0].sent_ns);
    assert_eq!(stamps.len(), 3);
    assert!(stamps.windows(2).all(|pair| pair[1] - pair[0] >= 5_000_000));
    assert!(
        vendor.instant(stamps[0]) > before && vendor.instant(stamps[2]) < std::time::Instant::now()
    );
}

#[tokio::test]
async fn demo_says_it_is_no_model_and_repeats_the_question() {
    let vendor = Vendor::spawn_demo("127.0.0.1:0").unwrap();
    let mut client = Client::connect(&vendor).await;
    let reply = client.ask(CHAT, &chat(100, true)).await;
    let events = reply.events();
    let deltas = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    let text: String = deltas.collect();
    assert_eq!(
        text,
        "This is Weir's demo channel, not a model. You said: tell me a story"
    );
    let line = vendor.ended(1, SOON).await.unwrap();
    assert_eq!(
        line.tokens.output,
        events.last().unwrap()["usage"]["completion_tokens"]
    );
    assert!(line.usage_reported);
    assert!(vendor.requests().is_empty());
}

#[tokio::test]
async fn without_a_record_only_totals_are_kept() {
    let record = weir_upstream::Record::Nothing;
    let vendor = Vendor::start(Options {
        record,
        workers: 2,
        ..Options::default()
    })
    .unwrap();
    let mut client = Client::connect(&vendor).await;
    client.ask(CHAT, &chat(5, false)).await;
    vendor.push(Behaviour::body(
        r#"{"usage":{"prompt_tokens":10,"completion_tokens":20}}"#,
    ));
    client.ask(CHAT, &chat(5, false)).await;
    assert!(vendor.bill().is_empty());
    let counters = vendor.counters();
    assert_eq!((counters.requests, counters.connections), (2, 1));
    assert_eq!((counters.input_tokens, counters.output_tokens), (14, 25));
}
