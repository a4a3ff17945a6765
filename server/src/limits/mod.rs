//! How fast and how much: limits bound a rate, budgets a sum.
//!
//! [`Claim`] gathers what counts a call, [`Limits::admit`] lets it through on all of that or on nothing, and gives a
//! [`Permit`]. Rates are counted when a call is admitted; tokens and money are reserved from above, and settled by the
//! call's usage event, whichever way that comes about: so what is spent is what is booked. What is written about the
//! answers is `proxy`'s.

mod admit;
mod alerts;
mod attempt;
mod budget;
pub mod busy;
pub mod claim;
pub mod lease;
mod leased;
mod local;
pub mod period;
mod permit;
pub mod rate;
mod rates;
mod shared;

use std::time::Duration;

pub use admit::{Admitted, Config, Limits};
pub use alerts::{Alert, Happened};
pub use attempt::Attempt;
pub use budget::{Account, Standing, spent_by};
pub use claim::{Claim, Most, Output, Who};
pub use leased::Unbuilt;
pub use local::{Local, capacity};
pub use period::Window;
pub use permit::{AttemptPermit, Permit};
pub use rates::{Quota, Rates, Tightest};
pub use shared::{Shared, leases};

use crate::{
    catalog::Catalog,
    tenancy::{Budget, BudgetId, Limit, Scope, limit::Spending},
};
use claim::Watched;

/// Why a call is not let through.
#[derive(Debug, Clone, PartialEq)]
pub enum Rejected {
    /// A limit is used up for now.
    Rate {
        limit: Box<Limit>,
        retry_after: Duration,
    },
    /// A hard budget is spent, or has less than this call may come to.
    Spent {
        budget: BudgetId,
        scope: Scope,
        spending: Spending,
        spent: u64,
        amount: u64,
        /// The most that the call may come to.
        most: u64,
        /// When the next window begins, Unix milliseconds; `None`: never.
        resets_ms: Option<i64>,
        window_ms: i64,
        /// Whether this is the first refusal of the budget in its window.
        first: bool,
    },
    /// A hard budget has something left, but calls under way have reserved it.
    Reserved { budget: BudgetId, scope: Scope },
    /// A hard budget applies, and nobody can say what the call comes to at most.
    Unbounded { budget: BudgetId, scope: Scope },
}

impl Rejected {
    fn unbounded(budget: &Budget) -> Self {
        Self::Unbounded {
            budget: budget.id,
            scope: budget.scope,
        }
    }

    fn spent(watched: &Watched<'_>, spent: u64, most: u64, first: bool) -> Self {
        let Watched { budget, window } = watched;
        Self::Spent {
            budget: budget.id,
            scope: budget.scope,
            spending: budget.amount.spending(),
            spent,
            amount: budget.amount.units(),
            most,
            resets_ms: (window.end_ms != i64::MAX).then_some(window.end_ms),
            window_ms: window.start_ms,
            first,
        }
    }

    /// The thing whose limit or budget it was.
    pub fn scope(&self) -> Scope {
        match self {
            Self::Rate { limit, .. } => limit.scope,
            Self::Spent { scope, .. }
            | Self::Reserved { scope, .. }
            | Self::Unbounded { scope, .. } => *scope,
        }
    }

    /// The word for metrics: what was counted.
    pub fn metric(&self) -> &'static str {
        match self {
            Self::Rate { limit, .. } => limit.rule.metric.as_str(),
            Self::Spent { .. } | Self::Reserved { .. } | Self::Unbounded { .. } => "budget",
        }
    }
}

/// What people call a thing that a limit or budget stands on.
pub fn name_of(catalog: &Catalog, scope: Scope) -> String {
    let name = match scope {
        Scope::Platform => None,
        Scope::Tenant(id) => catalog.tenant(id).map(|tenant| &tenant.name),
        Scope::Group(_, id) => catalog.group(id).map(|group| &group.name),
        Scope::User(_, id) => catalog.user(id).map(|user| &user.email),
        Scope::Key(_, id) => catalog.key(id).map(|key| &key.name),
        Scope::Channel(id) => catalog.channel(id).map(|channel| &channel.name),
        Scope::Model(id) => catalog.model(id).map(|model| &model.name),
    };
    name.cloned().unwrap_or_default()
}
