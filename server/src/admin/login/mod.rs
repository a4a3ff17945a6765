//! Signing in: a password, where somebody has one a second factor, and out of it a short access token and a refresh cookie.
//!
//! What is wrong is told alike, and takes alike, for a wrong password, for an address that nobody has and for somebody who is
//! switched off. The cookie is read here and nowhere else; everything besides is called with the access token.

mod factor;
mod known;
mod members;
mod password;
mod throttle;
mod through;
mod tokens;

use std::net::IpAddr;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderValue},
    web,
};
use sea_orm::ConnectionTrait;
use uuid::Uuid;
use weir_api_types::{
    people::{Access, Credentials},
    secret::Sensitive,
};

pub use factor::{is_time_code, recovery_codes, seed, take};
pub use known::Known;
pub use password::Passwords;
pub use throttle::Proof;
pub use through::{Wish, callback, providers, redirect_uri, start, to_provider};
pub use tokens::{Bearer, Tokens};

use super::{
    State, access, audit,
    body::Order,
    error::{ApiError, Code},
};
use crate::{
    access::Author,
    clock::now_ms,
    resources,
    store::{
        self,
        identities::{self, Provider},
        known_places,
        sessions::{self, Voucher},
        sign_ins,
    },
    tenancy::{Person, UserId},
};
use throttle::Try;

/// The refresh token's cookie. Its prefix makes browsers take it over https alone and send it to this host alone.
const COOKIE: &str = "__Host-weir_refresh";
/// A session that nobody keeps up ends after so long.
const SESSION_MS: i64 = 30 * 24 * 3_600_000;
/// For so long after a refresh the token before still gives access: two tabs may ask at once.
const GRACE_MS: i64 = 10_000;
/// What is kept of a browser's own words.
const AGENT_CHARACTERS: usize = 200;

/// What signing in needs besides the stores.
pub struct Login {
    pub passwords: Passwords,
    pub tokens: Tokens,
    /// What identity providers said of themselves.
    pub providers: Known,
    /// Whether this process itself speaks TLS.
    pub has_tls: bool,
}

/// `POST /v1/admin/sign-in`
pub async fn sign_in(
    request: HttpRequest,
    order: Order<Credentials>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    safe(&request, &state)?;
    let address = access::address(&request, &state);
    let proven = proven(&request, &state, order.0, Place::Needed).await?;
    let shown = Shown {
        by: proven.by,
        at_ms: now_ms(),
        voucher: Vouches::Evidence(&proven.evidence),
    };
    begin(&request, &state, &proven.person, address, shown).await
}

/// Whether somebody has to be somewhere already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Needed,
    /// They are on their way into a tenant.
    Coming,
}

/// Somebody who has shown that an account is theirs.
pub struct Proven {
    pub person: Person,
    /// What they have shown, in words for the audit log.
    pub by: &'static str,
    pub evidence: Evidence,
}

/// How somebody's password was kept when they showed it, and whether they showed a code with it.
pub struct Evidence {
    /// As it was kept.
    password: Option<String>,
    with_code: bool,
}

impl Evidence {
    /// Whether it would do now, and until the transaction is over: hashing takes its time, in which the password may have become another one
    /// and all sessions been ended (threats.md, A5).
    pub async fn still_holds(
        &self,
        transaction: &impl ConnectionTrait,
        user: UserId,
    ) -> Result<(), ApiError> {
        let kept = sign_ins::find_held(transaction, user).await?;
        match kept.password == self.password && (self.with_code || !kept.totp_on) {
            true => Ok(()),
            false => Err(ApiError::new(Code::SignInFailed, "Try again.")),
        }
    }
}

