//! The bill is right to the token, also for calls that were cut, and shows when the client left.

use std::time::{Duration, Instant};

use serde_json::json;
use weir_upstream::{Behaviour, Cut, End, Fault, Line, Vendor};

use crate::client::{CHAT, Client, SOON, chat};

/// Reads so many events of a stream of 50 tokens, 100 ms apart.
async fn read_some(vendor: &Vendor, events: usize) -> Client {
    vendor.push(Behaviour::default().with_chunk_delay_ms(100));
    let mut client = Client::connect(vendor).await;
    client.post(CHAT, &chat(50, true)).await;
    client.head().await;
    for _ in 0..events {
        client.chunk().await.unwrap();
    }
    client
}

#[tokio::test]
async fn client_that_leaves_with_a_fin_pays_for_what_was_sent() {
    let vendor = Vendor::spawn();
    let client = read_some(&vendor, 4).await;
    let left = Instant::now();
    drop(client);
    let seen = vendor.client_left(1, SOON).await.unwrap();
    assert!(seen.saturating_duration_since(left) < Duration::from_millis(50));
    let line = &vendor.bill()[0];
    assert_eq!(line.end, Some(End::ClientLeft));
    // The first event carries the role, and no further one was due.
    assert_eq!((line.tokens.input, line.tokens.output), (4, 3));
    assert!(!line.usage_reported);
}

#[tokio::test]
async fn client_that_leaves_with_a_rst_is_seen_too() {
    let vendor = Vendor::spawn();
    read_some(&vendor, 2).await.reset();
    let line = vendor.ended(1, SOON).await.unwrap();
    assert_eq!((line.end, line.tokens.output), (Some(End::ClientLeft), 1));
    assert!(line.client_left_ns.is_some());
}

#[tokio::test]
async fn client_that_leaves_before_the_first_byte_pays_its_input() {
    let vendor = Vendor::spawn();
    vendor.push(Behaviour::default().with_first_byte_delay_ms(60_000));
    let mut client = Client::connect(&vendor).await;
    client.post(CHAT, &chat(5, false)).await;
    vendor
        .wait_for(|bill| bill.iter().any(|line| line.tokens.input == 4), SOON)
        .await
        .unwrap();
    drop(client);
    let line = vendor.ended(1, SOON).await.unwrap();
    assert_eq!((line.end, line.tokens.output), (Some(End::ClientLeft), 0));
    assert_eq!(line.first_byte_ns, None);
}

#[tokio::test]
async fn client_that_leaves_within_its_body_pays_nothing() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    client
        .send("POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 100\r\n\r\n{")
        .await;
    vendor.wait_for(|bill| bill.len() == 1, SOON).await.unwrap();
    drop(client);
    let line = vendor.ended(1, SOON).await.unwrap();
    assert_eq!((line.end, line.tokens.input), (Some(End::ClientLeft), 0));
}

#[tokio::test]
async fn client_that_stops_reading_is_billed_only_for_whole_pieces() {
    let vendor = Vendor::spawn();
    // Far more than the sockets of any machine hold: the vendor stands in the middle of a write.
    const OFFERED: u32 = 400_000;
    vendor.push(Behaviour::tokens(OFFERED));
    let mut client = Client::connect(&vendor).await;
    client.post(CHAT, &chat(1, true)).await;
    vendor
        .wait_for(
            |bill| bill.iter().any(|line| line.tokens.output > 100),
            SOON,
        )
        .await
        .unwrap();
    let mut stuck = 0;
    while vendor.bill()[0].tokens.output > stuck {
        stuck = vendor.bill()[0].tokens.output;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.reset();
    let line = vendor.ended(1, SOON).await.unwrap();
    assert_eq!(line.end, Some(End::ClientLeft));
    assert_eq!(
        line.tokens.output,
        stuck - 1,
        "the piece in the middle is taken back"
    );
    assert!(line.tokens.output < u64::from(OFFERED));
    assert_eq!(vendor.counters().output_tokens, line.tokens.output);
}

#[tokio::test]
async fn every_cut_of_a_stream_bills_the_chunks_before_it() {
    let vendor = Vendor::spawn();
    for chunks in 0..=7 {
        for fault in [Fault::Reset, Fault::Close, Fault::Hang] {
            vendor.push(Behaviour::fault(fault(Cut::AfterChunks(chunks))));
            let mut client = Client::connect(&vendor).await;
            client.post(CHAT, &chat(3, true)).await;
            let bill = vendor
                .wait_for(|bill| bill.last().is_some_and(over), SOON)
                .await
                .unwrap();
            let line = bill.last().unwrap();
            // Role, three tokens, finish, usage, [DONE].
            assert_eq!(line.tokens.output, (chunks as u64).saturating_sub(1).min(3));
            assert_eq!(line.usage_reported, chunks >= 6);
            assert_ne!(line.end, Some(End::Complete));
            drop(client);
            vendor.reset();
        }
    }
}

fn over(line: &Line) -> bool {
    line.end.is_some()
}

#[tokio::test]
async fn totals_add_up_by_credential_and_model() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    for key in [
        "x-api-key: one",
        "authorization: Bearer two",
        "api-key: one",
    ] {
        let body = chat(2, false).to_string();
        let length = body.len();
        client
            .send(format!("POST {CHAT} HTTP/1.1\r\n{key}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"))
            .await;
        client.reply().await;
    }
    let totals = vendor.totals_by_credential();
    assert_eq!((totals["one"].output, totals["two"].output), (4, 2));
    assert_eq!(vendor.totals_by_model()["gpt-4o"].input, 12);
}

#[tokio::test]
async fn waiting_ends_with_the_bill_as_it_was() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    client.ask(CHAT, &json!({"model": "told-apart"})).await;
    let error = vendor
        .wait_for(|bill| bill.len() > 1, Duration::from_millis(20))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("told-apart"));
}
