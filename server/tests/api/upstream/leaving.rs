//! Callers who leave: their upstream call ends at once, and what was generated is booked.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use weir_upstream::{Behaviour, Cut, Fault};

use super::{MODEL, bench, plain, received, three_times};
use crate::support::{
    Bench, Raw, SOON,
    gateway::{KEY, hello, hello_stream},
    window,
};

/// What is promised for the upstream's end.
const PROMISED: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
enum How {
    Fin,
    Rst,
}

const BOTH: [How; 2] = [How::Fin, How::Rst];

/// Leaves, and says how long after that the vendor noticed. The socket is held where leaving is half a close.
async fn leave(bench: &Bench, mut client: Raw, how: How, serial: u64) -> Duration {
    use tokio::io::AsyncWriteExt as _;
    let before = Instant::now();
    let held = match how {
        How::Fin => {
            client.0.shutdown().await.unwrap();
            Some(client)
        }
        How::Rst => {
            client.reset();
            None
        }
    };
    let left = bench.vendor.client_left(serial, SOON).await.unwrap();
    drop(held);
    left.saturating_duration_since(before)
}

#[tokio::test]
async fn leaving_before_the_head_ends_the_upstream_call() {
    for how in BOTH {
        let bench = bench(&plain()).await;
        for body in [hello(MODEL), hello_stream(MODEL)] {
            bench
                .vendor
                .push(Behaviour::fault(Fault::Hang(Cut::BeforeHead)));
            let mut client = Raw::connect(&bench.url).await;
            client
                .post("/v1/chat/completions", KEY, &body.to_string())
                .await;
            let calls = bench.vendor.bill().len();
            let bill = received(&bench.vendor, calls.max(1)).await;
            let serial = bill.last().unwrap().serial;
            // A silent second; shorter in `make test`, since nothing happens in it.
            tokio::time::sleep(window(Duration::from_millis(150), PROMISED)).await;
            let after = leave(&bench, client, how, serial).await;
            assert!(after < three_times(PROMISED), "{how:?} {after:?}");
            bench.vendor.reset();
        }
        let books = bench.books_when(|books| books.events.len() == 2).await;
        for event in &books.events {
            assert_eq!(event.outcome, "cut_by_client", "{how:?}");
            assert!(event.estimated && event.input_tokens > 0, "{event:?}");
            // What the model may have done in secret: 40 tokens a second where nothing is known of it.
            assert!((3..200).contains(&event.output_tokens), "{event:?}");
        }
    }
}

#[tokio::test]
async fn leaving_in_the_middle_of_a_stream_ends_the_upstream_call_and_is_booked_as_generated() {
    for how in BOTH {
        let bench = bench(&plain()).await;
        bench
            .vendor
            .push(Behaviour::tokens(2_000).with_chunk_delay_ms(10));
        let mut client = Raw::connect(&bench.url).await;
        client
            .post(
                "/v1/chat/completions",
                KEY,
                &hello_stream(MODEL).to_string(),
            )
            .await;
        let mut read = String::new();
        while read.matches("data: ").count() < 12 {
            read += &client.read_until("\n\n").await;
        }
        let seen =
            read.matches("\"content\":").count() - usize::from(read.contains("\"content\":\"\""));
        let after = leave(&bench, client, how, 1).await;
        assert!(after < three_times(PROMISED), "{how:?} {after:?}");
        let books = bench.books_when(|books| books.events.len() == 1).await;
        let (event, line) = (books.only(), &bench.vendor.bill()[0]);
        assert_eq!(
            (event.outcome.as_str(), event.status),
            ("cut_by_client", 499),
            "{how:?}"
        );
        assert!(event.estimated);
        let booked = event.output_tokens as u64;
        assert!(booked >= seen as u64, "{booked} booked, {seen} read");
        // What was on the wire when the client left is the vendor's to bill and nobody's to see.
        let billed = line.tokens.output;
        assert!(
            booked <= billed && billed - booked < 20,
            "{booked} booked, {billed} billed"
        );
        books.assert_sums();
    }
}

#[tokio::test]
async fn leaving_without_having_read_ends_the_upstream_call() {
    for how in BOTH {
        let bench = bench(&plain()).await;
        // Comments cost nobody anything to count.
        let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"}}]}\n\n";
        let filler = format!(": {}\n\n", "w".repeat(8_000)).repeat(3_000);
        bench
            .vendor
            .push(Behaviour::body(format!("{event}{filler}")));
        let mut client = Raw::connect(&bench.url).await;
        client
            .post(
                "/v1/chat/completions",
                KEY,
                &hello_stream(MODEL).to_string(),
            )
            .await;
        client.read_until("\r\n\r\n").await;
        let mut written = 0;
        while bench.vendor.bill()[0].pieces > written {
            written = bench.vendor.bill()[0].pieces;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        let after = leave(&bench, client, how, 1).await;
        assert!(after < three_times(PROMISED), "{how:?} {after:?}");
        let books = bench.books_when(|books| books.events.len() == 1).await;
        assert_eq!(books.only().outcome, "cut_by_client", "{how:?}");
        assert!(books.only().output_tokens > 0);
    }
}

/// B6: at many offsets, many at once; each is booked once, with at least what the caller can have read.
/// Threats: B6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_at_any_byte_is_booked_once_and_not_for_less_than_was_read() {
    let bench = bench(&plain()).await;
    bench
        .vendor
        .set_default(Behaviour::tokens(400).with_chunk_delay_ms(5));
    let leave_at = |bytes: usize, how: How| {
        let url = bench.url.clone();
        async move {
            let mut client = Raw::connect(&url).await;
            let body = hello_stream(MODEL).to_string();
            client.post("/v1/chat/completions", KEY, &body).await;
            let mut read = vec![0; bytes];
            client.0.read_exact(&mut read).await.unwrap();
            match how {
                How::Fin => client.leave().await,
                How::Rst => client.reset(),
            }
            let text = String::from_utf8_lossy(&read).into_owned();
            let head = text.to_ascii_lowercase();
            let id = head.split("\r\nx-request-id: ").nth(1);
            let id = id.and_then(|rest| rest.get(..36)).map(str::to_owned);
            let tokens = text
                .matches("\"content\":\"")
                .count()
                .saturating_sub(1 + text.matches("\"content\":\"\"").count());
            (id, tokens)
        }
    };
    let calls = (0..120).map(|at| leave_at(at * 35, BOTH[at % 2]));
    let left = futures_util::future::join_all(calls).await;
    let books = bench.books_when(|books| books.events.len() == 120).await;
    for (id, tokens) in left {
        let Some(id) = id else { continue };
        let found: Vec<_> = books
            .events
            .iter()
            .filter(|event| event.id.to_string() == id)
            .collect();
        let [event] = found[..] else {
            panic!("{} events of {id}", found.len());
        };
        assert_eq!(event.outcome, "cut_by_client");
        assert!(
            event.output_tokens as usize >= tokens,
            "{tokens} read: {event:?}"
        );
    }
    assert!(
        books
            .events
            .iter()
            .all(|event| event.outcome == "cut_by_client")
    );
    let lines = bench
        .vendor
        .wait_for(
            |bill| bill.iter().all(|line| line.end.is_some()),
            three_times(PROMISED),
        )
        .await
        .unwrap();
    // Who leaves first of all may be gone before anything was asked.
    assert!((110..=120).contains(&lines.len()), "{}", lines.len());
    books.assert_sums();
}
