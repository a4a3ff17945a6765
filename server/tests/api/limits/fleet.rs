//! Limits on several instances: what one has counted, the others know; and when Redis is away, each goes on with its share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    Bench, Pipe, Process, SOON, Setup, Store,
    gateway::{KEY, hello},
    window,
};

/// Two processes on the same stores; the second reaches Redis through a pipe.
async fn two(bench: &mut Bench) -> (Process, Process, Pipe, Pipe) {
    let redis = std::env::var("WEIR_TEST_REDIS_URL").unwrap();
    let through = async |bench: &Bench, name: &str| {
        let (pipe, url) = Pipe::before_url(&redis).await;
        let mut environment = bench.environment(name);
        environment.retain(|(name, _)| name != "WEIR_REDIS_URL");
        environment.push(("WEIR_REDIS_URL".to_owned(), url));
        (Process::start(&bench.stores, environment, &[]).await, pipe)
    };
    let (first, first_pipe) = through(bench, "one").await;
    bench.url.clone_from(&first.url);
    bench.admin_url.clone_from(&first.url);
    bench.apply(&Bench::usual_resources()).await;
    let (second, second_pipe) = through(bench, "two").await;
    // Each has to know of the other, for its share.
    let deadline = Instant::now() + SOON;
    loop {
        let list = bench
            .admin(reqwest::Method::GET, "/instances")
            .send()
            .await
            .unwrap();
        let list: Value = list.json().await.unwrap();
        if list["data"].as_array().unwrap().len() == 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{list}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (first, second, first_pipe, second_pipe)
}

async fn status(url: &str, http: &reqwest::Client) -> u16 {
    let call = http
        .post(format!("{url}/v1/chat/completions"))
        .bearer_auth(KEY);
    call.json(&hello("gpt-test"))
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

/// Applies a file, and waits until both instances have it.
async fn apply(bench: &Bench, file: &str) {
    bench.apply(file).await;
    let deadline = Instant::now() + SOON;
    loop {
        let list = bench
            .admin(reqwest::Method::GET, "/instances")
            .send()
            .await
            .unwrap();
        let list: Value = list.json().await.unwrap();
        if list["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["behind"] == 0)
        {
            return;
        }
        assert!(Instant::now() < deadline, "{list}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Many clients on both instances for a while, against so many requests a minute: never more than the limit allows, and nearly
/// all of it used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_on_two_instances_by_each_algorithm() {
    if !Store::cluster_is_there() {
        return;
    }
    // On a machine as busy as this one becomes, Redis' answer may take its time.
    let setup = Setup {
        environment: vec![("WEIR_REDIS_TIMEOUT", "5s".to_owned())],
        ..Setup::default()
    };
    let mut bench = Bench::without_gateway(Store::Cluster, setup).await;
    let (first, second, _one, _two) = two(&mut bench).await;
    // Per second in the short run, so that some windows pass.
    let (per, length) = window(
        ("second", Duration::from_secs(5)),
        ("minute", Duration::from_secs(120)),
    );
    let max = window(40, 600);
    for algorithm in [
        "token_bucket",
        "sliding_window",
        "fixed_window",
        "leaky_bucket",
    ] {
        let more = match algorithm {
            "token_bucket" => format!(", burst: {max}"),
            "leaky_bucket" => ", max_wait: 500ms".to_owned(),
            _ => String::new(),
        };
        let file = format!(
            "tenants: [{{name: acme, limits: [{{metric: requests, per: {per}, max: {max}, algorithm: {algorithm}{more}}}]}}]"
        );
        apply(&bench, &file).await;
        let served: Arc<parking_lot::Mutex<Vec<Instant>>> = Arc::default();
        let over = Arc::new(AtomicBool::new(false));
        let clients = (0..window(40, 200)).map(|client| {
            let (served, over) = (Arc::clone(&served), Arc::clone(&over));
            let url = if client % 2 == 0 {
                first.url.clone()
            } else {
                second.url.clone()
            };
            tokio::spawn(async move {
                let http = reqwest::Client::builder().no_proxy().build().unwrap();
                while !over.load(Relaxed) {
                    match status(&url, &http).await {
                        200 => served.lock().push(Instant::now()),
                        429 => tokio::time::sleep(Duration::from_millis(20)).await,
                        other => panic!("{other}"),
                    }
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        let began = Instant::now();
        tokio::time::sleep(length).await;
        over.store(true, Relaxed);
        for client in clients {
            client.await.unwrap();
        }
        let (served, took) = (served.lock().len() as f64, began.elapsed().as_secs_f64());
        let window_s = if per == "second" { 1.0 } else { 60.0 };
        let rate = f64::from(max) / window_s;
        let most = match algorithm {
            "token_bucket" => f64::from(max) + rate * took,
            // One at once, and what may wait at the end.
            "leaky_bucket" => 1.0 + rate * (took + 0.5),
            // Whole windows, and one that was begun before and one that has just begun.
            _ => f64::from(max) * ((took / window_s).ceil() + 1.0),
        };
        assert!(
            served <= most + 1.0,
            "{algorithm}: {served} of {most} in {took} s"
        );
        let least = f64::from(max) * (took / window_s).floor() * 0.9;
        assert!(
            served >= least,
            "{algorithm}: {served}, at least {least} in {took} s"
        );
        println!("{algorithm}: {served} served in {took:.2} s, at most {most:.0}");
    }
    drop((first, second));
}

/// Redis away, refused and as a black hole: no call waits long or fails for it, and both instances together serve no more than
/// the limit; when it is back, what they share counts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_instance_goes_on_with_its_share() {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = Bench::without_gateway(Store::Cluster, Setup::default()).await;
    let (first, second, one, other) = two(&mut bench).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    apply(
        &bench,
        "tenants: [{name: acme, limits: [{metric: requests, per: day, max: 40}]}]",
    )
    .await;
    let served = AtomicUsize::new(0);
    let call = async |url: &str, calls: usize| {
        for _ in 0..calls {
            let began = Instant::now();
            let status = status(url, &http).await;
            assert!([200, 429].contains(&status), "{status}");
            assert!(
                began.elapsed() < Duration::from_secs(2),
                "{:?}",
                began.elapsed()
            );
            served.fetch_add(usize::from(status == 200), Relaxed);
        }
    };
    call(&first.url, 6).await;
    call(&second.url, 6).await;
    assert_eq!(served.load(Relaxed), 12);
    one.cut();
    other.cut();
    call(&first.url, 40).await;
    call(&second.url, 40).await;
    // Each has a share of twenty, of which it had used six; Redis itself had seen twelve of forty.
    assert_eq!(served.load(Relaxed), 40);
    one.restore();
    other.restore();
    // What was served meanwhile was not told: Redis counts on from what it knew, and answers again.
    let back = Instant::now();
    while status(&first.url, &http).await != 200 {
        assert!(back.elapsed() < SOON, "Redis is back and is not asked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop((first, second));
}
