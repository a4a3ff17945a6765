//! Limits and budgets counted in this process: the embedded mode's whole truth.
//!
//! One lock holds all counts, so that a call is let through on everything that counts it, or counted by nothing. What it
//! guards takes some hundred nanoseconds and never waits.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    time,
};
use weir_api_types::limit::Metric;

use super::{
    Account, Rejected,
    claim::{self, Claim, Counted, Most, Value, Watched},
    counts::{CountKey, Counts, Holding, Tightest, of_metric},
    period::Window,
    permit::{AttemptPermit, Permit},
    rate::{Left, Moment},
    spend::{Accounts, Crossed, Outcome, Reserved, Standing, of_attempt, spent_by},
};
use crate::{
    catalog::{self, Catalog},
    clock,
    metering::UsageEvent,
    tenancy::{BudgetId, ChannelId, LimitId, RequestId, Scope, TenantId, limit::Spending},
};

/// What the process counts with.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long a call waits for what others have reserved of a hard budget.
    pub reserved_wait: Duration,
}

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

/// All counts of this process.
pub struct Local {
    config: Config,
    catalog: Arc<catalog::Current>,
    began: Instant,
    inner: Mutex<Inner>,
    /// Something was given back or filled.
    freed: Notify,
    /// An account waits to be told its past.
    unfilled: Notify,
    alerts: mpsc::UnboundedSender<Alert>,
}

#[derive(Default)]
struct Inner {
    counts: Counts,
    accounts: Accounts,
    /// Calls that were let through and have not been settled.
    open: HashMap<RequestId, Held>,
    tickets: u64,
}

/// What a call has taken.
#[derive(Default)]
struct Held {
    tokens: Vec<Holding>,
    reserved: Vec<Reserved>,
    attempts: Vec<HeldAttempt>,
}

/// What one attempt of a call has taken of its channel.
struct HeldAttempt {
    tokens: Vec<Holding>,
    reserved: Vec<Reserved>,
}

/// That a call was let through.
pub struct Admitted {
    pub permit: Permit,
    /// How long it waits for its turn in a leaky bucket.
    pub wait: Duration,
    /// The most output tokens over all choices, where a hard budget bounds them.
    pub output: Option<u64>,
    pub left: Tightest,
}

impl Local {
    /// Nothing is counted yet. What is noticed comes out of the channel.
    pub fn new(
        config: Config,
        catalog: Arc<catalog::Current>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Alert>) {
        let (alerts, noticed) = mpsc::unbounded_channel();
        let local = Self {
            config,
            catalog,
            began: Instant::now(),
            inner: Mutex::default(),
            freed: Notify::new(),
            unfilled: Notify::new(),
            alerts,
        };
        (Arc::new(local), noticed)
    }

    /// Counts a request that nobody is identified for yet.
    pub fn at_the_door(&self, counted: &[Counted<'_>]) -> Result<(), Rejected> {
        if counted.is_empty() {
            return Ok(());
        }
        let now = self.now();
        self.inner.lock().counts.take_all(counted, 0, now).map(drop)
    }

    /// Lets a call through on everything that counts it, or says what stands against it. Waits, for as long as the
    /// setting says, where a hard budget has something left that others have reserved.
    pub async fn admit(self: &Arc<Self>, claim: &Claim<'_>) -> Result<Admitted, Rejected> {
        let mut waiting = Waiting {
            local: self,
            claim,
            ticket: None,
        };
        let deadline = time::Instant::now() + self.config.reserved_wait;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Whoever frees something after this line is heard.
            freed.as_mut().enable();
            let budget = match self.try_admit(claim, &mut waiting.ticket) {
                Tried::Admitted(admitted) => {
                    waiting.ticket = None;
                    return Ok(*admitted);
                }
                Tried::Rejected(rejected) => {
                    waiting.ticket = None;
                    self.note_refusal(&rejected);
                    return Err(*rejected);
                }
                Tried::Wait(budget) => budget,
            };
            if time::timeout_at(deadline, freed).await.is_err() {
                let mut budgets = claim.budgets.iter().map(|watched| watched.budget);
                let scope = budgets
                    .find(|watched| watched.id == budget)
                    .map(|budget| budget.scope);
                let scope = scope.unwrap_or(Scope::Platform);
                return Err(Rejected::Reserved { budget, scope });
            }
        }
    }

