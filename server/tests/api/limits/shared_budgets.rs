//! Hard budgets on several instances: what all spend together is never more, whatever becomes of the instances and of Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use weir_upstream::Behaviour;

use super::budgets::{PRICED, alerts, charged, tenant};
use crate::support::{
    Bench, Pair, Process, SOON, Setup, Store, apply_everywhere,
    gateway::{KEY, hello},
    pair::environment_behind_a_pipe,
    redis_server::RedisServer,
    window,
};

/// Three times the promised five seconds.
const RECOVERY: Duration = Duration::from_secs(15);

/// What calls from many clients came to.
#[derive(Default)]
struct Seen {
    served: AtomicUsize,
    reserved: AtomicUsize,
    exceeded: AtomicUsize,
    unreachable: AtomicUsize,
    over: AtomicBool,
}

/// Clients that call one instance each, from these in turn, until the budget ends there or somebody says that it is over.
fn clients(urls: &[String], count: usize, bound: Option<u32>) -> (Arc<Seen>, Vec<Client>) {
    let seen = Arc::new(Seen::default());
    let clients = (0..count).map(|at| {
        let (seen, url) = (Arc::clone(&seen), urls[at % urls.len()].clone());
        tokio::spawn(async move {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let mut body = hello("gpt-test");
            if let Some(bound) = bound {
                body["max_tokens"] = json!(bound);
            }
            while !seen.over.load(Relaxed) {
                match call(&http, &url, &body).await {
                    Some((200, _)) => drop(seen.served.fetch_add(1, Relaxed)),
                    Some((429, code)) if code == "budget_reserved" => {
                        seen.reserved.fetch_add(1, Relaxed);
                    }
                    Some((429, code)) if code == "budget_exceeded" => {
                        seen.exceeded.fetch_add(1, Relaxed);
                        return;
                    }
                    Some(other) => panic!("{other:?}"),
                    None => {
                        seen.unreachable.fetch_add(1, Relaxed);
                        return;
                    }
                }
            }
        })
    });
    let clients = clients.collect();
    (seen, clients)
}

type Client = tokio::task::JoinHandle<()>;

/// One call: its status and, of a refusal, the code. Nothing where nobody answers.
async fn call(http: &reqwest::Client, url: &str, body: &Value) -> Option<(u16, String)> {
    let call = http
        .post(format!("{url}/v1/chat/completions"))
        .bearer_auth(KEY);
    let answer = call.json(body).send().await.ok()?;
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.ok()?;
    let code = body["error"]["code"].as_str().unwrap_or_default();
    Some((status, code.to_owned()))
}

async fn all(clients: Vec<Client>) {
    for client in clients {
        client.await.unwrap();
    }
}

