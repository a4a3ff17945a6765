//! The living instances.

use actix_web::web;
use weir_api_types::manage::{InstanceItem, Page};

use super::{
    State,
    error::ApiError,
    list::{self, Unsorted},
};
use crate::{access::Caller, store};

/// `GET /v1/admin/instances`
pub async fn list(
    _: Caller,
    Unsorted(page): Unsorted,
    state: web::Data<State>,
) -> Result<web::Json<Page<InstanceItem>>, ApiError> {
    let listed = store::instances::list(&state.stores.config, &page).await?;
    Ok(list::answer(listed))
}
