//! What a provider's token says, once it is shown to be its token and for us (OpenID Connect Core 1.0, 3.1.3.7).

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Error, Metadata};

/// Clocks may differ by so much, in seconds.
const LEEWAY: u64 = 60;
/// Longest name of somebody at a provider, in bytes: OpenID Connect Core 1.0, 2, has 255 characters of ASCII.
const MAX_SUBJECT: usize = 255;
/// Most groups that are read.
const MAX_GROUPS: usize = 1_000;
/// What signs with a key that only the provider has. One that both have, and `none`, are not among them.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// What a token must say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    pub client_id: &'a str,
    pub nonce: &'a str,
    pub groups_claim: &'a str,
}

/// What it says of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who it is there, whatever their address.
    pub subject: String,
    /// Their address, if the provider knows it to be theirs.
    pub email: Option<String>,
    pub name: Option<String>,
    pub groups: Vec<String>,
    /// When they last showed the provider who they are, Unix seconds; not every provider says.
    pub auth_time: Option<i64>,
}

#[derive(Deserialize)]
struct Token {
    sub: String,
    aud: Value,
    azp: Option<String>,
    nonce: Option<String>,
    // Required, and with it a number.
    #[expect(dead_code, reason = "it must be there and be a number")]
    iat: u64,
    email: Option<String>,
    email_verified: Option<Value>,
    name: Option<String>,
    auth_time: Option<i64>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Reads a token that the provider signed, for this client and this sign-in.
pub fn verify(metadata: &Metadata, token: &str, expected: Expected<'_>) -> Result<Claims, Error> {
    let refused = |what: &str| Error::Token(what.to_owned());
    let header = decode_header(token).map_err(|_| refused("cannot be read"))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(refused("is signed in a way that proves nothing"));
    }
    let key = key(metadata, header.kid.as_deref(), header.alg);
    let key = key.ok_or_else(|| refused("is signed with a key that is not the provider's"))?;
    let key = DecodingKey::from_jwk(key).map_err(|_| refused("is signed with an odd key"))?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[expected.client_id]);
    validation.set_issuer(&[&metadata.issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = LEEWAY;
    let token = decode::<Token>(token, &key, &validation);
    let token = token.map_err(|error| refused(&format!("is refused: {error}")))?;
    let token = token.claims;
    // That we are among them is shown by now.
    let is_for_several = token.aud.as_array().is_some_and(|aud| aud.len() > 1);
    match token.azp.as_deref() {
        None if is_for_several => {
            return Err(refused("is for several, and does not say for whom"));
        }
        Some(azp) if azp != expected.client_id => return Err(refused("is for somebody else")),
        _ => {}
    }
    if token.nonce.as_deref() != Some(expected.nonce) {
        return Err(refused("is of another sign-in"));
    }
    if token.sub.is_empty() || token.sub.len() > MAX_SUBJECT {
        return Err(refused("does not say whose it is"));
    }
    Ok(Claims {
        groups: groups(token.rest.get(expected.groups_claim)),
        email: token
            .email
            .filter(|_| is_true(token.email_verified.as_ref())),
        subject: token.sub,
        name: token.name,
        auth_time: token.auth_time,
    })
}

/// Some providers write booleans as text.
fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(value)) => value == "true",
        _ => false,
    }
}

fn groups(value: Option<&Value>) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match value {
        Some(Value::Array(all)) => all.iter().take(MAX_GROUPS).filter_map(text).collect(),
        Some(one @ Value::String(_)) => text(one).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The provider's key for signatures of this kind: the one that is named, or the only one.
fn key<'a>(metadata: &'a Metadata, id: Option<&str>, algorithm: Algorithm) -> Option<&'a Jwk> {
    let fits = |key: &&Jwk| {
        let common = &key.common;
        let is_for_signatures = !matches!(common.public_key_use, Some(PublicKeyUse::Encryption));
        let operations = common.key_operations.as_ref();
        let may_verify = operations.is_none_or(|all| all.contains(&KeyOperations::Verify));
        let named = common.key_algorithm;
        let same = named.is_none_or(|named| named.to_string() == format!("{algorithm:?}"));
        is_for_signatures && may_verify && same
    };
    let mut fitting = metadata.keys.keys.iter().filter(fits);
    match id {
        Some(id) => fitting.find(|key| key.common.key_id.as_deref() == Some(id)),
        None => fitting.next().filter(|_| fitting.next().is_none()),
    }
}
