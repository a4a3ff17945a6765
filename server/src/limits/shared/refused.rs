//! Refusals of a moment ago: those that come in vain ask nobody.

use std::time::{Duration, Instant};

use weir_api_types::limit::Metric;

use super::Shared;
use crate::limits::{Rejected, claim::Counted};

/// For so long a refusal is repeated without asking again: others may have given something back by then.
const REFUSED_FOR: Duration = Duration::from_millis(20);
/// Refusals remembered at most.
const MAX_REFUSED: usize = 10_000;

impl Shared {
    /// A refusal of a moment ago stands: so many that come in vain ask nobody.
    pub(super) fn refused_lately(&self, counted: &[Counted<'_>]) -> Option<Rejected> {
        let mut refused = self.refused.lock();
        if refused.is_empty() {
            return None;
        }
        for one in counted {
            let key = one.key();
            match refused.get(&key) {
                // A changed limit is asked at once.
                Some((until, Rejected::Rate { limit, retry_after }))
                    if limit.rule == one.limit.rule =>
                {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        refused.remove(&key);
                    } else {
                        return Some(Rejected::Rate {
                            limit: limit.clone(),
                            retry_after: *retry_after,
                        });
                    }
                }
                Some(_) => drop(refused.remove(&key)),
                None => {}
            }
        }
        None
    }

    pub(super) fn remember(&self, counted: &Counted<'_>, after_us: u64, rejected: &Rejected) {
        // A slot can be free at any moment.
        if counted.limit.rule.metric == Metric::Concurrent {
            return;
        }
        let mut refused = self.refused.lock();
        if refused.len() >= MAX_REFUSED {
            let now = Instant::now();
            refused.retain(|_, (until, _)| *until > now);
            if refused.len() >= MAX_REFUSED {
                return;
            }
        }
        let until = Instant::now() + REFUSED_FOR.min(Duration::from_micros(after_us));
        refused.insert(counted.key(), (until, rejected.clone()));
    }
}