    fn try_admit(self: &Arc<Self>, claim: &Claim<'_>, ticket: &mut Option<u64>) -> Tried {
        let now = self.now();
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let taken = match inner
            .counts
            .take_all(&claim.limits, claim.estimated_tokens, now)
        {
            Ok(taken) => taken,
            Err(rejected) => return Tried::Rejected(Box::new(rejected)),
        };
        let ticket = *ticket.get_or_insert_with(|| {
            inner.tickets += 1;
            inner.tickets
        });
        let outcome = inner.accounts.reserve(claim, ticket);
        if inner.accounts.has_unfilled() {
            self.unfilled.notify_one();
        }
        let (reserved, output) = match outcome {
            Outcome::Reserved(reserved, output) => (reserved, output),
            Outcome::Wait(budget) => {
                inner.counts.undo(&taken, now);
                return Tried::Wait(budget);
            }
            Outcome::Rejected(rejected) => {
                inner.counts.undo(&taken, now);
                return Tried::Rejected(rejected);
            }
        };
        let left = inner.counts.tightest(&claim.limits, now);
        let wait_us = taken.iter().map(Holding::wait_us).max();
        let slots = of_metric(&taken, Metric::Concurrent);
        let held = Held {
            tokens: of_metric(&taken, Metric::Tokens),
            reserved,
            attempts: Vec::new(),
        };
        inner.open.insert(claim.id, held);
        Tried::Admitted(Box::new(Admitted {
            permit: Permit {
                local: Arc::clone(self),
                id: claim.id,
                slots,
                kept: false,
            },
            wait: Duration::from_micros(wait_us.unwrap_or(0)),
            output,
            left,
        }))
    }

