//! Tenants.

use actix_web::web;
use weir_api_types::manage::{Page, TenantItem};

use super::{State, error::ApiError, list::Asked};
use crate::{access::Caller, store};

/// `GET /v1/admin/tenants`
pub async fn list(
    caller: Caller,
    asked: Asked,
    state: web::Data<State>,
) -> Result<web::Json<Page<TenantItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let items = store::tenants::list(&state.stores.config.read, scope, asked.page).await?;
    Ok(asked.answer(items, |item| item.id))
}
