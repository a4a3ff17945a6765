//! All counts of limits in this process: found, counted on together, given back, and dropped when nothing is used of them.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use weir_api_types::limit::Metric;

use super::{
    Rejected,
    claim::{Counted, Value},
    rate::{Cell, Full, Left, Moment, Shape, Taken},
};
use crate::tenancy::LimitId;

/// Counts told apart; beyond, a limit's further values share one.
const MAX_COUNTS: usize = 1_000_000;
/// Counts that are looked at for each one that is used, and dropped when at rest.
const LOOKS: usize = 2;

/// One count: a limit, and a value of what it counts apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CountKey {
    pub limit: LimitId,
    pub value: Value,
}

struct Count {
    shape: Shape,
    cell: Cell,
}

/// All counts.
#[derive(Default)]
pub struct Counts {
    counts: HashMap<CountKey, Count>,
    /// Each key of `counts` once, in the order in which they are looked at.
    looked_at: VecDeque<CountKey>,
}

/// Of the limits on requests and on tokens, the one of each that has least left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tightest {
    pub requests: Option<Quota>,
    pub tokens: Option<Quota>,
}

/// What a limit has left, as headers tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub limit: u64,
    pub remaining: u64,
    pub reset: Duration,
}

/// That a limit has counted a call.
#[derive(Debug, Clone, Copy)]
pub struct Holding {
    key: CountKey,
    metric: Metric,
    /// Another call may have found the count at rest meanwhile, and dropped it.
    shape: Shape,
    taken: Taken,
}

impl Holding {
    /// How long the call has to wait for its turn.
    pub fn wait_us(&self) -> u64 {
        self.taken.wait_us
    }
}

/// Those of one metric.
pub fn of_metric(holdings: &[Holding], metric: Metric) -> Vec<Holding> {
    let of_metric = holdings.iter().filter(|holding| holding.metric == metric);
    of_metric.copied().collect()
}

impl Counts {
    /// Counts on all, or on none.
    pub fn take_all(
        &mut self,
        counted: &[Counted<'_>],
        tokens: u64,
        now: Moment,
    ) -> Result<Vec<Holding>, Rejected> {
        let mut taken = Vec::with_capacity(counted.len());
        for (at, one) in counted.iter().enumerate() {
            match self.take(one, tokens, now) {
                Ok(counted) => taken.push(counted),
                Err(full) => {
                    self.undo(&taken, now);
                    return Err(self.rejected(&counted[at..], full, tokens, now));
                }
            }
        }
        for _ in 0..LOOKS.min(counted.len()) {
            self.look_at_one(now);
        }
        Ok(taken)
    }

    fn take(&mut self, counted: &Counted<'_>, tokens: u64, now: Moment) -> Result<Holding, Full> {
        let key = self.key(counted);
        let shape = Shape::from(&counted.limit.rule);
        let metric = counted.limit.rule.metric;
        let count = self.open(key, &shape);
        if count.shape != shape {
            count.cell.reshape(&count.shape, &shape, now);
            count.shape = shape;
        }
        let taken = count.cell.take(&shape, cost(metric, tokens), now)?;
        Ok(Holding {
            key,
            metric,
            shape,
            taken,
        })
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
    pub fn undo(&mut self, holdings: &[Holding], now: Moment) {
        for holding in holdings {
            self.put(holding, 0, now);
        }
    }

    /// Puts what really was in the place of what was taken.
    pub fn put(&mut self, holding: &Holding, actual: u64, now: Moment) {
        let Holding {
            key, shape, taken, ..
        } = holding;
        if actual > taken.cost {
            self.open(*key, shape);
        }
        if let Some(count) = self.counts.get_mut(key) {
            count.cell.settle(&count.shape, *taken, actual, now);
        }
    }

    /// Of the limits that counted a call, those that have least left.
    pub fn tightest(&self, counted: &[Counted<'_>], now: Moment) -> Tightest {
        let mut tightest = Tightest::default();
        for one in counted {
            let place = match one.limit.rule.metric {
                Metric::Requests => &mut tightest.requests,
                Metric::Tokens => &mut tightest.tokens,
                Metric::Concurrent => continue,
            };
            let Some(count) = self.counts.get(&self.key(one)) else {
                continue;
            };
            let left = count.cell.left(&count.shape, now);
            if place.is_none_or(|other| left.remaining < other.remaining) {
                *place = Some(Quota {
                    limit: count.shape.burst,
                    remaining: left.remaining,
                    reset: Duration::from_micros(left.reset_us),
                });
            }
        }
        tightest
    }

    /// What a limit has left under one value.
    pub fn left(&self, key: CountKey, now: Moment) -> Option<Left> {
        let count = self.counts.get(&key)?;
        Some(count.cell.left(&count.shape, now))
    }

    fn open(&mut self, key: CountKey, shape: &Shape) -> &mut Count {
        self.counts.entry(key).or_insert_with(|| {
            self.looked_at.push_back(key);
            Count {
                shape: *shape,
                cell: Cell::new(shape),
            }
        })
    }

    fn key(&self, counted: &Counted<'_>) -> CountKey {
        let key = CountKey {
            limit: counted.limit.id,
            value: counted.value,
        };
        if self.counts.len() >= MAX_COUNTS && !self.counts.contains_key(&key) {
            return CountKey {
                value: Value::All,
                ..key
            };
        }
        key
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

/// What a call costs of a limit: of one on tokens at least one, so that none is free.
fn cost(metric: Metric, tokens: u64) -> u64 {
    match metric {
        Metric::Tokens => tokens.max(1),
        Metric::Requests | Metric::Concurrent => 1,
    }
}
