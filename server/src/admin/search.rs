//! Where something is, by what it is called or by its id.

use actix_web::{HttpRequest, web};
use uuid::Uuid;
use weir_api_types::{insight::Hit, manage::Page};

use super::{
    State,
    error::{ApiError, Code},
    list,
};
use crate::{
    access::{Caller, Permission},
    catalog::{Entry, Kind},
    clock::now_ms,
    limits::name_of,
    reports,
    store::{self, catalog::entries, search::Named},
};

/// What is looked through, and who may.
const NAMED: [(Named, Permission); 10] = [
    (Named::Tenant, Permission::TenantsRead),
    (Named::User, Permission::UsersRead),
    (Named::Invitation, Permission::UsersRead),
    (Named::Role, Permission::RolesRead),
    (Named::Group, Permission::GroupsRead),
    (Named::Key, Permission::KeysRead),
    (Named::ServiceToken, Permission::ServiceTokensRead),
    (Named::Channel, Permission::ChannelsRead),
    (Named::Model, Permission::ModelsRead),
    (Named::IdentityProvider, Permission::IdentityProvidersRead),
];

/// Longest text that is looked for, in bytes.
const MAX_TEXT_BYTES: usize = 200;

/// `GET /v1/admin/search`: whatever within reach is called so, as far as the caller may see it; limits, budgets and requests by their ids.
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
    let (scope, db) = (list::scope_of(&caller), &state.stores.config.read);
    let may = NAMED.into_iter().filter(|(_, needed)| caller.may(*needed));
    let kinds: Vec<Named> = may.map(|(kind, _)| kind).collect();
    let found = store::search::search(db, scope, &kinds, text, now_ms()).await?;
    let hits = found.into_iter().map(|found| Hit {
        kind: found.kind.as_str().to_owned(),
        id: found.id,
        name: found.name,
        tenant: found.tenant,
    });
    let mut hits: Vec<Hit> = hits.collect();
    if let Ok(id) = Uuid::parse_str(text) {
        hits.extend(of_id(&state, &caller, id).await?);
    }
    Ok(web::Json(Page {
        data: hits,
        next_cursor: None,
    }))
}

/// What has no name of its own: a limit and a budget are called what they stand on, a request the model that it named.
async fn of_id(state: &State, caller: &Caller, id: Uuid) -> Result<Vec<Hit>, ApiError> {
    let mut hits = Vec::new();
    for (kind, permission) in [
        (Kind::Limit, Permission::LimitsRead),
        (Kind::Budget, Permission::BudgetsRead),
    ] {
        if !caller.may(permission) {
            continue;
        }
        let db = &state.stores.config.read;
        let stands_on = match entries(db, kind, &[id], &state.sealer).await?.pop() {
            Some(Entry::Limit(limit)) => limit.scope,
            Some(Entry::Budget(budget)) => budget.scope,
            _ => continue,
        };
        let catalog = state.catalog.load();
        let owner = catalog.owner_of(stands_on);
        if caller.reaches(owner) {
            let tenant = owner.and_then(|owner| catalog.tenant(owner));
            hits.push(Hit {
                kind: kind.as_str().to_owned(),
                id,
                name: name_of(&catalog, stands_on),
                tenant: tenant.map(|tenant| tenant.name.clone()),
            });
        }
    }
    if caller.may(Permission::RequestsRead)
        && let Some(found) = reports::log::one(&state.stores, list::scope_of(caller), id).await?
    {
        hits.push(Hit {
            kind: "request".to_owned(),
            id,
            name: found.item.model,
            tenant: Some(found.item.tenant),
        });
    }
    Ok(hits)
}
