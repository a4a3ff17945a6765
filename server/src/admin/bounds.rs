//! Single limits and budgets: set on a thing, changed, taken away.
//!
//! A thing has a list of each. An order makes the list with one more, another or one less, and lays that over what is stored; so
//! that what holds for the list of a file holds here, and a bound that counts what it counted before keeps what has been used.

mod lists;

use actix_web::{HttpResponse, http::StatusCode, web};
use sea_orm::ConnectionTrait;
use uuid::Uuid;
use weir_api_types::{
    limit::{Budget as BudgetRule, Limit as LimitRule},
    orders::{BudgetPatch, LimitPatch, NewBudget, NewLimit, On},
};

use super::{
    State,
    body::Order,
    error::{ApiError, Code},
    limits::{budget_items, limit_items},
    models,
    thing::{self, IfMatch},
};
use crate::{
    access::{Author, Caller},
    catalog::{Entry, Kind},
    resources::{Edit, Picture},
    store::{
        self,
        catalog::{Slice, entries},
    },
    tenancy::{Budget, Limit, Scope, TenantId, limit::Amount, name},
};
use lists::{Lists, lay};

/// `POST /v1/admin/limits`
pub async fn set_limit(
    caller: Caller,
    author: Author,
    order: Order<NewLimit>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let NewLimit {
        scope,
        tenant,
        name,
        rule,
    } = order.0;
    let on = Named {
        scope,
        tenant,
        name,
    };
    let edit = Edit::begin(&state.stores, &state.sealer, &author).await?;
    let (before, scope) = on.find(&state, &caller, &edit).await?;
    let stored = before.limits_on(scope).into_iter();
    let mut rules: Vec<LimitRule> = stored.map(|limit| limit.rule.clone()).collect();
    rules.push(rule.clone());
    let laid = lay(edit, &before, scope, Lists::limits(rules)).await?;
    let limits = laid.picture.limits_on(scope);
    let limit = limits.into_iter().find(|limit| limit.counts_like(&rule));
    shown_limit(&state, StatusCode::CREATED, laid.version, limit.cloned()).await
}

/// `GET /v1/admin/limits/{id}`
pub async fn show_limit(
    caller: Caller,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let db = &state.stores.config.read;
    let limit = limit(&state, &caller, db, &id).await?;
    shown_limit(&state, StatusCode::OK, 0, Some(limit)).await
}

/// `PATCH /v1/admin/limits/{id}`
pub async fn change_limit(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    patch: Order<LimitPatch>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let edit = Edit::begin(&state.stores, &state.sealer, &author).await?;
    let limit = limit(&state, &caller, edit.db(), &id).await?;
    if_match.check(&limit.rule)?;
    let rule = patch.0.rule;
    if !limit.counts_like(&rule) {
        return Err(another_sum());
    }
    let before = read(&state, &caller, &edit, limit.scope).await?;
    let stored = before.limits_on(limit.scope).into_iter();
    let rules = stored.map(|one| match one.id == limit.id {
        true => rule.clone(),
        false => one.rule.clone(),
    });
    let lists = Lists::limits(rules.collect());
    let laid = lay(edit, &before, limit.scope, lists).await?;
    let now = laid.picture.limits.get(&(limit.scope, limit.id)).cloned();
    shown_limit(&state, StatusCode::OK, laid.version, now).await
}

