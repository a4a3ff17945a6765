//! Service tokens: what automation calls management with. Listed, made, switched on and off, deleted.

use actix_web::{HttpResponse, http::header, web};
use uuid::Uuid;
use weir_api_types::manage::{
    AnyRole, CreatedServiceToken, NewServiceToken, Page, ServiceTokenItem, ServiceTokenPatch,
};

use super::{
    State, audit,
    body::Order,
    error::{ApiError, Code},
    list::{self, ByName},
    thing::{self, IfMatch},
};
use crate::{
    access::{Author, Caller, Subject},
    clock::now_ms,
    resources,
    store::{
        self, roles,
        service_tokens::{New, TokenRole},
    },
    tenancy::{key::Value, name},
};

/// `GET /v1/admin/service-tokens`
pub async fn list(
    caller: Caller,
    ByName(asked): ByName,
    state: web::Data<State>,
) -> Result<web::Json<Page<ServiceTokenItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let db = &state.stores.config.read;
    let items = store::service_tokens::list(db, scope, &asked.page).await?;
    Ok(list::answer(items))
}

/// `GET /v1/admin/service-tokens/{id}`
pub async fn show(
    caller: Caller,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (_, token) = find(&state, &caller, &id).await?;
    answer(&token)
}

/// `POST /v1/admin/service-tokens`: the one answer that shows the value.
pub async fn create(
    caller: Caller,
    author: Author,
    order: Order<NewServiceToken>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let order = order.0;
    let (id, value) = (Uuid::new_v4(), Value::of_service_token());
    let new = New {
        id,
        name: name::normal(&order.name).map_err(|error| ApiError::field("name", error))?,
        role: held(&state, &caller, &order).await?,
        digest: value.digest(),
        hint: value.hint(),
        expires_ms: ends(&state, &caller, order.expires_at.as_deref()).await?,
    };
    let db = &state.stores.config.read;
    if !caller.may_grant(new.role.tenant(), new.role.permissions(db).await?) {
        let detail = "The token would be allowed more than you are.";
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    let tenant = new.role.tenant();
    let transaction = state.stores.config.begin_write().await?;
    store::service_tokens::insert(&transaction, new, now_ms()).await?;
    let (_, token) = store::service_tokens::find(&transaction, id).await?;
    let done = audit::differs("service_token", tenant, &token.name, None, Some(&token))?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(HttpResponse::Created().json(CreatedServiceToken {
        token,
        value: Some(value.reveal().to_owned()),
    }))
}

/// When a new token ends: what a token makes ends with it at the latest.
async fn ends(
    state: &State,
    caller: &Caller,
    asked: Option<&str>,
) -> Result<Option<i64>, ApiError> {
    let refused = |message: &str| ApiError::field("expires_at", message);
    let asked = asked.map(resources::instant).transpose();
    let asked = asked.map_err(|refusal| ApiError::field("expires_at", refusal))?;
    let own = match &caller.subject {
        Subject::ServiceToken { id, .. } => {
            store::service_tokens::expires_ms(&state.stores.config.read, *id).await?
        }
        _ => None,
    };
    match (asked, own) {
        (Some(asked), Some(own)) if asked > own => Err(refused("is later than your own token's")),
        (asked, own) => Ok(asked.or(own)),
    }
}

/// `PATCH /v1/admin/service-tokens/{id}`
pub async fn change(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    patch: Order<ServiceTokenPatch>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let before = changeable(&state, &caller, &id).await?;
    let transaction = state.stores.config.begin_write().await?;
    let (_, before) = store::service_tokens::find_held(&transaction, before.id).await?;
    if_match.check(&as_kept(&before))?;
    let Some(enabled) = patch.0.enabled else {
        return answer(&before);
    };
    store::service_tokens::switch(&transaction, before.id, enabled, now_ms()).await?;
    let (role, token) = store::service_tokens::find(&transaction, before.id).await?;
    let done = audit::differs(
        "service_token",
        role.tenant(),
        &token.name,
        Some(&before),
        Some(&token),
    )?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    answer(&token)
}

/// `DELETE /v1/admin/service-tokens/{id}`
pub async fn delete(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let token = changeable(&state, &caller, &id).await?;
    let transaction = state.stores.config.begin_write().await?;
    let (role, token) = store::service_tokens::find_held(&transaction, token.id).await?;
    if_match.check(&as_kept(&token))?;
    let tenant = role.tenant();
    store::service_tokens::delete(&transaction, token.id).await?;
    let done = audit::differs("service_token", tenant, &token.name, Some(&token), None)?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(HttpResponse::NoContent().finish())
}

fn answer(token: &ServiceTokenItem) -> Result<HttpResponse, ApiError> {
    let tag = thing::tag(&as_kept(token))?;
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, tag))
        .json(token))
}

/// A token without what changes by its use.
fn as_kept(token: &ServiceTokenItem) -> ServiceTokenItem {
    ServiceTokenItem {
        last_used_at: None,
        ..token.clone()
    }
}

/// What a new token is, and where.
async fn held(
    state: &State,
    caller: &Caller,
    order: &NewServiceToken,
) -> Result<TokenRole, ApiError> {
    match (&order.tenant, &order.role) {
        (Some(_), AnyRole::Platform(_)) => {
            Err(ApiError::field("role", "no tenant has such a role"))
        }
        (None, AnyRole::Tenant(_)) => {
            let message = "holds in a tenant: name it in `tenant`";
            Err(ApiError::field("role", message))
        }
        (None, AnyRole::Platform(role)) => Ok(TokenRole::Platform(*role)),
        (Some(tenant), AnyRole::Tenant(name)) => {
            let absent = || ApiError::field("tenant", "there is no tenant of this name");
            let tenant = state.tenant_named(caller, tenant).await?;
            let tenant = tenant.ok_or_else(absent)?;
            let role = roles::named(&state.stores.config.read, tenant, name).await?;
            let role =
                role.ok_or_else(|| ApiError::field("role", "is no role that the tenant has"))?;
            Ok(TokenRole::Tenant(tenant, role))
        }
    }
}

/// A token that may do more than its caller is not theirs to switch, or to take away.
async fn changeable(
    state: &State,
    caller: &Caller,
    id: &str,
) -> Result<ServiceTokenItem, ApiError> {
    let (role, token) = find(state, caller, id).await?;
    if caller.covers(role.permissions(&state.stores.config.read).await?) {
        return Ok(token);
    }
    let detail = "The token is allowed more than you are.";
    Err(ApiError::new(Code::Forbidden, detail))
}

/// The token of an id in a path. What is no id, or not within reach, is as absent as an id that nothing has.
async fn find(
    state: &State,
    caller: &Caller,
    id: &str,
) -> Result<(TokenRole, ServiceTokenItem), ApiError> {
    let absent = || ApiError::not_found("service token");
    let id = Uuid::parse_str(id).map_err(|_| absent())?;
    match store::service_tokens::find(&state.stores.config.read, id).await {
        Ok(found) if caller.reaches(found.0.tenant()) => Ok(found),
        Ok(_) | Err(store::Error::NotFound) => Err(absent()),
        Err(error) => Err(error.into()),
    }
}