    /// Lets one attempt of an admitted call through on what its channel and route allow. Only who has nowhere else to go
    /// waits for what others have reserved of the channel's budget.
    pub async fn attempt(
        self: &Arc<Self>,
        attempt: &Attempt<'_>,
        is_last: bool,
    ) -> Result<AttemptPermit, Rejected> {
        let deadline = time::Instant::now() + self.config.reserved_wait;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let rejected = match self.try_attempt(attempt) {
                Ok(permit) => return Ok(permit),
                Err(rejected) => rejected,
            };
            let waits = is_last && matches!(rejected, Rejected::Reserved { .. });
            if !waits || time::timeout_at(deadline, freed).await.is_err() {
                self.note_refusal(&rejected);
                return Err(rejected);
            }
        }
    }

    fn try_attempt(self: &Arc<Self>, attempt: &Attempt<'_>) -> Result<AttemptPermit, Rejected> {
        let now = self.now();
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let taken = inner
            .counts
            .take_all(&attempt.limits, attempt.estimated_tokens, now)?;
        let (budgets, most) = (&attempt.budgets, attempt.most);
        let outcome = inner
            .accounts
            .reserve_of(budgets, most, attempt.output, u64::MAX);
        if inner.accounts.has_unfilled() {
            self.unfilled.notify_one();
        }
        let reserved = match outcome {
            Outcome::Reserved(reserved, _) => reserved,
            Outcome::Wait(budget) => {
                inner.counts.undo(&taken, now);
                let scope = Scope::Channel(attempt.channel);
                return Err(Rejected::Reserved { budget, scope });
            }
            Outcome::Rejected(rejected) => {
                inner.counts.undo(&taken, now);
                return Err(*rejected);
            }
        };
        if let Some(held) = inner.open.get_mut(&attempt.id) {
            held.attempts.push(HeldAttempt {
                tokens: of_metric(&taken, Metric::Tokens),
                reserved,
            });
        }
        Ok(AttemptPermit {
            local: Arc::clone(self),
            slots: of_metric(&taken, Metric::Concurrent),
        })
    }

    /// Settles a call by its usage event; called for each event once, whoever writes it.
    pub fn settle(&self, event: &UsageEvent) {
        let now = self.now();
        let catalog = self.catalog.peek();
        let mut crossed = Vec::new();
        {
            let mut inner = self.inner.lock();
            let Some(held) = inner.open.remove(&event.id) else {
                return;
            };
            inner.put_tokens(&held.tokens, event.usage.total(), now);
            inner.settle(
                &held.reserved,
                event.id,
                &catalog,
                &mut crossed,
                |account| spent_by(account, event),
            );
            for (at, held) in held.attempts.iter().enumerate() {
                let attempt = event.attempts.get(at);
                let tokens = attempt.map_or(0, |attempt| attempt.usage.total());
                inner.put_tokens(&held.tokens, tokens, now);
                inner.settle(
                    &held.reserved,
                    event.id,
                    &catalog,
                    &mut crossed,
                    |account| attempt.map_or(0, |attempt| of_attempt(account.spending, attempt)),
                );
            }
        }
        self.freed.notify_waiters();
        for (held, crossed) in crossed {
            self.tell_crossed(&held.account, held.window, &crossed);
        }
    }

    /// Sees that all budgets there are have an account in the windows of now, so that their past is asked for.
    pub fn expect_budgets(&self, catalog: &Catalog) {
        let at_ms = clock::now_ms();
        let mut scopes: Vec<Scope> = catalog.all_budgets().map(|budget| budget.scope).collect();
        scopes.dedup();
        let mut inner = self.inner.lock();
        for scope in scopes {
            for watched in claim::watched(catalog, scope, at_ms) {
                inner
                    .accounts
                    .expect(Account::of(watched.budget), watched.window);
            }
        }
        if inner.accounts.has_unfilled() {
            self.unfilled.notify_one();
        }
    }

    /// Waits until an account waits to be told its past.
    pub async fn some_unfilled(&self) {
        self.unfilled.notified().await;
    }

    /// The accounts whose past is to be told; who takes them fills them or puts them back.
    pub fn unfilled(&self) -> Vec<(Account, Window)> {
        self.inner.lock().accounts.unfilled()
    }

    /// Puts accounts back among those whose past is to be told.
    pub fn put_back(&self, accounts: Vec<(Account, Window)>) {
        self.inner.lock().accounts.put_back(accounts);
        self.unfilled.notify_one();
    }

    /// The calls that an account has counted since it began. Asked after the moment that the books are read at: what they
    /// have of these is counted already.
    pub fn settled(&self, account: Account, window: Window) -> Vec<RequestId> {
        self.inner.lock().accounts.settled(account, window)
    }

    /// Tells an account its past.
    pub fn fill(&self, account: Account, window: Window, past: u64) {
        let catalog = self.catalog.peek();
        let budgets = catalog.budgets(account.scope);
        let crossed = self
            .inner
            .lock()
            .accounts
            .fill(account, window, past, budgets);
        self.freed.notify_waiters();
        for crossed in crossed {
            self.tell_crossed(&account, window, &crossed);
        }
    }

    /// What is known of an account; `None` until its past is.
    pub fn standing(&self, account: Account, window: Window) -> Option<Standing> {
        self.inner.lock().accounts.standing(account, window)
    }

    /// What a limit has left, under the one value of those that count nothing apart.
    pub fn left(&self, limit: LimitId) -> Option<Left> {
        let key = CountKey {
            limit,
            value: Value::All,
        };
        self.inner.lock().counts.left(key, self.now())
    }

    pub(super) fn release(&self, slots: &[Holding]) {
        if slots.is_empty() {
            return;
        }
        let now = self.now();
        self.inner.lock().counts.undo(slots, now);
    }

    pub(super) fn cancel(&self, id: RequestId) {
        let now = self.now();
        let catalog = self.catalog.peek();
        let mut inner = self.inner.lock();
        if let Some(held) = inner.open.remove(&id) {
            inner.put_tokens(&held.tokens, 0, now);
            inner.settle(&held.reserved, id, &catalog, &mut Vec::new(), |_| 0);
        }
        drop(inner);
        self.freed.notify_waiters();
    }

    fn now(&self) -> Moment {
        let since = clock::since_1970();
        Moment {
            mono_us: micros(self.began.elapsed()),
            wall_us: micros(since),
        }
    }

    fn owner(&self, scope: Scope) -> Option<TenantId> {
        match scope {
            Scope::Channel(channel) => self.catalog.peek().channel(channel)?.owner,
            _ => scope.tenant(),
        }
    }

    fn note_refusal(&self, rejected: &Rejected) {
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

    fn tell_crossed(&self, account: &Account, window: Window, crossed: &Crossed) {
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

/// What came of one attempt to admit.
enum Tried {
    Admitted(Box<Admitted>),
    Rejected(Box<Rejected>),
    Wait(BudgetId),
}

impl Inner {
    fn put_tokens(&mut self, holdings: &[Holding], tokens: u64, now: Moment) {
        for holding in holdings {
            self.counts.put(holding, tokens, now);
        }
    }

    fn settle(
        &mut self,
        reserved: &[Reserved],
        id: RequestId,
        catalog: &Catalog,
        crossed: &mut Vec<(Reserved, Crossed)>,
        spent: impl Fn(Account) -> u64,
    ) {
        for held in reserved {
            let budgets = catalog.budgets(held.account.scope);
            let told = self.accounts.settle(held, id, spent(held.account), budgets);
            crossed.extend(told.into_iter().map(|told| (*held, told)));
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A call that waits for what others have reserved: its place in the queue goes with it.
struct Waiting<'a, 'c> {
    local: &'a Local,
    claim: &'a Claim<'c>,
    ticket: Option<u64>,
}

impl Drop for Waiting<'_, '_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.local.inner.lock().accounts.leave(self.claim, ticket);
            self.local.freed.notify_waiters();
        }
    }
}
