//! Instances whose clocks differ: limits go by Redis' clock, and windows of budgets have one name for all.

use weir_upstream::Behaviour;

use super::budgets::PRICED;
use crate::{
    fleet::until,
    support::{
        Bench, Clock, Process, SOON, Setup, Store, apply_everywhere,
        gateway::{KEY, hello},
    },
};

/// Half a minute apart, more than a window: each limit lets through what it allows and no more, and so does a budget.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_half_a_minute_apart_break_no_limit() {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = Bench::without_gateway(Store::Cluster, Setup::patient()).await;
    bench.vendor.set_default(Behaviour::tokens(10));
    let first = bench.process().await;
    bench.apply(&Bench::usual_resources()).await;
    bench.apply(PRICED).await;
    let folder = tempfile::tempdir().unwrap();
    let (clock, faked) = Clock::new(folder.path());
    clock.set("+30");
    let mut environment = bench.environment("two");
    environment.extend(
        faked
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    );
    let second = Process::start(&bench.stores, environment, &[]).await;
    until(&bench, SOON, |found| found.len() == 2).await;
    let urls = [first.url.clone(), second.url.clone()];
    let served = async |calls: usize| {
        let mut served = 0;
        for at in 0..calls {
            let call = bench
                .http
                .post(format!("{}/v1/chat/completions", urls[at % 2]))
                .bearer_auth(KEY);
            let answer = call.json(&hello("gpt-test")).send().await.unwrap();
            assert!([200, 429].contains(&answer.status().as_u16()));
            served += usize::from(answer.status() == 200);
        }
        served
    };
    for algorithm in ["token_bucket", "sliding_window", "fixed_window"] {
        // Slow enough that nothing comes back while it lasts, unless a window ends: that one is a day long.
        let file = format!(
            "tenants: [{{name: acme, limits: [{{metric: requests, per: day, max: 12, algorithm: {algorithm}}}]}}]"
        );
        apply_everywhere(&bench, &file).await;
        assert_eq!(served(30).await, 12, "{algorithm}");
    }
    let told = bench
        .http
        .post(format!("{}/v1/chat/completions", second.url))
        .bearer_auth(KEY)
        .json(&hello("gpt-test"))
        .send()
        .await
        .unwrap();
    assert_eq!(told.status(), 429);
    let after: u64 = told.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(after <= 86_400, "{after}");
    let booked = 36;
    let budget = format!(
        "tenants: [{{name: acme, limits: [], budgets: [{{requests: {}, period: forever}}]}}]",
        booked + 9
    );
    apply_everywhere(&bench, &budget).await;
    assert_eq!(served(20).await, 9);
    bench.books().await.assert_sums();
}
