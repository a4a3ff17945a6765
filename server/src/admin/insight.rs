//! What helps to decide: what binds a key, what would go with a thing.

use std::collections::BTreeSet;

use actix_web::{HttpRequest, web};
use uuid::Uuid;
use weir_api_types::{
    insight::{Dependants, EffectiveBounds, Impact},
    log::RequestQuery,
    manage::{BudgetItem, LimitItem},
    usage::UsageQuery,
};

use super::{
    State,
    error::ApiError,
    limits::{budget_items, limit_items_under},
    list,
    roles::Roles,
    thing::{self, Thing as _},
    users,
};
use crate::{
    access::{Caller, Permission, Reach},
    catalog::{Catalog, Kind},
    clock::now_ms,
    limits::{capacity, claim},
    reports::{self, log::Part},
    resources::export::moment,
    routing::Asker,
    store::{self, change::dependants},
    tenancy::{KeyId, ProxyKey, Scope},
};

const WEEK_MS: i64 = 7 * 24 * 3_600_000;

/// `GET /v1/admin/keys/{id}/bounds`: all limits and budgets that its calls have to pass.
pub async fn bounds(
    caller: Caller,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<web::Json<EffectiveBounds>, ApiError> {
    let id = thing::id(Kind::Key, &id)?;
    state.row(&caller, Kind::Key, id).await?;
    let catalog = state.catalog.load();
    let key = catalog.key(KeyId(id));
    let key = key.ok_or_else(|| ApiError::not_found(Kind::Key.as_str()))?;
    let scopes: Vec<Scope> = claim::scopes_of_key(&catalog, key)
        .chain(used_by(&catalog, key))
        // The platform's own are its operators' business.
        .filter(|scope| caller.reaches(catalog.owner_of(*scope)))
        .collect();
    let limits = scopes.iter().flat_map(|scope| catalog.limits(*scope));
    let limits = limits.cloned().collect();
    let limits = limit_items_under(&state, limits, |limit| {
        claim::value_of_key(&catalog, key, limit)
    })
    .await;
    let budgets = scopes.iter().flat_map(|scope| catalog.budgets(*scope));
    let may_see = caller.may(Permission::BudgetsRead);
    let budgets = budgets.filter(|_| may_see);
    let budgets = budget_items(&state, budgets.cloned().collect()).await;
    Ok(web::Json(EffectiveBounds {
        binding: binding(&limits, &budgets),
        limits,
        budgets,
    }))
}

/// The models that calls with a key may name, and the channels that these may go to: their bounds hold for such calls.
fn used_by(catalog: &Catalog, key: &ProxyKey) -> Vec<Scope> {
    let Some(tenant) = catalog.tenant(key.tenant) else {
        return Vec::new();
    };
    let asker = Asker {
        tenant,
        key,
        now_ms: now_ms(),
    };
    let mut scopes = BTreeSet::new();
    for model in asker.models(catalog) {
        scopes.insert(Scope::Model(model.id));
        let channels = catalog.channels_of(model);
        let channels = channels.filter(|channel| asker.may_use(channel));
        scopes.extend(channels.map(|channel| Scope::Channel(channel.id)));
    }
    scopes.into_iter().collect()
}

/// The one with the least share left.
fn binding(limits: &[LimitItem], budgets: &[BudgetItem]) -> Option<Uuid> {
    let share = |left: u64, most: u64| left as f64 / most.max(1) as f64;
    let limits = limits
        .iter()
        .filter_map(|limit| Some((share(limit.remaining?, capacity(&limit.rule)), limit.id)));
    let budgets = budgets.iter().filter_map(|budget| {
        let taken = budget.spent?.saturating_add(budget.reserved.unwrap_or(0));
        let left = budget.amount.saturating_sub(taken);
        Some((share(left, budget.amount), budget.id))
    });
    let least = limits
        .chain(budgets)
        .min_by(|(a, _), (b, _)| a.total_cmp(b));
    least.map(|(_, id)| id)
}

/// `GET /v1/admin/{kind}/{id}/impact`: what would go, or be missed, with a thing.
pub async fn impact(
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<web::Json<Impact>, ApiError> {
    let kind = kind_of(&request)?;
    let id = thing::id(kind, &id)?;
    let db = &state.stores.config.read;
    match kind {
        // A person is nobody's own: whoever has them among theirs may ask.
        Kind::User => drop(users::find(db, &caller, id.into()).await?),
        _ => drop(state.row(&caller, kind, id).await?),
    }
    if kind == Kind::Role {
        // Nothing is called with a role, and none goes while somebody has it.
        return Ok(web::Json(Impact {
            needed_by: Roles::needed(db, id).await?,
            ..Impact::default()
        }));
    }
    let used = used(&state, &caller, kind, id).await?;
    let mut goes = match (kind, caller.reach) {
        (Kind::User, Reach::Tenant(tenant)) => {
            store::users::count_theirs(db, tenant, id.into()).await?
        }
        _ => dependants(db, kind, id).await?,
    };
    // Who is nowhere else is the platform's to know.
    if kind == Kind::Tenant && caller.reaches(None) {
        let people = store::users::count_only_in(db, id.into()).await?;
        goes.extend((people > 0).then_some((Kind::User, people)));
    }
    let goes = goes.into_iter().map(|(kind, count)| Dependants {
        kind: kind.as_str().to_owned(),
        count,
    });
    Ok(web::Json(Impact {
        requests: used.requests,
        last_used_at: used.last_at,
        goes_along: goes.collect(),
        needed_by: match kind {
            Kind::Channel => store::channels::needed(db, id.into()).await?,
            _ => None,
        },
    }))
}

/// How a thing was used of late, as far as that is the caller's to know.
struct Used {
    /// In the last week.
    requests: Option<i64>,
    last_at: Option<String>,
}

async fn used(state: &State, caller: &Caller, kind: Kind, id: Uuid) -> Result<Used, ApiError> {
    let scope = list::scope_of(caller);
    let name = Some(id.to_string());
    let mut usage = UsageQuery {
        from: Some(moment(now_ms() - WEEK_MS)),
        ..UsageQuery::default()
    };
    let mut log = RequestQuery::default();
    match kind {
        Kind::Tenant => (usage.tenant, log.tenant) = (name.clone(), name),
        Kind::Group => (usage.group, log.group) = (name.clone(), name),
        Kind::User => (usage.user, log.user) = (name.clone(), name),
        Kind::Key => (usage.key, log.key) = (name.clone(), name),
        Kind::Channel => (usage.channel, log.channel) = (name.clone(), name),
        _ => {
            let known = store::names::model(&state.stores.config.read, id).await?;
            (usage.model, log.model) = (known.clone(), known);
        }
    }
    let requests = match caller.may(Permission::UsageRead) {
        true => {
            let rows = reports::usage::usage(&state.stores, scope, &usage, now_ms()).await?;
            Some(rows.first().map_or(0, |row| row.requests))
        }
        false => None,
    };
    let newest = Part {
        after: None,
        rows: 1,
        newest_first: true,
    };
    let last_at = match caller.may(Permission::RequestsRead) {
        true => {
            let page = reports::log::page(&state.stores, scope, &log, newest, now_ms()).await?;
            page.data.first().map(|item| item.at.clone())
        }
        false => None,
    };
    Ok(Used { requests, last_at })
}

/// The kind that a path is about, by its first piece.
fn kind_of(request: &HttpRequest) -> Result<Kind, ApiError> {
    let pattern = request.match_pattern().unwrap_or_default();
    let piece = pattern.split('/').nth(3).unwrap_or_default();
    let kinds = [
        ("tenants", Kind::Tenant),
        ("users", Kind::User),
        ("roles", Kind::Role),
        ("groups", Kind::Group),
        ("keys", Kind::Key),
        ("channels", Kind::Channel),
        ("models", Kind::Model),
    ];
    let found = kinds.into_iter().find(|(word, _)| *word == piece);
    found
        .map(|(_, kind)| kind)
        .ok_or_else(|| ApiError::not_found("path"))
}

#[cfg(test)]
mod tests {
    use weir_api_types::limit::{Limit, Metric, Per};

    use super::*;

    #[test]
    fn the_least_share_left_binds() {
        let limit = |max: u64, remaining: Option<u64>| LimitItem {
            id: Uuid::from_u128(u128::from(max)),
            tenant: None,
            scope: String::new(),
            name: String::new(),
            rule: Limit::new(Metric::Requests, Some(Per::Day), max),
            remaining,
        };
        let limits = [limit(1_000, Some(100)), limit(10, Some(5)), limit(7, None)];
        assert_eq!(binding(&limits, &[]), Some(Uuid::from_u128(1_000)));
        assert_eq!(binding(&[limit(7, None)], &[]), None);
    }
}
