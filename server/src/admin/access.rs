//! Who calls the management API: whoever has `WEIR_ADMIN_TOKEN`, with all rights on the platform, or a service token with those of
//! its role.
//!
//! [`needs`] stands before every route of the table in [`super::routes`], and before `/health/detailed`; behind it a handler takes its [`Caller`] as an argument.

use std::{
    fmt,
    future::{Ready, ready},
    net::IpAddr,
};

use actix_web::{
    Error, FromRequest, HttpMessage as _, HttpRequest,
    body::{EitherBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::{Method, header},
    middleware::Next,
    web,
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use weir_api_types::{manage::PlatformRole, settings::Mode};

use super::{
    State,
    error::{ApiError, Code},
    idempotency, view,
};
use crate::{
    access::{Author, Caller, Permission, Permissions, Reach, Subject, of_platform_role},
    clock::now_ms,
    store::{roles, service_tokens, sessions, users},
    tenancy::{RequestId, TenantId, address, key, name},
};

/// In which tenant, by its name or id, somebody who is in several calls.
const TENANT: &str = "x-weir-tenant";
/// Shortest admin token, in bytes: what is shorter could be guessed.
pub const MIN_TOKEN_BYTES: usize = 32;

/// The admin token as it is kept: by its digest, so that comparing tells nothing about its length either.
#[derive(Clone)]
pub struct Token([u8; 32]);

/// An admin token that refuses the start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the admin token must have at least {MIN_TOKEN_BYTES} bytes; make one with `openssl rand -hex 32`"
)]
pub struct ShortToken;

impl Token {
    /// Takes the setting; one that is too short refuses the start.
    pub fn new(text: &str) -> Result<Self, ShortToken> {
        if text.len() < MIN_TOKEN_BYTES {
            return Err(ShortToken);
        }
        Ok(Self(Sha256::digest(text.as_bytes()).into()))
    }

    /// Whether a presented token is this one; takes the same time for any.
    pub fn is(&self, presented: &str) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        self.0.ct_eq(&presented).into()
    }
}

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it is how one comes in.
    Nothing,
    /// To be known, whoever it is.
    Caller,
    /// A permission, in some tenant or on the platform.
    To(Permission),
}

impl fmt::Display for Needs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => formatter.write_str("nothing"),
            Self::Caller => formatter.write_str("any caller"),
            Self::To(permission) => permission.fmt(formatter),
        }
    }
}

/// What is special about a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Nothing.
    Plain,
    /// It is for those alone who have shown lately who they are ([`crate::access::FRESH_MS`]).
    Fresh,
    /// It takes a password, a code or a key's value, or is a question. It is done each time that it is asked, and nothing of it is
    /// kept for an `Idempotency-Key`: whoever reads the database has no digest of those, and nobody an answer of yesterday.
    Secret,
}

/// Lets a caller through who may do this somewhere, and has shown lately who they are where the route is marked so. Where it is that
/// they may, the handler asks.
pub async fn needs<B: MessageBody + 'static>(
    needs: Needs,
    mark: Mark,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let admitted = match needs {
        Needs::Nothing => admit_anybody(&request).map(|()| None),
        _ => admit(&request, needs, mark).await.map(Some),
    };
    let caller = match admitted {
        Ok(caller) => caller,
        Err(error) => {
            let (request, _) = request.into_parts();
            return Ok(ServiceResponse::from_err(error, request).map_into_right_body());
        }
    };
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller.clone());
        let is_keyed = request.method() == Method::POST
            && request.headers().contains_key(idempotency::HEADER)
            && mark != Mark::Secret;
        if is_keyed {
            return idempotency::once(&caller, request, next).await;
        }
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// A route that asks nothing of who calls.
fn admit_anybody(request: &ServiceRequest) -> Result<(), ApiError> {
    // Whoever signs in changes nothing but their own session.
    if is_closed(request) && !request.path().starts_with("/v1/admin/sign-") {
        return Err(closed());
    }
    if view::is_asked(request.request()) {
        view::only_looks(request.method())?;
    }
    paced_address(request)
}