/// Whoever shows that an account is theirs. What is wrong is told alike and waits alike, and of an account that there is the audit log
/// says so.
pub async fn proven(
    request: &HttpRequest,
    state: &web::Data<State>,
    shown: Credentials,
    place: Place,
) -> Result<Proven, ApiError> {
    let Credentials {
        email,
        password,
        code,
    } = shown;
    let account = resources::email(&email).unwrap_or_default();
    let tried = Try::new(&account, access::address(request, state));
    let user = store::users::of_email(&state.stores.config.read, &account).await?;
    let begun = tried.begin(&state.stores, user, now_ms()).await?;
    begun.map_err(|wait_ms| ApiError::wait(wait_ms, "There were too many tries."))?;
    let tell = |wrong| {
        let author = access::author_of(request, state, "process", None, "sign-in");
        tell_failed(state, author, account.clone(), wrong);
    };
    let (person, password) = match who(state, user, &password, place).await? {
        Ok(known) => known,
        Err(wrong) => {
            tried.failed(&state.stores, now_ms()).await?;
            if user.is_some() {
                tell(wrong);
            }
            return Err(ApiError::new(Code::SignInFailed, "Try again."));
        }
    };
    let shown = second_factor(state, &tried, person.id, code.as_ref()).await;
    if let Err(error) = &shown
        && error.code() == Code::SignInFailed
    {
        tell("code");
    }
    let by = shown?;
    tried.succeeded(&state.stores).await?;
    let with_code = by != PASSWORD;
    Ok(Proven {
        person,
        by,
        evidence: Evidence {
            password,
            with_code,
        },
    })
}

/// Has the audit log say that somebody tried to be who they are not, or mistyped. Beside the answer: how long that takes must not
/// tell whose address is known. Tries are few, as they wait.
fn tell_failed(state: &web::Data<State>, author: Author, account: String, wrong: &'static str) {
    let state = state.clone();
    actix_web::rt::spawn(async move {
        let told = serde_json::json!({"wrong": wrong});
        let done = store::audit::one("failed_sign_in", None, &account, &told);
        if let Err(error) = store::audit::note(&state.stores, &state.sealer, &author, &[done]).await
        {
            tracing::error!(%error, "a failed sign-in could not be noted");
        }
    });
}

/// The person whose password it is, if they may sign in at all, and how it is kept; else what was wrong.
async fn who(
    state: &State,
    user: Option<UserId>,
    password: &Sensitive,
    place: Place,
) -> Result<Result<(Person, Option<String>), &'static str>, ApiError> {
    let db = &state.stores.config.read;
    // As many questions for nobody as for somebody: that is time, too.
    let asked = user.unwrap_or(UserId(Uuid::nil()));
    let person = store::users::one(db, asked).await?;
    let kept = sign_ins::find(db, asked).await?;
    let hashed = kept.password.clone();
    let is_right = state.login.passwords.is(password, kept.password).await?;
    Ok(match person {
        Some(person) if is_right && !person.enabled => Err("nothing: switched off"),
        Some(person) if is_right && place == Place::Coming => Ok((person, hashed)),
        Some(person) if is_right => match store::users::is_somewhere(db, &person, None).await? {
            true => Ok((person, hashed)),
            false => Err("nothing: suspended"),
        },
        _ => Err("password"),
    })
}

/// What somebody without a second factor has shown.
const PASSWORD: &str = "password";

/// Asks for the second factor of whoever has one. What they have shown, in words for the audit log.
async fn second_factor(
    state: &State,
    tried: &Try,
    user: UserId,
    code: Option<&Sensitive>,
) -> Result<&'static str, ApiError> {
    let kept = sign_ins::find(&state.stores.config.read, user).await?;
    if !kept.totp_on {
        return Ok(PASSWORD);
    }
    let Some(code) = code else {
        let detail = "Send the six digits of your app, or a recovery code, in `code`.";
        return Err(ApiError::new(Code::SecondFactorNeeded, detail));
    };
    let begun = tried.begin_code(&state.stores, now_ms()).await?;
    begun.map_err(|wait_ms| ApiError::wait(wait_ms, "There were too many wrong codes."))?;
    let code = code.expose();
    if !take(&state.stores, &state.sealer, user, &kept, code, true).await? {
        let detail = "The code is wrong, or was used before.";
        return Err(ApiError::new(Code::SignInFailed, detail));
    }
    Ok(match is_time_code(code) {
        true => "password and code",
        false => "password and recovery code",
    })
}

/// How somebody showed who they are.
struct Shown<'a> {
    /// In words for the audit log.
    by: &'a str,
    /// When, Unix milliseconds; 0: nobody knows.
    at_ms: i64,
    voucher: Vouches<'a>,
}

/// What says that it is them.
enum Vouches<'a> {
    Evidence(&'a Evidence),
    /// And what it calls them.
    Provider(&'a Provider, &'a str),
}

