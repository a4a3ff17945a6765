//! Counts of limits in this process: found, counted on together, given back, and dropped when nothing is used of them.
//!
//! One lock holds them all, so that a call is counted on everything or on nothing. What it guards takes some hundred
//! nanoseconds and never waits.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use weir_api_types::limit::Metric;

use super::{
    Rejected,
    claim::{Counted, Value},
    rate::{Cell, Full, Kind, Left, Moment, Shape},
    rates::{CountKey, Holding, Passed, Rates, Tightest, cost},
};
use crate::{clock, hash::IdMap, tenancy::Scope};

/// Counts told apart; beyond, a limit's further values share one.
const MAX_COUNTS: usize = 1_000_000;
/// Counts that are looked at for each one that is used, and dropped when at rest.
const LOOKS: usize = 2;

struct Count {
    scope: Scope,
    shape: Shape,
    cell: Cell,
}

/// What this process has used of a limit.
pub struct Used {
    pub key: CountKey,
    pub scope: Scope,
    pub shape: Shape,
    pub units: u64,
}

/// The counts of this process.
pub struct Local {
    began: Instant,
    counts: Mutex<Counts>,
    /// Among how many instances each limit is shared; 1 where this process is all there is.
    shares: AtomicU32,
}

#[derive(Default)]
struct Counts {
    counts: IdMap<CountKey, Count>,
    /// Each key of `counts` once, in the order in which they are looked at.
    looked_at: VecDeque<CountKey>,
}

impl Default for Local {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            counts: Mutex::default(),
            shares: AtomicU32::new(1),
        }
    }
}

impl Local {
    /// Makes this instance's part of each limit one of so many.
    pub fn share_among(&self, instances: u32) {
        self.shares.store(instances.max(1), Relaxed);
    }

    /// Counts a call on all of the limits, or on none.
    pub fn take_now(&self, counted: &[Counted<'_>], tokens: u64) -> Result<Passed, Rejected> {
        let now = self.now();
        let shares = self.shares.load(Relaxed);
        let mut counts = self.counts.lock();
        let holdings = counts.take_all(counted, tokens, shares, now)?;
        let left = counts.tightest(counted, now);
        Ok(Passed { holdings, left })
    }

    /// Takes note of a call that was counted elsewhere: should this process have to go on alone, or to say what it has used,
    /// it goes on from there.
    pub fn note(&self, counted: &[Counted<'_>], tokens: u64) {
        let now = self.now();
        let mut counts = self.counts.lock();
        for one in counted {
            counts.note(one, tokens, now);
        }
        counts.look_at(counted.len(), now);
    }

    /// Puts what a noted call really was in the place of what was noted. In a sliding window, whose slices are named by
    /// another clock than here, what was noted stays.
    pub fn correct(&self, holdings: &[Holding], actual: u64) {
        let is_corrected = |holding: &&Holding| {
            holding.metric == Metric::Tokens && holding.shape.kind != Kind::Sliding
        };
        let mut corrected = holdings.iter().filter(is_corrected).peekable();
        if corrected.peek().is_none() {
            return;
        }
        let now = self.now();
        let mut counts = self.counts.lock();
        for holding in corrected {
            counts.put(holding, actual, now);
        }
    }

    /// What this process has used of one count and has not flowed back.
    pub fn used_of(&self, key: CountKey) -> u64 {
        let now = self.now();
        let counts = self.counts.lock();
        let count = counts.counts.get(&key);
        count.map_or(0, |count| count.cell.used(&count.shape, now))
    }

    /// What this process has used of each limit and has not flowed back.
    pub fn used(&self) -> Vec<Used> {
        let now = self.now();
        let counts = self.counts.lock();
        let used = counts.counts.iter().map(|(key, count)| Used {
            key: *key,
            scope: count.scope,
            shape: count.shape,
            units: count.cell.used(&count.shape, now),
        });
        used.filter(|used| used.units > 0).collect()
    }

    fn now(&self) -> Moment {
        Moment {
            mono_us: micros(self.began.elapsed()),
            wall_us: micros(clock::since_1970()),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Rates for Local {
    fn take<'a>(
        &'a self,
        counted: &'a [Counted<'a>],
        tokens: u64,
    ) -> BoxFuture<'a, Result<Passed, Rejected>> {
        std::future::ready(self.take_now(counted, tokens)).boxed()
    }

    fn put(&self, holdings: &[Holding], actual: u64) {
        if holdings.is_empty() {
            return;
        }
        let now = self.now();
        let mut counts = self.counts.lock();
        for holding in holdings {
            counts.put(holding, actual, now);
        }
    }

    fn warm(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    fn left<'a>(&'a self, counted: &'a [Counted<'a>]) -> BoxFuture<'a, Vec<Option<Left>>> {
        let now = self.now();
        let counts = self.counts.lock();
        let left = counted.iter().map(|one| Some(counts.left(one, now)));
        let left = left.collect();
        drop(counts);
        std::future::ready(left).boxed()
    }
}

/// What a limit has left of which nothing is used.
fn unused(shape: &Shape, now: Moment) -> Left {
    Cell::new(shape).left(shape, now)
}

/// The most that a limit can have left.
pub fn capacity(rule: &weir_api_types::limit::Limit) -> u64 {
    let now = Moment {
        mono_us: 0,
        wall_us: 0,
    };
    unused(&Shape::from(rule), now).remaining
}

