//! The living instances.

use actix_web::web;
use weir_api_types::manage::{InstanceItem, Page};

use super::{State, error::ApiError};
use crate::{access::Caller, store};

/// `GET /v1/admin/instances`: all of them, there is no second page.
pub async fn list(
    _: Caller,
    state: web::Data<State>,
) -> Result<web::Json<Page<InstanceItem>>, ApiError> {
    Ok(web::Json(Page {
        data: store::instances::list(&state.stores.config).await?,
        next_cursor: None,
    }))
}
