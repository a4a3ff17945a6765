//! What has been spent of budgets in their windows, and what is reserved: the part that needs no clock and no lock.
//!
//! Spending is counted for a thing, a kind and a period, whatever budgets look at it. An account whose past is not known
//! yet says so: no hard budget lets a call through on it until [`Accounts::fill`] has told it what the books say.

use std::collections::{BTreeSet, HashMap};

use weir_api_types::limit::{Mode, Period};

use super::{
    Rejected,
    claim::{Claim, Most, Output, Watched},
    period::Window,
};
use crate::{
    metering::{self, Attempt, UsageEvent},
    tenancy::{Budget, BudgetId, RequestId, Scope, limit::Spending},
};

/// The smallest output bound that Weir sets by itself, in tokens for each choice.
pub const LEAST_OUTPUT: u64 = 1_024;
/// Of what a budget has left, the part that one call without a bound may take.
const SHARE: u64 = 10;
/// Windows kept of an account: the one that runs, and those that late settlements and a clock set back still need.
const WINDOWS: usize = 3;

/// What an account counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Account {
    pub scope: Scope,
    pub spending: Spending,
    pub period: Period,
}

impl Account {
    pub fn of(budget: &Budget) -> Self {
        Self {
            scope: budget.scope,
            spending: budget.amount.spending(),
            period: budget.period,
        }
    }
}

/// All accounts.
#[derive(Debug, Default)]
pub struct Accounts {
    windows: HashMap<Account, Vec<Spent>>,
    /// Accounts that nobody has filled yet.
    unfilled: Vec<(Account, Window)>,
}

/// One account in one window.
#[derive(Debug)]
struct Spent {
    window: Window,
    spent: u64,
    reserved: u64,
    /// While the past is not known: the calls that were settled meanwhile, which the books may have too.
    settled: Option<Vec<RequestId>>,
    /// Budgets that have told in this window that they refused a call.
    refused: Vec<BudgetId>,
    /// Tickets of calls that wait for what others have reserved.
    waiting: BTreeSet<u64>,
}

/// What a call has reserved of one account.
#[derive(Debug, Clone, Copy)]
pub struct Reserved {
    pub account: Account,
    pub window: Window,
    pub units: u64,
}

/// What came of an attempt to reserve.
#[derive(Debug)]
pub enum Outcome<T = Vec<Reserved>> {
    /// Everything is reserved; the output tokens that this allows, where it bounds them.
    Reserved(T, Option<u64>),
    /// There may be room once others have settled.
    Wait(BudgetId),
    Rejected(Box<Rejected>),
}

impl<T> Outcome<T> {
    /// The same, with what was reserved made into something else.
    pub fn map<U>(self, into: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Reserved(reserved, output) => Outcome::Reserved(into(reserved), output),
            Self::Wait(budget) => Outcome::Wait(budget),
            Self::Rejected(rejected) => Outcome::Rejected(rejected),
        }
    }
}

/// What is known of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub spent: u64,
    pub reserved: u64,
}

/// A threshold that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossed {
    pub budget: BudgetId,
    pub percent: u16,
    pub spent: u64,
    pub amount: u64,
}

impl Accounts {
    /// Reserves the most that a call may come to of every hard budget, or of none. A ticket orders those who wait.
    pub fn reserve(&mut self, claim: &Claim<'_>, ticket: u64) -> Outcome {
        let output = match self.output(claim) {
            Ok(output) => output,
            Err(rejected) => return Outcome::Rejected(Box::new(rejected)),
        };
        let outcome = self.reserve_of(&claim.budgets, &claim.most, output, ticket);
        match outcome {
            Outcome::Wait(_) => self.queue(claim, ticket),
            _ => self.leave(claim, ticket),
        }
        outcome
    }

