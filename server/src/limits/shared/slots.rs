//! Which concurrency slots this instance holds.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use weir_api_types::limit::Metric;

use super::{
    HOLD_MS, Shared, holding,
    keys::{key, tag_of},
    settle::Item,
};
use crate::{
    limits::{
        claim::Counted,
        rate::{Shape, Taken},
        rates::Holding,
    },
    tenancy::Scope,
};

/// How long nothing happened to an instance's slots before it says anew how many it holds.
const QUIET: Duration = Duration::from_secs(3);

/// Free slots that nobody has needed for so long are given back.
const IDLE: Duration = Duration::from_millis(100);
/// One slot.
const ONE: Taken = Taken::at(1, 0);

/// Concurrency slots that this instance holds on one limit.
pub(super) struct Slots {
    pub(super) held: u64,
    /// Of these, given back and not yet told: the next call takes one without asking.
    pub(super) free: u64,
    /// The fewest that were free since then: so many are not needed here.
    idle: u64,
    idle_since: Instant,
    /// What Redis had left when it was last asked.
    left: u64,
    scope: Scope,
    shape: Shape,
    touched: Instant,
}

impl Slots {
    /// Redis has given one, and has so many left.
    pub(super) fn take_one_more(&mut self, left: u64) {
        self.held += 1;
        self.left = left;
    }

    fn give_back_idle(&mut self, now: Instant) -> u64 {
        let mut idle = self.free.saturating_sub(self.left / 100);
        let is_time = now.saturating_duration_since(self.idle_since) >= IDLE;
        if is_time {
            idle = idle.max(self.idle);
        }
        self.held = self.held.saturating_sub(idle);
        self.free -= idle;
        if is_time {
            (self.idle, self.idle_since) = (self.free, now);
        }
        self.idle = self.idle.min(self.free);
        idle
    }
}

impl Shared {
    /// Says which concurrency slots this instance holds: to be called every few seconds.
    pub async fn hold_slots(&self) {
        let held: Vec<(String, String, i64)> = {
            let mut slots = self.slots.lock();
            let now = Instant::now();
            let held = slots.iter().map(|(place, slots)| {
                let (tag, key) = (
                    tag_of(slots.scope, place.limit),
                    key(place.limit, place.value),
                );
                let is_quiet = now.duration_since(slots.touched) > QUIET;
                let count = i64::try_from(slots.held).unwrap_or(i64::MAX);
                (tag, key, if is_quiet { count } else { -1 })
            });
            let held = held.collect();
            slots.retain(|_, slots| slots.held > 0 || now.duration_since(slots.touched) <= QUIET);
            held
        };
        let says = held.iter().map(|(tag, key, count)| async move {
            let mut hold = self.scripts.hold.prepare_invoke();
            hold.key(self.redis.tagged(tag, key))
                .arg(&self.instance)
                .arg(HOLD_MS)
                .arg(*count);
            if self.run::<i64>(&hold).await.is_err() {
                tracing::debug!("slots could not be held");
            }
        });
        join_all(says).await;
    }

    /// Free slots that are to be given back: all but 1 % of what is left, so that where they are scarce nobody has to wait for
    /// them; and those that nobody has needed for a while.
    pub(super) fn idle_slots(&self) -> Vec<Item> {
        let now = Instant::now();
        let mut idle = Vec::new();
        for (key, slots) in self.slots.lock().iter_mut() {
            let count = slots.give_back_idle(now);
            idle.extend((0..count).map(|_| Item {
                key: *key,
                scope: slots.scope,
                shape: slots.shape,
                taken: ONE,
                actual: 0,
                metric: Metric::Concurrent,
                was_counted: true,
            }));
        }
        idle
    }

    pub(super) fn with_slots<T>(&self, holding: &Holding, act: impl FnOnce(&mut Slots) -> T) -> T {
        let mut slots = self.slots.lock();
        let slots = slots.entry(holding.key).or_insert(Slots {
            held: 0,
            free: 0,
            idle: 0,
            idle_since: Instant::now(),
            left: 0,
            scope: holding.scope,
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
        let holding = holding(one, Shape::from(&one.limit.rule), ONE);
        let is_free = self.with_slots(&holding, |slots| {
            // A limit that was lowered is asked.
            let fits = slots.free > 0 && slots.held <= holding.shape.max;
            slots.free -= u64::from(fits);
            slots.idle = slots.idle.min(slots.free);
            fits
        });
        is_free.then_some(holding)
    }
}

#[cfg(test)]
mod tests;
