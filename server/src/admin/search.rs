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
    catalog::Kind,
    reports, store,
};

/// Longest text that is looked for, in bytes.
const MAX_TEXT_BYTES: usize = 200;

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
