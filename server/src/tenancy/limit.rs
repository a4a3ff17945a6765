//! Limits and budgets: on which thing one stands, and what it allows there.
//!
//! Here is what they are; what has been used of them is the business of `limits`.

use serde::{Deserialize, Serialize};
use weir_api_types::limit::{self as wire, Limit as Rule, Mode, Period};

use super::{BudgetId, ChannelId, GroupId, KeyId, LimitId, ModelId, TenantId, UserId};
use crate::billing::{Money, money};

/// The thing that a limit or budget stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// The whole installation.
    Platform,
    Tenant(TenantId),
    Group(TenantId, GroupId),
    /// A user as a member of one tenant.
    User(TenantId, UserId),
    Key(TenantId, KeyId),
    /// A channel of the platform or of one tenant.
    Channel(ChannelId),
    /// A model of the platform or of one tenant.
    Model(ModelId),
}

impl Scope {
    /// The tenant inside which it counts; the others cross tenants.
    pub fn tenant(self) -> Option<TenantId> {
        match self {
            Self::Tenant(tenant)
            | Self::Group(tenant, _)
            | Self::User(tenant, _)
            | Self::Key(tenant, _) => Some(tenant),
            Self::Platform | Self::Channel(_) | Self::Model(_) => None,
        }
    }

    /// The word that errors, lists and metrics use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Tenant(_) => "tenant",
            Self::Group(..) => "group",
            Self::User(..) => "user",
            Self::Key(..) => "key",
            Self::Channel(_) => "channel",
            Self::Model(_) => "model",
        }
    }
}

/// A bound on a rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Stays when the figures change: what has been used goes on counting.
    pub id: LimitId,
    pub scope: Scope,
    pub rule: Rule,
    /// Its place among the limits of its thing, from 0.
    pub position: u32,
}

impl Limit {
    /// Whether two rules count the same, so that one takes the other's place and keeps what has been used.
    pub fn counts_like(&self, rule: &Rule) -> bool {
        let same = |rule: &Rule| {
            (
                rule.metric,
                rule.per,
                rule.algorithm,
                rule.each,
                rule.model.clone(),
                rule.endpoint.clone(),
            )
        };
        same(&self.rule) == same(rule)
    }
}

/// A bound on a sum.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    pub id: BudgetId,
    pub scope: Scope,
    pub amount: Amount,
    pub period: Period,
    pub mode: Mode,
    /// Per cent, rising.
    pub alert_at: Vec<u16>,
    /// Its place among the budgets of its thing, from 0.
    pub position: u32,
}

/// How much a budget has, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    Money(Money),
    Tokens(u64),
    Requests(u64),
}

/// What is counted against budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Spending {
    /// Nano-dollars.
    Money,
    Tokens,
    Requests,
}

/// Why a budget's amount is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAmount {
    #[error("gives exactly one of amount, tokens and requests")]
    NotOne,
    #[error("the amount {0}")]
    Money(#[from] money::Error),
    #[error("must be from 1 to 1000000000000000")]
    OutOfRange,
}

impl Amount {
    /// Tokens or requests that one budget can have: within what every store counts exactly.
    const MOST: u64 = 1_000_000_000_000_000;

    /// Reads what the file gives.
    pub fn of(rule: &wire::Budget) -> Result<Self, BadAmount> {
        let count = |units: u64| {
            let fits = (1..=Self::MOST).contains(&units);
            fits.then_some(units).ok_or(BadAmount::OutOfRange)
        };
        match (&rule.amount, rule.tokens, rule.requests) {
            (Some(amount), None, None) => Ok(Self::Money(amount.parse()?)),
            (None, Some(tokens), None) => count(tokens).map(Self::Tokens),
            (None, None, Some(requests)) => count(requests).map(Self::Requests),
            _ => Err(BadAmount::NotOne),
        }
    }

    /// What it is an amount of.
    pub fn spending(self) -> Spending {
        match self {
            Self::Money(_) => Spending::Money,
            Self::Tokens(_) => Spending::Tokens,
            Self::Requests(_) => Spending::Requests,
        }
    }

    /// Nano-dollars, tokens or requests.
    pub fn units(self) -> u64 {
        match self {
            Self::Money(money) => u64::try_from(money.nanos()).unwrap_or(0),
            Self::Tokens(units) | Self::Requests(units) => units,
        }
    }
}

impl Spending {
    /// The word that lists and metrics use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Money => "money",
            Self::Tokens => "tokens",
            Self::Requests => "requests",
        }
    }

    /// So many units as people read them: `$1.50`, `300 tokens`.
    pub fn words(self, units: u64) -> String {
        match self {
            Self::Money => {
                let nanos = i64::try_from(units).unwrap_or(i64::MAX);
                format!("${}", Money::from_nanos(nanos).short())
            }
            Self::Tokens => format!("{units} tokens"),
            Self::Requests => format!("{units} requests"),
        }
    }
}

impl Budget {
    /// As the configuration file writes it.
    pub fn rule(&self) -> wire::Budget {
        let mut rule = wire::Budget {
            amount: None,
            tokens: None,
            requests: None,
            period: self.period,
            mode: self.mode,
            alert_at: self.alert_at.clone(),
        };
        match self.amount {
            Amount::Money(money) => rule.amount = Some(money.short()),
            Amount::Tokens(tokens) => rule.tokens = Some(tokens),
            Amount::Requests(requests) => rule.requests = Some(requests),
        }
        rule
    }

    /// Whether two budgets watch the same sum, so that one takes the other's place.
    pub fn watches_like(&self, amount: Amount, period: Period) -> bool {
        (self.amount.spending(), self.period) == (amount.spending(), period)
    }
}
