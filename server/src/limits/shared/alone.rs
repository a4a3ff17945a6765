//! What an instance lets through on its own share while Redis is away, or did not answer in time.
//!
//! Redis is told of it before it is asked again. Otherwise it would go on from what it knew, and a limit would be spent twice:
//! once in Redis, once by those who could not ask it. What Redis has counted of a call whose answer did not come in time counts
//! too, so an outage costs a limit something, and never gives it more.

use weir_api_types::limit::Metric;

use super::{Shared, settle::Item};
use crate::{
    limits::{
        Rejected,
        claim::Counted,
        rate::{Shape, Taken},
        rates::{CountKey, Holding, Passed},
    },
    tenancy::Scope,
};

/// What was let through of one count.
pub(super) struct Alone {
    scope: Scope,
    /// The limit's own, not that of a share.
    shape: Shape,
    metric: Metric,
    units: u64,
}

impl Shared {
    /// Counts a call on this instance's share.
    pub(super) fn take_alone(
        &self,
        counted: &[Counted<'_>],
        tokens: u64,
    ) -> Result<Passed, Rejected> {
        let passed = self.local.take_now(counted, tokens)?;
        let mut alone = self.alone.lock();
        for (one, holding) in counted.iter().zip(&passed.holdings) {
            // Slots are told by who holds them.
            if holding.metric == Metric::Concurrent {
                continue;
            }
            let so_far = alone.entry(holding.key).or_insert_with(|| Alone {
                scope: holding.scope,
                shape: Shape::from(&one.limit.rule),
                metric: holding.metric,
                units: 0,
            });
            so_far.units = so_far.units.saturating_add(holding.taken.cost);
        }
        drop(alone);
        self.due.notify_one();
        Ok(passed)
    }

    /// Puts what calls really were in the place of what was counted for them, where Redis has not been told yet.
    pub(super) fn correct_alone(&self, holdings: &[Holding], actual: u64) {
        if holdings.is_empty() {
            return;
        }
        let mut alone = self.alone.lock();
        for holding in holdings {
            if let Some(so_far) = alone.get_mut(&holding.key) {
                let units = so_far.units.saturating_add(actual);
                so_far.units = units.saturating_sub(holding.taken.cost);
            }
        }
    }

    /// What Redis is to be told: what was let through, as far as it has not flowed back.
    pub(super) fn of_alone(&self) -> Vec<Item> {
        let alone = std::mem::take(&mut *self.alone.lock());
        let items = alone
            .into_iter()
            .map(|(key, alone)| self.untold(key, &alone));
        items.filter(|item| item.actual > 0).collect()
    }

    fn untold(&self, key: CountKey, alone: &Alone) -> Item {
        Item {
            key,
            scope: alone.scope,
            shape: alone.shape,
            taken: Taken::at(0, 0),
            // Long away, most has flowed back; and of what has not, some was counted by Redis before.
            actual: alone.units.min(self.local.used_of(key)),
            metric: alone.metric,
            was_counted: false,
        }
    }
}
