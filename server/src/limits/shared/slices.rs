//! Slices of limits that are hot on this instance: taken from Redis at once, and spent here without asking.
//!
//! Redis counts a slice when it is taken, so no call is let through that is not counted. What is left is time: of a bucket,
//! what is taken early and spent late could be let through on top of what has flowed back meanwhile. So nobody spends a slice for
//! longer than [`LIFE`], and while there are any `lua/take.lua` keeps the bucket short of full by what flows back in that time. In
//! any span from `a` to `b` calls then spend at most what was left at `a`, the slices of that moment (together never more than
//! the burst, as they were taken from a bucket that was short by as much as has flowed back since), and what flows back
//! until `b`: what the bucket allows. A fixed window's slice ends with its window. A leaky bucket gives every call its own
//! turn, and a sliding window counts a call in the part of its window in which it comes: these two ask for each.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::settle::Item;
use crate::{
    hash::IdMap,
    limits::{
        claim::Counted,
        rate::{Kind, Left, MOST, Shape, Taken},
        rates::CountKey,
    },
};

/// For so long a slice may be spent.
pub(super) const LIFE: Duration = Duration::from_millis(50);
/// So many calls in that time make a limit hot. One that is not asks for each call, and has its whole burst.
const HOT: u32 = 4;
/// Limits whose calls are counted for that; others ask for each call.
const MAX_LIMITS: usize = 10_000;
/// A limit without calls for so long is forgotten here.
const QUIET: Duration = Duration::from_secs(1);

/// The slices that this instance has.
#[derive(Default)]
pub(super) struct Slices(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    slices: IdMap<CountKey, Slice>,
    /// What was not spent in time.
    back: Vec<Item>,
    /// What was asked for before is not taken any more.
    cleared: Option<Instant>,
}

/// What is known of one limit, and held of it.
struct Slice {
    shape: Shape,
    heat: Heat,
    /// Somebody asks for the next one until then.
    is_asked_until: Instant,
    held: Option<Held>,
}

struct Held {
    units: u64,
    until: Instant,
    /// The window that it is of.
    place: u64,
    /// What Redis has left besides.
    besides: Left,
    item: Item,
}

/// How much calls take.
struct Heat {
    since: Instant,
    calls: u32,
    units: u64,
    /// What they took in the time before, if it was hot.
    before: u64,
}

/// What Redis gave.
pub(super) struct Given {
    pub(super) units: u64,
    pub(super) place: u64,
    /// What it has left besides.
    pub(super) besides: Left,
    /// When it was asked.
    pub(super) asked: Instant,
}

impl Slices {
    /// Spends what a call takes. Where there is not so much, says how much to ask for besides.
    pub(super) fn spend(
        &self,
        one: &Counted<'_>,
        shape: &Shape,
        cost: u64,
        patience: Duration,
    ) -> Result<(Taken, Left), u64> {
        if !is_divisible(shape) {
            return Err(0);
        }
        let now = Instant::now();
        let mut inner = self.0.lock();
        let inner = &mut *inner;
        let key = one.key();
        if inner.slices.len() >= MAX_LIMITS && !inner.slices.contains_key(&key) {
            return Err(0);
        }
        let slice = inner
            .slices
            .entry(key)
            .or_insert_with(|| Slice::new(*shape, now));
        if slice.shape != *shape {
            // A changed limit is asked at once.
            inner.back.extend(slice.give_up());
            *slice = Slice::new(*shape, now);
        }
        slice.heat.feel(cost, now);
        if let Some(held) = slice.held.as_mut().filter(|held| held.until > now)
            && held.units >= cost
        {
            held.units -= cost;
            let left = Left {
                remaining: held.besides.remaining + held.units,
                ..held.besides
            };
            return Ok((Taken::at(cost, held.place), left));
        }
        if slice.is_asked_until > now {
            return Err(0);
        }
        let wanted = slice.heat.wanted();
        if wanted > 0 {
            slice.is_asked_until = now + patience;
        }
        Err(wanted)
    }

    /// Takes in what Redis gave besides a call's own.
    pub(super) fn stock(&self, one: &Counted<'_>, shape: &Shape, given: &Given) {
        let mut inner = self.0.lock();
        let inner = &mut *inner;
        if inner.cleared.is_some_and(|cleared| given.asked <= cleared) {
            return;
        }
        let Some(slice) = inner.slices.get_mut(&one.key()) else {
            return;
        };
        slice.is_asked_until = given.asked;
        if given.units == 0 || slice.shape != *shape {
            return;
        }
        inner.back.extend(slice.give_up());
        let life = match shape.kind {
            Kind::Fixed => LIFE.min(Duration::from_micros(given.besides.reset_us)),
            _ => LIFE,
        };
        slice.held = Some(Held {
            units: given.units,
            until: given.asked + life,
            place: given.place,
            besides: given.besides,
            item: Item {
                key: one.key(),
                scope: one.limit.scope,
                shape: *shape,
                taken: Taken::at(given.units, given.place),
                actual: 0,
                metric: one.limit.rule.metric,
                was_counted: true,
            },
        });
    }

    /// Forgets all, and what was asked for and has not come: Redis does not know of it any more.
    pub(super) fn clear(&self) {
        *self.0.lock() = Inner {
            cleared: Some(Instant::now()),
            ..Inner::default()
        };
    }

    /// What was not spent in time and goes back.
    pub(super) fn unspent(&self) -> Vec<Item> {
        let now = Instant::now();
        let mut inner = self.0.lock();
        let inner = &mut *inner;
        for slice in inner.slices.values_mut() {
            if slice.held.as_ref().is_some_and(|held| held.until <= now) {
                inner.back.extend(slice.give_up());
            }
        }
        inner.slices.retain(|_, slice| {
            slice.held.is_some() || now.saturating_duration_since(slice.heat.since) < QUIET
        });
        std::mem::take(&mut inner.back)
    }
}

/// Whether calls may be counted before they come.
fn is_divisible(shape: &Shape) -> bool {
    matches!(shape.kind, Kind::Governed | Kind::Bucket | Kind::Fixed)
}

impl Slice {
    fn new(shape: Shape, now: Instant) -> Self {
        Self {
            shape,
            heat: Heat {
                since: now,
                calls: 0,
                units: 0,
                before: 0,
            },
            is_asked_until: now,
            held: None,
        }
    }

    /// What is left of it, to be given back.
    fn give_up(&mut self) -> Option<Item> {
        let held = self.held.take().filter(|held| held.units > 0)?;
        let mut item = held.item;
        item.taken.cost = held.units;
        Some(item)
    }
}

impl Heat {
    fn feel(&mut self, units: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed >= LIFE {
            self.before = if passed < 2 * LIFE { self.hot() } else { 0 };
            (self.since, self.calls, self.units) = (now, 0, 0);
        }
        self.calls = self.calls.saturating_add(1);
        self.units = self.units.saturating_add(units);
    }

    fn hot(&self) -> u64 {
        if self.calls >= HOT { self.units } else { 0 }
    }

    /// As much as calls take in a slice's life.
    fn wanted(&self) -> u64 {
        self.before.max(self.hot()).min(MOST)
    }
}

#[cfg(test)]
mod tests;
