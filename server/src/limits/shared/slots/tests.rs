//! Slots against the real scripts.

use std::time::Duration;

use futures_util::poll;
use uuid::Uuid;
use weir_api_types::limit::{Limit as Rule, Metric, Per};

use crate::{
    limits::{
        Shared,
        claim::{Counted, Value},
        rates::Rates as _,
    },
    redis,
    tenancy::{Limit, LimitId, Scope, TenantId},
};

/// A caller that leaves while Redis is asked gives back what was counted until then.
#[tokio::test]
async fn a_caller_that_leaves_while_redis_is_asked_takes_no_slot_along() {
    let Some(redis) = redis::for_test() else {
        return;
    };
    let shared = Shared::new(redis, Duration::from_secs(5), Uuid::new_v4());
    let scope = Scope::Tenant(TenantId(Uuid::new_v4()));
    let limit = |rule| Limit {
        id: LimitId::random(),
        scope,
        rule,
        position: 0,
    };
    let concurrent = limit(Rule::new(Metric::Concurrent, None, 1));
    let requests = limit(Rule::new(Metric::Requests, Some(Per::Minute), 10));
    let counted = |limit| Counted {
        limit,
        value: Value::All,
    };
    let one = [counted(&concurrent)];
    let passed = shared.take(&one, 0).await.expect("a slot");
    shared.put(&passed.holdings, 0);

    // The slot is free here, and the other limit has to be asked.
    let both = [counted(&concurrent), counted(&requests)];
    let mut asks = shared.take(&both, 0);
    assert!(poll!(&mut asks).is_pending());
    assert!(shared.free_slot(&one[0]).is_none(), "it is taken meanwhile");
    drop(asks);
    assert!(shared.free_slot(&one[0]).is_some(), "it is free again");
}
