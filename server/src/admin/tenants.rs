//! Tenants.

use actix_web::web;
use weir_api_types::manage::{Page, TenantItem};

use super::{State, access::Operator, error::ApiError, list::Asked};
use crate::store;

/// `GET /v1/admin/tenants`
pub async fn list(
    _: Operator,
    asked: Asked,
    state: web::Data<State>,
) -> Result<web::Json<Page<TenantItem>>, ApiError> {
    let items = store::tenants::list(&state.stores.config.read, asked.page).await?;
    Ok(asked.answer(items, |item| item.id))
}