/// `DELETE /v1/admin/limits/{id}`
pub async fn delete_limit(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let edit = Edit::begin(&state.stores, &state.sealer, &author).await?;
    let limit = limit(&state, &caller, edit.db(), &id).await?;
    if_match.check(&limit.rule)?;
    let before = read(&state, &caller, &edit, limit.scope).await?;
    let others = before.limits_on(limit.scope).into_iter();
    let others = others.filter(|one| one.id != limit.id);
    let lists = Lists::limits(others.map(|one| one.rule.clone()).collect());
    let laid = lay(edit, &before, limit.scope, lists).await?;
    state.catch_up(laid.version).await;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /v1/admin/budgets`
pub async fn set_budget(
    caller: Caller,
    author: Author,
    order: Order<NewBudget>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let NewBudget {
        scope,
        tenant,
        name,
        rule,
    } = order.0;
    if matches!(scope, On::Platform | On::Model) {
        return Err(ApiError::field("scope", "takes no budgets"));
    }
    let on = Named {
        scope,
        tenant,
        name,
    };
    let amount = amount(&rule)?;
    let edit = Edit::begin(&state.stores, &state.sealer, &author).await?;
    let (before, scope) = on.find(&state, &caller, &edit).await?;
    let stored = before.budgets_on(scope).into_iter();
    let mut rules: Vec<BudgetRule> = stored.map(Budget::rule).collect();
    let period = rule.period;
    rules.push(rule);
    let laid = lay(edit, &before, scope, Lists::budgets(rules)).await?;
    let mut budgets = laid.picture.budgets_on(scope).into_iter();
    let budget = budgets.find(|budget| budget.watches_like(amount, period));
    shown_budget(&state, StatusCode::CREATED, laid.version, budget.cloned()).await
}

/// `GET /v1/admin/budgets/{id}`
pub async fn show_budget(
    caller: Caller,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let db = &state.stores.config.read;
    let budget = budget(&state, &caller, db, &id).await?;
    shown_budget(&state, StatusCode::OK, 0, Some(budget)).await
}

/// `PATCH /v1/admin/budgets/{id}`
pub async fn change_budget(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    patch: Order<BudgetPatch>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let edit = Edit::begin(&state.stores, &state.sealer, &author).await?;
    let budget = budget(&state, &caller, edit.db(), &id).await?;
    if_match.check(&budget.rule())?;
    let rule = patch.0.rule;
    if !budget.watches_like(amount(&rule)?, rule.period) {
        return Err(another_sum());
    }
    let before = read(&state, &caller, &edit, budget.scope).await?;
    let stored = before.budgets_on(budget.scope).into_iter();
    let rules = stored.map(|one| match one.id == budget.id {
        true => rule.clone(),
        false => one.rule(),
    });
    let lists = Lists::budgets(rules.collect());
    let laid = lay(edit, &before, budget.scope, lists).await?;
    let now = laid.picture.budgets.get(&(budget.scope, budget.id));
    shown_budget(&state, StatusCode::OK, laid.version, now.cloned()).await
}

/// `DELETE /v1/admin/budgets/{id}`
pub async fn delete_budget(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let edit = Edit::begin(&state.stores, &state.sealer, &author).await?;
    let budget = budget(&state, &caller, edit.db(), &id).await?;
    if_match.check(&budget.rule())?;
    let before = read(&state, &caller, &edit, budget.scope).await?;
    let others = before.budgets_on(budget.scope).into_iter();
    let others = others.filter(|one| one.id != budget.id);
    let lists = Lists::budgets(others.map(Budget::rule).collect());
    let laid = lay(edit, &before, budget.scope, lists).await?;
    state.catch_up(laid.version).await;
    Ok(HttpResponse::NoContent().finish())
}

fn amount(rule: &BudgetRule) -> Result<Amount, ApiError> {
    Amount::of(rule).map_err(|error| ApiError::field("rule", error))
}

fn another_sum() -> ApiError {
    let message = "counts something else than before: what is used would be lost; make another one";
    ApiError::field("rule", message)
}

/// On what an order says that it shall stand.
struct Named {
    scope: On,
    tenant: Option<String>,
    name: String,
}

impl Named {
    /// The thing, in a picture of what has to be seen of it.
    async fn find(
        &self,
        state: &State,
        caller: &Caller,
        edit: &Edit<'_>,
    ) -> Result<(Picture, Scope), ApiError> {
        let owner = match (&self.tenant, self.scope) {
            (None, On::Platform | On::Channel | On::Model) if caller.reaches(None) => None,
            (named, _) => Some(state.tenant_of(caller, named.as_deref()).await?),
        };
        let absent = || ApiError::field("name", "there is nothing of this name");
        let name = match self.scope {
            On::Platform | On::Tenant => String::new(),
            On::User => self.name.trim().to_lowercase(),
            _ => name::normal(&self.name).map_err(|error| ApiError::field("name", error))?,
        };
        let mut slice = Slice {
            owner,
            ..Slice::default()
        };
        match (self.scope, owner) {
            (On::User, _) => {
                let user = store::users::of_email(edit.db(), &name).await?;
                slice.people.extend(user);
            }
            (On::Key, Some(owner)) => {
                let key = store::keys::named(edit.db(), owner, &name).await?;
                slice.keys.extend(key);
            }
            _ => {}
        }
        let picture = edit.read(&slice).await?;
        let scope = place(&picture, self.scope, owner, &name).ok_or_else(absent)?;
        may_bound(caller, &picture, scope)?;
        Ok((picture, scope))
    }
}

fn place(picture: &Picture, on: On, owner: Option<TenantId>, name: &str) -> Option<Scope> {
    Some(match (on, owner) {
        (On::Platform, None) => Scope::Platform,
        (On::Tenant, Some(tenant)) => Scope::Tenant(tenant),
        (On::Group, Some(tenant)) => Scope::Group(tenant, picture.group_named(tenant, name)?),
        (On::User, Some(tenant)) => {
            let mut people = picture.people.values();
            let person = people
                .find(|person| person.email == name && person.membership(tenant).is_some())?;
            Scope::User(tenant, person.id)
        }
        (On::Key, Some(tenant)) => {
            let mut keys = picture.keys.values();
            let key = keys.find(|key| key.tenant == tenant && key.name == name)?;
            Scope::Key(tenant, key.id)
        }
        (On::Channel, owner) => Scope::Channel(picture.channel_of(owner, name)?),
        (On::Model, owner) => Scope::Model(picture.model_of(owner, name)?),
        _ => return None,
    })
}

/// What stands on a tenant is the platform's word to it.
fn may_bound(caller: &Caller, picture: &Picture, scope: Scope) -> Result<(), ApiError> {
    match scope {
        // What bounds the platform's channels, though the model is the tenant's.
        Scope::Model(model) if !caller.reaches(None) => models::is_own(picture, model),
        Scope::Platform | Scope::Tenant(_) if !caller.reaches(None) => {
            let detail = "What stands on the tenant itself is for the platform's operators; yours stand on its groups, users and keys.";
            Err(ApiError::new(Code::Forbidden, detail))
        }
        _ => Ok(()),
    }
}

/// What has to be seen to change what stands on a thing.
async fn read(
    state: &State,
    caller: &Caller,
    edit: &Edit<'_>,
    scope: Scope,
) -> Result<Picture, ApiError> {
    let (kind, id) = match scope {
        Scope::Channel(channel) => (Kind::Channel, channel.0),
        Scope::Model(model) => (Kind::Model, model.0),
        Scope::Tenant(tenant) => (Kind::Tenant, tenant.0),
        _ => (Kind::Limit, Uuid::nil()),
    };
    let owner = match scope.tenant() {
        None if !id.is_nil() => state.row(caller, kind, id).await?.owner,
        own => own,
    };
    let mut slice = Slice {
        owner,
        ..Slice::default()
    };
    match scope {
        Scope::User(_, user) => slice.people.push(user),
        Scope::Key(_, key) => slice.keys.push(key),
        _ => {}
    }
    let picture = edit.read(&slice).await?;
    may_bound(caller, &picture, scope)?;
    Ok(picture)
}

/// The limit of an id in a path, if the caller may know of it.
async fn limit(
    state: &State,
    caller: &Caller,
    db: &impl ConnectionTrait,
    id: &str,
) -> Result<Limit, ApiError> {
    let id = thing::id(Kind::Limit, id)?;
    state.row(caller, Kind::Limit, id).await?;
    let found = entries(db, Kind::Limit, &[id], &state.sealer).await?.pop();
    match found {
        Some(Entry::Limit(limit)) => Ok(limit),
        _ => Err(ApiError::not_found("limit")),
    }
}

/// The same of a budget.
async fn budget(
    state: &State,
    caller: &Caller,
    db: &impl ConnectionTrait,
    id: &str,
) -> Result<Budget, ApiError> {
    let id = thing::id(Kind::Budget, id)?;
    state.row(caller, Kind::Budget, id).await?;
    let found = entries(db, Kind::Budget, &[id], &state.sealer).await?.pop();
    match found {
        Some(Entry::Budget(budget)) => Ok(budget),
        _ => Err(ApiError::not_found("budget")),
    }
}

async fn shown_limit(
    state: &State,
    status: StatusCode,
    version: i64,
    limit: Option<Limit>,
) -> Result<HttpResponse, ApiError> {
    let limit = limit.ok_or_else(|| ApiError::not_found("limit"))?;
    state.catch_up(version).await;
    let rule = limit.rule.clone();
    let shown = limit_items(state, vec![limit]).await.pop();
    let shown = shown.ok_or_else(|| ApiError::not_found("limit"))?;
    thing::under_tag(status, &rule, shown)
}

async fn shown_budget(
    state: &State,
    status: StatusCode,
    version: i64,
    budget: Option<Budget>,
) -> Result<HttpResponse, ApiError> {
    let budget = budget.ok_or_else(|| ApiError::not_found("budget"))?;
    state.catch_up(version).await;
    let rule = budget.rule();
    let shown = budget_items(state, vec![budget]).await.pop();
    let shown = shown.ok_or_else(|| ApiError::not_found("budget"))?;
    thing::under_tag(status, &rule, shown)
}
