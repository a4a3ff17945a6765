//! Lets one attempt of an admitted call through on what its channel and its route allow.

use std::{sync::Arc, time::Duration};

use tokio::time;
use weir_api_types::limit::Metric;

use super::{
    AttemptPermit, Limits, Rejected,
    admit::{HeldAttempt, Patience, Waiting},
    budget::{Outcome, Reserved, Ticket},
    claim::{Counted, Most, Watched},
    rates::Passed,
};
use crate::tenancy::{ChannelId, RequestId, Scope};

/// For so long an attempt that could go elsewhere waits for what Redis may give of its channel's budget.
const ASKED_FOR: Duration = Duration::from_millis(100);

/// One attempt of an admitted call that asks its channel and route to be let through.
#[derive(Debug)]
pub struct Attempt<'c> {
    pub id: RequestId,
    pub channel: ChannelId,
    pub limits: Vec<Counted<'c>>,
    pub budgets: Vec<Watched<'c>>,
    pub estimated_tokens: u64,
    pub most: &'c Most,
    /// The most output tokens over all choices, where anything bounds them.
    pub output: Option<u64>,
}

/// What an attempt has reserved while its channel's limits are asked.
struct Reserving<'a> {
    limits: &'a Limits,
    id: RequestId,
    reserved: Vec<Reserved>,
}

impl Drop for Reserving<'_> {
    fn drop(&mut self) {
        self.limits.settle_reserved(&self.reserved, self.id, |_| 0);
    }
}

impl Limits {
    /// Lets one attempt of an admitted call through on what its channel and route allow. Only who has nowhere else to go
    /// waits for what others have reserved of the channel's budget; but all wait a moment for what Redis may give.
    pub async fn attempt(
        self: &Arc<Self>,
        attempt: &Attempt<'_>,
        is_last: bool,
    ) -> Result<AttemptPermit, Rejected> {
        if attempt.budgets.is_empty() {
            return self.count_attempt(attempt, Vec::new()).await;
        }
        let mut waiting = Waiting::new(self, &attempt.budgets);
        let (began, mut patience) = (time::Instant::now(), Patience::new(self));
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let (rejected, may_be_more) = match self.reserve_attempt(attempt, waiting.ticket) {
                Ok(reserved) => {
                    waiting.is_over();
                    return self.count_attempt(attempt, reserved).await;
                }
                Err(rejected) => rejected,
            };
            let waits = matches!(rejected, Rejected::Reserved { .. });
            let deadline = patience.deadline(&attempt.budgets);
            let until = match (is_last, may_be_more) {
                (true, _) => Some(deadline),
                (false, true) => Some(deadline.min(began + ASKED_FOR)),
                (false, false) => None,
            };
            waiting.ticket.has_waited = waits;
            let until = until.filter(|_| waits);
            let came = match until {
                Some(until) => time::timeout_at(until, freed).await.is_ok(),
                None => false,
            };
            if !came {
                self.note_refusal(&rejected);
                return Err(rejected);
            }
        }
    }

    /// Reserves what an attempt may come to; or says why not, and whether Redis may have more.
    fn reserve_attempt(
        &self,
        attempt: &Attempt<'_>,
        ticket: Ticket,
    ) -> Result<Vec<Reserved>, (Rejected, bool)> {
        let mut inner = self.inner.lock();
        let accounts = &mut inner.accounts;
        let (budgets, most) = (&attempt.budgets, attempt.most);
        let outcome = accounts.reserve_of(budgets, most, attempt.output, ticket);
        self.wake(accounts);
        match outcome {
            Outcome::Reserved(reserved, _) => Ok(reserved),
            Outcome::Wait(budget) => {
                let scope = Scope::Channel(attempt.channel);
                let rejected = Rejected::Reserved { budget, scope };
                Err((rejected, accounts.may_be_more(budgets)))
            }
            Outcome::Rejected(rejected) => Err((*rejected, false)),
        }
    }

    async fn count_attempt(
        self: &Arc<Self>,
        attempt: &Attempt<'_>,
        reserved: Vec<Reserved>,
    ) -> Result<AttemptPermit, Rejected> {
        // Given back if the limits refuse, or the caller leaves while they are asked.
        let mut reserving = Reserving {
            limits: self,
            id: attempt.id,
            reserved,
        };
        let passed = match attempt.limits.as_slice() {
            [] => Passed::default(),
            limits => self.rates.take(limits, attempt.estimated_tokens).await?,
        };
        let held = HeldAttempt {
            tokens: passed.of(Metric::Tokens),
            reserved: std::mem::take(&mut reserving.reserved),
        };
        if let Some(call) = self.inner.lock().open.get_mut(&attempt.id) {
            call.attempts.push(held);
        }
        Ok(AttemptPermit {
            limits: Arc::clone(self),
            slots: passed.of(Metric::Concurrent),
        })
    }
}
