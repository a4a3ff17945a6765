//! One count of one limit: how much of it is used, and when it forgets. Pure: the moment is passed in.
//!
//! All arithmetic is in whole numbers, so that a limit holds exactly. What a call costs is taken when it is admitted, at
//! most what the limit can ever hold; [`Cell::settle`] puts the true amount in its place, which may take the limit
//! beyond its end: then the next calls wait.

mod bucket;
mod fixed;
mod governed;
mod sliding;

use bucket::Bucket;
use fixed::Fixed;
use governed::Governed;
use sliding::Sliding;
use weir_api_types::limit::{Algorithm, Limit as Rule, Metric, Per};

/// A leaky bucket's patience where its rule does not say.
const USUAL_WAIT_US: u64 = 1_000_000;

/// More than any call really takes.
pub const MOST: u64 = 1 << 50;

/// Now, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Microseconds since some moment before the process's start; never goes back.
    pub mono_us: u64,
    /// Microseconds since 1970, UTC; names the windows of the clock.
    pub wall_us: u64,
}

/// The figures of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    pub kind: Kind,
    pub window_us: u64,
    pub max: u64,
    /// The most at once: `max`, except for a token bucket that says otherwise.
    pub burst: u64,
    pub max_wait_us: u64,
}

/// How a count is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A token bucket of requests.
    Governed,
    /// Any other token bucket.
    Bucket,
    Sliding,
    Fixed,
    Leaky,
    Concurrent,
}

impl From<&Rule> for Shape {
    fn from(rule: &Rule) -> Self {
        let window_us = rule.per.unwrap_or(Per::Second).micros();
        let burst = match rule.algorithm {
            Algorithm::TokenBucket => rule.burst.unwrap_or(rule.max),
            _ => rule.max,
        };
        let max_wait_us = rule.max_wait.map_or(USUAL_WAIT_US, |wait| {
            u64::try_from(wait.0.as_micros()).unwrap_or(u64::MAX)
        });
        let kind = match (rule.metric, rule.algorithm) {
            (Metric::Concurrent, _) => Kind::Concurrent,
            (Metric::Requests, Algorithm::TokenBucket)
                if governed::expresses(window_us, rule.max, burst) =>
            {
                Kind::Governed
            }
            (_, Algorithm::TokenBucket) => Kind::Bucket,
            (_, Algorithm::SlidingWindow) => Kind::Sliding,
            (_, Algorithm::FixedWindow) => Kind::Fixed,
            (_, Algorithm::LeakyBucket) => Kind::Leaky,
        };
        Self {
            kind,
            window_us,
            max: rule.max,
            burst,
            max_wait_us,
        }
    }
}

impl Shape {
    /// The same, kept so that more than all of it can be used.
    pub fn plain(self) -> Self {
        Self {
            kind: match self.kind {
                Kind::Governed => Kind::Bucket,
                kind => kind,
            },
            ..self
        }
    }

    /// The part of one of so many instances: at least one, so that none is shut out.
    pub fn shared_among(self, instances: u32) -> Self {
        let part = |all: u64| (all / u64::from(instances.max(1))).max(1);
        Self {
            max: part(self.max),
            burst: part(self.burst),
            ..self
        }
    }
}

/// What has been used.
#[derive(Debug, Clone)]
pub enum Cell {
    Governed(Governed),
    Bucket(Bucket),
    Leaky(Bucket),
    Sliding(Box<Sliding>),
    Fixed(Fixed),
    Concurrent(u64),
}

/// That a call was counted, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// How much.
    pub cost: u64,
    /// The slice or window that it was counted in.
    pub place: u64,
    /// How long the call has to wait for its turn.
    pub wait_us: u64,
}

/// That there is no room, and how long it takes until there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    pub after_us: u64,
}

/// What is left, as headers tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub remaining: u64,
    /// Until nothing is used any more.
    pub reset_us: u64,
}

impl Taken {
    /// So much in a place, for which nobody has to wait.
    pub const fn at(cost: u64, place: u64) -> Self {
        Self {
            cost,
            place,
            wait_us: 0,
        }
    }
}

impl Cell {
    /// A count of which nothing is used.
    pub fn new(shape: &Shape) -> Self {
        match shape.kind {
            Kind::Governed => Self::Governed(Governed::default()),
            Kind::Bucket => Self::Bucket(Bucket::default()),
            Kind::Leaky => Self::Leaky(Bucket::default()),
            Kind::Sliding => Self::Sliding(Box::default()),
            Kind::Fixed => Self::Fixed(Fixed::default()),
            Kind::Concurrent => Self::Concurrent(0),
        }
    }

