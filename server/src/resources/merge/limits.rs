//! Limits and budgets of a file, on whatever they stand.
//!
//! A list that is given is the whole truth. One that counts the same as a stored one takes its place and its id, so that
//! a changed figure keeps what has been used.

use weir_api_types::limit::{
    Algorithm, Budget as GivenBudget, ENDPOINTS, Each, Limit as Given, Metric,
};

use super::{Merge, checks};
use crate::tenancy::{Budget, BudgetId, Limit, LimitId, Scope, limit::Amount};

/// Limits, or budgets, of one thing.
const MAX_LIST: usize = 20;
/// Within what every store counts exactly.
const MAX_COUNT: u64 = 1_000_000_000_000;
const MAX_WAIT_SECONDS: u64 = 60;
const MAX_PERCENT: u16 = 1_000;

impl Merge<'_> {
    /// Merges the limits that stand on one thing.
    pub(super) fn limits(&mut self, path: &str, scope: Scope, given: Option<&[Given]>) {
        let Some(given) = given else { return };
        let path = format!("{path}.limits");
        if given.len() > MAX_LIST {
            return self.refuse(path, format!("has more than {MAX_LIST} limits"));
        }
        let picture = &self.merged.picture;
        let stored: Vec<Limit> = picture.limits_on(scope).into_iter().cloned().collect();
        for limit in &stored {
            self.merged.picture.limits.remove(&(scope, limit.id));
        }
        let mut limits: Vec<Limit> = Vec::new();
        for (at, rule) in given.iter().enumerate() {
            let path = format!("{path}[{at}]");
            if let Err((field, why)) = check(scope, rule) {
                self.refuse(checks::field_of(&path, field), why);
                continue;
            }
            if let Some(earlier) = limits.iter().position(|other| other.counts_like(rule)) {
                self.refuse(path, format!("counts the same as number {earlier}"));
                continue;
            }
            let known = stored.iter().find(|stored| stored.counts_like(rule));
            limits.push(Limit {
                id: known.map_or_else(LimitId::random, |known| known.id),
                scope,
                rule: rule.clone(),
                position: at as u32,
            });
        }
        let limits = limits.into_iter().map(|limit| ((scope, limit.id), limit));
        self.merged.picture.limits.extend(limits);
    }

    /// Merges the budgets that stand on one thing.
    pub(super) fn budgets(&mut self, path: &str, scope: Scope, given: Option<&[GivenBudget]>) {
        let Some(given) = given else { return };
        let path = format!("{path}.budgets");
        if given.len() > MAX_LIST {
            return self.refuse(path, format!("has more than {MAX_LIST} budgets"));
        }
        let picture = &self.merged.picture;
        let stored: Vec<Budget> = picture.budgets_on(scope).into_iter().cloned().collect();
        for budget in &stored {
            self.merged.picture.budgets.remove(&(scope, budget.id));
        }
        let mut budgets: Vec<Budget> = Vec::new();
        for (at, rule) in given.iter().enumerate() {
            let path = format!("{path}[{at}]");
            let amount = self.accept(&path, Amount::of(rule));
            let alert_at = self.accept(&format!("{path}.alert_at"), percents(&rule.alert_at));
            let (Some(amount), Some(alert_at)) = (amount, alert_at) else {
                continue;
            };
            let same = |other: &Budget| other.watches_like(amount, rule.period);
            if let Some(earlier) = budgets.iter().position(same) {
                self.refuse(path, format!("watches the same sum as number {earlier}"));
                continue;
            }
            let known = stored.iter().find(|stored| same(stored));
            budgets.push(Budget {
                id: known.map_or_else(BudgetId::random, |known| known.id),
                scope,
                amount,
                period: rule.period,
                mode: rule.mode,
                alert_at,
                position: at as u32,
            });
        }
        let budgets = budgets
            .into_iter()
            .map(|budget| ((scope, budget.id), budget));
        self.merged.picture.budgets.extend(budgets);
    }

    /// Takes away what stood on things that are gone.
    pub(super) fn drop_unfounded(&mut self) {
        let mut picture = std::mem::take(&mut self.merged.picture);
        let limits = std::mem::take(&mut picture.limits);
        let budgets = std::mem::take(&mut picture.budgets);
        let there = |scope| picture.has(scope);
        let limits = limits.into_iter().filter(|((scope, _), _)| there(*scope));
        let limits = limits.collect();
        let budgets = budgets.into_iter().filter(|((scope, _), _)| there(*scope));
        let budgets = budgets.collect();
        picture.limits = limits;
        picture.budgets = budgets;
        self.merged.picture = picture;
    }
}

/// Whether a limit says something that can be counted. Errors come with the field they are about.
fn check(scope: Scope, rule: &Given) -> Result<(), (&'static str, String)> {
    let refuse = |field, why: &str| Err((field, why.to_owned()));
    let counts = 1..=MAX_COUNT;
    if !counts.contains(&rule.max) {
        return Err(("max", format!("must be from 1 to {MAX_COUNT}")));
    }
    if rule.metric == Metric::Concurrent {
        let shaped = rule.per.is_some() || rule.burst.is_some() || rule.max_wait.is_some();
        if shaped || rule.algorithm != Algorithm::default() {
            return refuse("", "of concurrent requests has no window and no algorithm");
        }
    } else if rule.per.is_none() {
        return refuse("per", "is needed: second, minute, hour or day");
    }
    match (rule.burst, rule.algorithm) {
        (Some(_), algorithm) if algorithm != Algorithm::TokenBucket => {
            return refuse("burst", "is a token bucket's");
        }
        (Some(burst), _) if !counts.contains(&burst) => {
            return Err(("burst", format!("must be from 1 to {MAX_COUNT}")));
        }
        _ => {}
    }
    match (rule.max_wait, rule.algorithm) {
        (Some(_), algorithm) if algorithm != Algorithm::LeakyBucket => {
            return refuse("max_wait", "is a leaky bucket's");
        }
        (Some(wait), _) if wait.0.as_secs_f64() > MAX_WAIT_SECONDS as f64 => {
            return Err(("max_wait", format!("must be at most {MAX_WAIT_SECONDS}s")));
        }
        _ => {}
    }
    match (rule.each, scope) {
        (Some(Each::Key), Scope::Key(..))
        | (Some(Each::User), Scope::Key(..) | Scope::User(..))
        | (Some(Each::Model), Scope::Model(_)) => {
            return refuse("each", "has one value only here");
        }
        _ => {}
    }
    if let Some(model) = &rule.model {
        checks::pattern(model).map_err(|error| ("model", error.to_string()))?;
        if matches!(scope, Scope::Model(_)) {
            return refuse("model", "is what it stands on");
        }
    }
    match &rule.endpoint {
        Some(endpoint) if !ENDPOINTS.contains(&endpoint.as_str()) => {
            Err(("endpoint", format!("is none of {}", ENDPOINTS.join(", "))))
        }
        _ => Ok(()),
    }
}

/// Thresholds, rising, each once.
fn percents(given: &[u16]) -> Result<Vec<u16>, String> {
    let mut percents = given.to_vec();
    percents.sort_unstable();
    percents.dedup();
    let fits = percents
        .iter()
        .all(|percent| (1..=MAX_PERCENT).contains(percent));
    if fits && percents.len() <= MAX_LIST {
        Ok(percents)
    } else {
        Err(format!(
            "holds at most {MAX_LIST} whole numbers from 1 to {MAX_PERCENT}"
        ))
    }
}
