//! Lets calls through on everything that counts them, or on nothing, and settles them.
//!
//! Budgets come first: what is left of them is known here and takes no time to ask. Then the limits count, wherever their
//! counts are kept. What a call has taken of both is held under its id until its usage event says what it really was.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    time,
};
use weir_api_types::limit::Metric;

use super::{
    Account, Rejected,
    alerts::Alert,
    budget::{Accounts, Outcome, Reserved, Standing, Ticket, of_attempt, spent_by},
    claim::{self, Claim, Counted, Watched},
    period::Window,
    permit::Permit,
    rate::Left,
    rates::{Holding, Rates, Tightest},
};
use crate::{
    catalog::{self, Catalog},
    clock,
    hash::IdMap,
    metering::UsageEvent,
    tenancy::{RequestId, Scope},
};

/// How many times as long as for what others have reserved a call waits for the past of a budget.
const PAST_WAITS: u32 = 5;

/// Until when a call waits for what its budgets lack.
pub(super) struct Patience<'a> {
    limits: &'a Limits,
    began: time::Instant,
    /// Since when what was spent of all of them is known.
    known: Option<time::Instant>,
}

impl<'a> Patience<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            began: time::Instant::now(),
            known: None,
        }
    }

    /// As long as the setting says, from when the budgets' past is known: before, as of a budget that is new, nobody else has
    /// reserved what lacks, and the books are waited for longer.
    pub(super) fn deadline(&mut self, budgets: &[Watched<'_>]) -> time::Instant {
        let wait = self.limits.config.reserved_wait;
        if self.known.is_none() && self.limits.inner.lock().accounts.know(budgets) {
            self.known = Some(time::Instant::now());
        }
        match self.known {
            Some(known) => known + wait,
            None => self.began + wait * PAST_WAITS,
        }
    }
}

/// What the process counts with.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long a call waits for what others have reserved of a hard budget.
    pub reserved_wait: Duration,
    /// Whether budgets are shared with other instances, through Redis.
    pub are_shared: bool,
}

/// What bounds calls on this instance: budgets known here, and limits wherever they are counted.
pub struct Limits {
    pub(super) config: Config,
    pub(super) catalog: Arc<catalog::Current>,
    pub(super) rates: Box<dyn Rates>,
    pub(super) inner: Mutex<Inner>,
    tickets: AtomicU64,
    /// Something was given back or filled.
    pub(super) freed: Notify,
    /// An account waits to be told its past.
    unfilled: Notify,
    /// A call waits for what Redis may give, or an account has to be asked about.
    pub(super) untold: Notify,
    /// An account has to be built.
    pub(super) unbuilt: Notify,
    pub(super) alerts: mpsc::UnboundedSender<Alert>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) accounts: Accounts,
    /// Calls that were let through and have not been settled.
    pub(super) open: IdMap<RequestId, Held>,
}

/// What a call has taken.
#[derive(Default)]
pub(super) struct Held {
    tokens: Vec<Holding>,
    reserved: Vec<Reserved>,
    pub(super) attempts: Vec<HeldAttempt>,
}

/// What one attempt of a call has taken of its channel.
pub(super) struct HeldAttempt {
    pub(super) tokens: Vec<Holding>,
    pub(super) reserved: Vec<Reserved>,
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

impl Limits {
    /// Nothing is counted yet. What is noticed comes out of the channel.
    pub fn new(
        config: Config,
        catalog: Arc<catalog::Current>,
        rates: Box<dyn Rates>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Alert>) {
        let (alerts, noticed) = mpsc::unbounded_channel();
        let limits = Self {
            config,
            catalog,
            rates,
            inner: Mutex::new(Inner {
                accounts: if config.are_shared {
                    Accounts::shared()
                } else {
                    Accounts::default()
                },
                ..Inner::default()
            }),
            tickets: AtomicU64::new(0),
            freed: Notify::new(),
            unfilled: Notify::new(),
            untold: Notify::new(),
            unbuilt: Notify::new(),
            alerts,
        };
        (Arc::new(limits), noticed)
    }

    /// Makes ready on this thread what its first call would wait for.
    pub async fn warm(&self) {
        self.rates.warm().await;
    }