    /// Reserves of some budgets the most that a call may come to with so much output, or nothing. Does not queue.
    pub fn reserve_of(
        &mut self,
        budgets: &[Watched<'_>],
        most: &Most,
        output: Option<u64>,
        ticket: u64,
    ) -> Outcome {
        let mut reserved = Vec::with_capacity(budgets.len());
        let mut waits = None;
        for watched in budgets {
            let Watched { budget, window } = watched;
            let account = Account::of(budget);
            let units = match budget.mode {
                Mode::Soft => 0,
                Mode::Hard => match most.of(account.spending, output.unwrap_or(0)) {
                    Some(units) => units,
                    None => return Outcome::Rejected(Box::new(Rejected::unbounded(budget))),
                },
            };
            let spent = self.open(account, *window);
            if budget.mode == Mode::Hard {
                match spent.room(budget, units, ticket) {
                    Room::Enough => {}
                    Room::Later => waits = waits.or(Some(budget.id)),
                    Room::None => {
                        let first = !spent.refused.contains(&budget.id);
                        if first {
                            spent.refused.push(budget.id);
                        }
                        let rejected = Rejected::spent(watched, spent.spent, units, first);
                        return Outcome::Rejected(Box::new(rejected));
                    }
                }
            }
            reserved.push(Reserved {
                account,
                window: *window,
                units,
            });
        }
        if let Some(budget) = waits {
            return Outcome::Wait(budget);
        }
        for held in &reserved {
            self.open(held.account, held.window).reserved += held.units;
        }
        Outcome::Reserved(reserved, output)
    }

    /// A call waits no longer.
    pub fn leave(&mut self, claim: &Claim<'_>, ticket: u64) {
        for watched in &claim.budgets {
            let spent = self.open(Account::of(watched.budget), watched.window);
            spent.waiting.remove(&ticket);
        }
    }

    fn queue(&mut self, claim: &Claim<'_>, ticket: u64) {
        let hard = claim.budgets.iter();
        for watched in hard.filter(|watched| watched.budget.mode == Mode::Hard) {
            let spent = self.open(Account::of(watched.budget), watched.window);
            spent.waiting.insert(ticket);
        }
    }

    /// How many tokens the call may generate, over all choices; `None` where nothing has to be bounded.
    fn output(&mut self, claim: &Claim<'_>) -> Result<Option<u64>, Rejected> {
        let mut hard: Vec<&Watched<'_>> = claim.budgets.iter().collect();
        hard.retain(|watched| watched.budget.mode == Mode::Hard);
        let mut counting = hard.iter();
        let Some(first) =
            counting.find(|watched| watched.budget.amount.spending() != Spending::Requests)
        else {
            return Ok(None);
        };
        match claim.most.output {
            Output::None => Ok(None),
            Output::Bounded(output) => Ok(Some(output)),
            Output::Unbounded => Err(Rejected::unbounded(first.budget)),
            Output::Open { ceiling, choices } => {
                let mut each = ceiling.unwrap_or(u64::MAX);
                for watched in &hard {
                    let account = Account::of(watched.budget);
                    let spent = self.open(account, watched.window);
                    let left = watched
                        .budget
                        .amount
                        .units()
                        .saturating_sub(spent.spent + spent.reserved);
                    if let Some(output) = claim.most.output_for(account.spending, left / SHARE) {
                        each = each.min((output / choices.max(1)).max(LEAST_OUTPUT));
                    }
                }
                // What a body can say. Without a price and a ceiling nothing bounds it.
                let each = each
                    .min(ceiling.unwrap_or(u64::MAX))
                    .min(u64::from(u32::MAX));
                Ok(Some(each.saturating_mul(choices.max(1))))
            }
        }
    }

    /// Puts what was really spent in the place of what was reserved.
    pub fn settle(
        &mut self,
        held: &Reserved,
        id: RequestId,
        actual: u64,
        budgets: &[Budget],
    ) -> Vec<Crossed> {
        let windows = self.windows.entry(held.account).or_default();
        let Some(spent) = windows.iter_mut().find(|spent| spent.window == held.window) else {
            return Vec::new();
        };
        spent.reserved = spent.reserved.saturating_sub(held.units);
        if let Some(settled) = &mut spent.settled {
            settled.push(id);
        }
        let before = spent.spent;
        spent.spent = spent.spent.saturating_add(actual);
        if spent.settled.is_some() {
            return Vec::new();
        }
        crossed(held.account, before, spent.spent, budgets)
    }

    /// Counts a call that has reserved nothing of an account: it was let through before a budget looked there.
    pub fn count(
        &mut self,
        watched: &Watched<'_>,
        id: RequestId,
        actual: u64,
        budgets: &[Budget],
    ) -> Vec<Crossed> {
        let account = Account::of(watched.budget);
        let windows = self.windows.get(&account);
        let is_open = windows
            .is_some_and(|windows| windows.iter().any(|spent| spent.window == watched.window));
        // What nobody has asked for yet is told by the books.
        if !is_open {
            return Vec::new();
        }
        let held = Reserved {
            account,
            window: watched.window,
            units: 0,
        };
        self.settle(&held, id, actual, budgets)
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

    /// What is known of an account; `None` until its past is.
    pub fn standing(&mut self, account: Account, window: Window) -> Option<Standing> {
        let spent = self.open(account, window);
        spent.settled.is_none().then_some(Standing {
            spent: spent.spent,
            reserved: spent.reserved,
        })
    }

    /// The account in a window; opened where it is not there yet.
    fn open(&mut self, account: Account, window: Window) -> &mut Spent {
        let windows = self.windows.entry(account).or_default();
        if let Some(at) = windows.iter().position(|spent| spent.window == window) {
            return &mut windows[at];
        }
        // A window that begins where a known one ends has no past that this account did not see.
        let follows = windows
            .iter()
            .any(|known| known.settled.is_none() && known.window.end_ms == window.start_ms);
        if !follows {
            self.unfilled.push((account, window));
        }
        windows.push(Spent {
            window,
            spent: 0,
            reserved: 0,
            settled: (!follows).then(Vec::new),
            refused: Vec::new(),
            waiting: BTreeSet::new(),
        });
        if windows.len() > WINDOWS {
            let idle = windows
                .iter()
                .take(windows.len() - 1)
                .position(|spent| spent.reserved == 0);
            windows.remove(idle.unwrap_or(0));
        }
        let last = windows.len() - 1;
        &mut windows[last]
    }
}

/// What a call's event counts for an account: the charge, or for a channel what its vendor bills for the attempts there.
pub fn spent_by(account: Account, event: &UsageEvent) -> u64 {
    if let Scope::Channel(channel) = account.scope {
        let attempts = event
            .attempts
            .iter()
            .filter(|attempt| attempt.channel == channel);
        return attempts
            .map(|attempt| of_attempt(account.spending, attempt))
            .sum();
    }
    match account.spending {
        Spending::Money => u64::try_from(event.charge.nanos()).unwrap_or(0),
        Spending::Tokens => event.usage.total(),
        Spending::Requests if event.outcome == metering::Outcome::Refused => 0,
        Spending::Requests => u64::from(event.count),
    }
}

/// What one attempt counts for its channel's account.
pub fn of_attempt(spending: Spending, attempt: &Attempt) -> u64 {
    match spending {
        Spending::Money => u64::try_from(attempt.cost.nanos()).unwrap_or(0),
        Spending::Tokens => attempt.usage.total(),
        Spending::Requests => 1,
    }
}

/// Whether a budget lets a call through.
enum Room {
    Enough,
    Later,
    None,
}

impl Spent {
    fn room(&self, budget: &Budget, units: u64, ticket: u64) -> Room {
        let amount = budget.amount.units();
        if self.settled.is_some() {
            return Room::Later;
        }
        if self.spent.saturating_add(units) > amount || self.spent >= amount {
            return Room::None;
        }
        let is_first = self.waiting.first().is_none_or(|first| ticket <= *first);
        if self
            .spent
            .saturating_add(self.reserved)
            .saturating_add(units)
            > amount
            || !is_first
        {
            return Room::Later;
        }
        Room::Enough
    }
}

/// The thresholds that lie between two sums.
fn crossed(account: Account, before: u64, after: u64, budgets: &[Budget]) -> Vec<Crossed> {
    let mut crossed = Vec::new();
    for budget in budgets
        .iter()
        .filter(|budget| Account::of(budget) == account)
    {
        let amount = budget.amount.units();
        for percent in &budget.alert_at {
            let threshold = (u128::from(amount) * u128::from(*percent)).div_ceil(100);
            if u128::from(before) < threshold && threshold <= u128::from(after) {
                crossed.push(Crossed {
                    budget: budget.id,
                    percent: *percent,
                    spent: after,
                    amount,
                });
            }
        }
    }
    crossed
}
