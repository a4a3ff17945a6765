//! Limits on several instances: what one has counted, the others know; and when Redis is away, each goes on with its share.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::support::{
    Bench, Crowd, Pair, Pipe, SOON, Setup, Store, apply_everywhere,
    gateway::{self, KEY},
    redis_cluster::RedisCluster,
    redis_server::RedisServer,
    window,
};

pub async fn status(url: &str, http: &reqwest::Client) -> u16 {
    gateway::status(http, url, KEY, "gpt-test").await
}

/// Many clients on both instances for a while, against so many requests a minute: never more than the limit allows, and nearly
/// all of it used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_on_two_instances_by_each_algorithm() {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = Bench::without_gateway(Store::Cluster, Setup::patient()).await;
    let pair = Pair::start(&mut bench).await;
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
        apply_everywhere(&bench, &file).await;
        let crowd = Crowd::limited_by(&pair.urls(), window(40, 200));
        let window_s = if per == "second" { 1.0 } else { 60.0 };
        let rate = f64::from(max) / window_s;
        let least = rate * length.as_secs_f64() * window(0.9, 0.98);
        let began = Instant::now();
        tokio::time::sleep(length).await;
        // A busy machine serves what a window of a second has free too late to use the next: in the short run it may take three
        // times as long.
        let late = began + length * window(3, 1);
        while (crowd.served() as f64) < least && Instant::now() < late {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (served, took) = (crowd.end().await as f64, began.elapsed().as_secs_f64());
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
        assert!(
            served >= least,
            "{algorithm}: {served}, at least {least} in {took} s"
        );
        println!("{algorithm}: {served} served in {took:.2} s, at most {most:.0}");
    }
    drop(pair);
}

/// Redis away, refused and as a black hole: no call waits long or fails for it, and both instances together serve no more than
/// the limit; when it is back, what they share counts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_instance_goes_on_with_its_share() {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = Bench::without_gateway(Store::Cluster, Setup::default()).await;
    let pair = Pair::start(&mut bench).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    apply_everywhere(
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
    call(&pair.first.url, 6).await;
    call(&pair.second.url, 6).await;
    assert_eq!(served.load(Relaxed), 12);
    pair.first_pipe.cut();
    pair.second_pipe.cut();
    call(&pair.first.url, 40).await;
    call(&pair.second.url, 40).await;
    // Each has a share of twenty, of which it had used six; Redis itself had seen twelve of forty.
    assert_eq!(served.load(Relaxed), 40);
    pair.first_pipe.restore();
    pair.second_pipe.restore();
    // Redis is told of what was served meanwhile before it is asked again: of three more there are three.
    apply_everywhere(
        &bench,
        "tenants: [{name: acme, limits: [{metric: requests, per: day, max: 43}]}]",
    )
    .await;
    let back = Instant::now();
    while served.load(Relaxed) < 43 {
        assert!(back.elapsed() < SOON, "Redis is back and is not asked");
        call(&pair.first.url, 1).await;
        call(&pair.second.url, 1).await;
    }
    call(&pair.first.url, 5).await;
    call(&pair.second.url, 5).await;
    assert_eq!(served.load(Relaxed), 43);
    drop(pair);
}

/// A Redis that is slow is waited for a little; one that takes what it is sent and says nothing is waited for three times.
// Threats: R6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_slow_or_silent_costs_little() {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = Bench::without_gateway(Store::Cluster, Setup::default()).await;
    let redis = std::env::var("WEIR_TEST_REDIS_URL").unwrap();
    let (pipe, url) = Pipe::before_url(&redis).await;
    bench.differs.push(("WEIR_REDIS_URL".to_owned(), url));
    bench
        .differs
        .push(("WEIR_REDIS_TIMEOUT".to_owned(), "1s".to_owned()));
    let process = bench.process().await;
    bench.apply(&Bench::usual_resources()).await;
    bench
        .apply("tenants: [{name: acme, limits: [{metric: requests, per: day, max: 40}]}]")
        .await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let calls = async |count: usize| {
        let began = Instant::now();
        let mut served = 0;
        for _ in 0..count {
            served += usize::from(status(&process.url, &http).await == 200);
        }
        (served, began.elapsed())
    };
    assert_eq!(calls(10).await.0, 10);
    pipe.slow(Duration::from_millis(40));
    let (served, took) = calls(5).await;
    assert_eq!(served, 5);
    assert!(
        took >= Duration::from_millis(5 * 80),
        "{took:?}: it was asked"
    );
    pipe.silence();
    let (served, took) = calls(15).await;
    assert_eq!(served, 15, "it goes on from what it has counted itself");
    // Three waits of a second, with time to spare for a busy machine, and not fifteen.
    assert!(took < Duration::from_secs(9), "{took:?}");
    pipe.restore();
    // Of forty thirty are used, and Redis is told so; what it counted of those whose answers did not come is used as well.
    let began = Instant::now();
    let mut more = 0;
    while more < 7 {
        more += calls(1).await.0;
        assert!(
            began.elapsed() < SOON,
            "Redis is back and is not asked: {more}"
        );
    }
    while calls(1).await.0 == 1 {
        more += 1;
    }
    assert!((7..=10).contains(&more), "{more}");
    drop(process);
}