    /// Counts a request that nobody is identified for yet.
    pub async fn at_the_door(&self, counted: &[Counted<'_>]) -> Result<(), Rejected> {
        if counted.is_empty() {
            return Ok(());
        }
        self.rates.take(counted, 0).await.map(drop)
    }

    /// Lets a call through on everything that counts it, or says what stands against it. Waits, for as long as the
    /// setting says, where a hard budget has something left that others have reserved.
    pub async fn admit(self: &Arc<Self>, claim: &Claim<'_>) -> Result<Admitted, Rejected> {
        let mut waiting = Waiting::new(self, &claim.budgets);
        let mut patience = Patience::new(self);
        // Most calls need not wait, and to listen for what is freed would cost them more than to ask.
        let mut listens = false;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            if listens {
                // Whoever frees something after this line is heard.
                freed.as_mut().enable();
            }
            let budget = match self.try_reserve(claim, waiting.ticket) {
                Outcome::Reserved(permit, output) => {
                    waiting.is_over();
                    return self.count(claim, permit, output).await;
                }
                Outcome::Rejected(rejected) => {
                    waiting.is_over();
                    self.note_refusal(&rejected);
                    return Err(*rejected);
                }
                Outcome::Wait(budget) => budget,
            };
            waiting.ticket.has_waited = true;
            if !std::mem::replace(&mut listens, true) {
                continue;
            }
            let deadline = patience.deadline(&claim.budgets);
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

    /// Reserves what a call may come to, and holds it under the call's id.
    fn try_reserve(self: &Arc<Self>, claim: &Claim<'_>, ticket: Ticket) -> Outcome<Permit> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let outcome = inner.accounts.reserve(claim, ticket);
        self.wake(&inner.accounts);
        outcome.map(|reserved| {
            let held = Held {
                reserved,
                ..Held::default()
            };
            inner.open.insert(claim.id, held);
            Permit {
                limits: Arc::clone(self),
                id: claim.id,
                slots: Vec::new(),
                kept: false,
            }
        })
    }

    /// Counts a call whose budgets have room. Refused, or left meanwhile, it gives back what it had reserved.
    async fn count(
        &self,
        claim: &Claim<'_>,
        mut permit: Permit,
        output: Option<u64>,
    ) -> Result<Admitted, Rejected> {
        if claim.limits.is_empty() {
            return Ok(Admitted {
                permit,
                wait: Duration::ZERO,
                output,
                left: Tightest::default(),
            });
        }
        let passed = self
            .rates
            .take(&claim.limits, claim.estimated_tokens)
            .await?;
        permit.slots = passed.of(Metric::Concurrent);
        if let Some(held) = self.inner.lock().open.get_mut(&claim.id) {
            held.tokens = passed.of(Metric::Tokens);
        }
        Ok(Admitted {
            permit,
            wait: passed.wait(),
            output,
            left: passed.left,
        })
    }

    /// Wakes whoever has to see to the accounts.
    pub(super) fn wake(&self, accounts: &Accounts) {
        if accounts.has_unfilled() {
            self.unfilled.notify_one();
        }
        if accounts.has_urgent() {
            self.untold.notify_one();
        }
    }

    /// Settles a call by its usage event; called for each event once, whoever writes it.
    pub fn settle(&self, event: &UsageEvent) {
        let Some(held) = self.inner.lock().open.remove(&event.id) else {
            return;
        };
        self.count_unreserved(event, &held);
        self.rates.put(&held.tokens, event.usage.total());
        self.settle_reserved(&held.reserved, event.id, |account| spent_by(account, event));
        for (at, held) in held.attempts.iter().enumerate() {
            let attempt = event.attempts.get(at);
            let tokens = attempt.map_or(0, |attempt| attempt.usage.total());
            self.rates.put(&held.tokens, tokens);
            self.settle_reserved(&held.reserved, event.id, |account| {
                attempt.map_or(0, |attempt| of_attempt(account.spending, attempt))
            });
        }
    }

    /// Counts a call for the accounts that it has reserved nothing of, as their budgets came while it was under way.
    fn count_unreserved(&self, event: &UsageEvent, held: &Held) {
        let catalog = self.catalog.peek();
        let scopes = claim::scopes_of(event);
        let reserved = |account: Account, window: Window| {
            let attempts = held.attempts.iter().flat_map(|attempt| &attempt.reserved);
            let mut all = held.reserved.iter().chain(attempts);
            all.any(|reserved| reserved.account == account && reserved.window == window)
        };
        self.count_strange(&catalog, event);
        for scope in scopes.filter(|scope| !catalog.budgets(*scope).is_empty()) {
            for watched in claim::watched(&catalog, scope, event.id.at_ms()) {
                let account = Account::of(watched.budget);
                let spent = spent_by(account, event);
                if spent == 0 || reserved(account, watched.window) {
                    continue;
                }
                let budgets = catalog.budgets(scope);
                let crossed = self
                    .inner
                    .lock()
                    .accounts
                    .count(&watched, event.id, spent, budgets);
                for crossed in crossed {
                    self.tell_crossed(&account, watched.window, &crossed);
                }
            }
        }
    }

    /// Puts what was really spent in the place of what was reserved, and tells what that reached.
    pub(super) fn settle_reserved(
        &self,
        reserved: &[Reserved],
        id: RequestId,
        spent: impl Fn(Account) -> u64,
    ) {
        if reserved.is_empty() {
            return;
        }
        let catalog = self.catalog.peek();
        let mut crossed = Vec::new();
        let mut inner = self.inner.lock();
        for held in reserved {
            let budgets = catalog.budgets(held.account.scope);
            let told = inner
                .accounts
                .settle(held, id, spent(held.account), budgets);
            crossed.extend(told.into_iter().map(|told| (*held, told)));
        }
        drop(inner);
        self.freed.notify_waiters();
        for (held, crossed) in crossed {
            self.tell_crossed(&held.account, held.window, &crossed);
        }
    }

    /// Sees that all budgets there are have an account in the windows of now, so that their past is asked for. Accounts that
    /// several instances share are asked about when somebody spends from them.
    pub fn expect_budgets(&self, catalog: &Catalog) {
        if self.config.are_shared {
            return;
        }
        let at_ms = clock::now_ms();
        let watched = claim::all_watched(catalog, at_ms);
        let mut inner = self.inner.lock();
        for watched in watched {
            inner
                .accounts
                .expect(Account::of(watched.budget), watched.window);
        }
        self.wake(&inner.accounts);
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

    /// What is spent of accounts by now, as far as that can be heard in so much time; `None` of one whose past nobody knows.
    pub async fn standings(
        &self,
        accounts: &[(Account, Window)],
        at_most: Duration,
    ) -> Vec<Option<Standing>> {
        let deadline = time::Instant::now() + at_most;
        {
            let mut inner = self.inner.lock();
            for place in accounts {
                inner.accounts.want(*place);
            }
            self.wake(&inner.accounts);
        }
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let fresh = |place: &(Account, Window)| self.inner.lock().accounts.is_fresh(*place);
            if accounts.iter().all(fresh) || time::timeout_at(deadline, freed).await.is_err() {
                break;
            }
        }
        let accounts = accounts.iter().map(|(account, window)| {
            let mut inner = self.inner.lock();
            inner.accounts.standing(*account, *window)
        });
        accounts.collect()
    }

    /// What each of the limits has left under its value; `None` where nobody can say now.
    pub async fn left(&self, counted: &[Counted<'_>]) -> Vec<Option<Left>> {
        self.rates.left(counted).await
    }

    pub(super) fn release(&self, slots: &[Holding]) {
        if !slots.is_empty() {
            self.rates.put(slots, 0);
        }
    }

    pub(super) fn cancel(&self, id: RequestId) {
        let held = self.inner.lock().open.remove(&id);
        if let Some(held) = held {
            self.rates.put(&held.tokens, 0);
            self.settle_reserved(&held.reserved, id, |_| 0);
        }
    }
}

/// A call that waits for what others have reserved: its place in the queue goes with it.
pub(super) struct Waiting<'a, 'c> {
    limits: &'a Limits,
    budgets: &'a [Watched<'c>],
    pub(super) ticket: Ticket,
}

impl<'a, 'c> Waiting<'a, 'c> {
    pub(super) fn new(limits: &'a Limits, budgets: &'a [Watched<'c>]) -> Self {
        let ticket = Ticket {
            number: limits.tickets.fetch_add(1, Relaxed),
            has_waited: false,
        };
        Self {
            limits,
            budgets,
            ticket,
        }
    }

    /// It has something, or never will: it stands in no queue any more, and the next one may have its turn.
    pub(super) fn is_over(&mut self) {
        if std::mem::take(&mut self.ticket.has_waited)
            && self.limits.inner.lock().accounts.has_waiting(self.budgets)
        {
            self.limits.freed.notify_waiters();
        }
    }
}

impl Drop for Waiting<'_, '_> {
    fn drop(&mut self) {
        if self.ticket.has_waited {
            let mut inner = self.limits.inner.lock();
            inner.accounts.leave(self.budgets, self.ticket);
            drop(inner);
            self.limits.freed.notify_waiters();
        }
    }
}
