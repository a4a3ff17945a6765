//! How accounts are told what had been spent before this process began.

use super::{Account, Accounts, Crossed, Watched, Window, crossed};
use crate::tenancy::{Budget, RequestId};

impl Accounts {
    /// Whether it is known what was spent of these hard budgets before.
    pub fn know(&mut self, budgets: &[Watched<'_>]) -> bool {
        !self.any_hard(budgets, |spent| !spent.is_known())
    }

    /// Whether an account waits to be told its past.
    pub fn has_unfilled(&self) -> bool {
        !self.unfilled.is_empty()
    }

    /// Sees that an account is there, so that its past is asked for.
    pub fn expect(&mut self, account: Account, window: Window) {
        self.open(account, window);
    }

    /// The accounts whose past is to be told; each is named once.
    pub fn unfilled(&mut self) -> Vec<(Account, Window)> {
        std::mem::take(&mut self.unfilled)
    }

    /// Puts accounts back among those whose past is to be told.
    pub fn put_back(&mut self, accounts: Vec<(Account, Window)>) {
        self.unfilled.extend(accounts);
    }

    /// The calls that an account has counted since it began, which the books may have by now too.
    pub fn settled(&mut self, account: Account, window: Window) -> Vec<RequestId> {
        self.open(account, window)
            .settled
            .clone()
            .unwrap_or_default()
    }

    /// Tells an account its past: what the books had at one moment, less what they had by then of the calls that
    /// [`Accounts::settled`] named after that moment.
    pub fn fill(
        &mut self,
        account: Account,
        window: Window,
        past: u64,
        budgets: &[Budget],
    ) -> Vec<Crossed> {
        let spent = self.open(account, window);
        if spent.settled.take().is_none() {
            return Vec::new();
        }
        spent.spent = spent.spent.saturating_add(past);
        crossed(account, 0, spent.spent, budgets)
    }
}
