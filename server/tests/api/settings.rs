//! Settings that operators change while Weir runs, as an instance sees them that nobody told.

use std::{process::Stdio, time::Duration};

use reqwest::{Method, header};
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};

use crate::{
    fleet::until,
    observability::traces::Collector,
    support::{
        Bench, Books, Process, SOON, Setup, Store, apply_everywhere,
        books::connect,
        gateway::{OTHER_KEY, hello, status},
    },
};

/// A second platform channel beside the usual one.
const SECOND: &str = r#"{channels: [{name: second, kind: openai, base_url: "{vendor}", credentials: [sk-second-credential-7777]}]}"#;

async fn patch(bench: &Bench, order: Value) {
    let answer = bench.admin(Method::PATCH, "/settings").json(&order);
    let answer = answer.send().await.unwrap();
    let (status, said) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 200, "{order}: {said}");
    until(bench, SOON, |found| {
        found.len() == 2 && found.iter().all(|one| one["behind"] == 0)
    })
    .await;
}

async fn becomes(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A trace's id as bytes are printed.
fn printed(trace: &str) -> String {
    let bytes = (0..16).map(|at| u8::from_str_radix(&trace[2 * at..2 * at + 2], 16).unwrap());
    format!("{:?}", bytes.collect::<Vec<u8>>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_in_force_on_every_instance() {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = Bench::without_gateway(Store::Cluster, Setup::patient()).await;
    let first = Process::start(&bench.stores, bench.environment("one"), &[]).await;
    bench.url.clone_from(&first.url);
    bench.admin_url.clone_from(&first.url);
    let collector = Collector::start().await;
    let log = bench.stores.folder.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let mut environment = bench.environment("two");
    environment.extend([
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(),
            collector.url.clone(),
        ),
        ("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "50".to_owned()),
    ]);
    let second = Process::start_logging(&bench.stores, environment, Stdio::from(file)).await;
    until(&bench, SOON, |found| found.len() == 2).await;
    apply_everywhere(&bench, &Bench::usual_resources()).await;
    apply_everywhere(&bench, SECOND).await;
    let there = |path: &str| format!("{}{path}", second.url);

    // What is logged.
    let chat = async |trace: &str| {
        let call = bench.http.post(there("/v1/chat/completions"));
        let call = call.bearer_auth(OTHER_KEY).json(&hello("gpt-test"));
        let call = call.header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
        assert_eq!(call.send().await.unwrap().status(), 200);
    };
    let [unseen, seen] = [
        "1af7651916cd43dd8448eb211c80319c",
        "2af7651916cd43dd8448eb211c80319c",
    ];
    let tells = async || {
        let unknown = bench
            .http
            .get(there("/v1/nothing-here"))
            .bearer_auth(OTHER_KEY);
        assert_eq!(unknown.send().await.unwrap().status(), 404);
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains("an unknown path")
    };
    assert!(!tells().await);
    patch(&bench, json!({"log": "debug"})).await;
    becomes("the log tells more", tells).await;
    patch(&bench, json!({"log": null})).await;

    // What is traced.
    patch(&bench, json!({"trace_sample": 0.0})).await;
    chat(unseen).await;
    patch(&bench, json!({"trace_sample": 1.0})).await;
    becomes("a call is traced", async || {
        chat(seen).await;
        collector.text().contains(&printed(seen))
    })
    .await;
    assert!(!collector.text().contains(&printed(unseen)));

    // Where calls go that name no model.
    for (channel, credential) in [("second", "sk-second"), ("vendor", "sk-vendor")] {
        patch(&bench, json!({"default_channel": channel})).await;
        for _ in 0..5 {
            let call = bench.http.post(there("/v1/moderations"));
            let call = call.bearer_auth(OTHER_KEY).json(&json!({"input": "x"}));
            assert_eq!(call.send().await.unwrap().status(), 200);
            let received = bench.vendor.requests();
            let shown = received.last().unwrap().header("authorization").unwrap();
            assert!(shown.contains(credential), "{channel}: {shown}");
        }
    }

    // Which of a model's routes is taken first.
    const BOTH: &str = r#"{models: [{name: both, routes: [{channel: vendor, model: m, weight: 1}, {channel: second, model: m, weight: 9}]}]}"#;
    apply_everywhere(&bench, BOTH).await;
    let shares = async |calls: usize| {
        let before = bench.vendor.requests().len();
        for _ in 0..calls {
            let call = bench.http.post(there("/v1/chat/completions"));
            let call = call.bearer_auth(OTHER_KEY).json(&hello("both"));
            assert_eq!(call.send().await.unwrap().status(), 200);
        }
        let received = bench.vendor.requests();
        let to_second = received[before..].iter().filter(|one| {
            let shown = one.header("authorization").unwrap();
            shown.contains("sk-second")
        });
        to_second.count()
    };
    patch(&bench, json!({"strategy": "failover"})).await;
    assert_eq!(shares(60).await, 60);
    patch(&bench, json!({"strategy": "weighted"})).await;
    // That none of so many goes to the tenth is one in ten million.
    assert!(shares(150).await < 150);

    // Whose pages may call management.
    patch(&bench, json!({"cors_origins": ["https://tools.example"]})).await;
    let preflight = bench.http.request(Method::OPTIONS, there("/v1/admin/keys"));
    let preflight = preflight
        .header(header::ORIGIN, "https://tools.example")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET");
    let allowed = preflight.send().await.unwrap();
    let allowed = allowed.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    assert_eq!(allowed.unwrap(), "https://tools.example");

    // Whether it takes calls at all.
    patch(&bench, json!({"mode": "drain"})).await;
    let ready = bench.http.get(there("/ready")).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    patch(&bench, json!({"mode": "normal"})).await;
    let ready = bench.http.get(there("/ready")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
}

/// For how many days single requests are kept counts from when it is said, and their sums stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_requests_go_as_soon_as_operators_say_for_how_long() {
    const DAY_MS: i64 = 24 * 3_600_000;
    let bench = Bench::start(Store::Embedded, Setup::patient()).await;
    let called = status(&bench.http, &bench.url, OTHER_KEY, "gpt-test").await;
    assert_eq!(called, 200);
    let booked = bench.books().await;
    // As if it had been forty days ago.
    let then = booked.only().started_ms - 40 * DAY_MS;
    let mut id = booked.only().id.into_bytes();
    id[..6].copy_from_slice(&then.to_be_bytes()[2..]);
    let id = uuid::Uuid::from_bytes(id).simple();
    let database = connect(&bench).await;
    let sql = format!("UPDATE usage_events SET id = X'{id}', started_ms = {then}");
    database.execute_unprepared(&sql).await.unwrap();
    let change = async |days: u32| {
        let order = json!({ "request_days": days });
        let changed = bench.admin(Method::PATCH, "/settings").json(&order);
        assert_eq!(changed.send().await.unwrap().status(), 200);
    };
    change(30).await;
    becomes("the request is deleted", async || {
        Books::read_from(&database).await.events.is_empty()
    })
    .await;
    assert_eq!(bench.books().await.rollups, booked.rollups);
}

/// Whoever listens beyond this machine is told that what comes there can be read on its way.
/// Threats: O3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_beyond_this_machine_without_tls_warns() {
    let bench = Bench::without_gateway(Store::Embedded, Setup::default()).await;
    for (listen, warns) in [("0.0.0.0:0", true), ("127.0.0.1:0", false)] {
        let log = bench.stores.folder.path().join(format!("log-{warns}"));
        let file = std::fs::File::create(&log).unwrap();
        let mut environment = bench.environment("one");
        environment.push(("WEIR_ADMIN_LISTEN".to_owned(), listen.to_owned()));
        let process = Process::start_logging(&bench.stores, environment, Stdio::from(file)).await;
        let said = std::fs::read_to_string(&log).unwrap();
        let warned = said
            .lines()
            .any(|line| line.contains("WARN") && line.contains("in the clear"));
        assert_eq!(warned, warns, "{said}");
        process.terminate();
        assert_eq!(process.ended().await, Some(0));
    }
}
