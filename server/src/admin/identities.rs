//! How providers know the person who calls: listed, added with their consent, taken away.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use uuid::Uuid;
use weir_api_types::{
    manage::Page,
    sign_in::{GoTo, IdentityItem, NewIdentity},
};

use super::{
    ProviderClient, State, audit,
    body::Order,
    error::ApiError,
    list::{self, Latest},
    login,
    me::person,
};
use crate::{
    access::{Author, Caller},
    store::{self, identities},
};

/// `GET /v1/admin/me/identities`
pub async fn list(
    caller: Caller,
    Latest(page): Latest,
    state: web::Data<State>,
) -> Result<web::Json<Page<IdentityItem>>, ApiError> {
    let (me, _) = person(&caller)?;
    let listed = identities::of_user(&state.stores.config.read, me, &page).await?;
    Ok(list::answer(listed))
}

/// `POST /v1/admin/me/identities`: the browser goes to the provider and comes back; then it is known who one is there.
pub async fn add(
    caller: Caller,
    request: HttpRequest,
    order: Order<NewIdentity>,
    client: web::Data<ProviderClient>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let me = person(&caller)?;
    let order = order.0;
    let wish = login::Wish {
        return_to: order.return_to.as_deref(),
        again: false,
        link: Some(me),
    };
    let begun = login::to_provider(&request, &state, &client, order.provider, wish);
    let (url, cookie) = begun.await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::SET_COOKIE, cookie))
        .json(GoTo { url }))
}

/// `DELETE /v1/admin/me/identities/{id}`: the sessions that came of it end.
pub async fn remove(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (me, _) = person(&caller)?;
    let absent = || ApiError::not_found("identity");
    let id = Uuid::parse_str(&id).map_err(|_| absent())?;
    let transaction = state.stores.config.begin_write().await?;
    let provider = identities::unlink(&transaction, me, id).await?;
    let provider = provider.ok_or_else(absent)?;
    identities::end_sessions(&transaction, provider, Some(me)).await?;
    let name = identities::provider(&transaction, provider).await?.name;
    let told = serde_json::json!({"provider": name});
    let done = audit::differs("identity", None, &author.name, Some(&told), None)?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(HttpResponse::NoContent().finish())
}
