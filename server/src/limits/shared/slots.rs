//! Which concurrency slots this instance holds.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::RedisError;
use tokio::time;
use weir_api_types::limit::Metric;

use super::{
    HOLD_MS, Shared,
    keys::{key, tag_of},
};
use crate::limits::{
    claim::Counted,
    rate::{Shape, Taken},
    rates::Holding,
};

/// How long nothing happened to an instance's slots before it says anew how many it holds.
const QUIET: Duration = Duration::from_secs(3);

/// Concurrency slots that this instance holds on one limit.
pub(super) struct Slots {
    pub(super) held: u64,
    /// Of these, given back and not yet told: the next call takes one without asking.
    pub(super) free: u64,
    pub(super) shape: Shape,
    touched: Instant,
}

impl Shared {
    /// Says which concurrency slots this instance holds: to be called every few seconds.
    pub async fn hold_slots(&self) {
        let held: Vec<((String, String), i64)> = {
            let mut slots = self.slots.lock();
            let now = Instant::now();
            let held = slots.iter().map(|(place, slots)| {
                let is_quiet = now.duration_since(slots.touched) > QUIET;
                let count = i64::try_from(slots.held).unwrap_or(i64::MAX);
                (place.clone(), if is_quiet { count } else { -1 })
            });
            let held = held.collect();
            slots.retain(|_, slots| slots.held > 0 || now.duration_since(slots.touched) <= QUIET);
            held
        };
        let says = held.iter().map(|((tag, key), count)| async move {
            let mut hold = self.scripts.hold.prepare_invoke();
            hold.key(self.redis.tagged(tag, key))
                .arg(&self.instance)
                .arg(HOLD_MS)
                .arg(*count);
            let said = time::timeout(self.timeout, async {
                let mut connection = self.redis.connection().await?;
                hold.invoke_async::<i64>(&mut connection).await
            });
            let said: Result<Result<i64, RedisError>, _> = said.await;
            if !matches!(said, Ok(Ok(_))) {
                tracing::debug!("slots could not be held");
            }
        });
        join_all(says).await;
    }

    pub(super) fn with_slots<T>(&self, holding: &Holding, act: impl FnOnce(&mut Slots) -> T) -> T {
        let place = (
            tag_of(holding.scope, holding.key.limit),
            key(holding.key.limit, holding.key.value),
        );
        let mut slots = self.slots.lock();
        let slots = slots.entry(place).or_insert(Slots {
            held: 0,
            free: 0,
            shape: holding.shape,
            touched: Instant::now(),
        });
        slots.touched = Instant::now();
        act(slots)
    }

    /// A slot that another call of this instance has just given back.
    pub(super) fn free_slot(&self, one: &Counted<'_>) -> Option<Holding> {
        if one.limit.rule.metric != Metric::Concurrent {
            return None;
        }
        let holding = Holding {
            key: one.key(),
            scope: one.limit.scope,
            metric: Metric::Concurrent,
            shape: Shape::from(&one.limit.rule),
            taken: Taken {
                cost: 1,
                place: 0,
                wait_us: 0,
            },
            is_local: false,
        };
        let is_free = self.with_slots(&holding, |slots| {
            // A limit that was lowered is asked.
            let fits = slots.free > 0 && slots.held <= holding.shape.max;
            slots.free -= u64::from(fits);
            fits
        });
        is_free.then_some(holding)
    }
}
