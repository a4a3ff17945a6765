//! Other passwords for those who lost theirs: by a link that an operator makes, and that works once.

use actix_web::{HttpRequest, HttpResponse, web};
use uuid::Uuid;
use weir_api_types::people::{OneTimeLink, PasswordReset};

use super::{
    State, access, audit,
    body::Order,
    error::{ApiError, Code},
    login, thing,
};
use crate::{
    access::{Author, Caller},
    catalog::Kind,
    clock::now_ms,
    resources::export::moment,
    store::{
        self,
        one_time_links::{self, Link, Purpose},
        sign_ins,
    },
    tenancy::{
        UserId,
        key::{self, Value},
    },
};

/// For so long a link works (threats.md, A5).
pub const VALID_MS: i64 = 30 * 60_000;

/// `POST /v1/admin/users/{id}/reset-link`: the links before it work no longer.
pub async fn create(
    _: Caller,
    author: Author,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let id = UserId(thing::id(Kind::User, &id)?);
    let (value, now_ms) = (Value::of_link(), now_ms());
    let transaction = state.stores.config.begin_write().await?;
    let person = store::users::one(&transaction, id).await?;
    let person = person.ok_or_else(|| ApiError::not_found("user"))?;
    let link = Link {
        id: Uuid::new_v4(),
        email: person.email.clone(),
        purpose: Purpose::Reset { user: id },
        expires_ms: now_ms + VALID_MS,
    };
    one_time_links::withdraw_resets(&transaction, id, now_ms).await?;
    one_time_links::insert(&transaction, &link, &value.digest(), now_ms).await?;
    let told = serde_json::json!({"expires_at": moment(link.expires_ms)});
    let done = audit::differs("reset_link", None, &person.email, None, Some(&told))?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(HttpResponse::Created().json(OneTimeLink {
        url: state.link("/reset-password", &value),
        expires_at: moment(link.expires_ms),
    }))
}

/// `POST /v1/admin/password-resets`: sets the password that a link is for. All sessions end.
pub async fn take(
    request: HttpRequest,
    order: Order<PasswordReset>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let over = || ApiError::new(Code::LinkOver, "Ask for another one.");
    let PasswordReset { token, password } = order.0;
    let digest = key::digest(token.expose().as_bytes());
    let link = one_time_links::usable(&state.stores.config.read, &digest, now_ms()).await?;
    let (link, user) = match link {
        Some(link) => match link.purpose {
            Purpose::Reset { user } => (link, user),
            Purpose::Invitation { .. } => return Err(over()),
        },
        None => return Err(over()),
    };
    let hashed = state.login.passwords.hash("password", &password).await?;
    let transaction = state.stores.config.begin_write().await?;
    if !one_time_links::take(&transaction, link.id, now_ms()).await? {
        return Err(over());
    }
    let person = store::users::one(&transaction, user).await?;
    let person = person
        .filter(|person| person.email == link.email)
        .ok_or_else(over)?;
    sign_ins::put_password(&transaction, user, hashed, now_ms()).await?;
    store::sessions::end_all(&transaction, user, None).await?;
    let author = access::author_of(&request, &state, "user", Some(user.0), &person.email);
    let told = serde_json::json!({"password": "was set by a link"});
    let done = audit::differs(
        "user",
        None,
        &person.email,
        Some(&serde_json::json!({})),
        Some(&told),
    )?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(HttpResponse::NoContent()
        .insert_header((actix_web::http::header::SET_COOKIE, login::no_cookie()))
        .finish())
}
