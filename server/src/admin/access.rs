//! Who may call the management API: for now whoever has `WEIR_ADMIN_TOKEN`, which has all platform rights.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{
    State,
    error::{ApiError, Code},
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

/// A platform operator. As an argument of a handler: nobody else gets in.
#[derive(Debug)]
pub struct Operator(());

impl FromRequest for Operator {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(operator(request))
    }
}

fn operator(request: &HttpRequest) -> Result<Operator, ApiError> {
    let refused = || {
        let detail = "Send `authorization: Bearer` with the admin token.";
        ApiError::new(Code::Unauthorized, detail)
    };
    let state = request.app_data::<web::Data<State>>().ok_or_else(refused)?;
    let mut headers = request.headers().get_all(header::AUTHORIZATION);
    let (Some(value), None) = (headers.next(), headers.next()) else {
        return Err(refused());
    };
    let value = value.to_str().map_err(|_| refused())?;
    let (scheme, token) = value.split_once(' ').ok_or_else(refused)?;
    if scheme.eq_ignore_ascii_case("bearer") && state.token.is(token) {
        Ok(Operator(()))
    } else {
        Err(refused())
    }
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