/// Begins a session, of which nothing was known before.
async fn begin(
    request: &HttpRequest,
    state: &State,
    person: &Person,
    address: IpAddr,
    shown: Shown<'_>,
) -> Result<HttpResponse, ApiError> {
    let provider = match shown.voucher {
        Vouches::Provider(provider, _) => Some(provider),
        Vouches::Evidence(_) => None,
    };
    let (id, now_ms) = (Uuid::new_v4(), now_ms());
    let agent = request.headers().get(header::USER_AGENT);
    let agent = agent
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    let new = sessions::New {
        id,
        user: person.id,
        expires_ms: now_ms + SESSION_MS,
        proved_ms: shown.at_ms.min(now_ms),
        address: address.to_string(),
        agent: agent.chars().take(AGENT_CHARACTERS).collect(),
        voucher: Voucher {
            provider: provider.map(|provider| provider.id),
            tenant: provider.and_then(|provider| provider.owner),
        },
    };
    let author = access::author_of(request, state, "user", Some(person.id.0), &person.email);
    let told = serde_json::json!({"address": new.address, "by": shown.by});
    let done = audit::differs("session", None, &person.email, None, Some(&told))?;
    let transaction = state.stores.config.begin_write().await?;
    // First, as it holds the person: whoever deletes them waits for this one, and never the other way round.
    sessions::insert(&transaction, new, now_ms).await?;
    // Before the password's row, as where a password is set.
    known_places::note(&transaction, person.id, address, now_ms).await?;
    match shown.voucher {
        Vouches::Evidence(evidence) => evidence.still_holds(&transaction, person.id).await?,
        Vouches::Provider(provider, subject) => {
            members::still(&transaction, provider).await?;
            if !identities::is_kept(&transaction, provider.id, subject, person.id).await? {
                return Err(known::failed("You are known there no longer: begin again."));
            }
        }
    }
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    let refresh = tokens::refresh(&state.sealer, id, 0);
    answer(state, person.id, id, Some(&refresh)).await
}

/// `POST /v1/admin/sign-in/refresh`: another access token for the cookie's session, and the next cookie.
pub async fn refresh(
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    safe(&request, &state)?;
    let over = || ApiError::new(Code::SessionOver, "Sign in again.");
    let (id, generation) = shown(&request, &state).ok_or_else(over)?;
    let (db, now_ms) = (&state.stores.config, now_ms());
    let session = sessions::living(&db.read, id, now_ms)
        .await?
        .ok_or_else(over)?;
    let person = store::users::one(&db.read, session.user).await?;
    let person = person.filter(|person| person.enabled).ok_or_else(over)?;
    if !store::users::is_somewhere(&db.read, &person, session.voucher.tenant).await? {
        return Err(over());
    }
    let address = access::address(&request, &state);
    if generation == session.generation {
        let (expires_ms, from) = (now_ms + SESSION_MS, address.to_string());
        if sessions::rotate(&db.write, &session, expires_ms, &from, now_ms).await? {
            // The token is spent: its successor is told whatever comes.
            let noted = known_places::note(&db.write, session.user, address, now_ms).await;
            if let Err(error) = noted {
                tracing::warn!(%error, "where somebody is cannot be noted");
            }
            let next = tokens::refresh(&state.sealer, id, generation + 1);
            return answer(&state, session.user, id, Some(&next)).await;
        }
        // Another tab was first, this very moment.
        return answer(&state, session.user, id, None).await;
    }
    let is_other_tab = generation + 1 == session.generation
        && (session.rotated_ms..session.rotated_ms + GRACE_MS).contains(&now_ms);
    if is_other_tab {
        return answer(&state, session.user, id, None).await;
    }
    // Somebody has a copy, and it cannot be told who: nobody goes on.
    let author = access::author_of(&request, &state, "user", Some(person.id.0), &person.email);
    let reason = "an old refresh token was used again";
    end_session(&state, &author, &person, id, reason).await?;
    tracing::warn!(user = %person.email, %address, "an old refresh token was used again: its session is over");
    Err(over())
}

/// `POST /v1/admin/sign-out`: the cookie's session is over. It is no error that it is over already.
pub async fn sign_out(
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    safe(&request, &state)?;
    if let Some((id, _)) = shown(&request, &state) {
        let db = &state.stores.config;
        if let Some(session) = sessions::living(&db.read, id, now_ms()).await?
            && let Some(person) = store::users::one(&db.read, session.user).await?
        {
            let author =
                access::author_of(&request, &state, "user", Some(person.id.0), &person.email);
            end_session(&state, &author, &person, id, "signed out").await?;
        }
    }
    Ok(HttpResponse::NoContent()
        .insert_header((header::SET_COOKIE, no_cookie()))
        .finish())
}

