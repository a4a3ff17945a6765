//! What a call holds while it is under way.

use std::sync::Arc;

use super::{Limits, rates::Holding};
use crate::tenancy::RequestId;

/// A call that was let through. Dropped, it gives its concurrency slots back, and everything else too unless
/// [`Permit::keep`] said that a usage event will settle it.
pub struct Permit {
    pub(super) limits: Arc<Limits>,
    pub(super) id: RequestId,
    pub(super) slots: Vec<Holding>,
    pub(super) kept: bool,
}

/// An attempt that its channel's limits let through. Dropped, it gives the channel's concurrency slots back.
pub struct AttemptPermit {
    pub(super) limits: Arc<Limits>,
    pub(super) slots: Vec<Holding>,
}

impl Permit {
    /// The call is on record: its event will settle it.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.release(&self.slots);
        if !self.kept {
            self.limits.cancel(self.id);
        }
    }
}

impl Drop for AttemptPermit {
    fn drop(&mut self) {
        self.limits.release(&self.slots);
    }
}
