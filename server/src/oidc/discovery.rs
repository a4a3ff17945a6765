//! What a provider says of itself (OpenID Connect Discovery 1.0).

use jsonwebtoken::jwk::JwkSet;
use serde::Deserialize;

use super::{Endpoint, Error, Trust};

/// A provider's configuration, with its keys.
#[derive(Debug, Clone)]
pub struct Metadata {
    pub issuer: String,
    /// Where browsers go.
    pub authorization_endpoint: String,
    /// Where a code becomes a token.
    pub token_endpoint: Endpoint,
    /// Where its keys are.
    pub jwks_uri: Endpoint,
    /// What its tokens are signed with.
    pub keys: JwkSet,
    secret_methods: Vec<String>,
    names_itself: bool,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// Where the configuration of an issuer is.
    pub fn place(issuer: &str, trust: &Trust) -> Result<Endpoint, Error> {
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        Endpoint::parse(&url, issuer, trust)
    }

    /// Reads a configuration. One of another issuer is no configuration of this one.
    pub fn read(issuer: &str, trust: &Trust, body: &[u8]) -> Result<Self, Error> {
        let document: Result<Document, _> = serde_json::from_slice(body);
        let unread = |_| Error::Configuration("cannot be read".to_owned());
        let document = document.map_err(unread)?;
        if document.issuer != issuer {
            return Err(Error::Configuration("is of another issuer".to_owned()));
        }
        // A browser goes there, so nobody calls it; but what a browser takes for a script is no address.
        Endpoint::parse(&document.authorization_endpoint, issuer, trust)?;
        let endpoint = |url: &str| Endpoint::parse(url, issuer, trust);
        Ok(Self {
            token_endpoint: endpoint(&document.token_endpoint)?,
            jwks_uri: endpoint(&document.jwks_uri)?,
            issuer: document.issuer,
            authorization_endpoint: document.authorization_endpoint,
            keys: JwkSet { keys: Vec::new() },
            secret_methods: document.token_endpoint_auth_methods_supported,
            names_itself: document.authorization_response_iss_parameter_supported,
        })
    }

    /// Its keys, as they are at [`Metadata::jwks_uri`].
    pub fn read_keys(body: &[u8]) -> Result<JwkSet, Error> {
        #[derive(Deserialize)]
        struct Keys {
            keys: Vec<serde_json::Value>,
        }
        let unread = |_| Error::Configuration("has keys that cannot be read".to_owned());
        let keys: Keys = serde_json::from_slice(body).map_err(unread)?;
        // RFC 7517, 5: a key of a kind that one does not know is passed over.
        let keys = keys.keys.into_iter();
        let keys = keys.filter_map(|key| serde_json::from_value(key).ok());
        Ok(JwkSet {
            keys: keys.collect(),
        })
    }

    /// Whether the answer comes from this provider, by its `iss` (RFC 9207).
    pub fn answered(&self, iss: Option<&str>) -> bool {
        match iss {
            Some(iss) => iss == self.issuer,
            None => !self.names_itself,
        }
    }

    /// Without a word of its own it is `client_secret_basic`.
    pub(super) fn takes_secret_in_body(&self) -> bool {
        let has = |method: &str| self.secret_methods.iter().any(|known| known == method);
        has("client_secret_post") && !has("client_secret_basic")
    }
}
