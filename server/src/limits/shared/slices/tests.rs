//! Slices against the real scripts.

use std::time::{Duration, Instant};

use futures_util::poll;
use uuid::Uuid;
use weir_api_types::limit::{Algorithm, Metric, Per};

use super::LIFE;
use crate::{
    limits::{
        Rejected, Shared,
        claim::{Counted, Value},
        rates::{Passed, Rates as _},
    },
    redis,
    tenancy::{Limit, LimitId, Scope, TenantId},
};

/// A limit on tokens, of which calls of any size take.
fn limit(algorithm: Algorithm, per: Per, max: u64) -> Limit {
    Limit {
        id: LimitId::random(),
        scope: Scope::Tenant(TenantId(Uuid::new_v4())),
        position: 0,
        rule: weir_api_types::limit::Limit {
            algorithm,
            ..weir_api_types::limit::Limit::new(Metric::Tokens, Some(per), max)
        },
    }
}

async fn take(shared: &Shared, limit: &Limit, tokens: u64) -> Result<Passed, Rejected> {
    let value = Value::All;
    shared.take(&[Counted { limit, value }], tokens).await
}

fn instance(redis: &redis::Redis) -> Shared {
    Shared::new(redis.clone(), Duration::from_secs(5), Uuid::new_v4())
}

/// Has one instance heat a limit until it holds a slice of it. The moment before it asked for that.
async fn heated(shared: &Shared, limit: &Limit) -> Instant {
    loop {
        let before = Instant::now();
        take(shared, limit, 1).await.expect("room");
        let slices = shared.slices.0.lock();
        if slices.slices.values().any(|slice| slice.held.is_some()) {
            return before;
        }
    }
}

/// What flows back while a slice is held would come on top of it: so a bucket is short of full by that for so long.
#[tokio::test]
async fn a_bucket_is_short_of_full_while_there_are_slices_of_it() {
    let Some(redis) = redis::for_test() else {
        return;
    };
    let (first, second) = (instance(&redis), instance(&redis));
    // In a slice's life a fiftieth flows back.
    let limit = limit(Algorithm::TokenBucket, Per::Second, 1_000_000);
    let mut seen = 0;
    while seen < 3 {
        let held = heated(&first, &limit).await;
        // By now what was taken has long flowed back.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let whole = take(&second, &limit, 1_000_000).await;
        if held.elapsed() < LIFE {
            assert!(whole.is_err(), "a slice and the whole burst at once");
            seen += 1;
        }
        if let Ok(passed) = whole {
            second.put(&passed.holdings, 0);
            second.flush().await;
        }
        first.slices.clear();
        // A refusal is remembered for a while, and the slice is held for a while.
        tokio::time::sleep(2 * LIFE).await;
    }
    let passed = take(&second, &limit, 1_000_000).await;
    assert!(passed.is_ok(), "without slices the burst is whole again");
}

/// What is held is counted, what is not spent goes back, and what was asked for before a loss is not taken.
#[tokio::test]
async fn what_is_not_spent_of_a_slice_goes_back() {
    let Some(redis) = redis::for_test() else {
        return;
    };
    let (first, second) = (instance(&redis), instance(&redis));
    let limit = limit(Algorithm::FixedWindow, Per::Day, 10_000);
    let left = async |shared: &Shared| {
        let passed = take(shared, &limit, 1).await.expect("room");
        passed.left.tokens.expect("told").remaining
    };
    heated(&first, &limit).await;
    let spent = {
        let slices = first.slices.0.lock();
        let slice = slices.slices.values().next().expect("one");
        let held = slice.held.as_ref().expect("a slice");
        held.besides.remaining
    };
    assert_eq!(left(&second).await, spent - 1, "a slice is counted");
    tokio::time::sleep(LIFE).await;
    first.flush().await;
    let (calls, one_more) = (10_000 - left(&second).await, left(&second).await);
    assert_eq!(10_000 - one_more, calls + 1);
    // Heating took some calls of one token each, and nothing else is missing.
    let used = first.local.used();
    assert_eq!(used[0].units + 2, calls);
}

/// A limit that is changed is asked at once, whatever is held of it.
#[tokio::test]
async fn a_changed_limit_is_asked_at_once() {
    let Some(redis) = redis::for_test() else {
        return;
    };
    let shared = instance(&redis);
    let mut limit = limit(Algorithm::FixedWindow, Per::Day, 10_000);
    heated(&shared, &limit).await;
    limit.rule.max = 3;
    let refused = take(&shared, &limit, 1).await;
    assert!(matches!(refused, Err(Rejected::Rate { .. })));
}

/// Most calls under a hot limit ask nobody: what they wait for is ready at once.
#[tokio::test]
async fn a_hot_limit_is_spent_without_asking() {
    let Some(redis) = redis::for_test() else {
        return;
    };
    for algorithm in [Algorithm::TokenBucket, Algorithm::FixedWindow] {
        let shared = instance(&redis);
        let limit = limit(algorithm, Per::Day, 1_000_000_000);
        let mut asked = 0;
        for _ in 0..2_000 {
            let mut taken = std::pin::pin!(take(&shared, &limit, 1));
            if poll!(&mut taken).is_pending() {
                asked += 1;
                taken.await.expect("room");
            }
        }
        assert!(asked < 500, "{algorithm:?}: {asked} of 2,000 calls asked");
    }
}