/// Whoever calls, as they are where they call, if the route is for them.
async fn admit(request: &ServiceRequest, needs: Needs, mark: Mark) -> Result<Caller, ApiError> {
    let caller = known(request.request()).await?;
    // First, so that what is refused counts as well.
    paced(&caller, request)?;
    if is_closed(request) {
        return Err(closed());
    }
    let state = request.app_data::<web::Data<State>>().ok_or_else(unknown)?;
    let view = view::of(request.request(), state, &caller).await?;
    let caller = view.as_ref().map_or(caller, |view| view.caller.clone());
    if let Needs::To(permission) = needs
        && !caller.may(permission)
    {
        let detail = format!("This needs {permission}.");
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    if mark == Mark::Fresh {
        fresh(&caller)?;
    }
    if let Some(view) = view {
        view.note(request.request(), state).await?;
    }
    Ok(caller)
}

/// The same where they hand on what lets somebody hand on more.
pub fn fresh_to_give(caller: &Caller, given: Permissions) -> Result<(), ApiError> {
    match given.has(Permission::UsersWrite) || given.has(Permission::ServiceTokensWrite) {
        true => fresh(caller),
        false => Ok(()),
    }
}

/// Refuses somebody who has not shown for a while who they are.
pub fn fresh(caller: &Caller) -> Result<(), ApiError> {
    if caller.is_fresh(now_ms()) {
        return Ok(());
    }
    let detail = match caller.subject {
        Subject::User { is_lent: true, .. } => {
            "Sign in again, with again=true: this may do much harm, and your session is not new."
        }
        _ => {
            "Send your password to /v1/admin/me/proof, or sign in again: this may do much harm, and your session is not new."
        }
    };
    Err(ApiError::new(Code::ProofNeeded, detail))
}

fn paced(caller: &Caller, request: &ServiceRequest) -> Result<(), ApiError> {
    let state = request.app_data::<web::Data<State>>().ok_or_else(unknown)?;
    admitted(state, idempotency::subject(caller), request)
}

/// Whoever nobody knows counts by where they are.
fn paced_address(request: &ServiceRequest) -> Result<(), ApiError> {
    let state = request.app_data::<web::Data<State>>().ok_or_else(unknown)?;
    let network = address::network(address(request.request(), state));
    admitted(state, network.to_string().into_bytes(), request)
}

fn admitted(state: &State, who: Vec<u8>, request: &ServiceRequest) -> Result<(), ApiError> {
    let route = request.match_pattern().unwrap_or_default();
    let route = format!("{} {route}", request.method());
    state.pace.admit(who, route).map_err(ApiError::too_often)
}

/// Whether operators let nothing be changed now, and the request would: all but their own switch.
fn is_closed(request: &ServiceRequest) -> bool {
    let Some(state) = request.app_data::<web::Data<State>>() else {
        return true;
    };
    let is_switch = request.match_pattern().as_deref() == Some("/v1/admin/settings");
    let only_looks = matches!(*request.method(), Method::GET | Method::HEAD);
    !is_switch && !only_looks && may_change(state).is_err()
}

/// Whether anything but the switch itself may be changed now; asked by those few who change something on a `GET`.
pub fn may_change(state: &State) -> Result<(), ApiError> {
    match state.catalog.peek().settings().mode {
        Mode::Normal => Ok(()),
        Mode::ReadOnly | Mode::Drain => Err(closed()),
    }
}

fn closed() -> ApiError {
    let detail = "Operators have set Weir to read-only for a while; programs' calls go on.";
    ApiError::new(Code::ReadOnly, detail)
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Self>().cloned();
        ready(caller.ok_or_else(unknown))
    }
}

impl FromRequest for Author {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(author(request))
    }
}

fn author(request: &HttpRequest) -> Result<Author, ApiError> {
    let state = request.app_data::<web::Data<State>>().ok_or_else(unknown)?;
    let caller = request.extensions().get::<Caller>().cloned();
    let caller = caller.ok_or_else(unknown)?;
    Ok(author_of_caller(request, state, &caller))
}

