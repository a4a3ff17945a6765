//! What has been spent of budgets in their windows, and what is reserved: the part that needs no clock and no lock.
//!
//! Spending is counted for a thing, a kind and a period, whatever budgets look at it. An account whose past is not known
//! yet says so: no hard budget lets a call through on it until [`Accounts::fill`] has told it what the books say.

mod leased;
mod past;
mod spent;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Instant,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use weir_api_types::limit::{Mode, Period};

use super::{
    Rejected,
    claim::{Claim, Most, Output, Watched},
    lease::Lease,
    period::Window,
};
use crate::{
    hash::IdMap,
    metering::{self, Attempt, UsageEvent},
    tenancy::{Budget, BudgetId, RequestId, Scope, limit::Spending},
};
use spent::{Room, Spent};

/// The smallest output bound that Weir sets by itself, in tokens for each choice.
pub const LEAST_OUTPUT: u64 = 1_024;
/// Of what a budget has left, the part that one call without a bound may take.
const SHARE: u64 = 10;
/// Windows kept of an account: the one that runs, and those that late settlements and a clock set back still need.
const WINDOWS: usize = 3;

/// What an account counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    windows: IdMap<Account, Vec<Spent>>,
    /// Whether several instances share them: each spends from what it holds on lease.
    are_shared: bool,
    /// Accounts that nobody has filled yet.
    unfilled: Vec<(Account, Window)>,
    /// Shared accounts of which something may have to be told.
    untold: HashSet<(Account, Window)>,
    /// Those of them that somebody waits for.
    urgent: HashSet<(Account, Window)>,
    /// Shared accounts that nobody knows the past of, and the build that has left this instance out.
    unbuilt: HashMap<(Account, Window), Option<Uuid>>,
    /// Accounts that others have asked to be counted, and no budget is known of here yet; and since when.
    strange: HashMap<Account, Instant>,
    /// Accounts opened so far.
    serials: u64,
}

/// What a call has reserved of one account.
#[derive(Debug, Clone, Copy)]
pub struct Reserved {
    pub account: Account,
    pub window: Window,
    pub units: u64,
    /// Of which account: one that was forgotten and opened again meanwhile knows nothing of it.
    pub serial: u64,
}

