//! What somebody who is signed in carries: a short access token, and a refresh token that is good for one use.
//!
//! The access token is a JWT (RFC 9068) signed with Ed25519. It says who and in which session; what they may do is read from the
//! store with each call. The refresh token says its session and its number in it under a MAC of the master key's: nothing of it is
//! stored, so that whoever reads the database can make none, and an older number shows a copy (RFC 9700, 4.14.2).

use std::sync::Arc;

use aws_lc_rs::{
    encoding::AsDer as _,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use crate::{
    clock::now_ms,
    secrets::{Place, Sealer, Secret},
    store::{self, Stores, signing_keys::Stored},
    tenancy::UserId,
};

/// For so long an access token is good. Whoever may not use it any more is refused before: the store is asked.
pub const ACCESS_SECONDS: i64 = 600;
/// A key signs for so long; then it is believed while the next one signs.
const KEY_MS: i64 = 30 * 24 * 3_600_000;
/// Keys that were read are believed for so long without another look.
const KNOWN_MS: i64 = 60_000;
/// Whom access tokens are for.
const AUDIENCE: &str = "weir-management";
const ISSUER: &str = "weir";
/// What kind of token it is (RFC 9068, 2.1).
const TYPE: &str = "at+jwt";

/// Signs and reads tokens.
#[derive(Default)]
pub struct Tokens {
    known: Mutex<Known>,
}

#[derive(Default, Clone)]
struct Known {
    keys: Arc<[Key]>,
    read_ms: i64,
}

struct Key {
    id: Uuid,
    created_ms: i64,
    signs: EncodingKey,
    reads: DecodingKey,
}

/// What an access token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    sid: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// Whom an access token is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bearer {
    pub user: UserId,
    pub session: Uuid,
}

impl Tokens {
    /// An access token for a session.
    pub async fn access(
        &self,
        stores: &Stores,
        sealer: &Sealer,
        bearer: Bearer,
    ) -> Result<String, store::Error> {
        let keys = self.keys(stores, sealer, false).await?;
        let key = match keys.first() {
            Some(key) if now_ms() < key.created_ms + KEY_MS => key,
            _ => {
                make(stores, sealer).await?;
                // What was read a moment ago has not got it.
                *self.known.lock() = Known::default();
                return Box::pin(self.access_with_new(stores, sealer, bearer)).await;
            }
        };
        sign(key, bearer)
    }

    async fn access_with_new(
        &self,
        stores: &Stores,
        sealer: &Sealer,
        bearer: Bearer,
    ) -> Result<String, store::Error> {
        let keys = self.keys(stores, sealer, true).await?;
        let key = keys.first();
        sign(
            key.ok_or_else(|| store::Error::other("there is no signing key"))?,
            bearer,
        )
    }

    /// Whom a token is of; nobody, if anything about it is not as it has to be.
    pub async fn bearer(
        &self,
        stores: &Stores,
        sealer: &Sealer,
        token: &str,
    ) -> Result<Option<Bearer>, store::Error> {
        let Ok(header) = jsonwebtoken::decode_header(token) else {
            return Ok(None);
        };
        // Nothing of a token says where its key is to be found.
        let points = header.jku.is_some() || header.jwk.is_some() || header.x5u.is_some();
        let right = header.alg == Algorithm::EdDSA && header.typ.as_deref() == Some(TYPE);
        let id = header.kid.as_deref().map(Uuid::parse_str);
        let (Some(Ok(id)), true, false) = (id, right, points) else {
            return Ok(None);
        };
        let mut keys = self.keys(stores, sealer, false).await?;
        if keys.iter().all(|key| key.id != id) {
            // Another instance may have made it a moment ago.
            keys = self.keys(stores, sealer, true).await?;
        }
        let Some(key) = keys.iter().find(|key| key.id == id) else {
            return Ok(None);
        };
        let read = jsonwebtoken::decode::<Claims>(token, &key.reads, &validation());
        Ok(read.ok().map(|read| Bearer {
            user: read.claims.sub.into(),
            session: read.claims.sid,
        }))
    }

    /// Whether this installation has given a token out, though it may be over: whoever shows such a one guesses nothing.
    pub fn were_given_out(&self, token: &str) -> bool {
        let mut validation = validation();
        validation.validate_exp = false;
        let keys = Arc::clone(&self.known.lock().keys);
        let mut read = keys
            .iter()
            .map(|key| jsonwebtoken::decode::<Claims>(token, &key.reads, &validation));
        read.any(|read| read.is_ok())
    }