/// With the database and Redis away, calls go on; when both are back, every one of them is in the books.
// Threats: R6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_both_stores_away_no_call_fails_and_none_is_lost() {
    if !Store::cluster_is_there() {
        return;
    }
    let setup = Setup {
        outages: true,
        ..Setup::default()
    };
    let mut bench = Bench::without_gateway(Store::Cluster, setup).await;
    let redis = std::env::var("WEIR_TEST_REDIS_URL").unwrap();
    let (pipe, url) = Pipe::before_url(&redis).await;
    bench.differs.push(("WEIR_REDIS_URL".to_owned(), url));
    let process = bench.process().await;
    bench.apply(&Bench::usual_resources()).await;
    bench
        .apply("tenants: [{name: acme, limits: [{metric: requests, per: second, max: 100000}, {metric: concurrent, max: 1000}]}]")
        .await;
    let crowd = Crowd::served_by(std::slice::from_ref(&process.url), 8);
    let length = window(Duration::from_secs(1), Duration::from_secs(30));
    tokio::time::sleep(length).await;
    let outage = bench.lose_database().await;
    pipe.silence();
    tokio::time::sleep(length * 2).await;
    outage.end().await;
    pipe.restore();
    tokio::time::sleep(length).await;
    let served = crowd.end().await;
    let books = bench.books_when(|books| books.events.len() == served).await;
    books.assert_sums();
    assert_eq!(bench.vendor.bill().len(), served);
    drop(process);
}

/// On a Redis Cluster the counts of a tenant lie together, those of others elsewhere, and all of them hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_on_a_redis_cluster() {
    if !Store::cluster_is_there() {
        return;
    }
    let redis = tokio::task::spawn_blocking(RedisCluster::start)
        .await
        .unwrap();
    let setup = Setup {
        environment: vec![
            ("WEIR_REDIS_URL", redis.url.clone()),
            ("WEIR_REDIS_CLUSTER", "true".to_owned()),
            ("WEIR_REDIS_TIMEOUT", "5s".to_owned()),
        ],
        ..Setup::default()
    };
    let bench = Bench::start(Store::Cluster, setup).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let four = "limits: [{metric: requests, per: hour, max: 9, algorithm: ALGORITHM}, {metric: tokens, per: hour, max: 100000, each: key},
        {metric: concurrent, max: 3}, {metric: requests, per: hour, max: 50, each: ip}]";
    for algorithm in [
        "token_bucket",
        "sliding_window",
        "fixed_window",
        "leaky_bucket",
    ] {
        let limits = four.replace("ALGORITHM", algorithm);
        // A leaky bucket of nine an hour takes one, and the next would wait for minutes.
        let expected = if algorithm == "leaky_bucket" { 1 } else { 9 };
        let file = format!(
            "{{platform: {{{limits}}}, models: [{{name: gpt-test, {limits}}}], channels: [{{name: vendor, {limits}}}], tenants: [{{name: acme, {limits}}}]}}"
        );
        bench.apply(&file).await;
        let mut served = 0;
        for _ in 0..12 {
            served += usize::from(status(&bench.url, &http).await == 200);
        }
        assert_eq!(served, expected, "{algorithm}");
        bench.apply("{platform: {limits: []}, models: [{name: gpt-test, limits: []}], channels: [{name: vendor, limits: []}], tenants: [{name: acme, limits: []}]}").await;
    }
    // Budgets too: of the tenant, which has had 28 calls by now, and of the channel under another tag.
    bench
        .apply("tenants: [{name: acme, budgets: [{requests: 32, period: month}, {tokens: 100000, period: day}]}]")
        .await;
    let statuses = async |count: usize| {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(status(&bench.url, &http).await);
        }
        statuses
    };
    assert_eq!(statuses(6).await, [200, 200, 200, 200, 429, 429]);
    bench
        .apply("{tenants: [{name: acme, budgets: []}], channels: [{name: vendor, budgets: [{requests: 34, period: forever}]}]}")
        .await;
    assert_eq!(statuses(3).await, [200, 200, 429]);
    let keys = tokio::task::spawn_blocking(move || (redis.keys(), redis))
        .await
        .unwrap()
        .0;
    assert!(
        keys.iter().filter(|count| **count > 0).count() >= 2,
        "{keys:?}"
    );
}

/// Redis loses its counts, or comes back with those of long ago: each instance puts back what it has used, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_has_lost_is_counted_again() {
    if !Store::cluster_is_there() {
        return;
    }
    for is_restored in [false, true] {
        let mut bench = Bench::without_gateway(Store::Cluster, Setup::patient()).await;
        let mut redis = RedisServer::start();
        let pair = Pair::on(&mut bench, &redis.url).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let tenant = "tenants: [{name: acme, limits: [{metric: requests, per: day, max: 40, algorithm: token_bucket},
            {metric: requests, per: day, max: 40, algorithm: sliding_window}, {metric: requests, per: day, max: 40, algorithm: fixed_window},
            {metric: requests, per: day, max: 40, each: key}]}]";
        apply_everywhere(&bench, tenant).await;
        let served = async |calls: usize| {
            let mut served = 0;
            for at in 0..calls {
                served += usize::from(status(&pair.urls()[at % 2], &http).await == 200);
            }
            served
        };
        assert_eq!(served(10).await, 10);
        redis.dump();
        assert_eq!(served(15).await, 15);
        if is_restored {
            redis.kill();
            redis.start_again();
        } else {
            redis.empty();
        }
        // Both put back what they know.
        let began = Instant::now();
        while redis.marks("e:").len() < 2 * 4 {
            assert!(began.elapsed() < SOON, "{:?}", redis.marks("e:"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(served(30).await, 15, "restored: {is_restored}");
    }
}
