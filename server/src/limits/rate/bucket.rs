//! A token bucket by whole numbers, which also may go below zero, and the same bucket as a queue (leaky).
//!
//! It keeps its debt: what was taken and has not yet been filled again, in units times the window's microseconds. In a
//! microsecond `max` of these flow back, so nothing is ever rounded.

use super::{Full, Left, Shape};

/// What was taken and not yet filled again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    debt: u128,
    /// When the debt was so large.
    at_us: u64,
}

impl Bucket {
    /// A bucket of which so much is used now.
    pub fn with_used(used: u64, shape: &Shape, now_us: u64) -> Self {
        Self {
            debt: scaled(used, shape),
            at_us: now_us,
        }
    }

    /// How much is used now, rounded up.
    pub fn used(&self, shape: &Shape, now_us: u64) -> u64 {
        let used = self
            .debt_at(shape, now_us)
            .div_ceil(u128::from(shape.window_us));
        u64::try_from(used).unwrap_or(u64::MAX)
    }

    pub fn take(&mut self, shape: &Shape, cost: u64, now_us: u64) -> Result<(), Full> {
        self.drain(shape, now_us);
        let after = self.debt + scaled(cost, shape);
        let most = scaled(shape.burst, shape);
        if after > most {
            return Err(full(after - most, shape));
        }
        self.debt = after;
        Ok(())
    }

    /// Takes a place in the queue, if the wait for it is not too long. Returns the wait, in microseconds.
    pub fn queue(&mut self, shape: &Shape, cost: u64, now_us: u64) -> Result<u64, Full> {
        self.drain(shape, now_us);
        let wait_us = full(self.debt, shape).after_us;
        if wait_us > shape.max_wait_us {
            return Err(Full {
                after_us: wait_us - shape.max_wait_us,
            });
        }
        self.debt += scaled(cost, shape);
        Ok(wait_us)
    }

    pub fn settle(&mut self, shape: &Shape, taken: u64, actual: u64, now_us: u64) {
        self.drain(shape, now_us);
        self.debt = (self.debt + scaled(actual, shape)).saturating_sub(scaled(taken, shape));
    }

    pub fn left(&self, shape: &Shape, now_us: u64) -> Left {
        let debt = self.debt_at(shape, now_us);
        let left = scaled(shape.burst, shape).saturating_sub(debt) / u128::from(shape.window_us);
        Left {
            remaining: u64::try_from(left).unwrap_or(u64::MAX),
            reset_us: full(debt, shape).after_us,
        }
    }

    /// How many more may queue now.
    pub fn left_in_queue(&self, shape: &Shape, now_us: u64) -> Left {
        let debt = self.debt_at(shape, now_us);
        let patience = u128::from(shape.max_wait_us) * u128::from(shape.max);
        let places = patience
            .checked_sub(debt)
            .map(|left| left / u128::from(shape.window_us) + 1);
        Left {
            remaining: u64::try_from(places.unwrap_or(0)).unwrap_or(u64::MAX),
            reset_us: full(debt, shape).after_us,
        }
    }

    pub fn is_at_rest(&self, shape: &Shape, now_us: u64) -> bool {
        self.debt_at(shape, now_us) == 0
    }

    /// Lets flow back what has until now.
    pub fn drain(&mut self, shape: &Shape, now_us: u64) {
        self.debt = self.debt_at(shape, now_us);
        self.at_us = self.at_us.max(now_us);
    }

    fn debt_at(&self, shape: &Shape, now_us: u64) -> u128 {
        let passed = u128::from(now_us.saturating_sub(self.at_us));
        self.debt.saturating_sub(passed * u128::from(shape.max))
    }
}

fn scaled(units: u64, shape: &Shape) -> u128 {
    u128::from(units) * u128::from(shape.window_us)
}

/// How long a debt takes to flow back.
fn full(debt: u128, shape: &Shape) -> Full {
    let after = debt.div_ceil(u128::from(shape.max.max(1)));
    Full {
        after_us: u64::try_from(after).unwrap_or(u64::MAX),
    }
}