impl Counts {
    /// Counts on all, or on none.
    fn take_all(
        &mut self,
        counted: &[Counted<'_>],
        tokens: u64,
        shares: u32,
        now: Moment,
    ) -> Result<Vec<Holding>, Rejected> {
        let mut taken = Vec::with_capacity(counted.len());
        for (at, one) in counted.iter().enumerate() {
            match self.take(one, tokens, shares, now) {
                Ok(counted) => taken.push(counted),
                Err(full) => {
                    self.undo(&taken, now);
                    return Err(self.rejected(&counted[at..], full, tokens, now));
                }
            }
        }
        self.look_at(counted.len(), now);
        Ok(taken)
    }

    fn take(
        &mut self,
        counted: &Counted<'_>,
        tokens: u64,
        shares: u32,
        now: Moment,
    ) -> Result<Holding, Full> {
        let key = self.key(counted);
        let shape = Shape::from(&counted.limit.rule).shared_among(shares);
        let metric = counted.limit.rule.metric;
        let count = self.open_as(key, counted.limit.scope, &shape, now);
        let taken = count.cell.take(&shape, cost(metric, tokens), now)?;
        Ok(Holding {
            key,
            scope: counted.limit.scope,
            metric,
            shape,
            taken,
            is_local: true,
        })
    }

    /// Counts what was counted elsewhere, all of the limit's figures being for all instances.
    fn note(&mut self, counted: &Counted<'_>, tokens: u64, now: Moment) {
        let key = self.key(counted);
        let shape = Shape::from(&counted.limit.rule).plain();
        let cost = cost(counted.limit.rule.metric, tokens);
        let count = self.open_as(key, counted.limit.scope, &shape, now);
        count.cell.force(&shape, cost, now);
    }

    /// A count under these figures, whatever it was kept under before.
    fn open_as(&mut self, key: CountKey, scope: Scope, shape: &Shape, now: Moment) -> &mut Count {
        let count = self.open(key, scope, shape);
        if count.shape != *shape {
            count.cell.reshape(&count.shape, shape, now);
            count.shape = *shape;
        }
        count
    }

    /// Says what stands against a call, and for how long: among all that do, the one that lasts longest.
    fn rejected(&self, counted: &[Counted<'_>], first: Full, tokens: u64, now: Moment) -> Rejected {
        let mut worst = (counted[0].limit, first);
        for one in &counted[1..] {
            let key = self.key(one);
            let Some(count) = self.counts.get(&key) else {
                continue;
            };
            let cost = cost(one.limit.rule.metric, tokens);
            if let Err(full) = count.cell.clone().take(&count.shape, cost, now)
                && full.after_us > worst.1.after_us
            {
                worst = (one.limit, full);
            }
        }
        let (limit, full) = worst;
        Rejected::Rate {
            limit: Box::new(limit.clone()),
            retry_after: Duration::from_micros(full.after_us),
        }
    }

    /// Gives back what was taken.
    fn undo(&mut self, holdings: &[Holding], now: Moment) {
        for holding in holdings {
            self.put(holding, 0, now);
        }
    }

    /// Puts what really was in the place of what was taken.
    fn put(&mut self, holding: &Holding, actual: u64, now: Moment) {
        let Holding {
            key, shape, taken, ..
        } = holding;
        if actual > taken.cost {
            self.open(*key, holding.scope, shape);
        }
        if let Some(count) = self.counts.get_mut(key) {
            count.cell.settle(&count.shape, *taken, actual, now);
        }
    }

    /// Of the limits that counted a call, those that have least left.
    fn tightest(&self, counted: &[Counted<'_>], now: Moment) -> Tightest {
        let mut tightest = Tightest::default();
        for one in counted {
            if let Some(count) = self.counts.get(&self.key(one)) {
                let left = count.cell.left(&count.shape, now);
                tightest.note(one.limit.rule.metric, &count.shape, left);
            }
        }
        tightest
    }

    /// What a limit has left under one value.
    fn left(&self, counted: &Counted<'_>, now: Moment) -> Left {
        match self.counts.get(&self.key(counted)) {
            Some(count) => {
                // A limit that was changed is counted by its new figures with the next call.
                let shape = match count.cell {
                    Cell::Governed(_) => Shape::from(&counted.limit.rule),
                    _ => Shape::from(&counted.limit.rule).plain(),
                };
                let mut cell = count.cell.clone();
                if count.shape != shape {
                    cell.reshape(&count.shape, &shape, now);
                }
                cell.left(&shape, now)
            }
            None => unused(&Shape::from(&counted.limit.rule), now),
        }
    }

    fn open(&mut self, key: CountKey, scope: Scope, shape: &Shape) -> &mut Count {
        self.counts.entry(key).or_insert_with(|| {
            self.looked_at.push_back(key);
            Count {
                scope,
                shape: *shape,
                cell: Cell::new(shape),
            }
        })
    }

    fn key(&self, counted: &Counted<'_>) -> CountKey {
        let key = counted.key();
        if self.counts.len() >= MAX_COUNTS && !self.counts.contains_key(&key) {
            return CountKey {
                value: Value::All,
                ..key
            };
        }
        key
    }

    /// Drops some counts that are at rest: of those that come next, as many as were used, and few.
    fn look_at(&mut self, used: usize, now: Moment) {
        for _ in 0..LOOKS.min(used) {
            self.look_at_one(now);
        }
    }

    /// Drops one count if nothing is used of it; so memory follows what is in use, a little at a time.
    fn look_at_one(&mut self, now: Moment) {
        let Some(key) = self.looked_at.pop_front() else {
            return;
        };
        let Some(count) = self.counts.get(&key) else {
            return;
        };
        if count.cell.is_at_rest(&count.shape, now) {
            self.counts.remove(&key);
        } else {
            self.looked_at.push_back(key);
        }
    }
}
