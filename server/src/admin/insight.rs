//! What helps to decide: what binds a key, what would go with a thing, where something is.

use actix_web::{HttpRequest, web};
use uuid::Uuid;
use weir_api_types::{
    insight::{Dependants, EffectiveBounds, Hit, Impact},
    log::RequestQuery,
    manage::{BudgetItem, LimitItem, Page},
    usage::UsageQuery,
};

use super::{
    State,
    error::{ApiError, Code},
    limits::{budget_items, limit_item},
    list, thing,
};
use crate::{
    access::{Caller, Permission},
    catalog::Kind,
    clock::now_ms,
    reports::{self, log::Part},
    resources::export::moment,
    store::{self, change::dependants},
    tenancy::{KeyId, Scope},
};

const WEEK_MS: i64 = 7 * 24 * 3_600_000;
/// Longest text that is looked for, in bytes.
const MAX_TEXT_BYTES: usize = 200;

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
    let (user, group) = catalog.owners(key);
    let scopes = [
        Some(Scope::Platform),
        Some(Scope::Tenant(key.tenant)),
        group.map(|group| Scope::Group(key.tenant, group)),
        user.map(|user| Scope::User(key.tenant, user)),
        Some(Scope::Key(key.tenant, key.id)),
    ];
    let scopes = || scopes.iter().flatten();
    // The platform's own are the operators' business.
    let is_shown = |scope: &&Scope| caller.reaches(None) || **scope != Scope::Platform;
    let limits = scopes().filter(is_shown);
    let limits = limits.flat_map(|scope| catalog.limits(*scope).to_vec());
    let limits: Vec<LimitItem> = limits.map(|limit| limit_item(&state, limit)).collect();
    let budgets = scopes().flat_map(|scope| catalog.budgets(*scope).to_vec());
    let budgets = budget_items(&state, budgets.collect()).await;
    Ok(web::Json(EffectiveBounds {
        binding: binding(&limits, &budgets),
        limits,
        budgets,
    }))
}

/// The one with the least share left.
fn binding(limits: &[LimitItem], budgets: &[BudgetItem]) -> Option<Uuid> {
    let share = |left: u64, most: u64| left as f64 / most.max(1) as f64;
    let limits = limits
        .iter()
        .filter_map(|limit| Some((share(limit.remaining?, limit.rule.max), limit.id)));
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
    state.row(&caller, kind, id).await?;
    let db = &state.stores.config.read;
    let scope = list::scope_of(&caller);
    let name = Some(id.to_string());
    let mut usage = UsageQuery {
        from: Some(moment(now_ms() - WEEK_MS)),
        ..UsageQuery::default()
    };
    let mut log = RequestQuery::default();
    match kind {
        Kind::Tenant => (usage.tenant, log.tenant) = (name.clone(), name),
        Kind::Group => (usage.group, log.group) = (name.clone(), name),
        Kind::Key => (usage.key, log.key) = (name.clone(), name),
        Kind::Channel => (usage.channel, log.channel) = (name.clone(), name),
        _ => {
            let known = store::names::model(db, id).await?;
            (usage.model, log.model) = (known.clone(), known);
        }
    }
    let rows = reports::usage::usage(&state.stores, scope, &usage, now_ms()).await?;
    let newest = Part {
        after: None,
        rows: 1,
        newest_first: true,
    };
    let last = reports::log::page(&state.stores, scope, &log, newest, now_ms()).await?;
    let goes = dependants(db, kind, id).await?;
    let goes = goes.into_iter().map(|(kind, count)| Dependants {
        kind: kind.as_str().to_owned(),
        count,
    });
    Ok(web::Json(Impact {
        requests: rows.first().map_or(0, |row| row.requests),
        last_used_at: last.data.first().map(|item| item.at.clone()),
        goes_along: goes.collect(),
        needed_by: match kind {
            Kind::Channel => store::channels::needed(db, id.into()).await?,
            _ => None,
        },
    }))
}

/// The kind that a path is about, by its first piece.
fn kind_of(request: &HttpRequest) -> Result<Kind, ApiError> {
    let pattern = request.match_pattern().unwrap_or_default();
    let piece = pattern.split('/').nth(3).unwrap_or_default();
    let kinds = [
        ("tenants", Kind::Tenant),
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

/// `GET /v1/admin/search`: whatever within reach is called so, as far as the caller may see it.
pub async fn search(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<web::Json<Page<Hit>>, ApiError> {
    let bad = |detail: &str| ApiError::new(Code::InvalidQuery, detail);
    let mut words = list::words(&request)?;
    let text = words.remove("q").ok_or_else(|| bad("q is needed."))?;
    list::refuse_rest(&words)?;
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_TEXT_BYTES {
        return Err(bad("q is a text of 1 to 200 bytes."));
    }
    let scope = list::scope_of(&caller);
    let mut hits = Vec::new();
    for (kind, permission) in [
        (Kind::Tenant, Permission::TenantsRead),
        (Kind::User, Permission::UsersRead),
        (Kind::Role, Permission::RolesRead),
        (Kind::Group, Permission::GroupsRead),
        (Kind::Key, Permission::KeysRead),
        (Kind::Channel, Permission::ChannelsRead),
        (Kind::Model, Permission::ModelsRead),
    ] {
        if !caller.may(permission) {
            continue;
        }
        let found = store::search::search(&state.stores.config.read, scope, kind, text).await?;
        hits.extend(found.into_iter().map(|found| Hit {
            kind: found.kind.as_str().to_owned(),
            id: found.id,
            name: found.name,
            tenant: found.tenant,
        }));
    }
    if let (Ok(id), true) = (Uuid::parse_str(text), caller.may(Permission::RequestsRead))
        && let Some(found) = reports::log::one(&state.stores, scope, id).await?
    {
        hits.push(Hit {
            kind: "request".to_owned(),
            id,
            name: found.item.model,
            tenant: Some(found.item.tenant),
        });
    }
    Ok(web::Json(Page {
        data: hits,
        next_cursor: None,
    }))
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
