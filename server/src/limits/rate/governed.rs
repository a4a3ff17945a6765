//! A token bucket of requests, kept by `governor`'s GCRA: one number for each count, however large the bucket.
//!
//! The library takes one request and no more. What it cannot express is kept by Weir's own counts: amounts that are only
//! known afterwards (tokens), a bucket below zero, windows, a queue, and buckets so large or fast that a request is not a
//! whole number of nanoseconds. Giving a request back, and going on under other figures, is done here on the number that
//! the library computes with: the theoretical arrival time, in nanoseconds.

use std::{cell::Cell, num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter, clock, middleware::NoOpMiddleware, nanos::Nanos, state::StateStore,
};

use super::{Full, Left, Shape};

/// Below this a nanosecond would be more than a thousandth of a request.
const LEAST_INTERVAL_NS: u64 = 1_000;
/// Where the library's own arithmetic still has room.
const MOST_NS: u64 = 1 << 61;

/// When the bucket is full again, in nanoseconds of the monotonic clock; 0 is long ago.
#[derive(Debug, Clone, Default)]
pub struct Governed {
    full_ns: Cell<u64>,
}

/// The moment of one question, for the library's sake: it asks a clock.
#[derive(Debug, Clone)]
struct Now(Cell<Duration>);

impl clock::Clock for Now {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.get()
    }
}

impl StateStore for &Governed {
    type Key = ();

    fn measure_and_replace<T, F, E>(&self, (): &(), decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (answer, next) = decide(Some(Nanos::new(self.full_ns.get())))?;
        self.full_ns.set(next.as_u64());
        Ok(answer)
    }
}

/// Whether the library can keep such a bucket.
pub fn expresses(window_us: u64, max: u64, burst: u64) -> bool {
    let interval_ns = interval_ns(window_us, max);
    interval_ns >= LEAST_INTERVAL_NS
        && u32::try_from(burst).is_ok()
        && interval_ns
            .checked_mul(burst)
            .is_some_and(|all| all < MOST_NS)
}

/// Nanoseconds in which one request flows back, rounded up: never more than the limit allows.
fn interval_ns(window_us: u64, max: u64) -> u64 {
    (window_us * 1_000).div_ceil(max.max(1))
}

fn interval_of(shape: &Shape) -> u64 {
    interval_ns(shape.window_us, shape.max)
}

impl Governed {
    /// A bucket of which so much is used now.
    pub fn with_used(used: u64, shape: &Shape, now_us: u64) -> Self {
        let owed = u128::from(used) * u128::from(interval_of(shape));
        let owed = u64::try_from(owed).unwrap_or(MOST_NS).min(MOST_NS);
        Self {
            full_ns: Cell::new(now_us * 1_000 + owed),
        }
    }

    pub fn take(&mut self, shape: &Shape, now_us: u64) -> Result<(), Full> {
        let interval = Duration::from_nanos(interval_of(shape));
        let burst = u32::try_from(shape.burst).ok().and_then(NonZeroU32::new);
        let quota = Quota::with_period(interval).unwrap_or(Quota::per_second(NonZeroU32::MIN));
        let quota = quota.allow_burst(burst.unwrap_or(NonZeroU32::MIN));
        // The library counts from the moment at which a limiter is made; here that is the clock's own beginning.
        let clock = Now(Cell::new(Duration::ZERO));
        let limiter = RateLimiter::<(), _, _, NoOpMiddleware<Duration>>::new(quota, &*self, clock);
        let now = Duration::from_micros(now_us);
        limiter.clock().0.set(now);
        limiter.check_key(&()).map_err(|until| Full {
            after_us: u64::try_from(until.wait_time_from(now).as_nanos().div_ceil(1_000))
                .unwrap_or(u64::MAX),
        })
    }

    pub fn give_back(&mut self, shape: &Shape, requests: u64) {
        let owed = interval_of(shape).saturating_mul(requests);
        self.full_ns.set(self.full_ns.get().saturating_sub(owed));
    }

    /// How many requests have not yet flowed back, rounded up.
    pub fn used(&self, shape: &Shape, now_us: u64) -> u64 {
        self.owed_ns(now_us).div_ceil(interval_of(shape))
    }

    pub fn left(&self, shape: &Shape, now_us: u64) -> Left {
        Left {
            remaining: shape.burst.saturating_sub(self.used(shape, now_us)),
            reset_us: self.owed_ns(now_us).div_ceil(1_000),
        }
    }

    pub fn reshape(&mut self, old: &Shape, new: &Shape, now_us: u64) {
        let owed = u128::from(self.owed_ns(now_us)) * u128::from(interval_of(new));
        let owed = owed.div_ceil(u128::from(interval_of(old)));
        let owed = u64::try_from(owed).unwrap_or(MOST_NS).min(MOST_NS);
        self.full_ns.set(now_us * 1_000 + owed);
    }

    pub fn is_at_rest(&self, now_us: u64) -> bool {
        self.owed_ns(now_us) == 0
    }

    fn owed_ns(&self, now_us: u64) -> u64 {
        self.full_ns.get().saturating_sub(now_us * 1_000)
    }
}
