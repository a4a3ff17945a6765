//! What was said in calls: switched on for a tenant, read under the eyes of the audit log, forgotten.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use uuid::Uuid;
use weir_api_types::{
    log::{BodyLog, BodyLogPatch, KeptBodies},
    resources::{Policies, Resources, Tenant},
};

use super::{
    State,
    body::Order,
    error::ApiError,
    list,
    thing::{self, IfMatch},
};
use crate::{
    access::{Author, Caller},
    clock::now_ms,
    jobs::keep_bodies::place,
    reports::log,
    resources::{Edit, export::moment},
    store::{self, audit, catalog::Slice, usage::bodies},
    tenancy::{RequestId, TenantId},
};

/// `GET /v1/admin/body-log`: whether bodies of a tenant's calls are kept, and for how long.
pub async fn show(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let tenant = list::tenant(&state, &caller, &request).await?;
    let catalog = state.catalog.load();
    let known = catalog.tenant(tenant);
    let known = known.ok_or_else(|| ApiError::not_found("tenant"))?;
    tagged(BodyLog {
        tenant: known.name.clone(),
        days: known.policies.log_bodies_days,
    })
}

/// `PATCH /v1/admin/body-log`: calls from now on.
pub async fn change(
    caller: Caller,
    author: Author,
    if_match: IfMatch,
    order: Order<BodyLogPatch>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let order = order.0;
    let tenant = state.tenant_of(&caller, order.tenant.as_deref()).await?;
    let edit = Edit::begin(&state.stores, &state.sealer, &author).await?;
    let slice = Slice {
        tenants: vec![tenant],
        ..Slice::default()
    };
    let before = edit.read(&slice).await?;
    let stored = before.tenants.get(&tenant);
    let stored = stored.ok_or_else(|| ApiError::not_found("tenant"))?;
    if_match.check(&stored.policies.log_bodies_days)?;
    let file = Resources {
        tenants: Some(vec![Tenant {
            name: stored.name.clone(),
            policies: Some(Policies {
                log_bodies_days: order.days,
                ..stored.policies
            }),
            ..Tenant::default()
        }]),
        ..Resources::default()
    };
    let name = stored.name.clone();
    let place = "tenants[0].policies";
    let laid = edit.lay(&before, &before, &file, place).await?;
    state.catch_up(laid.version).await;
    tagged(BodyLog {
        tenant: name,
        days: order.days,
    })
}

fn tagged(shown: BodyLog) -> Result<HttpResponse, ApiError> {
    let days = shown.days;
    thing::under_tag(StatusCode::OK, &days, shown)
}

/// `DELETE /v1/admin/body-log`: forgets at once what was said in a tenant's calls so far.
pub async fn forget(
    caller: Caller,
    author: Author,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let tenant = list::tenant(&state, &caller, &request).await?;
    let calls = bodies::count(&state.stores.usage, tenant).await?;
    let told = serde_json::json!({ "calls": calls });
    // First: nothing goes of which the log does not know.
    note(&state, &author, tenant, "bodies_forgotten", "", &told).await?;
    bodies::forget(&state.stores.usage, tenant, now_ms()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `GET /v1/admin/requests/{id}/bodies`: what was said in a call. That it was read is in the audit log before the answer leaves.
pub async fn read(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<web::Json<KeptBodies>, ApiError> {
    let absent = || ApiError::not_found("kept body");
    let id = Uuid::parse_str(&id).map_err(|_| absent())?;
    let owner = log::owner(&state.stores, list::scope_of(&caller), id).await?;
    let tenant = owner.ok_or_else(absent)?;
    let kept = bodies::one(&state.stores.usage, tenant, RequestId(id), now_ms()).await?;
    let kept = kept.ok_or_else(absent)?;
    let opened = state.sealer.open(&kept.sealed, place(id, tenant.0));
    let opened = opened.map_err(|error| store::Error::other(error.to_string()))?;
    let both: serde_json::Value = serde_json::from_str(opened.expose())
        .map_err(|error| store::Error::other(format!("kept_bodies.sealed: {error}")))?;
    let body = |name: &str| {
        let body = serde_json::from_value(both[name].clone());
        body.map_err(|error| store::Error::other(format!("kept_bodies.sealed: {error}")))
    };
    let shown = KeptBodies {
        request: body("request")?,
        response: body("response")?,
        kept_until: moment(kept.expires_ms),
    };
    let told = serde_json::json!({"read": true});
    note(&state, &author, tenant, "body", &id.to_string(), &told).await?;
    Ok(web::Json(shown))
}

async fn note(
    state: &State,
    author: &Author,
    tenant: TenantId,
    kind: &str,
    name: &str,
    told: &serde_json::Value,
) -> Result<(), ApiError> {
    let done = audit::one(kind, Some(tenant), name, told);
    Ok(audit::note(&state.stores, &state.sealer, author, &[done]).await?)
}
