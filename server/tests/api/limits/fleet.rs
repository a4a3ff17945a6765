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
    Bench, Pair, Pipe, SOON, Setup, Store, apply_everywhere,
    gateway::{KEY, hello},
    redis_cluster::RedisCluster,
    window,
};

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
        let served: Arc<parking_lot::Mutex<Vec<Instant>>> = Arc::default();
        let over = Arc::new(AtomicBool::new(false));
        let clients = (0..window(40, 200)).map(|client| {
            let (served, over) = (Arc::clone(&served), Arc::clone(&over));
            let url = if client % 2 == 0 {
                pair.first.url.clone()
            } else {
                pair.second.url.clone()
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
    // What was served meanwhile was not told: Redis counts on from what it knew, and answers again.
    let back = Instant::now();
    while status(&pair.first.url, &http).await != 200 {
        assert!(back.elapsed() < SOON, "Redis is back and is not asked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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
    // This instance has a share of forty, of which thirty are used; Redis knows of fifteen. As long as nobody has found it again ten
    // more are let through, then as many as Redis has left.
    let began = Instant::now();
    let mut more = 0;
    while more < 25 {
        more += calls(1).await.0;
        assert!(
            began.elapsed() < SOON,
            "Redis is back and is not asked: {more}"
        );
    }
    while calls(1).await.0 == 1 {
        more += 1;
    }
    assert!((25..=35).contains(&more), "{more}");
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
    let (over, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients = (0..8).map(|_| {
        let (over, served, url) = (Arc::clone(&over), Arc::clone(&served), process.url.clone());
        tokio::spawn(async move {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            while !over.load(Relaxed) {
                assert_eq!(status(&url, &http).await, 200);
                served.fetch_add(1, Relaxed);
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    let length = window(Duration::from_secs(1), Duration::from_secs(30));
    tokio::time::sleep(length).await;
    let outage = bench.lose_database().await;
    pipe.silence();
    tokio::time::sleep(length * 2).await;
    outage.end().await;
    pipe.restore();
    tokio::time::sleep(length).await;
    over.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let served = served.load(Relaxed);
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

/// Every command that Redis is sent for a while.
struct Monitor(tokio::io::BufReader<tokio::net::TcpStream>);

impl Monitor {
    async fn start() -> Self {
        use tokio::io::AsyncWriteExt as _;
        let url = std::env::var("WEIR_TEST_REDIS_URL").unwrap();
        let address = url
            .trim_start_matches("redis://")
            .trim_end_matches('/')
            .to_owned();
        let mut redis = tokio::net::TcpStream::connect(address).await.unwrap();
        redis.write_all(b"MONITOR\r\n").await.unwrap();
        let mut monitor = Self(tokio::io::BufReader::new(redis));
        assert_eq!(monitor.line().await, "+OK");
        monitor
    }

    async fn line(&mut self) -> String {
        use tokio::io::AsyncBufReadExt as _;
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }
}

/// Names never come into a key, whatever stands in them: only ids and addresses.
// Threats: R2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_comes_into_a_key_of_redis() {
    if !Store::cluster_is_there() {
        return;
    }
    let bench = Bench::start(Store::Cluster, Setup::default()).await;
    let prefix = bench.stores.variable("WEIR_REDIS_PREFIX").unwrap();
    let odd = "{a}:*:b?[c]";
    let limits = r#"limits: [{metric: requests, per: hour, max: 100, each: ip}, {metric: requests, per: hour, max: 100, each: user, algorithm: sliding_window},
        {metric: tokens, per: hour, max: 100000, each: model, algorithm: fixed_window}, {metric: concurrent, max: 5, each: key}]"#;
    let budgets = "budgets: [{amount: '5', period: month}]";
    let value = "wk-odd-0123456789-abcdefghij";
    let mut monitor = Monitor::start().await;
    let file = format!(
        "models: [{{name: '{odd}', routes: [{{channel: vendor}}], prices: {{input: '1'}}}}]
platform: {{limits: [{{metric: requests, per: hour, max: 1000, each: ip}}]}}
tenants: [{{name: '{odd}', {limits}, {budgets}, groups: [{{name: '{odd}', {limits}, {budgets}}}], users: [{{email: a@b.example, name: '{odd}', groups: ['{odd}']}}],
  keys: [{{name: '{odd}', user: a@b.example, value: {value}, {budgets}}}]}}]"
    );
    bench.apply(&file).await;
    for _ in 0..3 {
        let call = bench
            .http
            .post(format!("{}/v1/chat/completions", bench.url));
        let answer = call
            .bearer_auth(value)
            .json(&hello(odd))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }
    let hex = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (mut seen, mut budgets) = (0, 0);
    while seen < 20 || budgets < 3 {
        let line = tokio::time::timeout(SOON, monitor.line())
            .await
            .expect("further keys");
        for word in line.split('"').filter(|word| word.starts_with(&prefix)) {
            let is_channel = [":catalog:look", ":budgets:builds"]
                .iter()
                .any(|channel| word.ends_with(channel));
            if is_channel || word.starts_with(&format!("{prefix}:{{builds}}:")) {
                continue;
            }
            let rest = word
                .strip_prefix(&format!("{prefix}:{{"))
                .unwrap_or_else(|| panic!("{line}"));
            let (tag, rest) = rest.split_once("}:").unwrap_or_else(|| panic!("{line}"));
            assert!(hex(tag), "{line}");
            let (kind, rest) = rest.split_once(':').unwrap();
            if kind == "a" {
                // What budgets count: a thing, what of it is counted, the period, and when that began.
                let parts: Vec<&str> = rest.split(':').collect();
                let is_thing = ["t", "c"].contains(&parts[0]) || hex(&parts[0][1..]);
                assert!(parts.len() == 4 && is_thing, "{line}");
                assert!(parts[3].parse::<i64>().is_ok(), "{line}");
                budgets += 1;
                continue;
            }
            assert!(["r", "b"].contains(&kind), "{line}");
            let (id, value) = rest.split_once(':').unwrap_or((rest, ""));
            let is_value = value.is_empty()
                || hex(&value[1..])
                || value[1..].parse::<std::net::IpAddr>().is_ok();
            assert!(hex(id) && is_value, "{line}");
            seen += 1;
        }
        assert!(!line.contains("[c]"), "{line}");
    }
}

/// What is published is a hint to look and nothing else: forged words change no picture, and a flood of them is looked at now and
/// then only.
// Threats: R3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_words_over_redis_change_nothing() {
    if !Store::cluster_is_there() {
        return;
    }
    let bench = Bench::start(Store::Cluster, Setup::default()).await;
    let prefix = bench.stores.variable("WEIR_REDIS_PREFIX").unwrap();
    let redis = redis::Client::open(std::env::var("WEIR_TEST_REDIS_URL").unwrap()).unwrap();
    let mut redis = redis.get_multiplexed_async_connection().await.unwrap();
    let versions = async || {
        let list = bench
            .admin(reqwest::Method::GET, "/instances")
            .send()
            .await
            .unwrap();
        let list: Value = list.json().await.unwrap();
        list["data"][0]["catalog_version"].clone()
    };
    let before = versions().await;
    let words = [
        "look",
        "99999999",
        "-1",
        "{\"version\": 9223372036854775807}",
        "\0\r\n",
    ];
    for at in 0..200 {
        let mut flood = redis::pipe();
        for _ in 0..100 {
            flood
                .cmd("PUBLISH")
                .arg(format!("{prefix}:catalog:look"))
                .arg(words[at % words.len()])
                .ignore();
        }
        let () = flood.query_async(&mut redis).await.unwrap();
        if at % 40 == 0 {
            assert_eq!(bench.chat(hello("gpt-test")).await.status(), 200);
        }
    }
    assert_eq!(versions().await, before);
    bench
        .apply("tenants: [{name: acme, keys: [{name: laptop, enabled: false}]}]")
        .await;
    assert_eq!(bench.chat(hello("gpt-test")).await.status(), 401);
}