    /// Counts a call, if there is room for it.
    pub fn take(&mut self, shape: &Shape, cost: u64, now: Moment) -> Result<Taken, Full> {
        match self {
            Self::Governed(governed) => governed.take(shape, now.mono_us).map(|()| Taken::at(1, 0)),
            Self::Bucket(bucket) => {
                let cost = cost.min(shape.burst);
                bucket
                    .take(shape, cost, now.mono_us)
                    .map(|()| Taken::at(cost, 0))
            }
            Self::Leaky(bucket) => {
                let wait_us = bucket.queue(shape, cost, now.mono_us)?;
                Ok(Taken {
                    cost,
                    place: 0,
                    wait_us,
                })
            }
            Self::Sliding(sliding) => {
                let cost = cost.min(shape.max);
                let slice = sliding.take(shape, cost, now.mono_us)?;
                Ok(Taken::at(cost, slice))
            }
            Self::Fixed(fixed) => {
                let cost = cost.min(shape.max);
                let window = fixed.take(shape, cost, now.wall_us)?;
                Ok(Taken::at(cost, window))
            }
            // When a slot is free again, nobody knows.
            Self::Concurrent(used) if *used >= shape.max => Err(Full {
                after_us: 1_000_000,
            }),
            Self::Concurrent(used) => {
                *used += 1;
                Ok(Taken::at(1, 0))
            }
        }
    }

    /// Puts what a call really was in the place of what was taken for it. Also ends a concurrent one, by zero.
    pub fn settle(&mut self, shape: &Shape, taken: Taken, actual: u64, now: Moment) {
        // An upstream's nonsense must not overflow what is summed.
        let actual = actual.min(MOST);
        match self {
            Self::Governed(governed) => {
                if actual == 0 {
                    governed.give_back(shape, taken.cost);
                }
            }
            Self::Bucket(bucket) | Self::Leaky(bucket) => {
                bucket.settle(shape, taken.cost, actual, now.mono_us);
            }
            Self::Sliding(sliding) => {
                sliding.settle(shape, taken.place, taken.cost, actual, now.mono_us);
            }
            Self::Fixed(fixed) => fixed.settle(shape, taken.place, taken.cost, actual, now.wall_us),
            Self::Concurrent(used) => {
                if actual == 0 {
                    *used = used.saturating_sub(1);
                }
            }
        }
    }

    /// Counts what was counted elsewhere already, whether there is room for it or not. A governed bucket cannot have more than
    /// its burst: whoever forces takes the plain one.
    pub fn force(&mut self, shape: &Shape, cost: u64, now: Moment) {
        let nothing = Taken::at(0, 0);
        if !matches!(self, Self::Governed(_) | Self::Concurrent(_)) {
            self.settle(shape, nothing, cost, now);
        }
    }

    /// How much is used, of everything but concurrent requests.
    pub fn used(&self, shape: &Shape, now: Moment) -> u64 {
        match self {
            Self::Governed(governed) => governed.used(shape, now.mono_us),
            Self::Bucket(bucket) | Self::Leaky(bucket) => bucket.used(shape, now.mono_us),
            Self::Sliding(sliding) => sliding.used(shape, now.mono_us),
            Self::Fixed(fixed) => fixed.used(shape, now.wall_us),
            Self::Concurrent(_) => 0,
        }
    }

    /// What is left.
    pub fn left(&self, shape: &Shape, now: Moment) -> Left {
        match self {
            Self::Governed(governed) => governed.left(shape, now.mono_us),
            Self::Bucket(bucket) => bucket.left(shape, now.mono_us),
            Self::Leaky(bucket) => bucket.left_in_queue(shape, now.mono_us),
            Self::Sliding(sliding) => sliding.left(shape, now.mono_us),
            Self::Fixed(fixed) => fixed.left(shape, now.wall_us),
            Self::Concurrent(used) => Left {
                remaining: shape.max.saturating_sub(*used),
                reset_us: 0,
            },
        }
    }

    /// Goes on under other figures, with what has been used: its limit was changed.
    pub fn reshape(&mut self, old: &Shape, new: &Shape, now: Moment) {
        match (&mut *self, new.kind) {
            (Self::Governed(governed), Kind::Governed) => governed.reshape(old, new, now.mono_us),
            (Self::Governed(governed), Kind::Bucket) => {
                *self = Self::Bucket(Bucket::with_used(
                    governed.used(old, now.mono_us),
                    new,
                    now.mono_us,
                ));
            }
            (Self::Bucket(bucket), Kind::Governed) => {
                *self = Self::Governed(Governed::with_used(
                    bucket.used(old, now.mono_us),
                    new,
                    now.mono_us,
                ));
            }
            (Self::Bucket(bucket) | Self::Leaky(bucket), _) => bucket.drain(old, now.mono_us),
            // Their counts are of requests or tokens and know no figures.
            _ => {}
        }
    }

    /// Whether it is as good as a new one, so that it need not be kept.
    pub fn is_at_rest(&self, shape: &Shape, now: Moment) -> bool {
        match self {
            Self::Governed(governed) => governed.is_at_rest(now.mono_us),
            Self::Bucket(bucket) | Self::Leaky(bucket) => bucket.is_at_rest(shape, now.mono_us),
            Self::Sliding(sliding) => sliding.is_at_rest(shape, now.mono_us),
            Self::Fixed(fixed) => fixed.is_at_rest(shape, now.wall_us),
            Self::Concurrent(used) => *used == 0,
        }
    }
}

#[cfg(test)]
mod tests;
