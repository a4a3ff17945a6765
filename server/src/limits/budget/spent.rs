//! One account in one window, and whether it has room.

use std::collections::BTreeMap;

use super::Window;
use crate::{
    limits::lease::{Lease, Queue},
    tenancy::{Budget, BudgetId, RequestId},
};

/// One account in one window.
#[derive(Debug)]
pub(super) struct Spent {
    pub(super) window: Window,
    /// Which of those that this process has opened it is.
    pub(super) serial: u64,
    pub(super) spent: u64,
    pub(super) reserved: u64,
    /// While the past is not known: the calls that were settled meanwhile, which the books may have too.
    pub(super) settled: Option<Vec<RequestId>>,
    /// Budgets that have told in this window that they refused a call.
    pub(super) refused: Vec<BudgetId>,
    /// Tickets of calls that wait for what others have reserved, and what each needs.
    pub(super) waiting: BTreeMap<u64, u64>,
    /// Where several instances share the account.
    pub(super) lease: Option<Lease>,
}

/// Whether a budget lets a call through.
pub(super) enum Room {
    Enough,
    Later,
    None,
}

impl Spent {
    pub(super) fn room(&self, budget: &Budget, units: u64, ticket: u64) -> Room {
        let amount = budget.amount.units();
        if !self.is_known() {
            return Room::Later;
        }
        if self.spent.saturating_add(units) > amount || self.spent >= amount {
            return Room::None;
        }
        let first = self.waiting.first_key_value();
        let is_first = first.is_none_or(|(first, _)| ticket <= *first);
        let used = self.spent.saturating_add(self.reserved);
        let has_room = used.saturating_add(units) <= amount
            && self
                .lease
                .as_ref()
                .is_none_or(|lease| units <= lease.free(self.reserved));
        if has_room && is_first {
            Room::Enough
        } else {
            Room::Later
        }
    }

    /// Whether it is known what was spent before.
    pub(super) fn is_known(&self) -> bool {
        match &self.lease {
            Some(lease) => lease.is_known(),
            None => self.settled.is_none(),
        }
    }

    /// What other instances hold of it.
    pub(super) fn others(&self) -> u64 {
        self.lease.as_ref().map_or(0, Lease::others)
    }

    pub(super) fn queue(&self) -> Queue {
        Queue {
            first: self.waiting.values().next().copied().unwrap_or(0),
            all: self
                .waiting
                .values()
                .fold(0, |all, units| all.saturating_add(*units)),
        }
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_settled(&self) -> bool {
        self.reserved == 0 && self.lease.as_ref().is_none_or(Lease::is_settled)
    }
}
