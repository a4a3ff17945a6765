//! What a process holds: memory, after what made it hold much, and files.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use weir_upstream::Behaviour;

use crate::support::{
    Bench, SOON, Setup, Store,
    gateway::{KEY, hello},
};

/// Calls under way together, and what each says.
const CALLS: usize = 300;
const BODY_BYTES: usize = 150_000;

/// Large bodies of many calls at once leave the process as it was, though nobody calls it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_are_given_back() {
    let mut bench = Bench::without_gateway(Store::Embedded, Setup::default()).await;
    let process = bench.process().await;
    bench.apply(&Bench::usual_resources()).await;
    // Until all have been sent on.
    let slow = Behaviour::tokens(10).with_first_byte_delay_ms(3000);
    bench.vendor.set_default(slow);
    let mut large = hello("gpt-test");
    large["messages"][0]["content"] = "word ".repeat(BODY_BYTES / 5).into();
    let url = format!("{}/v1/chat/completions", process.url);
    let calls = async |count: usize| {
        let calls = (0..count).map(async |_| {
            let call = bench.http.post(&url).bearer_auth(KEY).json(&large);
            assert_eq!(call.send().await.unwrap().status(), 200);
        });
        join_all(calls).await;
    };
    // What is made once, and what the allocator cannot put together again, is there.
    for _ in 0..3 {
        calls(CALLS).await;
    }
    let mut before = process.memory_bytes();
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = process.memory_bytes();
        if now >= before {
            break;
        }
        before = now;
    }
    let mut most = before;
    let watched = async {
        loop {
            most = most.max(process.memory_bytes());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = calls(CALLS) => {}
        () = watched => {}
    }
    let all_bytes = (CALLS * BODY_BYTES) as u64;
    assert!(most > before + all_bytes, "{before} became {most} only");
    let deadline = Instant::now() + 3 * SOON;
    loop {
        let now = process.memory_bytes();
        if now < before + all_bytes / 4 {
            break println!("{before} became {most}, then {now}");
        }
        assert!(
            Instant::now() < deadline,
            "{before} became {most}, then {now}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The system lets a process have so many files: a stream takes one for its caller and one for its upstream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_stream_takes_two_files() {
    const STREAMS: usize = 100;
    let mut bench = Bench::without_gateway(Store::Embedded, Setup::default()).await;
    let process = bench.process().await;
    bench.apply(&Bench::usual_resources()).await;
    let endless = Behaviour::tokens(1_000).with_chunk_delay_ms(100);
    bench.vendor.set_default(endless);
    let url = format!("{}/v1/chat/completions", process.url);
    let mut ask = hello("gpt-test");
    ask["stream"] = true.into();
    let open = async |count: usize| {
        let begun = (0..count).map(async |_| {
            let call = bench.http.post(&url).bearer_auth(KEY).json(&ask);
            let mut stream = call.send().await.unwrap();
            assert_eq!(stream.status(), 200);
            stream.chunk().await.unwrap().unwrap();
            stream
        });
        join_all(begun).await
    };
    // The databases' and the spool's files are open.
    let first = open(10).await;
    let before = process.open_files();
    let streams = open(STREAMS).await;
    let more = process.open_files() - before;
    assert!(
        (2 * STREAMS..2 * STREAMS + 20).contains(&more),
        "{more} files for {STREAMS} streams"
    );
    drop((first, streams));
}
