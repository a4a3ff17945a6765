//! Each fault, at the level of bytes.

use std::time::Instant;

use serde_json::json;
use weir_upstream::{Behaviour, Cut, End, Fault, Then, Vendor};

use crate::client::{CHAT, Client, Ended, SOON, chat, status};

/// A vendor with one behaviour queued, and a client that has asked it for three tokens.
async fn asked(behaviour: Behaviour, stream: bool) -> (Vendor, Client) {
    let vendor = Vendor::spawn();
    vendor.push(behaviour);
    let mut client = Client::connect(&vendor).await;
    client.post(CHAT, &chat(3, stream)).await;
    (vendor, client)
}

#[tokio::test]
async fn refuse_closes_before_anything_is_read() {
    let vendor = Vendor::spawn();
    vendor.push(Behaviour::fault(Fault::Refuse));
    let mut client = Client::connect(&vendor).await;
    assert_eq!(client.rest().await.0, b"");
    assert_eq!(vendor.counters().refused, 1);
    assert!(vendor.bill().is_empty());
    // It was used up; and on an open connection it leaves the request unanswered.
    let mut client = Client::connect(&vendor).await;
    assert_eq!(client.ask(CHAT, &chat(1, false)).await.status, 200);
    vendor.push(Behaviour::fault(Fault::Refuse));
    client.post(CHAT, &chat(1, false)).await;
    assert_eq!(client.rest().await.0, b"");
    let line = vendor.ended(2, SOON).await.unwrap();
    assert_eq!((line.end, line.tokens.input), (Some(End::Refused), 0));
}

#[tokio::test]
async fn reset_and_close_differ_on_the_wire() {
    let (vendor, mut client) =
        asked(Behaviour::fault(Fault::Reset(Cut::AfterChunks(2))), true).await;
    let (bytes, ended) = client.rest().await;
    assert_eq!(ended, Ended::Rst);
    assert!(!String::from_utf8_lossy(&bytes).contains("[DONE]"));
    assert_eq!(vendor.bill()[0].end, Some(End::Reset));

    let (vendor, mut client) =
        asked(Behaviour::fault(Fault::Close(Cut::AfterBytes(10))), false).await;
    let head = client.head().await;
    assert!(head.contains("content-length: "));
    assert_eq!(client.rest().await, (b"{\"id\":\"cha".to_vec(), Ended::Fin));
    let line = &vendor.bill()[0];
    assert_eq!(
        (line.end, line.tokens.input, line.tokens.output),
        (Some(End::Closed), 4, 0)
    );

    let (_vendor, mut client) = asked(Behaviour::fault(Fault::Reset(Cut::BeforeHead)), true).await;
    assert_eq!(client.rest().await, (Vec::new(), Ended::Rst));
}

#[tokio::test]
async fn hang_lasts_until_the_client_leaves() {
    for cut in [Cut::BeforeHead, Cut::AfterHead, Cut::AfterChunks(2)] {
        let (vendor, mut client) = asked(Behaviour::fault(Fault::Hang(cut)), true).await;
        if cut != Cut::BeforeHead {
            client.head().await;
        }
        if let Cut::AfterChunks(chunks) = cut {
            for _ in 0..chunks {
                client.chunk().await.unwrap();
            }
        }
        assert!(client.silent_for(50).await);
        drop(client);
        vendor.client_left(1, SOON).await.unwrap();
        assert_eq!(vendor.bill()[0].end, Some(End::Hung));
    }
}

#[tokio::test]
async fn body_can_be_cut_anywhere_and_dripped() {
    let (vendor, mut client) = asked(Behaviour::default().with_chunk_bytes(7), true).await;
    let reply = client.reply().await;
    assert!(
        reply
            .chunks
            .iter()
            .rev()
            .skip(1)
            .all(|chunk| chunk.len() == 7)
    );
    assert_eq!(reply.events().len(), 6);
    assert_eq!(vendor.bill()[0].tokens.output, 3);

    let start = Instant::now();
    let (_vendor, mut client) = asked(
        Behaviour::fault(Fault::Drip {
            bytes: 100,
            every_ms: 3,
        }),
        false,
    )
    .await;
    let reply = client.reply().await;
    assert_eq!(reply.json()["object"], "chat.completion");
    assert!(start.elapsed().as_millis() as usize >= reply.body.len() / 100 * 3);
}

#[tokio::test]
async fn bodies_can_be_damaged() {
    let (_vendor, mut client) = asked(Behaviour::fault(Fault::MalformedSse), true).await;
    let text = String::from_utf8(client.reply().await.body).unwrap();
    let data: Vec<_> = text
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .collect();
    let bad = data
        .iter()
        .filter(|data| serde_json::from_str::<serde_json::Value>(data).is_err());
    assert_eq!(bad.count(), 2, "the damaged event, and [DONE]");

    let (vendor, mut client) = asked(Behaviour::fault(Fault::TruncatedJson), false).await;
    let reply = client.reply().await;
    assert!(serde_json::from_slice::<serde_json::Value>(&reply.body).is_err());
    let line = &vendor.bill()[0];
    assert_eq!((line.tokens.output, line.usage_reported), (3, false));

    let (_vendor, mut client) = asked(Behaviour::fault(Fault::WrongContentType), false).await;
    assert_eq!(
        client.reply().await.header("content-type"),
        Some("text/html; charset=utf-8")
    );
}

