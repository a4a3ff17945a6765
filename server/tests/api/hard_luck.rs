//! What no caller and no upstream does: a disk that is full, a clock that jumps (threats.md, R4).

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;
use weir_upstream::Behaviour;

use crate::support::{
    Bench, Books, Clock, Mark, Setup, Store,
    gateway::{hello, hello_stream},
    marked::{billed, booked},
    window,
};

/// Three times the promised five seconds.
const RECOVERY: Duration = Duration::from_secs(15);
/// A disk on which the database, the spool and the record of calls in flight have room for a while.
const DISK_BYTES: u64 = 24 << 20;

/// Writes until the disk takes no more.
fn fill(ballast: &Path) {
    let mut file = File::create(ballast).unwrap();
    let full = loop {
        if let Err(error) = file.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::StorageFull);
}

async fn call(bench: &Bench, mark: Mark) -> reqwest::Response {
    let body = match mark.0 % 2 {
        0 => hello("gpt-test"),
        _ => hello_stream("gpt-test"),
    };
    let call = mark.put_on(bench.post("/v1/chat/completions")).json(&body);
    call.send().await.unwrap()
}

/// How many calls ended in a way, those that share an event included.
fn count(books: &Books, outcome: &str) -> i64 {
    let events = books.events.iter();
    let alike = events.filter(|event| event.outcome == outcome);
    alike.map(|event| i64::from(event.count)).sum()
}

/// While its disk is full the gateway lives, serves what it can write down, and says why it serves no more; with room it
/// goes on as before, and nothing that was served is missing.
async fn a_full_disk(kind: Store) {
    let mut bench = Bench::without_gateway(kind, Setup::default()).await;
    let process = bench.process_on_disk_of(DISK_BYTES).await;
    bench.apply(&Bench::usual_resources()).await;

    let mut marks = (0..).map(Mark);
    let mut served = Vec::new();
    let mut refused = 0;
    for round in 0..window(10, 50) {
        let ballast = bench.data().join("ballast");
        fill(&ballast);
        let deadline = Instant::now() + RECOVERY;
        let refused_before = refused;
        while refused < refused_before + 5 {
            let mark = marks.next().unwrap();
            let answer = call(&bench, mark).await;
            if answer.status() == 200 {
                answer.bytes().await.unwrap();
                served.push(mark);
            } else {
                assert_eq!(answer.status(), 503, "round {round}");
                let body: Value = answer.json().await.unwrap();
                assert_eq!(body["error"]["code"], "spool_full");
                refused += 1;
            }
            assert!(Instant::now() < deadline, "the disk never was full");
        }
        let health = bench.http.get(format!("{}/health", bench.url)).send();
        assert_eq!(health.await.unwrap().status(), 200, "it lives");

        std::fs::remove_file(&ballast).unwrap();
        let deadline = Instant::now() + RECOVERY;
        loop {
            let mark = marks.next().unwrap();
            let answer = call(&bench, mark).await;
            if answer.status() == 200 {
                answer.bytes().await.unwrap();
                served.push(mark);
                break;
            }
            refused += 1;
            assert!(Instant::now() < deadline, "it never recovered");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // What had no room on the disk was held in memory until there was.
    let calls = served.len() as i64;
    let all_there =
        |books: &Books| count(books, "ok") >= calls && count(books, "refused") >= refused;
    let books = bench.books_when(all_there).await;
    assert_eq!(count(&books, "refused"), refused);
    let (events, bill) = (booked(&books), billed(&bench.vendor));
    assert_eq!(bill.len(), served.len(), "nothing leaves unrecorded");
    for mark in &served {
        let (event, line) = (events[mark], &bill[mark][0]);
        assert_eq!(event.outcome, "ok");
        assert_eq!(
            (event.input_tokens as u64, event.output_tokens as u64),
            (line.tokens.input, line.tokens.output)
        );
    }
    books.assert_sums();
    process.terminate();
    assert_eq!(process.ended().await, Some(0));
}

/// Threats: R4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_no_event_and_no_process_embedded() {
    a_full_disk(Store::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_no_event_and_no_process_cluster() {
    if Store::cluster_is_there() {
        a_full_disk(Store::Cluster).await;
    }
}

/// The clock jumps ahead and back, beyond the months that tables were made for: calls go on, those under way are not cut, each is
/// booked once with the time that it took, and the sums hold.
async fn a_jumping_clock(kind: Store) {
    let folder = tempfile::tempdir().unwrap();
    let (clock, environment) = Clock::new(folder.path());
    let setup = Setup {
        environment,
        ..Setup::default()
    };
    let mut bench = Bench::without_gateway(kind, setup).await;
    let process = bench.process().await;
    bench.apply(&Bench::usual_resources()).await;
    bench
        .vendor
        .on_model("gpt-same", Behaviour::tokens(24).with_chunk_delay_ms(10));

    let mut marks = (0..).map(Mark);
    let mut made = Vec::new();
    for offset in ["+40d", "-40d", "+1y", "-1y", "+0"] {
        // One that begins before the jump and ends behind it.
        let mark = marks.next().unwrap();
        let body = hello_stream("gpt-same");
        let begun = mark.put_on(bench.post("/v1/chat/completions")).json(&body);
        let mut answer = begun.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut text = answer.chunk().await.unwrap().unwrap().to_vec();
        clock.set(offset);
        while let Some(piece) = answer.chunk().await.unwrap() {
            text.extend_from_slice(&piece);
        }
        assert!(text.ends_with(b"data: [DONE]\n\n"), "{offset}");
        made.push(mark);
        for _ in 0..4 {
            let mark = marks.next().unwrap();
            let answer = call(&bench, mark).await;
            assert_eq!(answer.status(), 200, "{offset}");
            answer.bytes().await.unwrap();
            made.push(mark);
        }
        // Each time zone of the clock has its bookings before the next one begins.
        let books = bench.books_when(|books| books.events.len() >= made.len());
        books.await.assert_sums();
    }
    let books = bench.books().await;
    let (events, bill) = (booked(&books), billed(&bench.vendor));
    assert_eq!((events.len(), books.events.len()), (made.len(), made.len()));
    for mark in &made {
        let (event, line) = (events[mark], &bill[mark][0]);
        assert_eq!(event.outcome, "ok");
        assert_eq!(
            (event.input_tokens as u64, event.output_tokens as u64),
            (line.tokens.input, line.tokens.output)
        );
        let took = Duration::from_micros(event.total_us as u64);
        assert!(took < RECOVERY, "{took:?}");
    }
    // Each is dated as the clock stood, whatever it had said before.
    let started = || books.events.iter().map(|event| event.started_ms);
    let apart_ms = started().max().unwrap() - started().min().unwrap();
    assert!(apart_ms > 700 * 86_400_000, "the clock did jump, both ways");
    process.terminate();
    assert_eq!(process.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_cuts_no_call_and_loses_no_event_embedded() {
    a_jumping_clock(Store::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_cuts_no_call_and_loses_no_event_cluster() {
    if Store::cluster_is_there() {
        a_jumping_clock(Store::Cluster).await;
    }
}