    /// The keys that are believed, the one that signs first.
    async fn keys(
        &self,
        stores: &Stores,
        sealer: &Sealer,
        anew: bool,
    ) -> Result<Arc<[Key]>, store::Error> {
        let (known, now_ms) = (self.known.lock().clone(), now_ms());
        // Unknown keys in tokens cannot make us read without end.
        let fresh_ms = if anew { 1_000 } else { KNOWN_MS };
        let is_fresh = (known.read_ms..known.read_ms + fresh_ms).contains(&now_ms);
        if is_fresh && !(anew && known.keys.is_empty()) {
            return Ok(known.keys);
        }
        let stored = store::signing_keys::newest(&stores.config.read).await?;
        let keys = stored.iter().filter_map(|stored| {
            let opened = open(stored, sealer);
            if opened.is_none() {
                tracing::error!(key = %stored.id, "a signing key cannot be opened: its tokens are refused");
            }
            opened
        });
        let keys: Arc<[Key]> = keys.collect();
        *self.known.lock() = Known {
            keys: Arc::clone(&keys),
            read_ms: now_ms,
        };
        Ok(keys)
    }
}

/// What has to hold of a token besides its signature.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = 30;
    validation
}

fn sign(key: &Key, bearer: Bearer) -> Result<String, store::Error> {
    let now = now_ms() / 1_000;
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: bearer.user.0,
        sid: bearer.session,
        iat: now,
        nbf: now,
        exp: now + ACCESS_SECONDS,
    };
    let header = Header {
        typ: Some(TYPE.to_owned()),
        kid: Some(key.id.to_string()),
        ..Header::new(Algorithm::EdDSA)
    };
    jsonwebtoken::encode(&header, &claims, &key.signs)
        .map_err(|error| store::Error::other(format!("an access token: {error}")))
}

/// Makes the next key, unless another instance has just done so.
async fn make(stores: &Stores, sealer: &Sealer) -> Result<(), store::Error> {
    let failed = |_| store::Error::other("a signing key could not be made");
    let pair = Ed25519KeyPair::generate().map_err(failed)?;
    let document: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
    let secret = Secret::new(BASE64_STANDARD.encode(document.as_ref()));
    let (id, created_ms) = (Uuid::new_v4(), now_ms());
    let sealed = sealer.seal(&secret, place(id));
    let sealed = sealed.map_err(|error| store::Error::other(error.to_string()))?;
    let transaction = stores.config.begin_write().await?;
    // Writers go one after the other from here on, on PostgreSQL too.
    store::catalog::lock(&transaction).await?;
    let newest = store::signing_keys::newest(&transaction).await?;
    let usable = newest
        .first()
        .filter(|key| key.sealed.master_key_id == sealer.key_id());
    if usable.is_none_or(|key| created_ms >= key.created_ms + KEY_MS) {
        let key = Stored {
            id,
            sealed,
            created_ms,
        };
        store::signing_keys::insert(&transaction, key).await?;
    }
    transaction.commit().await?;
    Ok(())
}

fn open(stored: &Stored, sealer: &Sealer) -> Option<Key> {
    let secret = sealer.open(&stored.sealed, place(stored.id)).ok()?;
    let document = BASE64_STANDARD.decode(secret.expose()).ok()?;
    let pair = Ed25519KeyPair::from_pkcs8(&document).ok()?;
    Some(Key {
        id: stored.id,
        created_ms: stored.created_ms,
        signs: EncodingKey::from_ed_der(&document),
        reads: DecodingKey::from_ed_der(pair.public_key().as_ref()),
    })
}

fn place(id: Uuid) -> Place {
    Place {
        table: "signing_keys",
        column: "sealed",
        row: id,
        tenant: None,
    }
}

/// The refresh token of a number in a session.
pub fn refresh(sealer: &Sealer, session: Uuid, generation: i32) -> String {
    let said = format!("{}.{generation}", session.simple());
    let keys = sealer.session_keys();
    let mac = mac(&keys[0], &said).finalize().into_bytes();
    format!("{said}.{}", hex::encode(mac))
}

/// The session and the number of a refresh token that we gave out.
pub fn read_refresh(sealer: &Sealer, token: &str) -> Option<(Uuid, i32)> {
    let (said, shown) = token.rsplit_once('.')?;
    let (session, generation) = said.split_once('.')?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(shown, &mut bytes).ok()?;
    let is_ours = || {
        let mut keys = sealer.session_keys().into_iter();
        keys.any(|key| mac(&key, said).verify_slice(&bytes).is_ok())
    };
    // Another instance may have given it out under a key that is new.
    if !is_ours() {
        sealer.look_again();
        is_ours().then_some(())?;
    }
    Some((Uuid::parse_str(session).ok()?, generation.parse().ok()?))
}

fn mac(key: &[u8; 32], said: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(said.as_bytes());
    mac
}
