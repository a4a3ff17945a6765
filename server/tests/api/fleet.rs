//! Several instances before the same stores: who lives, who leads, and what they share.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Bench, Process, SOON, Setup, Store};

async fn instances(bench: &Bench) -> Vec<Value> {
    let list = bench
        .admin(reqwest::Method::GET, "/instances")
        .send()
        .await
        .unwrap();
    let list: Value = list.json().await.unwrap();
    list["data"].as_array().unwrap().clone()
}

/// Asks until the living instances fit.
pub(crate) async fn until(
    bench: &Bench,
    within: Duration,
    fits: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        let found = instances(bench).await;
        if fits(&found) {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_living_instances_are_listed_and_one_leads() {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = Bench::without_gateway(Store::Cluster, Setup::default()).await;
    let first = bench.process().await;
    let alone = instances(&bench).await;
    assert_eq!(
        (alone.len(), &alone[0]["leads"]),
        (1, &Value::Bool(true)),
        "{alone:?}"
    );
    assert_eq!(alone[0]["version"], env!("CARGO_PKG_VERSION"));
    let second = Process::start(&bench.stores, bench.environment("two"), &[]).await;
    let both = until(&bench, SOON, |found| found.len() == 2).await;
    assert_eq!(both.iter().filter(|one| one["leads"] == true).count(), 1);
    // Both follow the configuration.
    bench.apply(&Bench::usual_resources()).await;
    until(&bench, SOON, |found| {
        found.iter().all(|one| one["behind"] == 0)
    })
    .await;
    // The leader dies without a word: the other takes over when its time is over.
    bench.url.clone_from(&second.url);
    bench.admin_url.clone_from(&second.url);
    first.kill();
    until(&bench, Duration::from_secs(45), |found| {
        found.len() == 1 && found[0]["leads"] == true
    })
    .await;
    // One that ends says so.
    let third = Process::start(&bench.stores, bench.environment("one"), &[]).await;
    until(&bench, SOON, |found| found.len() == 2).await;
    third.terminate();
    assert_eq!(third.ended().await, Some(0));
    assert_eq!(instances(&bench).await.len(), 1);
}