/// The author of what a caller does.
pub fn author_of_caller(request: &HttpRequest, state: &State, caller: &Caller) -> Author {
    let (kind, id, name) = match &caller.subject {
        Subject::AdminToken => ("admin_token", None, ""),
        Subject::ServiceToken { id, name } => ("service_token", Some(*id), &**name),
        Subject::User { id, email, .. } => ("user", Some(id.0), &**email),
    };
    author_of(request, state, kind, id, name)
}

/// The author of what a request does, whoever that is.
pub fn author_of(
    request: &HttpRequest,
    state: &State,
    kind: &'static str,
    id: Option<Uuid>,
    name: &str,
) -> Author {
    let id_of_request = request.extensions().get::<RequestId>().copied();
    Author {
        kind,
        id,
        name: name.to_owned(),
        address: request.peer_addr().map(|_| address(request, state)),
        request: id_of_request.map(|id| id.to_string()).unwrap_or_default(),
    }
}

/// Where a request comes from, as far as proxies that are believed say; nowhere is 0.0.0.0.
pub fn address(request: &HttpRequest, state: &State) -> IpAddr {
    let lines = request.headers().get_all("x-forwarded-for");
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    let nowhere = IpAddr::from([0, 0, 0, 0]);
    let peer = request.peer_addr().map_or(nowhere, |peer| peer.ip());
    address::caller(peer, &state.trusted_proxies, lines.into_iter())
}

/// Whether a proxy that is believed says that the caller spoke https to it.
pub fn came_by_https(request: &HttpRequest, state: &State) -> bool {
    let peer = request.peer_addr().map(|peer| peer.ip());
    let is_believed = peer.is_some_and(|peer| address::contains(&state.trusted_proxies, peer));
    let said = request.headers().get("x-forwarded-proto");
    is_believed && said.is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// One answer for no token and a wrong one, an ended and a disabled one.
fn unknown() -> ApiError {
    let detail = "Send `authorization: Bearer` with an access token of a sign-in, a service token or the admin token.";
    ApiError::new(Code::Unauthorized, detail)
}

/// Who calls, by the token that they show. Those whom nobody knows are counted where they are: whoever tries tokens there waits, and
/// those whom somebody knows do not (threats.md, A12).
pub async fn known(request: &HttpRequest) -> Result<Caller, ApiError> {
    let known = identify(request).await;
    let is_stranger = known
        .as_ref()
        .is_err_and(|error| error.code() == Code::Unauthorized);
    let state = request.app_data::<web::Data<State>>();
    if let (true, Some(state)) = (is_stranger && tries(request), state) {
        (state.stranger)(address(request, state)).map_err(ApiError::too_often)?;
    }
    known
}

/// Whether somebody whom nobody knows tries a token: who shows none does not, nor does a browser with one that is over.
fn tries(request: &HttpRequest) -> bool {
    let Some(value) = request.headers().get(header::AUTHORIZATION) else {
        return false;
    };
    let token = value.to_str().ok().and_then(|value| value.split_once(' '));
    let state = request.app_data::<web::Data<State>>();
    !token
        .zip(state)
        .is_some_and(|((_, token), state)| state.login.tokens.were_given_out(token))
}

/// Who calls, by the token that they show.
async fn identify(request: &HttpRequest) -> Result<Caller, ApiError> {
    let state = request.app_data::<web::Data<State>>().ok_or_else(unknown)?;
    let mut headers = request.headers().get_all(header::AUTHORIZATION);
    let (Some(value), None) = (headers.next(), headers.next()) else {
        return Err(unknown());
    };
    let value = value.to_str().map_err(|_| unknown())?;
    let (scheme, token) = value.split_once(' ').ok_or_else(unknown)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unknown());
    }
    if state.token.is(token) {
        let all = of_platform_role(PlatformRole::PlatformAdmin);
        return Ok(Caller::new(Subject::AdminToken, Reach::Platform, all));
    }
    if token.starts_with(key::SERVICE_PREFIX) {
        return service_token(state, token).await;
    }
    person(state, token, tenant_in(request, TENANT)?.as_deref()).await
}

