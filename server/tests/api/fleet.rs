//! Several instances before the same stores: who lives, who leads, and what they share.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use weir_upstream::Behaviour;

use crate::support::{
    Bench, Crowd, Pair, Process, SOON, Setup, Store, apply_everywhere,
    gateway::{KEY, status},
    window,
};

pub(crate) async fn instances(bench: &Bench) -> Vec<Value> {
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

/// Thousands of changes of everything that calls need, on two instances, while both serve: no call fails, none grows, and both
/// show the same in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_changes_under_load_fail_no_call_and_grow_nothing() {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = Bench::without_gateway(Store::Cluster, Setup::patient()).await;
    bench.vendor.set_default(Behaviour::tokens(10));
    let pair = Pair::start(&mut bench).await;
    let crowd = Crowd::served_by(&pair.urls(), 4);
    let changes = window(400, 10_000);
    // Of each instance the least it holds: what is written and booked at the moment comes and goes.
    let mut least = [[u64::MAX; 2]; 4];
    for at in 0..changes {
        // The models, the channel, the tenant and its keys, limits and budgets: all that a call is decided by.
        let file = match at % 4 {
            0 => format!(
                "models: [{{name: gpt-test, prices: {{input: '{}', output: '2'}}}}]",
                1 + at % 7
            ),
            1 => format!(
                "channels: [{{name: vendor, limits: [{{metric: requests, per: second, max: {}}}]}}]",
                100_000 + at
            ),
            2 => format!(
                "tenants: [{{name: acme, budgets: [{{amount: '{}', period: month}}]}}]",
                100_000 + at
            ),
            _ => format!(
                "tenants: [{{name: acme, keys: [{{name: other-{}, value: wk-other-{at}-0123456789-abcdef}}]}}]",
                at % 50
            ),
        };
        bench.apply(&file).await;
        let quarter = &mut least[at * 4 / changes];
        quarter[0] = quarter[0].min(pair.first.memory_bytes());
        quarter[1] = quarter[1].min(pair.second.memory_bytes());
    }
    let served = crowd.end().await;
    until(&bench, SOON, |found| {
        found.iter().all(|one| one["behind"] == 0)
    })
    .await;
    // The first quarter fills what is kept of the past.
    for (before, after) in least[1].iter().zip(least[3]) {
        println!("{before} bytes before, {after} after, {served} served");
        assert!(after < before + (32 << 20), "{before} became {after}");
    }
    let last = format!("wk-other-{}-0123456789-abcdef", changes - 1);
    for url in pair.urls() {
        assert_eq!(status(&bench.http, &url, &last, "gpt-test").await, 200);
    }
}

/// PostgreSQL's own programs.
fn postgres(program: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").unwrap();
    let programs = versions.map(|version| version.unwrap().path().join("bin").join(program));
    let program: Option<PathBuf> = programs.into_iter().find(|program| program.exists());
    Command::new(program.expect("Debian's package postgresql: `make setup-test` installs it"))
}

fn run(command: &mut Command, dump: &Path) {
    let done = command.arg("-f").arg(dump).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
}

/// The database is restored from a backup under running instances, and changed so often that its versions are further than
/// before: both notice, and load in full what was restored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_restored_under_running_instances_is_loaded_in_full() {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = Bench::without_gateway(Store::Cluster, Setup::default()).await;
    bench.vendor.set_default(Behaviour::tokens(10));
    let pair = Pair::start(&mut bench).await;
    let url = bench.stores.variable("WEIR_DATABASE_URL").unwrap();
    let dump = bench.stores.folder.path().join("dump.sql");
    run(
        postgres("pg_dump").args(["--clean", "--if-exists", "-d", &url]),
        &dump,
    );
    let become_so = async |key: u16, model: u16| {
        let deadline = Instant::now() + Duration::from_secs(15);
        for url in pair.urls() {
            loop {
                let now = (
                    status(&bench.http, &url, KEY, "gpt-test").await,
                    status(&bench.http, &url, "wk-later-0123456789-abcdefghij", "later").await,
                );
                if now == (key, model) {
                    break;
                }
                assert!(Instant::now() < deadline, "{now:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    bench
        .apply(
            "{models: [{name: later, routes: [{channel: vendor}]}], tenants: [{name: acme, keys: [{name: laptop, enabled: false}, {name: later, value: wk-later-0123456789-abcdefghij}]}]}",
        )
        .await;
    become_so(401, 200).await;
    run(
        postgres("psql").args([
            "--single-transaction",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            &url,
            "-c",
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
        ]),
        &dump,
    );
    for at in 0..4 {
        bench
            .apply(&format!(
                "models: [{{name: since-{at}, routes: [{{channel: vendor}}]}}]"
            ))
            .await;
    }
    become_so(200, 401).await;
    for url in pair.urls() {
        assert_eq!(status(&bench.http, &url, KEY, "since-3").await, 200);
    }
}

/// What another instance answered is in the answer to whoever waits for it, and an answer that may lack some says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_that_is_waited_for_has_what_every_instance_answered() {
    const CALLS: u64 = 20;
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = Bench::without_gateway(Store::Cluster, Setup::patient()).await;
    let first = Process::start(&bench.stores, bench.environment("one"), &[]).await;
    bench.url.clone_from(&first.url);
    bench.admin_url.clone_from(&first.url);
    // It books nothing by itself before the test is over.
    let mut slow = bench.environment("two");
    slow.push(("WEIR_SPOOL_SEGMENT_AGE".to_owned(), "1h".to_owned()));
    let second = Process::start(&bench.stores, slow, &[]).await;
    until(&bench, SOON, |found| found.len() == 2).await;
    apply_everywhere(&bench, &Bench::usual_resources()).await;
    let asked = async |wait: &str| {
        let path = format!("/usage?by=key&wait={wait}");
        let answer = bench
            .admin(reqwest::Method::GET, &path)
            .send()
            .await
            .unwrap();
        let complete = answer.headers()["x-weir-usage-complete"] == "true";
        let rows: Value = answer.json().await.unwrap();
        (complete, rows[0]["requests"].as_u64())
    };
    let call = async || status(&bench.http, &second.url, KEY, "gpt-test").await;
    for _ in 0..CALLS {
        assert_eq!(call().await, 200);
    }
    assert_eq!(asked("30s").await, (true, Some(CALLS)));
    // One that died may have had some: until it is known to be gone nobody can say.
    assert_eq!(call().await, 200);
    second.kill();
    assert_eq!(asked("300ms").await, (false, Some(CALLS)));
    // Until it is there again, and has booked what it left.
    let _third = Process::start(&bench.stores, bench.environment("two"), &[]).await;
    assert_eq!(asked("30s").await, (true, Some(CALLS + 1)));
}
