//! Replays are byte-exact, billed as the recording reports, also when they are cut.

use std::path::Path;

use serde_json::Value;
use weir_upstream::{Behaviour, Cut, End, Fault, Tokens, Vendor};

use crate::client::{CHAT, Client, SOON, chat};

#[tokio::test]
async fn made_recordings_are_replayed() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    vendor.push(Behaviour::recording("openai-chat/made-text-stream-usage"));
    let reply = client.ask(CHAT, &chat(1, true)).await;
    let file = include_bytes!("../../recordings/openai-chat/made-text-stream-usage/stream.sse");
    assert_eq!(reply.body, file);
    // Role, three words, finish, usage, [DONE].
    assert_eq!(reply.chunks.len(), 7);
    assert_eq!(
        vendor.bill()[0].tokens,
        Tokens {
            input: 11,
            output: 4,
            ..Tokens::default()
        }
    );
    assert!(vendor.bill()[0].usage_reported);

    vendor.push(Behaviour::recording("openai-chat/made-error-429"));
    let reply = client.ask(CHAT, &chat(1, true)).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (429, Some("2"))
    );
    assert_eq!(vendor.bill()[1].tokens, Tokens::default());
}

#[tokio::test]
async fn cut_replay_is_billed_by_its_share() {
    let vendor = Vendor::spawn();
    let cut = Fault::Reset(Cut::AfterChunks(3));
    vendor.push(Behaviour::recording("openai-chat/made-text-stream-usage").with_fault(cut));
    let mut client = Client::connect(&vendor).await;
    client.post(CHAT, &chat(1, true)).await;
    let line = vendor.ended(1, SOON).await.unwrap();
    assert_eq!(line.end, Some(End::Reset));
    assert_eq!((line.tokens.input, line.tokens.output), (11, 2));
}

#[tokio::test]
async fn given_bodies_are_replayed_too() {
    let vendor = Vendor::spawn();
    vendor.push(Behaviour::body(
        "data: {\"x\":1}\n\ndata: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
    ));
    let mut client = Client::connect(&vendor).await;
    let reply = client.ask(CHAT, &chat(1, true)).await;
    assert_eq!(reply.chunks.len(), 2);
    assert_eq!(vendor.bill()[0].tokens.output, 2);
}

/// Every real recording there is on this machine; none is no failure.
#[tokio::test]
async fn recorded_traffic_is_replayed_byte_for_byte() {
    let root = Path::new("../../../shared/fixtures");
    let Ok(dialects) = std::fs::read_dir(root) else {
        return;
    };
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    for dialect in dialects
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.path().is_dir())
    {
        for case in std::fs::read_dir(dialect.path()).unwrap() {
            let case = case.unwrap().path();
            let meta = std::fs::read(case.join("meta.json")).unwrap();
            let meta: Value = serde_json::from_slice(&meta).unwrap();
            let name = format!(
                "{}/{}",
                meta["dialect"].as_str().unwrap(),
                meta["case"].as_str().unwrap()
            );
            vendor.push(Behaviour::recording(&name));
            let reply = client.get("/").await;
            assert_eq!(reply.status, meta["status"], "{name}");
            let body = std::fs::read(case.join(meta["body"].as_str().unwrap())).unwrap();
            assert!(reply.body == body, "{name}");
            let line = vendor.bill().pop().unwrap();
            let says_usage = String::from_utf8_lossy(&body).contains("completion_tokens\":");
            assert!(!says_usage || line.tokens != Tokens::default(), "{name}");
        }
    }
}