#[tokio::test]
async fn gzip_is_well_formed() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    for stream in [false, true] {
        let (vendor, mut client) = asked(Behaviour::fault(Fault::Gzip), stream).await;
        let reply = client.reply().await;
        assert_eq!(reply.header("content-encoding"), Some("gzip"));
        let mut gunzip = Command::new("gzip")
            .arg("-dc")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        gunzip.stdin.take().unwrap().write_all(&reply.body).unwrap();
        let output = gunzip.wait_with_output().unwrap();
        assert!(output.status.success());
        assert!(
            String::from_utf8(output.stdout)
                .unwrap()
                .contains("\"completion_tokens\":3")
        );
        assert_eq!(vendor.bill()[0].tokens.output, 3);
    }
}

#[tokio::test]
async fn interim_responses_come_before_the_final_one() {
    let fault = Fault::Interim {
        status: 103,
        gap_ms: 30,
        count: 2,
    };
    let (vendor, mut client) = asked(Behaviour::fault(fault), false).await;
    for _ in 0..2 {
        assert_eq!(status(&client.head().await), 103);
    }
    let reply = client.reply().await;
    assert_eq!(reply.status, 200);
    let line = &vendor.bill()[0];
    assert!(line.end_ns.unwrap() - line.first_byte_ns.unwrap() >= 60_000_000);
    // The connection is good for another.
    assert_eq!(client.ask(CHAT, &chat(1, false)).await.status, 200);
}

#[tokio::test]
async fn extra_bytes_follow_a_complete_answer() {
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_owned();
    let fault = Fault::ExtraBytesAfterBody { text, after_ms: 30 };
    let (vendor, mut client) = asked(Behaviour::fault(fault), false).await;
    assert_eq!(client.reply().await.json()["object"], "chat.completion");
    assert_eq!(vendor.bill()[0].end, Some(End::Complete));
    // The next request meets a late second response, then its own.
    client.post(CHAT, &chat(1, false)).await;
    assert_eq!(client.reply().await.body, b"hi");
    assert_eq!(client.reply().await.json()["usage"]["completion_tokens"], 1);
}

#[tokio::test]
async fn close_delimited_body_ends_with_the_connection() {
    for stream in [false, true] {
        let (vendor, mut client) = asked(Behaviour::fault(Fault::CloseDelimited), stream).await;
        let reply = client.reply().await;
        assert_eq!(
            reply
                .header("content-length")
                .or(reply.header("transfer-encoding")),
            None
        );
        assert!(
            String::from_utf8(reply.body)
                .unwrap()
                .contains("\"completion_tokens\":3")
        );
        assert_eq!(vendor.bill()[0].end, Some(End::Complete));
    }
}

#[tokio::test]
async fn early_reply_comes_before_the_body() {
    let vendor = Vendor::spawn();
    vendor.push(Behaviour::status(413).with_fault(Fault::EarlyReply));
    let mut client = Client::connect(&vendor).await;
    client
        .send("POST /v1/x HTTP/1.1\r\nhost: v\r\ncontent-length: 5\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.status, 413);
    client.send("12345").await;
    assert_eq!(client.ask(CHAT, &chat(1, false)).await.status, 200);
    assert_eq!(vendor.requests()[0].body, "12345");
}

#[tokio::test]
async fn usage_can_be_missing_or_a_lie() {
    for stream in [false, true] {
        let (vendor, mut client) = asked(Behaviour::fault(Fault::NoUsage), stream).await;
        let body = String::from_utf8(client.reply().await.body).unwrap();
        assert!(!body.contains("usage"));
        assert!(!vendor.bill()[0].usage_reported);
        assert_eq!(vendor.bill()[0].tokens.output, 3);

        let lie = json!({"prompt_tokens": -5, "completion_tokens": 1_000_000_000_000_000_000_u64});
        let (vendor, mut client) =
            asked(Behaviour::fault(Fault::LyingUsage(lie.clone())), stream).await;
        let body = String::from_utf8(client.reply().await.body).unwrap();
        assert!(body.contains(&format!("\"usage\":{lie}")));
        assert!(!vendor.bill()[0].usage_reported);
        assert_eq!(vendor.bill()[0].tokens.output, 3);
    }
}

#[tokio::test]
async fn rogue_sends_exactly_its_script() {
    let script = [
        (
            0,
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n",
        ),
        (20, "abc"),
    ];
    let (vendor, mut client) = asked(
        Behaviour::raw_then(script, Then::Reset).with_tokens(9),
        false,
    )
    .await;
    let (bytes, ended) = client.rest().await;
    assert_eq!(bytes, [script[0].1, script[1].1].concat().as_bytes());
    assert_eq!(ended, Ended::Rst);
    let line = &vendor.bill()[0];
    assert!(line.end_ns.unwrap() - line.first_byte_ns.unwrap() >= 20_000_000);
    assert_eq!((line.tokens.input, line.tokens.output), (0, 9));
}
