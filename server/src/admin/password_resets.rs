//! What operators do for those who lost their password or second factor, or a device: a link to another password that works once, no
//! second factor any longer, no session.

use actix_web::{HttpRequest, HttpResponse, web};
use sea_orm::ConnectionTrait;
use uuid::Uuid;
use weir_api_types::people::{OneTimeLink, PasswordReset, ResetRequest};

use super::{
    State, access, audit,
    body::Order,
    error::{ApiError, Code},
    login, thing, users,
};
use crate::{
    access::{Author, Caller},
    catalog::Kind,
    clock::now_ms,
    mail::{self, Mail},
    resources::{self, export::moment},
    store::{
        self,
        one_time_links::{self, Link, Purpose},
        sign_ins,
    },
    tenancy::{
        Person, UserId,
        key::{self, Value},
    },
};

/// For so long a link works (threats.md, A5).
pub const VALID_MS: i64 = 30 * 60_000;
/// Nobody gets mail more often.
const BETWEEN_MAILS_MS: i64 = 2 * 60_000;

/// `POST /v1/admin/users/{id}/reset-link`: the links before it work no longer.
pub async fn create(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let id = UserId(thing::id(Kind::User, &id)?);
    let person = users::find(&state.stores.config.read, &caller, id).await?;
    let transaction = state.stores.config.begin_write().await?;
    let made = new_link(&transaction, &state, &author, &person).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    let (value, expires_ms) = made;
    Ok(HttpResponse::Created().json(OneTimeLink {
        url: Some(state.link("/reset-password", &value)),
        expires_at: moment(expires_ms),
    }))
}

/// `DELETE /v1/admin/users/{id}/second-factor`: for whoever lost it with all codes. All sessions end, and they are told.
pub async fn forget_factor(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let id = UserId(thing::id(Kind::User, &id)?);
    let transaction = state.stores.config.begin_write().await?;
    let person = users::find(&transaction, &caller, id).await?;
    let was_on = sign_ins::find(&transaction, id).await?.totp_on;
    // A seed that waits for its confirmation goes as well.
    sign_ins::forget_factor(&transaction, id, now_ms()).await?;
    let reason = "an operator took the second factor away";
    login::end_sessions_in(&transaction, &state, &author, &person, None, reason).await?;
    if was_on {
        let [on, off] = [true, false].map(|on| serde_json::json!({"second_factor": on}));
        let done = audit::differs("user", None, &person.email, Some(&on), Some(&off))?;
        store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    }
    transaction.commit().await.map_err(store::Error::from)?;
    if was_on {
        state.tell(
            &person.email,
            "An operator took the second factor of your account on Weir away.",
        );
    }
    Ok(HttpResponse::NoContent().finish())
}

/// `DELETE /v1/admin/users/{id}/sessions`
pub async fn sign_out(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let id = UserId(thing::id(Kind::User, &id)?);
    let person = users::find(&state.stores.config.read, &caller, id).await?;
    login::end_sessions(&state, &author, &person, None, "ended by an operator").await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /v1/admin/password-resets/request`: mails a link to whoever has this address. The answer, and its time, are the same for
/// an address that nobody has.
pub async fn request(
    request: HttpRequest,
    order: Order<ResetRequest>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let Some(mail) = state.mail.clone() else {
        let detail = "Ask an operator for a link to another password.";
        return Err(ApiError::new(Code::NoMail, detail));
    };
    let email = resources::email(&order.0.email);
    let email = email.map_err(|error| ApiError::field("email", error))?;
    let author = access::author_of(&request, &state, "process", None, "mail");
    actix_web::rt::spawn(async move {
        if let Err(error) = mail_link(&state, &mail, &author, &email).await {
            tracing::error!(%error, "a link to another password could not be mailed");
        }
    });
    Ok(HttpResponse::Accepted().finish())
}

/// Mails a link, if somebody who is enabled has the address and has not got one just now.
async fn mail_link(
    state: &State,
    mail: &Mail,
    author: &Author,
    email: &str,
) -> Result<(), anyhow::Error> {
    let db = &state.stores.config.read;
    let Some(id) = store::users::of_email(db, email).await? else {
        return Ok(());
    };
    let Some(person) = store::users::one(db, id).await? else {
        return Ok(());
    };
    let since_ms = now_ms() - BETWEEN_MAILS_MS;
    if !person.enabled || one_time_links::reset_since(db, id, since_ms).await? {
        return Ok(());
    }
    let transaction = state.stores.config.begin_write().await?;
    let (value, _) = new_link(&transaction, state, author, &person).await?;
    transaction.commit().await?;
    mail.send(email, mail::reset(&state.link("/reset-password", &value)))
        .await?;
    Ok(())
}

/// A link for somebody, in a transaction; those before it work no longer. Its value, and when it ends, Unix milliseconds.
pub async fn new_link(
    transaction: &impl ConnectionTrait,
    state: &State,
    author: &Author,
    person: &Person,
) -> store::Result<(Value, i64)> {
    let (value, now_ms) = (Value::of_link(), now_ms());
    let link = Link {
        id: Uuid::new_v4(),
        email: person.email.clone(),
        purpose: Purpose::Reset { user: person.id },
        expires_ms: now_ms + VALID_MS,
    };
    let told = serde_json::json!({"expires_at": moment(link.expires_ms)});
    let done = store::audit::one("reset_link", None, &person.email, &told);
    one_time_links::withdraw_resets(transaction, person.id, now_ms).await?;
    one_time_links::insert(transaction, &link, &value.digest(), now_ms).await?;
    store::audit::append(transaction, &state.sealer, author, &[done]).await?;
    Ok((value, link.expires_ms))
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
    let person = store::users::one(&transaction, user).await?;
    let person = person
        .filter(|person| person.email == link.email)
        .ok_or_else(over)?;
    // Whoever was kept out by others' guesses comes in from here. First, as it holds the person: whoever deletes them waits for this one.
    let address = access::address(&request, &state);
    store::known_places::note(&transaction, user, address, now_ms()).await?;
    if !one_time_links::take(&transaction, link.id, now_ms()).await? {
        return Err(over());
    }
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
    state.tell(
        &person.email,
        "The password of your account on Weir was set by a link.",
    );
    Ok(HttpResponse::NoContent()
        .insert_header((actix_web::http::header::SET_COOKIE, login::no_cookie()))
        .finish())
}
