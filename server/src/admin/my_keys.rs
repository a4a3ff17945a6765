//! The keys that people make for themselves.
//!
//! What whoever runs the tenant has set on a key, its limits, its end, that it is off, its owner does not take away: they make,
//! rename, rotate, switch off and delete.

use actix_web::{HttpResponse, web};
use uuid::Uuid;
use weir_api_types::{
    manage::{KeyItem, Page},
    orders::{Key, MyKey, MyKeyPatch, Rotation},
};

use super::{
    State,
    body::Order,
    error::{ApiError, Code},
    keys::{self, Keys},
    list::{self, ByName},
    thing::{self, Changing, IfMatch},
};
use crate::{
    access::{Author, Caller, Reach, Subject},
    catalog::Kind,
    store::{self, keys::Whose},
    tenancy::{KeyId, TenantId, UserId},
};

/// `GET /v1/admin/me/keys`
pub async fn list(
    caller: Caller,
    ByName(asked): ByName,
    state: web::Data<State>,
) -> Result<web::Json<Page<KeyItem>>, ApiError> {
    let (_, _, email) = place(&caller)?;
    let scope = asked.scope(&state, &caller).await?;
    let whose = Whose {
        user: Some(email.to_owned()),
        ..Whose::default()
    };
    let db = &state.stores.config.read;
    Ok(list::answer(
        store::keys::list(db, scope, &whose, &asked.page).await?,
    ))
}

/// `POST /v1/admin/me/keys`: the one answer that shows the value.
pub async fn create(
    caller: Caller,
    author: Author,
    order: Order<MyKey>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (_, tenant, email) = place(&caller)?;
    let MyKey {
        name,
        models,
        ip_allow,
        expires_at,
    } = order.0;
    let order = Key {
        name: Some(name),
        user: Some(Some(email.to_owned())),
        models: models.map(Some),
        ip_allow,
        expires_at: expires_at.map(Some),
        ..Key::default()
    };
    let made = thing::make::<Keys>(&state, &caller, &author, order, Some(tenant)).await?;
    keys::shown_once(&state, &caller, made).await
}

/// `PATCH /v1/admin/me/keys/{id}`
pub async fn change(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    order: Order<MyKeyPatch>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let MyKeyPatch { name, enabled } = order.0;
    if enabled == Some(true) {
        let message = "is switched on by those who run the tenant";
        return Err(ApiError::field("enabled", message));
    }
    let (id, tenant) = mine(&state, &caller, &id).await?;
    let order = Key {
        name,
        enabled,
        ..Key::default()
    };
    let owner = Some(tenant);
    let change = Changing::<Keys>::begin(&state, &caller, &author, id, owner, Some(&order));
    change.await?.lay(if_match, |_| Ok(order)).await
}

/// `POST /v1/admin/me/keys/{id}/rotate`
pub async fn rotate(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    order: Order<Rotation>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    mine(&state, &caller, &id).await?;
    keys::rotate(caller, author, id, if_match, order, state).await
}

/// `DELETE /v1/admin/me/keys/{id}`
pub async fn delete(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    mine(&state, &caller, &id).await?;
    thing::delete::<Keys>(caller, author, id, if_match, state).await
}

/// Who calls, and in which tenant.
fn place(caller: &Caller) -> Result<(UserId, TenantId, &str), ApiError> {
    match (&caller.subject, caller.reach) {
        (Subject::User { id, email, .. }, Reach::Tenant(tenant)) => Ok((*id, tenant, email)),
        _ => {
            let detail =
                "Keys of one's own are for people who are signed in, in a tenant of theirs.";
            Err(ApiError::new(Code::Forbidden, detail))
        }
    }
}

/// A key of the caller's own. Another's is as absent as none.
async fn mine(state: &State, caller: &Caller, id: &str) -> Result<(Uuid, TenantId), ApiError> {
    let (me, tenant, _) = place(caller)?;
    let id = thing::id(Kind::Key, id)?;
    let owner = state.row(caller, Kind::Key, id).await?.owner;
    let user = store::keys::user_of(&state.stores.config.read, KeyId(id)).await?;
    match user == Some(me) && owner == Some(tenant) {
        true => Ok((id, tenant)),
        false => Err(ApiError::not_found(Kind::Key.as_str())),
    }
}
