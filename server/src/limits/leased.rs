//! What [`Limits`] tells the other instances of its budgets' accounts, and learns from them.

use std::time::Instant;

use tokio::sync::futures::Notified;
use uuid::Uuid;
use weir_api_types::limit::Mode;

use super::{
    Account, Limits, Window,
    budget::{Reserved, spent_by},
    claim,
    lease::{Tell, Told},
};
use crate::{
    catalog::Catalog,
    metering::UsageEvent,
    tenancy::{Budget, RequestId},
};

/// An account that has to be built, and the build that has left this instance out.
pub type Unbuilt = ((Account, Window), Option<Uuid>);

impl Limits {
    /// Waits until something may have to be told.
    pub fn some_untold(&self) -> Notified<'_> {
        self.untold.notified()
    }

    /// What is to be told now, of all or of what somebody waits for; each is answered by [`Limits::told`], whatever becomes
    /// of it.
    pub fn tells(&self, only_urgent: bool) -> Vec<Tell> {
        let catalog = self.catalog.peek();
        let amount = |account| hard_amount(&catalog, account);
        let mut inner = self.inner.lock();
        let mut tells = inner.accounts.tells(Instant::now(), only_urgent, amount);
        drop(inner);
        for tell in &mut tells {
            let (scope, period) = (tell.account.scope, tell.account.period);
            let before_ms = tell.window.start_ms.checked_sub(1).filter(|ms| *ms >= 0);
            tell.window_before_ms =
                before_ms.map(|ms| claim::window_of(&catalog, scope, period, ms).start_ms);
        }
        tells
    }

    /// Takes note of what Redis has answered. Returns whether others are to be asked for what lies idle there.
    pub fn told(&self, tell: &Tell, told: Told) -> bool {
        let catalog = self.catalog.peek();
        let budgets = catalog.budgets(tell.account.scope);
        let mut inner = self.inner.lock();
        let crossed = inner.accounts.told(tell, told, Instant::now(), budgets);
        if inner.accounts.has_unbuilt() {
            self.unbuilt.notify_one();
        }
        let recalls = inner
            .accounts
            .recalls((tell.account, tell.window), Instant::now());
        drop(inner);
        self.freed.notify_waiters();
        for crossed in crossed {
            self.tell_crossed(&tell.account, tell.window, &crossed);
        }
        recalls
    }

    /// Another instance needs what lies idle here of accounts.
    pub fn recall(&self, places: &[(Account, Window)]) {
        let mut inner = self.inner.lock();
        for place in places {
            inner.accounts.recall(*place);
        }
        self.wake(&inner.accounts);
    }

    /// Sees that what lies idle for long is given back.
    pub fn look_for_idle(&self) {
        self.inner.lock().accounts.look_for_idle(Instant::now());
    }

    /// This instance ends: all that it has spent is to be told, and what it holds given back.
    pub fn close(&self) {
        self.inner.lock().accounts.close();
    }

    /// Whether nothing is left that Redis does not know.
    pub fn is_all_told(&self) -> bool {
        self.inner.lock().accounts.is_all_told()
    }

    /// Waits until accounts have to be built.
    pub async fn some_unbuilt(&self) {
        self.unbuilt.notified().await;
    }

    /// The shared accounts that have to be built; who takes them builds them or puts them back.
    pub fn unbuilt(&self) -> Vec<Unbuilt> {
        self.inner.lock().accounts.unbuilt()
    }

    /// Puts accounts back among those that have to be built.
    pub fn put_back_unbuilt(&self, unbuilt: Vec<Unbuilt>) {
        self.inner.lock().accounts.put_back_unbuilt(unbuilt);
    }

    /// Shared accounts are being built: what is settled from now on counts apart.
    pub fn open_for(&self, build: Uuid, places: &[(Account, Window)]) {
        let (catalog, now) = (self.catalog.peek(), Instant::now());
        let mut inner = self.inner.lock();
        for place in places {
            let is_watched = budget_of(&catalog, place.0).is_some();
            inner.accounts.open_for(build, *place, is_watched, now);
        }
    }

    /// The calls settled since an account was opened for a build.
    pub fn opened(&self, build: Uuid, place: (Account, Window)) -> Vec<RequestId> {
        self.inner.lock().accounts.opened(build, place)
    }

    /// Says what this instance holds of an account that is being built, none of whose events is booked from now on; so much
    /// of what was settled since it was opened was booked. `None` where this instance takes no part any more.
    pub fn acknowledge(&self, build: Uuid, place: (Account, Window), booked: u64) -> Option<u64> {
        let mut inner = self.inner.lock();
        inner.accounts.acknowledge(build, place, booked)
    }

    /// The configuration has changed: what was given of budgets that are less by now is spent no further, and the accounts that
    /// no budget looks at any more are forgotten. Returns those of them that other instances share: nobody may take these for
    /// whole from now on.
    pub fn look_at_budgets(&self, catalog: &Catalog) -> Vec<(Account, Window)> {
        let mut inner = self.inner.lock();
        inner
            .accounts
            .look_at_amounts(|account| hard_amount(catalog, account));
        let is_watched = |account| budget_of(catalog, account).is_some();
        inner.accounts.forget_unwatched(Instant::now(), is_watched)
    }

    /// Counts a call for accounts that others have asked to be counted, and no budget is known of here yet.
    pub(super) fn count_strange(&self, catalog: &Catalog, event: &UsageEvent) {
        if !self.config.are_shared {
            return;
        }
        let mut inner = self.inner.lock();
        for (account, window) in inner.accounts.strange(event.id.at_ms()) {
            let is_in = claim::scopes_of(event).any(|scope| scope == account.scope);
            // Where a budget is known by now, it was counted for that.
            if !is_in || budget_of(catalog, account).is_some() {
                continue;
            }
            let held = Reserved {
                account,
                window,
                units: 0,
                serial: 0,
            };
            let spent = spent_by(account, event);
            inner.accounts.settle(&held, event.id, spent, &[]);
        }
    }
}

fn hard_amount(catalog: &Catalog, account: Account) -> Option<u64> {
    let budget = budget_of(catalog, account)?;
    (budget.mode == Mode::Hard).then(|| budget.amount.units())
}

fn budget_of(catalog: &Catalog, account: Account) -> Option<&Budget> {
    let mut budgets = catalog.budgets(account.scope).iter();
    budgets.find(|budget| Account::of(budget) == account)
}
