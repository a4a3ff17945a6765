//! A sliding window: sixty slices and the one that runs, of which the oldest counts whole. So no window of its length,
//! wherever it begins, ever takes more than the limit.

use super::{Full, Left, Shape};

const SLICES: u64 = 60;
const RING: usize = SLICES as usize + 1;

/// Counts by slice of the monotonic clock.
#[derive(Debug, Clone)]
pub struct Sliding {
    counts: [u64; RING],
    /// The slice that ran when it was last looked at.
    slice: u64,
    sum: u64,
}

impl Default for Sliding {
    fn default() -> Self {
        Self {
            counts: [0; RING],
            slice: 0,
            sum: 0,
        }
    }
}

impl Sliding {
    /// Counts, and says in which slice.
    pub fn take(&mut self, shape: &Shape, cost: u64, now_us: u64) -> Result<u64, Full> {
        self.advance(shape, now_us);
        if self.sum + cost > shape.max {
            return Err(Full {
                after_us: self.until_free(shape, self.sum + cost - shape.max, now_us),
            });
        }
        *self.count(self.slice) += cost;
        self.sum += cost;
        Ok(self.slice)
    }

    /// What was too much leaves the slice that it was counted in; what is missing counts from now on.
    pub fn settle(&mut self, shape: &Shape, slice: u64, taken: u64, actual: u64, now_us: u64) {
        self.advance(shape, now_us);
        if let Some(missing) = actual.checked_sub(taken) {
            let present = self.slice;
            *self.count(present) += missing;
            self.sum += missing;
        } else if slice + SLICES >= self.slice {
            let count = self.count(slice);
            let back = (taken - actual).min(*count);
            *count -= back;
            self.sum -= back;
        }
    }

    /// How much is used now.
    pub fn used(&self, shape: &Shape, now_us: u64) -> u64 {
        let mut at = self.clone();
        at.advance(shape, now_us);
        at.sum
    }

    pub fn left(&self, shape: &Shape, now_us: u64) -> Left {
        let mut at = self.clone();
        at.advance(shape, now_us);
        Left {
            remaining: shape.max.saturating_sub(at.sum),
            reset_us: at.until_free(shape, at.sum, now_us),
        }
    }

    pub fn is_at_rest(&self, shape: &Shape, now_us: u64) -> bool {
        self.sum == 0 || now_us / slice_us(shape) > self.slice + SLICES
    }

    /// How long until so much has left the window.
    fn until_free(&self, shape: &Shape, needed: u64, now_us: u64) -> u64 {
        let mut freed = 0;
        for slice in self.slice.saturating_sub(SLICES)..=self.slice {
            freed += self.counts[(slice % RING as u64) as usize];
            if freed >= needed {
                let leaves_us = (slice + RING as u64) * slice_us(shape);
                return leaves_us.saturating_sub(now_us);
            }
        }
        0
    }

    fn advance(&mut self, shape: &Shape, now_us: u64) {
        let present = now_us / slice_us(shape);
        if present <= self.slice {
            return;
        }
        if present - self.slice >= RING as u64 {
            self.counts = [0; RING];
            self.sum = 0;
        } else {
            for slice in self.slice + 1..=present {
                self.sum -= std::mem::take(self.count(slice));
            }
        }
        self.slice = present;
    }

    fn count(&mut self, slice: u64) -> &mut u64 {
        &mut self.counts[(slice % RING as u64) as usize]
    }
}

/// A slice's length, rounded up: sixty of them are never less than the window.
fn slice_us(shape: &Shape) -> u64 {
    shape.window_us.div_ceil(SLICES)
}