/// A call's place in the queues, in the order in which calls came.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    pub number: u64,
    /// Whether it may stand in a queue already.
    pub has_waited: bool,
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
    /// Accounts that several instances share.
    pub fn shared() -> Self {
        Self {
            are_shared: true,
            ..Self::default()
        }
    }

    /// Reserves the most that a call may come to of every hard budget, or of none. A ticket orders those who wait.
    pub fn reserve(&mut self, claim: &Claim<'_>, ticket: Ticket) -> Outcome {
        let output = match self.output(claim) {
            Ok(output) => output,
            Err(rejected) => return Outcome::Rejected(Box::new(rejected)),
        };
        self.reserve_of(&claim.budgets, &claim.most, output, ticket)
    }

    /// Reserves of some budgets the most that a call may come to with so much output, or nothing. Who has to wait is put into
    /// the queue, and stays there until it has got something or [leaves](Self::leave).
    pub fn reserve_of(
        &mut self,
        budgets: &[Watched<'_>],
        most: &Most,
        output: Option<u64>,
        ticket: Ticket,
    ) -> Outcome {
        let outcome = self.try_reserve(budgets, most, output, ticket);
        match outcome {
            Outcome::Wait(_) => self.queue(budgets, most, output, ticket),
            _ if ticket.has_waited => self.leave(budgets, ticket),
            _ => {}
        }
        outcome
    }

    fn try_reserve(
        &mut self,
        budgets: &[Watched<'_>],
        most: &Most,
        output: Option<u64>,
        ticket: Ticket,
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
                match spent.room(budget, units, ticket.number) {
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
                serial: spent.serial,
            });
        }
        if let Some(budget) = waits {
            return Outcome::Wait(budget);
        }
        for held in &reserved {
            let spent = self.open(held.account, held.window);
            spent.reserved += held.units;
            if let Some(lease) = &mut spent.lease {
                lease.serves(Instant::now());
            }
        }
        Outcome::Reserved(reserved, output)
    }

    /// A call waits no longer.
    pub fn leave(&mut self, budgets: &[Watched<'_>], ticket: Ticket) {
        for watched in budgets {
            let spent = self.open(Account::of(watched.budget), watched.window);
            spent.waiting.remove(&ticket.number);
            if let (true, Some(lease)) = (spent.waiting.is_empty(), &mut spent.lease) {
                lease.is_left();
            }
        }
    }

    fn queue(&mut self, budgets: &[Watched<'_>], most: &Most, output: Option<u64>, ticket: Ticket) {
        let hard = budgets.iter();
        for watched in hard.filter(|watched| watched.budget.mode == Mode::Hard) {
            let account = Account::of(watched.budget);
            let units = most.of(account.spending, output.unwrap_or(0)).unwrap_or(0);
            let spent = self.open(account, watched.window);
            spent.waiting.insert(ticket.number, units);
            if spent.lease.is_some() {
                self.urgent.insert((account, watched.window));
            }
        }
    }

    /// Whether others wait for something of these budgets.
    pub fn has_waiting(&mut self, budgets: &[Watched<'_>]) -> bool {
        let mut hard = budgets.iter();
        hard.any(|watched| {
            let spent = self.open(Account::of(watched.budget), watched.window);
            !spent.waiting.is_empty()
        })
    }

    /// Whether it may help to ask Redis for more of these budgets: it has not said lately that nothing is left.
    pub fn may_be_more(&mut self, budgets: &[Watched<'_>]) -> bool {
        self.any_hard(budgets, |spent| {
            spent.lease.as_ref().is_some_and(|lease| !lease.is_short())
        })
    }

    /// Whether that is so of the account of any of these budgets that is hard.
    fn any_hard(&mut self, budgets: &[Watched<'_>], is_so: impl Fn(&Spent) -> bool) -> bool {
        let mut hard = budgets
            .iter()
            .filter(|watched| watched.budget.mode == Mode::Hard);
        hard.any(|watched| is_so(self.open(Account::of(watched.budget), watched.window)))
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
                        .saturating_sub(spent.spent + spent.reserved + spent.others());
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
        if spent.serial == held.serial {
            spent.reserved = spent.reserved.saturating_sub(held.units);
        }
        if let Some(lease) = &mut spent.lease {
            lease.settle(id, actual);
            self.untold.insert((held.account, held.window));
        }
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
        // What nobody has asked for yet is told by the books; but those of several instances may have been built already.
        if !is_open {
            if !self.are_shared {
                return Vec::new();
            }
            self.open(account, watched.window);
        }
        let held = Reserved {
            account,
            window: watched.window,
            units: 0,
            serial: 0,
        };
        self.settle(&held, id, actual, budgets)
    }

    /// What is known of an account; `None` until its past is.
    pub fn standing(&mut self, account: Account, window: Window) -> Option<Standing> {
        let spent = self.open(account, window);
        spent.is_known().then_some(Standing {
            spent: spent.spent,
            reserved: spent.reserved,
        })
    }

    fn known(&mut self, (account, window): (Account, Window)) -> Option<&mut Spent> {
        let windows = self.windows.get_mut(&account)?;
        windows.iter_mut().find(|spent| spent.window == window)
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
        let is_filled = follows || self.are_shared;
        if !is_filled {
            self.unfilled.push((account, window));
        }
        let lease = self.are_shared.then(Lease::default);
        if lease.is_some() {
            self.urgent.insert((account, window));
        }
        self.serials += 1;
        windows.push(Spent {
            window,
            serial: self.serials,
            spent: 0,
            reserved: 0,
            settled: (!is_filled).then(Vec::new),
            refused: Vec::new(),
            waiting: BTreeMap::new(),
            lease,
        });
        if windows.len() > WINDOWS {
            let idle = windows
                .iter()
                .take(windows.len() - 1)
                .position(Spent::is_settled);
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
