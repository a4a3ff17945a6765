//! An hour of everything at once, and nothing grows: whole answers, streams, streams that their callers leave, refusals, and a
//! vendor that fails now and then. A minute of it in `make test`; `make soak` runs it at full length.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use weir_upstream::{Behaviour, Fault};

use crate::support::{
    Bench, Process, Setup, Store,
    gateway::{KEY, hello, hello_stream},
};

/// Clients of each kind; each pauses between its calls, so that the machine is half idle.
const CLIENTS: usize = 4;
/// What memory may differ by: what an allocator keeps, and books that wait.
const SLACK_BYTES: u64 = 24 << 20;
const SLACK_FILES: usize = 24;

/// What a process has of what must not grow.
#[derive(Debug, Clone, Copy)]
struct Sample {
    bytes: u64,
    files: usize,
    threads: usize,
}

impl Sample {
    fn of(process: &Process) -> Self {
        Self {
            bytes: process.memory_bytes(),
            files: process.open_files(),
            threads: process.threads(),
        }
    }
}

/// Three quarters of a minute, or as many seconds as `WEIR_SOAK_SECONDS` says.
fn length() -> Duration {
    let seconds = std::env::var("WEIR_SOAK_SECONDS");
    Duration::from_secs(seconds.map_or(45, |seconds| seconds.parse().expect("a whole number")))
}

async fn call(url: &str, http: &reqwest::Client, kind: usize, at: usize) {
    let post = |key: &str, body| {
        let call = http
            .post(format!("{url}/v1/chat/completions"))
            .bearer_auth(key);
        call.json(&body).send()
    };
    match kind {
        0 => {
            let answer = post(KEY, hello("gpt-test")).await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.bytes().await.unwrap();
        }
        1 => {
            let answer = post(KEY, hello_stream("gpt-streamed")).await.unwrap();
            assert_eq!(answer.status(), 200);
            let text = answer.text().await.unwrap();
            assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        }
        // Left after a piece, or before any.
        2 => {
            let mut answer = post(KEY, hello_stream("gpt-streamed")).await.unwrap();
            if at.is_multiple_of(2) {
                answer.chunk().await.unwrap();
            }
        }
        3 => {
            let answer = post("wk-nobody-0123456789-abcdefgh", hello("gpt-test"));
            // So many a minute that they are turned away at the door.
            assert!([401, 429].contains(&answer.await.unwrap().status().as_u16()));
        }
        // The vendor breaks off; however that is told, the call ends.
        _ => {
            let answer = post(KEY, hello_stream("gpt-broken")).await.unwrap();
            answer.bytes().await.ok();
        }
    }
}

async fn soak(kind: Store) {
    let mut bench = Bench::without_gateway(kind, Setup::default()).await;
    let process = bench.process().await;
    bench.apply(&Bench::usual_resources()).await;
    bench
        .apply(
            "{models: [{name: gpt-streamed, prices: {input: '1', output: '2'}, routes: [{channel: vendor}]}, {name: gpt-broken, prices: {input: '1', output: '2'}, routes: [{channel: vendor}]}],
             tenants: [{name: acme, limits: [{metric: requests, per: second, max: 100000}, {metric: concurrent, max: 1000}], budgets: [{requests: 1000000000, period: month}]}]}",
        )
        .await;
    bench.vendor.set_default(Behaviour::tokens(20));
    bench
        .vendor
        .on_model("gpt-streamed", Behaviour::tokens(20).with_chunk_delay_ms(2));
    bench.vendor.on_model(
        "gpt-broken",
        Behaviour::tokens(20).with_fault(Fault::Reset(weir_upstream::Cut::AfterChunks(3))),
    );
    let (over, made) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients = (0..5 * CLIENTS).map(|client| {
        let (over, made, url) = (Arc::clone(&over), Arc::clone(&made), bench.url.clone());
        tokio::spawn(async move {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let mut at = 0;
            while !over.load(Relaxed) {
                call(&url, &http, client % 5, at).await;
                made.fetch_add(1, Relaxed);
                at += 1;
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    let length = length();
    let began = Instant::now();
    // What is made once and kept is there after a third.
    let mut samples: Vec<Sample> = Vec::new();
    while began.elapsed() < length {
        tokio::time::sleep(length / 30).await;
        samples.push(Sample::of(&process));
    }
    over.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let most = |samples: &[Sample]| Sample {
        bytes: samples.iter().map(|sample| sample.bytes).max().unwrap(),
        files: samples.iter().map(|sample| sample.files).max().unwrap(),
        threads: samples.iter().map(|sample| sample.threads).max().unwrap(),
    };
    let third = samples.len() / 3;
    let (early, late) = (
        most(&samples[third..2 * third]),
        most(&samples[2 * third..]),
    );
    println!("{made:?} calls: {early:?} became {late:?}");
    assert!(
        late.bytes <= early.bytes + SLACK_BYTES,
        "{early:?} became {late:?}"
    );
    assert!(
        late.files <= early.files + SLACK_FILES,
        "{early:?} became {late:?}"
    );
    assert!(
        late.threads <= early.threads + 2,
        "{early:?} became {late:?}"
    );
    let books = bench
        .books_when(|books| books.events.len() >= made.load(Relaxed) / 2)
        .await;
    books.assert_sums();
    process.terminate();
    assert_eq!(process.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_grows_embedded() {
    soak(Store::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_grows_cluster() {
    if Store::cluster_is_there() {
        soak(Store::Cluster).await;
    }
}
