//! Proxy keys: listed, made, switched on and off, deleted.

use actix_web::{HttpResponse, web};
use uuid::Uuid;
use weir_api_types::manage::{CreatedKey, KeyItem, KeyPatch, NewKey, Page};

use super::{
    State, audit,
    body::Order,
    error::{ApiError, Code},
    list::Asked,
};
use crate::{
    access::{Author, Caller},
    catalog::Kind,
    clock::now_ms,
    resources::{self, NotMade},
    store::{self, Change},
    tenancy::{KeyId, TenantId},
};

/// `GET /v1/admin/keys`
pub async fn list(
    caller: Caller,
    asked: Asked,
    state: web::Data<State>,
) -> Result<web::Json<Page<KeyItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let items = store::keys::list(&state.stores.config.read, scope, asked.page).await?;
    Ok(asked.answer(items, |item| item.id))
}

/// `GET /v1/admin/keys/{id}`
pub async fn show(
    caller: Caller,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<web::Json<KeyItem>, ApiError> {
    let (tenant, id) = find(&state, &caller, &id).await?;
    let key = store::keys::find(&state.stores.config.read, tenant, id).await?;
    Ok(web::Json(key))
}

/// `POST /v1/admin/keys`: the one answer that shows the value.
pub async fn create(
    caller: Caller,
    author: Author,
    order: Order<NewKey>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let tenant = state.tenant_named(&caller, &order.0.tenant).await?;
    let tenant = tenant.ok_or_else(no_tenant)?;
    let made = resources::make_key(&state.stores, &state.sealer, &author, order.0).await;
    let (made, version) = made.map_err(|error| match error {
        NotMade::NoTenant => no_tenant(),
        NotMade::Taken => ApiError::new(
            Code::NameTaken,
            "The tenant has a key of this name already.",
        ),
        NotMade::Refused(error) => error.into(),
    })?;
    state.catch_up(version).await;
    let db = &state.stores.config.read;
    let key = store::keys::find(db, tenant, KeyId(made.id)).await?;
    Ok(HttpResponse::Created().json(CreatedKey {
        key,
        value: made.value,
    }))
}

/// `PATCH /v1/admin/keys/{id}`
pub async fn change(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    patch: Order<KeyPatch>,
    state: web::Data<State>,
) -> Result<web::Json<KeyItem>, ApiError> {
    let KeyPatch {
        enabled,
        expires_at,
    } = patch.0;
    let expires_ms = match expires_at {
        Some(Some(text)) => {
            let moment = resources::instant(&text);
            Some(Some(
                moment.map_err(|refusal| ApiError::field("expires_at", refusal))?,
            ))
        }
        Some(None) => Some(None),
        None => None,
    };
    let (tenant, id) = find(&state, &caller, &id).await?;
    let mut change = Change::begin(&state.stores).await?;
    let db = change.transaction();
    let before = store::keys::find(db, tenant, id).await?;
    store::keys::change(db, tenant, id, enabled, expires_ms, now_ms()).await?;
    let key = store::keys::find(db, tenant, id).await?;
    let done = audit::differs("key", tenant, &key.name, Some(&before), Some(&key))?;
    store::audit::append(db, &state.sealer, &author, &done).await?;
    change.changed(Kind::Key, id.0);
    state.catch_up(change.commit().await?).await;
    Ok(web::Json(key))
}

/// `DELETE /v1/admin/keys/{id}`
pub async fn delete(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (tenant, id) = find(&state, &caller, &id).await?;
    let mut change = Change::begin(&state.stores).await?;
    change.deletes(Kind::Key, id.0).await?;
    let db = change.transaction();
    let key = store::keys::find(db, tenant, id).await?;
    store::keys::delete(db, tenant, id).await?;
    let done = audit::differs("key", tenant, &key.name, Some(&key), None)?;
    store::audit::append(db, &state.sealer, &author, &done).await?;
    state.catch_up(change.commit().await?).await;
    Ok(HttpResponse::NoContent().finish())
}

fn no_tenant() -> ApiError {
    ApiError::field("tenant", "there is no tenant of this name")
}

/// The key of an id in a path. What is no id, or not within reach, is as absent as an id that nothing has.
async fn find(state: &State, caller: &Caller, id: &str) -> Result<(TenantId, KeyId), ApiError> {
    let absent = || ApiError::not_found("key");
    let id = KeyId(Uuid::parse_str(id).map_err(|_| absent())?);
    match store::keys::tenant_of(&state.stores.config.read, id).await {
        Ok(tenant) if caller.reaches(Some(tenant)) => Ok((tenant, id)),
        Ok(_) | Err(store::Error::NotFound) => Err(absent()),
        Err(error) => Err(error.into()),
    }
}
