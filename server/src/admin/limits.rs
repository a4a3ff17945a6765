//! Limits, budgets and what budgets told, as this instance sees them.

use actix_web::web;
use weir_api_types::manage::{AlertItem, BudgetItem, LimitItem, Page};

use super::{State, access::Operator, error::ApiError, list::Asked};
use crate::{
    catalog::Catalog,
    clock::now_ms,
    limits::{Account, claim, name_of},
    resources::export::moment,
    store,
    tenancy::{Budget, Limit, Scope},
};

/// `GET /v1/admin/limits`
pub async fn limits(
    _: Operator,
    asked: Asked,
    state: web::Data<State>,
) -> Result<web::Json<Page<LimitItem>>, ApiError> {
    let scope = asked.scope(&state).await?;
    let db = &state.stores.config.read;
    let limits = store::limits::list(db, scope, asked.page, &state.sealer).await?;
    let catalog = state.catalog.load();
    let item = |limit: Limit| LimitItem {
        id: limit.id.0,
        tenant: owner(&catalog, limit.scope),
        scope: limit.scope.word().to_owned(),
        name: name_of(&catalog, limit.scope),
        remaining: state.limits.left(limit.id).map(|left| left.remaining),
        rule: limit.rule,
    };
    Ok(asked.answer(limits.into_iter().map(item).collect(), |item| item.id))
}

/// `GET /v1/admin/budgets`
pub async fn budgets(
    _: Operator,
    asked: Asked,
    state: web::Data<State>,
) -> Result<web::Json<Page<BudgetItem>>, ApiError> {
    let scope = asked.scope(&state).await?;
    let db = &state.stores.config.read;
    let budgets = store::budgets::list(db, scope, asked.page, &state.sealer).await?;
    let (catalog, at_ms) = (state.catalog.load(), now_ms());
    let item = |budget: Budget| {
        let window = claim::window_of(&catalog, budget.scope, budget.period, at_ms);
        let standing = state.limits.standing(Account::of(&budget), window);
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
    Ok(asked.answer(budgets.into_iter().map(item).collect(), |item| item.id))
}

/// `GET /v1/admin/alerts`
pub async fn alerts(
    _: Operator,
    asked: Asked,
    state: web::Data<State>,
) -> Result<web::Json<Page<AlertItem>>, ApiError> {
    let scope = asked.scope(&state).await?;
    let alerts = store::alerts::list(&state.stores.usage, scope, asked.page).await?;
    Ok(asked.answer(alerts, |item| item.id))
}

fn owner(catalog: &Catalog, scope: Scope) -> Option<String> {
    let owner = match scope {
        Scope::Channel(channel) => catalog.channel(channel)?.owner,
        Scope::Model(model) => catalog.model(model)?.owner,
        _ => scope.tenant(),
    };
    catalog.tenant(owner?).map(|tenant| tenant.name.clone())
}
