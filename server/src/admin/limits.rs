//! Limits, budgets and what budgets told, as this instance sees them.

use std::{collections::HashMap, time::Duration};

use actix_web::{HttpRequest, web};
use weir_api_types::{
    manage::{AlertItem, BudgetItem, LimitItem, Page},
    queries::{AlertQuery, BoundQuery},
};

use super::{State, error::ApiError, list};
use crate::{
    access::Caller,
    catalog::Catalog,
    clock::now_ms,
    limits::{
        Account, Standing, Window,
        claim::{self, Counted, Value},
        name_of,
    },
    resources::export::moment,
    store::{self, Listed, StandingOn},
    tenancy::{Budget, Limit, LimitId, Scope},
};

/// Longest wait for what the instances have spent.
const PATIENCE: Duration = Duration::from_secs(1);

/// `GET /v1/admin/limits`
pub async fn limits(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<web::Json<Page<LimitItem>>, ApiError> {
    let (asked, words) = list::paged(&request)?;
    let on = standing_on(words)?;
    let scope = asked.scope(&state, &caller).await?;
    let db = &state.stores.config.read;
    let limits = store::limits::list(db, scope, on, &asked.page, &state.sealer).await?;
    let next = limits.next;
    let data = limit_items(&state, limits.data).await;
    Ok(list::answer(Listed { data, next }))
}

/// Limits, and what is left of those that count nothing apart.
pub(super) async fn limit_items(state: &State, limits: Vec<Limit>) -> Vec<LimitItem> {
    limit_items_under(state, limits, |limit| {
        limit.rule.each.is_none().then_some(Value::All)
    })
    .await
}

/// Limits, and what is left of each under its value.
pub(super) async fn limit_items_under(
    state: &State,
    limits: Vec<Limit>,
    value: impl Fn(&Limit) -> Option<Value>,
) -> Vec<LimitItem> {
    let catalog = state.catalog.load();
    let asked = limits.iter().filter_map(|limit| {
        let value = value(limit)?;
        Some(Counted { limit, value })
    });
    let asked: Vec<Counted<'_>> = asked.collect();
    let left = state.limits.left(&asked).await;
    let left: HashMap<LimitId, u64> = asked
        .iter()
        .zip(left)
        .filter_map(|(one, left)| Some((one.limit.id, left?.remaining)))
        .collect();
    let item = |limit: Limit| LimitItem {
        id: limit.id.0,
        tenant: owner(&catalog, limit.scope),
        scope: limit.scope.word().to_owned(),
        name: name_of(&catalog, limit.scope),
        remaining: left.get(&limit.id).copied(),
        rule: limit.rule,
    };
    limits.into_iter().map(item).collect()
}

/// `GET /v1/admin/budgets`
pub async fn budgets(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<web::Json<Page<BudgetItem>>, ApiError> {
    let (asked, words) = list::paged(&request)?;
    let on = standing_on(words)?;
    let scope = asked.scope(&state, &caller).await?;
    let db = &state.stores.config.read;
    let budgets = store::budgets::list(db, scope, on, &asked.page, &state.sealer).await?;
    let data = budget_items(&state, budgets.data).await;
    let next = budgets.next;
    Ok(list::answer(Listed { data, next }))
}

/// Budgets, and what is spent of them.
pub(super) async fn budget_items(state: &State, budgets: Vec<Budget>) -> Vec<BudgetItem> {
    let (catalog, at_ms) = (state.catalog.load(), now_ms());
    let accounts: Vec<(Account, Window)> = budgets
        .iter()
        .map(|budget| {
            let window = claim::window_of(&catalog, budget.scope, budget.period, at_ms);
            (Account::of(budget), window)
        })
        .collect();
    let standings = state.limits.standings(&accounts, PATIENCE).await;
    let known = accounts.into_iter().zip(standings);
    let item =
        |(budget, ((_, window), standing)): (Budget, ((Account, Window), Option<Standing>))| {
            BudgetItem {
                id: budget.id.0,
                tenant: owner(&catalog, budget.scope),
                scope: budget.scope.word().to_owned(),
                name: name_of(&catalog, budget.scope),
                amount: budget.amount.units(),
                spent: standing.map(|standing| standing.spent),
                reserved: standing.map(|standing| standing.reserved),
                window_start: moment(window.start_ms),
                resets_at: (window.end_ms != i64::MAX).then(|| moment(window.end_ms)),
                rule: budget.rule(),
            }
        };
    budgets.into_iter().zip(known).map(item).collect()
}

/// `GET /v1/admin/alerts`
pub async fn alerts(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<web::Json<Page<AlertItem>>, ApiError> {
    let (asked, words) = list::paged(&request)?;
    let wanted: AlertQuery = list::rest(words)?;
    let scope = asked.scope(&state, &caller).await?;
    let alerts = store::alerts::list(&state.stores.usage, scope, &wanted, &asked.page).await?;
    Ok(list::answer(alerts))
}

fn standing_on(words: HashMap<String, String>) -> Result<StandingOn, ApiError> {
    let BoundQuery { scope, of } = list::rest(words)?;
    Ok(StandingOn {
        kind: scope,
        id: of,
    })
}

fn owner(catalog: &Catalog, scope: Scope) -> Option<String> {
    let owner = catalog.owner_of(scope)?;
    catalog.tenant(owner).map(|tenant| tenant.name.clone())
}
