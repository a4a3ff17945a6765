//! What limits ask of the place where their counts are kept: this process, or a Redis that several instances share.

use std::time::Duration;

use futures_util::future::BoxFuture;
use weir_api_types::limit::Metric;

use super::{
    Rejected,
    claim::{Counted, Value},
    rate::{Left, Shape, Taken},
};
use crate::tenancy::{LimitId, Scope};

/// Keeps counts. [`super::local::Local`] does so in this process, [`super::shared::Shared`] in Redis.
pub trait Rates: Send + Sync {
    /// Counts a call on all of the limits, or on none; those on tokens count so many for now.
    fn take<'a>(
        &'a self,
        counted: &'a [Counted<'a>],
        tokens: u64,
    ) -> BoxFuture<'a, Result<Passed, Rejected>>;

    /// Puts what a call really was in the place of what was taken for it: tokens, or 0 to give it back and to end a
    /// concurrent one. Never waits.
    fn put(&self, holdings: &[Holding], actual: u64);

    /// Makes ready on this thread what its first call would wait for.
    fn warm(&self) -> BoxFuture<'_, ()>;

    /// What each of them has left; `None` where nobody can say now.
    fn left<'a>(&'a self, counted: &'a [Counted<'a>]) -> BoxFuture<'a, Vec<Option<Left>>>;
}

impl<R: Rates + ?Sized> Rates for std::sync::Arc<R> {
    fn take<'a>(
        &'a self,
        counted: &'a [Counted<'a>],
        tokens: u64,
    ) -> BoxFuture<'a, Result<Passed, Rejected>> {
        (**self).take(counted, tokens)
    }

    fn put(&self, holdings: &[Holding], actual: u64) {
        (**self).put(holdings, actual);
    }

    fn warm(&self) -> BoxFuture<'_, ()> {
        (**self).warm()
    }

    fn left<'a>(&'a self, counted: &'a [Counted<'a>]) -> BoxFuture<'a, Vec<Option<Left>>> {
        (**self).left(counted)
    }
}

/// What counted a call that was let through.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    pub holdings: Vec<Holding>,
    pub left: Tightest,
}

/// One count: a limit, and a value of what it counts apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CountKey {
    pub limit: LimitId,
    pub value: Value,
}

/// Of the limits on requests and on tokens, the one of each that has least left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tightest {
    pub requests: Option<Quota>,
    pub tokens: Option<Quota>,
}

/// What a limit has left, as headers tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub limit: u64,
    pub remaining: u64,
    pub reset: Duration,
}

/// That a limit has counted a call.
#[derive(Debug, Clone, Copy)]
pub struct Holding {
    pub key: CountKey,
    pub scope: Scope,
    pub metric: Metric,
    /// The figures that it was counted by: the limit may have others by the time it is settled.
    pub shape: Shape,
    pub taken: Taken,
    /// Whether it was counted in this process alone.
    pub is_local: bool,
}

impl Passed {
    /// How long the call has to wait for its turn.
    pub fn wait(&self) -> Duration {
        let waits = self.holdings.iter().map(|holding| holding.taken.wait_us);
        Duration::from_micros(waits.max().unwrap_or(0))
    }

    /// What was counted of one metric.
    pub fn of(&self, metric: Metric) -> Vec<Holding> {
        let of_metric = self
            .holdings
            .iter()
            .filter(|holding| holding.metric == metric);
        of_metric.copied().collect()
    }
}

impl Tightest {
    /// Takes note of what one more limit has left.
    pub fn note(&mut self, metric: Metric, shape: &Shape, left: Left) {
        let place = match metric {
            Metric::Requests => &mut self.requests,
            Metric::Tokens => &mut self.tokens,
            Metric::Concurrent => return,
        };
        if place.is_none_or(|other| left.remaining < other.remaining) {
            *place = Some(Quota {
                limit: shape.burst,
                remaining: left.remaining,
                reset: Duration::from_micros(left.reset_us),
            });
        }
    }
}

/// What a call costs of a limit: of one on tokens at least one, so that none is free.
pub fn cost(metric: Metric, tokens: u64) -> u64 {
    match metric {
        Metric::Tokens => tokens.max(1),
        Metric::Requests | Metric::Concurrent => 1,
    }
}
