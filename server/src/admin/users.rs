//! Users.

use actix_web::web;
use weir_api_types::manage::{Page, UserItem};

use super::{State, error::ApiError, list::Asked};
use crate::{access::Caller, store};

/// `GET /v1/admin/users`
pub async fn list(
    caller: Caller,
    asked: Asked,
    state: web::Data<State>,
) -> Result<web::Json<Page<UserItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let items = store::users::list(&state.stores.config.read, scope, asked.page).await?;
    Ok(asked.answer(items, |item| item.id))
}