/// Ends one session of a person's. Whether it was there.
pub async fn end_session(
    state: &State,
    author: &Author,
    person: &Person,
    id: Uuid,
    reason: &str,
) -> Result<bool, ApiError> {
    let told = serde_json::json!({"reason": reason});
    let done = audit::differs("session", None, &person.email, Some(&told), None)?;
    let transaction = state.stores.config.begin_write().await?;
    let ended = sessions::end(&transaction, person.id, id).await?;
    if ended {
        store::audit::append(&transaction, &state.sealer, author, &done).await?;
    }
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(ended)
}

/// What a session gives: an access token, and a refresh token where there is a new one.
async fn answer(
    state: &State,
    user: UserId,
    session: Uuid,
    refresh: Option<&str>,
) -> Result<HttpResponse, ApiError> {
    let bearer = Bearer { user, session };
    let tokens = &state.login.tokens;
    let access_token = tokens.access(&state.stores, &state.sealer, bearer).await?;
    let mut response = HttpResponse::Ok();
    if let Some(refresh) = refresh {
        let cookie = cookie(refresh, SESSION_MS / 1_000);
        response.insert_header((header::SET_COOKIE, cookie));
    }
    Ok(response.json(Access {
        access_token,
        expires_in: tokens::ACCESS_SECONDS as u32,
    }))
}

/// What takes the cookie away.
pub fn no_cookie() -> String {
    cookie("", 0)
}

fn cookie(value: &str, seconds: i64) -> String {
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Strict")
}

/// The session and number that the request's cookie says, if we gave it out.
fn shown(request: &HttpRequest, state: &State) -> Option<(Uuid, i32)> {
    tokens::read_refresh(&state.sealer, cookie_of(request, COOKIE)?)
}

fn cookie_of<'a>(request: &'a HttpRequest, wanted: &str) -> Option<&'a str> {
    let lines = request.headers().get_all(header::COOKIE);
    let mut pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    Some(pairs.find(|(name, _)| *name == wanted)?.1)
}

/// No page of another origin signs anybody in or out, and no cookie goes where it would not be kept.
fn safe(request: &HttpRequest, state: &State) -> Result<(), ApiError> {
    if let Some(origin) = request.headers().get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let is_ours = origin.split_once("://").is_some_and(|(_, host)| {
            let asked = request
                .headers()
                .get(header::HOST)
                .map(HeaderValue::as_bytes);
            state.hosts.has(host) && asked == Some(host.as_bytes())
        });
        if !is_ours {
            let detail = "Pages of other origins do not sign in here.";
            return Err(ApiError::new(Code::Forbidden, detail));
        }
    }
    if state.login.has_tls || access::came_by_https(request, state) {
        return Ok(());
    }
    let address = access::address(request, state);
    if address.is_loopback() {
        return Ok(());
    }
    let detail = "Browsers keep the refresh cookie over https alone. Give Weir `tls_cert` and `tls_key`, or put it behind a proxy that speaks https, sets X-Forwarded-Proto and stands in `trusted_proxies`.";
    Err(ApiError::new(Code::Insecure, detail))
}

/// Ends all sessions of somebody but one, and tells the audit log.
pub async fn end_sessions(
    state: &State,
    author: &Author,
    person: &Person,
    kept: Option<Uuid>,
    reason: &str,
) -> Result<(), ApiError> {
    let transaction = state.stores.config.begin_write().await?;
    end_sessions_in(&transaction, state, author, person, kept, reason).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(())
}

/// The same within a transaction, with whatever else belongs to it.
pub async fn end_sessions_in(
    transaction: &impl ConnectionTrait,
    state: &State,
    author: &Author,
    person: &Person,
    kept: Option<Uuid>,
    reason: &str,
) -> Result<(), ApiError> {
    let told = serde_json::json!({"reason": reason});
    let done = audit::differs("session", None, &person.email, Some(&told), None)?;
    sessions::end_all(transaction, person.id, kept).await?;
    store::audit::append(transaction, &state.sealer, author, &done).await?;
    Ok(())
}
