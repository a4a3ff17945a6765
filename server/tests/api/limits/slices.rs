//! Limits that are hot on an instance: it takes a slice at once and spends it without asking.

use std::time::{Duration, Instant};

use crate::support::{
    Bench, Crowd, Pair, SOON, Setup, Store, apply_everywhere, redis_server::RedisServer, window,
};

/// Redis has counted every call under hot limits once, whoever spent what of which slice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_limit_is_counted_exactly() {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = Bench::without_gateway(Store::Cluster, Setup::patient()).await;
    let redis = RedisServer::start();
    let pair = Pair::on(&mut bench, &redis.url).await;
    let tenant = "tenants: [{name: acme, limits: [{metric: requests, per: day, max: 1000000, algorithm: fixed_window},
        {metric: requests, per: hour, max: 1000000}, {metric: concurrent, max: 1000}]}]";
    apply_everywhere(&bench, tenant).await;
    let crowd = Crowd::served_by(&pair.urls(), 16);
    tokio::time::sleep(window(Duration::from_secs(4), Duration::from_secs(30))).await;
    let served = crowd.end().await;
    // The day's window: what was not spent has come back, and nothing else.
    let began = Instant::now();
    while redis.field("u") != [served.to_string()] {
        assert!(began.elapsed() < SOON, "{:?} of {served}", redis.field("u"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(pair);
}