/// The tenant that a header names: by its name in UTF-8, or by its id, as browsers send no more than Latin-1. In the form of names.
pub fn tenant_in(request: &HttpRequest, header: &str) -> Result<Option<String>, ApiError> {
    let mut lines = request.headers().get_all(header);
    let line = lines.next();
    if lines.next().is_some() {
        let detail = format!("{header} stands there once.");
        return Err(ApiError::new(Code::InvalidQuery, detail));
    }
    let name = line.map(|line| {
        let text = std::str::from_utf8(line.as_bytes()).ok();
        let name = text.and_then(|text| name::normal(text).ok());
        name.ok_or_else(|| ApiError::not_found("tenant"))
    });
    name.transpose()
}

/// Whoever is signed in with this access token, in the tenant that they name. Role and session are as the store has them now.
async fn person(state: &State, token: &str, named: Option<&str>) -> Result<Caller, ApiError> {
    let tokens = &state.login.tokens;
    let bearer = tokens.bearer(&state.stores, &state.sealer, token).await?;
    let bearer = bearer.ok_or_else(unknown)?;
    let db = &state.stores.config.read;
    let session = sessions::living(db, bearer.session, now_ms()).await?;
    let session = session.filter(|session| session.user == bearer.user);
    let session = session.ok_or_else(unknown)?;
    let person = users::one(db, bearer.user).await?;
    let person = person.filter(|person| person.enabled).ok_or_else(unknown)?;
    let subject = Subject::User {
        id: person.id,
        email: person.email.as_str().into(),
        session: bearer.session,
        proved_ms: session.proved_ms,
        is_lent: session.voucher.tenant.is_some(),
    };
    // What a tenant's own provider says counts in that tenant, whoever it says they are (threats.md, A6).
    let only = session.voucher.tenant;
    let role = person.platform_role.filter(|_| only.is_none());
    if let (None, Some(role)) = (named, role) {
        return Ok(Caller::new(
            subject,
            Reach::Platform,
            of_platform_role(role),
        ));
    }
    let mut places = users::places(db, person.id).await?;
    places.retain(|(tenant, ..)| only.is_none_or(|only| only == *tenant));
    // With a tenant its people are shut out.
    if places.is_empty() && role.is_none() {
        return Err(unknown());
    }
    let place = match (named, places.as_slice()) {
        (Some(name), places) => {
            let id = Uuid::parse_str(name).ok();
            let by_id = places.iter().find(|(tenant, ..)| Some(tenant.0) == id);
            by_id.or_else(|| places.iter().find(|(_, known, _)| known == name))
        }
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    match (place, named, places.as_slice()) {
        (Some((tenant, _, role)), ..) => {
            let allowed = roles::permissions(db, *tenant, *role).await?;
            Ok(Caller::new(subject, Reach::Tenant(*tenant), allowed))
        }
        (None, Some(_), _) => Err(ApiError::not_found("tenant")),
        // Whoever is in several and names none may do nothing but look at themselves.
        (None, None, _) => {
            let nowhere = Reach::Tenant(TenantId(Uuid::nil()));
            Ok(Caller::new(subject, nowhere, Permissions::default()))
        }
    }
}

/// The look-up is by digest alone: it takes as long for every value that is none.
async fn service_token(state: &State, token: &str) -> Result<Caller, ApiError> {
    let (database, now_ms) = (&state.stores.config, now_ms());
    let digest = key::digest(token.as_bytes());
    let known = service_tokens::usable(&database.read, &digest, now_ms).await?;
    let known = known.ok_or_else(unknown)?;
    if let Err(error) = service_tokens::note_use(&database.write, &known, now_ms).await {
        tracing::warn!(%error, "the use of a service token cannot be noted");
    }
    let tenant = known.role.tenant();
    let reach = tenant.map_or(Reach::Platform, Reach::Tenant);
    let allowed = known.role.permissions(&database.read).await?;
    let subject = Subject::ServiceToken {
        id: known.id,
        name: known.name.into(),
    };
    Ok(Caller::new(subject, reach, allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_token_is_refused_and_only_the_same_one_is_taken() {
        assert_eq!(Token::new(&"a".repeat(31)).map(drop), Err(ShortToken));
        let token = Token::new(&"a".repeat(32)).expect("long enough");
        assert!(token.is(&"a".repeat(32)));
        assert!(!token.is(&"a".repeat(33)) && !token.is("") && !token.is(&"A".repeat(32)));
    }
}
