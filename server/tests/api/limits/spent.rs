//! What has been spent is known again: after a restart, after a crash, and by a budget that is new.

use serde_json::json;
use weir_upstream::Behaviour;

use crate::{
    both_stores,
    support::{Bench, Setup, Store, gateway::hello, refused},
};

fn body() -> serde_json::Value {
    let mut body = hello("gpt-test");
    body["max_tokens"] = json!(100);
    body
}

async fn statuses(bench: &Bench, calls: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..calls {
        statuses.push(bench.chat(body()).await.status().as_u16());
    }
    statuses
}

both_stores!(a_new_budget_begins_with_what_was_spent, |bench| {
    bench.vendor.set_default(Behaviour::tokens(10));
    assert_eq!(statuses(&bench, 3).await, [200; 3]);
    bench
        .apply("tenants: [{name: acme, budgets: [{requests: 4, period: month}]}]")
        .await;
    assert_eq!(statuses(&bench, 2).await, [200, 429]);
    // More of it counts at once, and what was spent stays.
    bench
        .apply("tenants: [{name: acme, budgets: [{requests: 5, period: month}]}]")
        .await;
    assert_eq!(statuses(&bench, 2).await, [200, 429]);
    // Other periods of the same thing have spent as much.
    bench
        .apply("tenants: [{name: acme, budgets: [{requests: 6, period: day}]}]")
        .await;
    assert_eq!(statuses(&bench, 2).await, [200, 429]);
});

// Threats: B13.
both_stores!(
    saving_the_tenant_meanwhile_brings_back_no_old_balance,
    |bench| {
        bench.vendor.set_default(Behaviour::tokens(10));
        let save = async |at: usize| {
            let file = format!(
                "tenants: [{{name: acme, enabled: true, budgets: [{{requests: {}, period: month}}], keys: [{{name: laptop, limits: [{{metric: requests, per: day, max: {}}}]}}]}}]",
                60 + at % 2,
                1_000 + at
            );
            bench.apply(&file).await;
        };
        save(0).await;
        let calls = async {
            let mut served = 0;
            for _ in 0..80 {
                served += usize::from(bench.chat(body()).await.status() == 200);
            }
            served
        };
        let saves = async {
            for at in 1..40 {
                save(at).await;
            }
        };
        let (served, ()) = tokio::join!(calls, saves);
        assert!((60..=61).contains(&served), "{served}");
    }
);

both_stores!(
    a_call_under_way_counts_for_a_budget_that_comes_meanwhile,
    |bench| {
        bench
            .vendor
            .set_default(Behaviour::tokens(10).with_first_byte_delay_ms(700));
        let under_way = tokio::spawn({
            let call = bench.post("/v1/chat/completions").json(&body());
            async move { call.send().await.unwrap().status() }
        });
        let arrived = bench
            .vendor
            .wait_for(|lines| lines.len() == 1, crate::support::SOON)
            .await;
        assert!(arrived.is_ok());
        bench
            .apply("tenants: [{name: acme, budgets: [{requests: 2, period: month}]}]")
            .await;
        assert_eq!(under_way.await.unwrap(), 200);
        assert_eq!(statuses(&bench, 2).await, [200, 429]);
    }
);

both_stores!(a_restart_forgets_nothing, |bench| {
    let mut bench = bench;
    bench.vendor.set_default(Behaviour::tokens(10));
    bench
        .apply("tenants: [{name: acme, budgets: [{requests: 3, period: forever}]}]")
        .await;
    assert_eq!(statuses(&bench, 2).await, [200; 2]);
    bench.stop().await;
    bench.start_again().await;
    assert_eq!(statuses(&bench, 2).await, [200, 429]);
    let error = refused(bench.chat(body()).await, 429, "budget_exceeded").await;
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("3 requests") && message.contains("does not begin anew"),
        "{message}"
    );
});

/// Calls that are under way when the process is killed are counted by what it had on record.
async fn a_crash(kind: Store) {
    let mut bench = Bench::without_gateway(kind, Setup::default()).await;
    let process = bench.process().await;
    bench.apply(&Bench::usual_resources()).await;
    bench
        .apply("tenants: [{name: acme, budgets: [{requests: 4, period: month}]}]")
        .await;
    bench.vendor.set_default(Behaviour::tokens(10));
    assert_eq!(statuses(&bench, 2).await, [200; 2]);
    bench
        .vendor
        .set_default(Behaviour::tokens(10).with_first_byte_delay_ms(60_000));
    let hanging = tokio::spawn({
        let call = bench.post("/v1/chat/completions").json(&body());
        async move { call.send().await.is_err() }
    });
    let arrived = bench
        .vendor
        .wait_for(|lines| lines.len() == 3, crate::support::SOON)
        .await;
    assert!(arrived.is_ok());
    process.kill();
    assert!(hanging.await.unwrap());
    bench.vendor.set_default(Behaviour::tokens(10));
    let process = bench.process().await;
    assert_eq!(statuses(&bench, 2).await, [200, 429]);
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_forgets_nothing_embedded() {
    a_crash(Store::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_forgets_nothing_cluster() {
    if Store::cluster_is_there() {
        a_crash(Store::Cluster).await;
    }
}
