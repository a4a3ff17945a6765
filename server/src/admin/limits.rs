//! Limits, budgets and what budgets told, as this instance sees them.

use std::time::Duration;

use actix_web::web;
use weir_api_types::manage::{AlertItem, BudgetItem, LimitItem, Page};

use super::{
    State,
    error::ApiError,
    list::{self, Asked},
};
use crate::{
    access::Caller,
    catalog::Catalog,
    clock::now_ms,
    limits::{Account, Standing, Window, claim, name_of},
    resources::export::moment,
    store::{self, Listed},
    tenancy::{Budget, Limit, Scope},
};

/// Longest wait for what the instances have spent.
const PATIENCE: Duration = Duration::from_secs(1);

/// `GET /v1/admin/limits`
pub async fn limits(
    caller: Caller,
    asked: Asked,
    state: web::Data<State>,
) -> Result<web::Json<Page<LimitItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let db = &state.stores.config.read;
    let limits = store::limits::list(db, scope, &asked.page, &state.sealer).await?;
    Ok(list::answer(limits.map(|limit| limit_item(&state, limit))))
}

/// A limit, and what is left of it here and now.
pub(super) fn limit_item(state: &State, limit: Limit) -> LimitItem {
    let catalog = state.catalog.load();
    LimitItem {
        id: limit.id.0,
        tenant: owner(&catalog, limit.scope),
        scope: limit.scope.word().to_owned(),
        name: name_of(&catalog, limit.scope),
        remaining: state.limits.left(limit.id).map(|left| left.remaining),
        rule: limit.rule,
    }
}

/// `GET /v1/admin/budgets`
pub async fn budgets(
    caller: Caller,
    asked: Asked,
    state: web::Data<State>,
) -> Result<web::Json<Page<BudgetItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let db = &state.stores.config.read;
    let budgets = store::budgets::list(db, scope, &asked.page, &state.sealer).await?;
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
    asked: Asked,
    state: web::Data<State>,
) -> Result<web::Json<Page<AlertItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let alerts = store::alerts::list(&state.stores.usage, scope, &asked.page).await?;
    Ok(list::answer(alerts))
}

fn owner(catalog: &Catalog, scope: Scope) -> Option<String> {
    let owner = match scope {
        Scope::Channel(channel) => catalog.channel(channel)?.owner,
        Scope::Model(model) => catalog.model(model)?.owner,
        _ => scope.tenant(),
    };
    catalog.tenant(owner?).map(|tenant| tenant.name.clone())
}