/// Waits until so many calls were served.
async fn until_served(seen: &Seen, count: usize) {
    let deadline = Instant::now() + RECOVERY;
    while seen.served.load(Relaxed) < count {
        assert!(Instant::now() < deadline, "{:?} of {count}", seen.served);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A vendor, prices and a budget on a set-up where Redis has time to answer.
async fn bench() -> Bench {
    let setup = Setup {
        environment: vec![("WEIR_REDIS_TIMEOUT", "1s".to_owned())],
        ..Setup::default()
    };
    let bench = Bench::without_gateway(Store::Cluster, setup).await;
    // Slow enough that many calls are under way together.
    let slow = Behaviour::tokens(100).with_first_byte_delay_ms(50);
    bench.vendor.set_default(slow);
    bench
}

async fn budget(bench: &Bench, budget: &str) {
    bench.apply(PRICED).await;
    apply_everywhere(bench, &tenant(budget)).await;
}

/// What was charged when all instances have booked everything.
async fn charged_in_all(bench: &Bench) -> i64 {
    // The one that is not asked for its books books within a second.
    let charge = async || -> i64 {
        let events = bench.books().await.events;
        events.iter().map(|event| event.charge_nanos).sum()
    };
    let (mut last, mut same) = (charge().await, 0);
    let deadline = Instant::now() + SOON;
    while same < 4 {
        assert!(Instant::now() < deadline, "they book and book");
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = charge().await;
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last
}

/// Nobody has reserved anything of a budget that is new: a call waits for it for as long as its past is being asked for, and from
/// then on as long as for any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_budget_that_takes_long_to_be_built_is_waited_for() {
    if !Store::cluster_is_there() {
        return;
    }
    let setup = Setup {
        environment: vec![
            ("WEIR_REDIS_TIMEOUT", "1s".to_owned()),
            ("WEIR_LIMITS_RESERVED_WAIT", "600ms".to_owned()),
        ],
        ..Setup::default()
    };
    let mut bench = Bench::without_gateway(Store::Cluster, setup).await;
    let pair = Pair::start(&mut bench).await;
    bench.apply(PRICED).await;
    let body = hello("gpt-test");
    let first = call(&bench.http, &pair.first.url, &body).await;
    assert_eq!(first.expect("an answer").0, 200);
    // Without its word about what it holds nothing is built.
    pair.second.pause();
    bench
        .apply(&tenant("{amount: '1.00', period: month, mode: hard}"))
        .await;
    // More of them than the first slice of the budget is for.
    let calls = (0..24).map(|_| {
        let (http, url, body) = (bench.http.clone(), pair.first.url.clone(), body.clone());
        tokio::spawn(async move { call(&http, &url, &body).await })
    });
    let calls: Vec<_> = calls.collect();
    // Longer than a call waits for what others have reserved.
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    assert!(calls.iter().all(|call| !call.is_finished()));
    pair.second.resume();
    for call in calls {
        let answer = call.await.unwrap().expect("an answer");
        assert_eq!(answer, (200, String::new()));
    }
}

async fn two_instances(bound: Option<u32>) {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = bench().await;
    let pair = Pair::start(&mut bench).await;
    budget(
        &bench,
        "{amount: '1.00', period: month, mode: hard, alert_at: [50, 80]}",
    )
    .await;
    let (seen, calling) = clients(&pair.urls(), 64, bound);
    all(calling).await;
    let spent = charged_in_all(&bench).await;
    println!(
        "{spent} spent, {:?} served, {:?} waited in vain",
        seen.served, seen.reserved
    );
    assert!(spent <= 1_000_000_000, "{spent}");
    assert!(spent >= 950_000_000, "{spent}");
    assert_eq!(charged(&bench).await, spent);
    // Told once, whoever noticed.
    let alerts = alerts(&bench, 3).await;
    let kinds: Vec<_> = alerts
        .iter()
        .map(|alert| alert["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["crossed", "crossed", "refused"]);
}

// Threats: B4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_budget_holds_on_two_instances() {
    two_instances(Some(200)).await;
}

// Threats: B4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_budget_holds_on_two_instances_for_calls_without_a_bound() {
    two_instances(None).await;
}

/// What a killed instance had reserved counts as spent until another process has replayed what it left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_budget_holds_while_an_instance_is_killed() {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = bench().await;
    let pair = Pair::start(&mut bench).await;
    budget(&bench, "{amount: '1.00', period: month, mode: hard}").await;
    let urls = pair.urls();
    let (seen, calling) = clients(&urls, 64, Some(200));
    until_served(&seen, 100).await;
    let (_pipe, environment) = environment_behind_a_pipe(
        &bench,
        "two",
        &std::env::var("WEIR_TEST_REDIS_URL").unwrap(),
    )
    .await;
    pair.second.kill();
    // The other serves on, until what is left is what the dead one held.
    let deadline = Instant::now() + RECOVERY;
    while seen.reserved.load(Relaxed) + seen.exceeded.load(Relaxed) < 32 {
        assert!(Instant::now() < deadline, "{:?} served", seen.served);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(seen.unreachable.load(Relaxed), 32);
    let spent = charged_in_all(&bench).await;
    assert!(spent <= 1_000_000_000, "{spent}");
    let _second = Process::start(&bench.stores, environment, &[]).await;
    // What the dead one had reserved and not spent comes back.
    all(calling).await;
    let spent_in_the_end = charged_in_all(&bench).await;
    println!("{spent} spent while one was dead, {spent_in_the_end} in the end");
    assert!(spent_in_the_end <= 1_000_000_000, "{spent_in_the_end}");
    assert!(spent_in_the_end >= 950_000_000, "{spent_in_the_end}");
}

/// With Redis away, calls go on: those without a hard budget, and those with one from what each instance holds on lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_hard_budgets_are_spent_from_leases() {
    if !Store::cluster_is_there() {
        return;
    }
    for is_silent in [false, true] {
        let setup = Setup::default();
        let mut bench = Bench::without_gateway(Store::Cluster, setup).await;
        bench
            .vendor
            .set_default(Behaviour::tokens(100).with_first_byte_delay_ms(20));
        let pair = Pair::start(&mut bench).await;
        budget(&bench, "{amount: '100000.00', period: month, mode: hard}").await;
        let (seen, calling) = clients(&pair.urls(), 16, Some(200));
        until_served(&seen, 50).await;
        for pipe in [&pair.first_pipe, &pair.second_pipe] {
            if is_silent {
                pipe.silence();
            } else {
                pipe.cut();
            }
        }
        let before = seen.served.load(Relaxed);
        tokio::time::sleep(window(Duration::from_secs(2), Duration::from_secs(30))).await;
        assert!(seen.served.load(Relaxed) > before + 50, "{:?}", seen.served);
        pair.first_pipe.restore();
        pair.second_pipe.restore();
        let served = seen.served.load(Relaxed);
        until_served(&seen, served + 50).await;
        seen.over.store(true, Relaxed);
        all(calling).await;
        assert_eq!(
            (seen.reserved.load(Relaxed), seen.exceeded.load(Relaxed)),
            (0, 0),
            "none was refused"
        );
        // What was spent meanwhile is told: a budget that is only a little more holds at once.
        let spent = charged_in_all(&bench).await;
        let dollars = spent as f64 / 1e9 + 0.1;
        apply_everywhere(
            &bench,
            &tenant(&format!(
                "{{amount: '{dollars:.2}', period: month, mode: hard}}"
            )),
        )
        .await;
        let (_, calling) = clients(&pair.urls(), 16, Some(200));
        all(calling).await;
        let spent = charged_in_all(&bench).await as f64 / 1e9;
        let amount: f64 = format!("{dollars:.2}").parse().unwrap();
        assert!(
            spent <= amount && spent >= amount - 0.05,
            "{spent} of {amount}"
        );
    }
}

/// Redis loses everything, and then comes back with what it knew long ago: the accounts are built anew, and nothing is spent
/// twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_budget_survives_an_emptied_and_a_restored_redis() {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = bench().await;
    let mut redis = RedisServer::start();
    let pair = Pair::on(&mut bench, &redis.url).await;
    budget(&bench, "{amount: '1.00', period: month, mode: hard}").await;
    let (seen, calling) = clients(&pair.urls(), 32, Some(200));
    until_served(&seen, 50).await;
    redis.dump();
    until_served(&seen, 150).await;
    redis.empty();
    until_served(&seen, 250).await;
    redis.kill();
    redis.start_again();
    all(calling).await;
    let spent = charged_in_all(&bench).await;
    println!(
        "{spent} spent, {:?} served, {:?} waited in vain",
        seen.served, seen.reserved
    );
    assert!(spent <= 1_000_000_000, "{spent}");
    assert!(spent >= 950_000_000, "{spent}");
}
