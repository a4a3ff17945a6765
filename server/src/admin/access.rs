//! Who calls the management API: whoever has `WEIR_ADMIN_TOKEN`, with all rights on the platform, or a service token with those of
//! its role.
//!
//! [`needs`] stands before every route of the table in [`super::routes`]; behind it a handler takes its [`Caller`] as an argument.

use std::future::{Ready, ready};

use actix_web::{
    Error, FromRequest, HttpMessage as _, HttpRequest,
    body::{EitherBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
    web,
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use weir_api_types::manage::{AnyRole, PlatformRole};

use super::{
    State,
    error::{ApiError, Code},
};
use crate::{
    access::{Author, Caller, Permission, Permissions, Reach, Subject, of_platform_role, of_role},
    clock::now_ms,
    store::service_tokens,
    tenancy::{RequestId, address, key},
};

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

/// Lets a caller through who may do this somewhere. Where, the handler asks.
pub async fn needs<B: MessageBody + 'static>(
    permission: Permission,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let caller = identify(request.request()).await;
    let allowed = caller.and_then(|caller| match caller.may(permission) {
        true => Ok(caller),
        false => {
            let detail = format!("This needs {permission}.");
            Err(ApiError::new(Code::Forbidden, detail))
        }
    });
    match allowed {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            Ok(next.call(request).await?.map_into_left_body())
        }
        Err(error) => {
            let (request, _) = request.into_parts();
            Ok(ServiceResponse::from_err(error, request).map_into_right_body())
        }
    }
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
    let extensions = request.extensions();
    let caller = extensions.get::<Caller>().ok_or_else(unknown)?;
    let (kind, id, name) = match &caller.subject {
        Subject::AdminToken => ("admin_token", None, String::new()),
        Subject::ServiceToken { id, name } => ("service_token", Some(*id), name.to_string()),
    };
    let lines = request.headers().get_all("x-forwarded-for");
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    let peer = request.peer_addr().map(|peer| peer.ip());
    Ok(Author {
        kind,
        id,
        name,
        address: peer.map(|peer| address::caller(peer, &state.trusted_proxies, lines.into_iter())),
        request: extensions
            .get::<RequestId>()
            .map(ToString::to_string)
            .unwrap_or_default(),
    })
}

/// What a role allows, wherever it holds.
pub fn permissions_of(role: AnyRole) -> Permissions {
    match role {
        AnyRole::Platform(role) => of_platform_role(role),
        AnyRole::Tenant(role) => of_role(role),
    }
}

/// One answer for no token and a wrong one, an ended and a disabled one.
fn unknown() -> ApiError {
    let detail = "Send `authorization: Bearer` with the admin token or a service token.";
    ApiError::new(Code::Unauthorized, detail)
}

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
    if !token.starts_with(key::SERVICE_PREFIX) {
        return Err(unknown());
    }
    service_token(state, token).await
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
    let reach = known.tenant.map_or(Reach::Platform, Reach::Tenant);
    let subject = Subject::ServiceToken {
        id: known.id,
        name: known.name.into(),
    };
    Ok(Caller::new(subject, reach, permissions_of(known.role)))
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
