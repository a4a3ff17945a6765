//! OpenID Connect, as the party that relies on a provider's word (OpenID Connect Core 1.0, the authorization code flow with PKCE,
//! RFC 7636).
//!
//! What goes over the wire is said here; who calls it, and what its word is worth, is not. JSON Web Tokens are `jsonwebtoken`'s to
//! verify. The crate `openidconnect` does all of it, and brings `rsa` (RUSTSEC-2023-0071) and its own HTTP along, so it is not used.

mod claims;
mod discovery;
mod endpoint;

pub use claims::{Claims, Expected, verify};
pub use discovery::Metadata;
pub use endpoint::{Endpoint, Trust};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::tenancy::TenantId;

/// Why a provider's word does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its configuration is not what it has to be.
    #[error("the provider's configuration {0}")]
    Configuration(String),
    /// Its token is none, or not for us.
    #[error("the provider's token {0}")]
    Token(String),
    /// It refused.
    #[error("the provider said {0}")]
    Refused(String),
}

/// What Weir remembers of a sign-in until the browser comes back with a code.
#[derive(Clone, Serialize, Deserialize)]
pub struct Begun {
    /// Comes back with the code; shows that it is the same browser.
    pub state: String,
    /// Comes back within the token.
    pub nonce: String,
    /// Shown with the code, whose digest the provider has had.
    pub verifier: String,
}

impl Begun {
    /// Something that nobody can guess.
    pub fn new() -> Self {
        let random = || BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        Self {
            state: random(),
            nonce: random(),
            verifier: random(),
        }
    }

    /// RFC 7636, 4.2: S256.
    fn challenge(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.as_bytes()))
    }
}

impl Default for Begun {
    fn default() -> Self {
        Self::new()
    }
}

/// A call to a provider.
#[derive(Debug, Clone)]
pub struct Ask {
    pub endpoint: Endpoint,
    /// Whose provider it is.
    pub owner: Option<TenantId>,
    /// What is posted; nothing: it is a question.
    pub form: Option<String>,
    pub authorization: Option<String>,
}

/// What it answered.
#[derive(Debug, Clone)]
pub struct Told {
    pub status: u16,
    pub body: Bytes,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    pub id: &'a str,
    pub redirect_uri: &'a str,
}

/// Where a browser goes to sign in; `again`: even if the provider knows by now who it is.
pub fn authorization_url(
    metadata: &Metadata,
    client: Client<'_>,
    scopes: &[String],
    begun: &Begun,
    again: bool,
) -> String {
    let scope = scopes.join(" ");
    let challenge = begun.challenge();
    let mut words = vec![
        ("response_type", "code"),
        ("client_id", client.id),
        ("redirect_uri", client.redirect_uri),
        ("scope", &scope),
        ("state", &begun.state),
        ("nonce", &begun.nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    if again {
        // OpenID Connect Core, 3.1.2.1: it asks who it is whatever it knows, and says when.
        words.extend([("prompt", "login"), ("max_age", "0")]);
    }
    let query = form(&words);
    let endpoint = &metadata.authorization_endpoint;
    let join = if endpoint.contains('?') { '&' } else { '?' };
    format!("{endpoint}{join}{query}")
}

/// The body with which a code becomes a token (RFC 6749, 4.1.3), and where the client's secret goes.
pub fn token_request(
    metadata: &Metadata,
    client: Client<'_>,
    secret: Option<&str>,
    code: &str,
    begun: &Begun,
) -> (String, Option<String>) {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", client.redirect_uri),
        ("code_verifier", &begun.verifier),
    ];
    let Some(secret) = secret else {
        fields.push(("client_id", client.id));
        return (form(&fields), None);
    };
    if metadata.takes_secret_in_body() {
        fields.push(("client_id", client.id));
        fields.push(("client_secret", secret));
        return (form(&fields), None);
    }
    // RFC 6749, 2.3.1: both are encoded as in a form first.
    let pair = format!("{}:{}", encoded(client.id), encoded(secret));
    let basic = base64::prelude::BASE64_STANDARD.encode(pair);
    (form(&fields), Some(format!("Basic {basic}")))
}

/// The token in an answer to [`token_request`].
pub fn id_token(status: u16, body: &[u8]) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Answer {
        id_token: Option<String>,
        error: Option<String>,
    }
    let answer: Option<Answer> = serde_json::from_slice(body).ok();
    match answer {
        Some(Answer {
            id_token: Some(token),
            ..
        }) if status == 200 => Ok(token),
        Some(Answer {
            error: Some(error), ..
        }) => Err(Error::Refused(word(&error))),
        _ => Err(Error::Refused(format!("{status} and no token"))),
    }
}

/// A provider's own word, as far as it is one: RFC 6749, 5.2, has error codes of plain letters.
pub fn word(text: &str) -> String {
    let plain = |character: &char| character.is_ascii_alphanumeric() || *character == '_';
    text.chars().filter(plain).take(64).collect()
}

fn form(fields: &[(&str, &str)]) -> String {
    let fields = fields.iter();
    let fields = fields.map(|(name, value)| format!("{name}={}", encoded(value)));
    fields.collect::<Vec<String>>().join("&")
}

/// As a form has it, with `%20` for a blank, which every reader takes.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
