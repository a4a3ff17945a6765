//! What stands in Redis, and what comes from there: no names of people's, and nothing that is believed.

use crate::{
    fleet::instances,
    support::{Bench, SOON, Setup, Store, gateway::hello},
};

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
    let versions = async || instances(&bench).await[0]["catalog_version"].clone();
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
