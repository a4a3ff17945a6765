//! Seeing a tenant as its owner does: for the platform's people who help there.
//!
//! A request that names a tenant in [`HEADER`] is answered as the tenant's owner would be, as far as the caller may see that anyway;
//! it changes nothing, and the tenant's audit log says who looked (threats.md, T14).

use std::collections::HashMap;

use actix_web::{HttpRequest, http::Method};
use parking_lot::Mutex;
use sea_orm::ConnectionTrait;
use uuid::Uuid;
use weir_api_types::resources::Role;

use super::{
    State,
    access::{author_of_caller, tenant_in},
    error::{ApiError, Code},
    idempotency,
};
use crate::{
    access::{Caller, Permission, Permissions, Reach, of_role},
    clock::now_ms,
    store::{self, names},
    tenancy::TenantId,
};

/// Names the tenant, or has its id.
pub const HEADER: &str = "x-weir-view-as";
/// Looking on for so long, on one instance, is one look.
const ONE_LOOK_MS: i64 = 15 * 60_000;

/// Who looked where a moment ago, so that the audit log has not a row for each request.
#[derive(Default)]
pub struct Looks(Mutex<HashMap<(Vec<u8>, TenantId), i64>>);

impl Looks {
    fn is_new(&self, who: &(Vec<u8>, TenantId), now_ms: i64) -> bool {
        let looks = self.0.lock();
        let last = looks.get(who);
        !last.is_some_and(|last_ms| (*last_ms..*last_ms + ONE_LOOK_MS).contains(&now_ms))
    }

    fn note(&self, who: (Vec<u8>, TenantId), now_ms: i64) {
        let mut looks = self.0.lock();
        looks.retain(|_, last_ms| (*last_ms..*last_ms + ONE_LOOK_MS).contains(&now_ms));
        looks.insert(who, now_ms);
    }
}

/// The caller as they are seen in the tenant that they name, if they name one.
pub async fn seen(
    request: &HttpRequest,
    state: &State,
    caller: Caller,
) -> Result<Caller, ApiError> {
    let Some(named) = tenant_in(request, HEADER)? else {
        return Ok(caller);
    };
    if !caller.reaches(None) || !caller.may(Permission::TenantsView) {
        let detail = format!("{HEADER} needs {}.", Permission::TenantsView);
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let detail = "Whoever views as a tenant changes nothing.";
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    let known = find(&state.stores.config.read, named).await?;
    let (tenant, name) = known.ok_or_else(|| ApiError::not_found("tenant"))?;
    let (who, now_ms) = ((idempotency::subject(&caller), tenant), now_ms());
    if state.looks.is_new(&who, now_ms) {
        let author = author_of_caller(request, state, &caller);
        let told = serde_json::json!({"as": Role::Owner});
        let done = store::audit::one("view", Some(tenant), &name, &told);
        store::audit::note(&state.stores, &state.sealer, &author, &[done]).await?;
        state.looks.note(who, now_ms);
    }
    let owner = of_role(Role::Owner);
    let both = |one: Permission| one.only_looks() && owner.has(one) && caller.may(one);
    let seen = Permissions::that(both);
    Ok(Caller::new(caller.subject, Reach::Tenant(tenant), seen))
}

/// The tenant of a name or an id, and its name.
async fn find(db: &impl ConnectionTrait, named: &str) -> store::Result<Option<(TenantId, String)>> {
    if let Some(tenant) = store::tenants::named(db, named).await? {
        return Ok(Some((tenant, named.to_owned())));
    }
    let Ok(id) = Uuid::parse_str(named) else {
        return Ok(None);
    };
    let names = names::of(db, names::Named::Tenant, &[id]).await?;
    Ok(names.get(&id).map(|name| (id.into(), name.clone())))
}
