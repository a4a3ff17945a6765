//! What budgets tell: that a threshold was reached, or that a call was refused. Noticed here, written once by a job.

use super::{Account, Limits, Rejected, Window, budget::Crossed};
use crate::tenancy::{BudgetId, Scope, TenantId, limit::Spending};

/// What was noticed and has to be told once over all instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert {
    pub budget: BudgetId,
    pub scope: Scope,
    pub tenant: Option<TenantId>,
    /// When the budget's window began, Unix milliseconds.
    pub window_ms: i64,
    pub what: Happened,
    pub spending: Spending,
    pub spent: u64,
    pub amount: u64,
}

/// What a budget tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// So many per cent are spent.
    Crossed(u16),
    /// A call was refused.
    Refused,
}

impl Limits {
    fn owner(&self, scope: Scope) -> Option<TenantId> {
        match scope {
            Scope::Channel(channel) => self.catalog.peek().channel(channel)?.owner,
            _ => scope.tenant(),
        }
    }

    pub(super) fn note_refusal(&self, rejected: &Rejected) {
        if let Rejected::Spent {
            budget,
            scope,
            spending,
            spent,
            amount,
            window_ms,
            first: true,
            ..
        } = *rejected
        {
            self.tell(Alert {
                budget,
                scope,
                tenant: self.owner(scope),
                window_ms,
                what: Happened::Refused,
                spending,
                spent,
                amount,
            });
        }
    }

    pub(super) fn tell_crossed(&self, account: &Account, window: Window, crossed: &Crossed) {
        self.tell(Alert {
            budget: crossed.budget,
            scope: account.scope,
            tenant: self.owner(account.scope),
            window_ms: window.start_ms,
            what: Happened::Crossed(crossed.percent),
            spending: account.spending,
            spent: crossed.spent,
            amount: crossed.amount,
        });
    }

    fn tell(&self, alert: Alert) {
        if self.alerts.send(alert).is_err() {
            tracing::warn!(?alert, "nobody writes alerts any more");
        }
    }
}
