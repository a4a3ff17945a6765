//! Secrets: a type that never prints, and the sealing of those that are stored.
//!
//! A sealed secret is AES-256-GCM under the master key with a random nonce of 96 bits, bound by its associated data to
//! the table, column, row and tenant it belongs to and to the key's id: moved anywhere else it does not open. The stored
//! form is `nonce || ciphertext || tag`; the id of the master key stands beside it, for rotation.

use std::fmt;

use aes_gcm::{
    Aes256Gcm, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 12;

/// A secret text, wiped when dropped. It has no `Display`, and its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret in clear: for the one place that sends, seals or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Settings hold secrets too.
impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Where a sealed secret belongs: part of what is authenticated.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub table: &'static str,
    pub column: &'static str,
    pub row: Uuid,
    /// The tenant that owns the row; `None` is the platform.
    pub tenant: Option<Uuid>,
}

/// A sealed secret as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub bytes: Vec<u8>,
    pub master_key_id: String,
}

/// Why a sealed secret does not open. It does not say what differed: an attacker who moves ciphertexts learns nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the secret in {table}.{column} of row {row} cannot be opened with this master key")]
    DoesNotOpen {
        table: &'static str,
        column: &'static str,
        row: Uuid,
    },
    #[error("the master key must be 32 bytes in base64")]
    BadMasterKey,
    #[error("the secret could not be sealed")]
    NotSealed,
}

/// Seals and opens under one master key.
#[derive(Clone)]
pub struct Sealer {
    cipher: Aes256Gcm,
    key_id: String,
    /// A key of its own for authenticating spool records, derived so that the master key serves one purpose only.
    spool_key: Zeroizing<[u8; 32]>,
    /// The same for the rows of the audit log.
    audit_key: Zeroizing<[u8; 32]>,
    /// The same for refresh tokens.
    session_key: Zeroizing<[u8; 32]>,
}

impl Sealer {
    /// From a master key as settings give it: 32 bytes in standard base64.
    pub fn from_base64(text: &str) -> Result<Self, Error> {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let bytes = Zeroizing::new(
            BASE64_STANDARD
                .decode(text.trim())
                .map_err(|_| Error::BadMasterKey)?,
        );
        let key: &[u8; 32] = bytes
            .as_slice()
            .try_into()
            .map_err(|_| Error::BadMasterKey)?;
        Ok(Self::new(key))
    }

    /// From the bytes of a master key.
    pub fn new(key: &[u8; 32]) -> Self {
        let id = derive(b"weir master key id", key);
        Self {
            cipher: Aes256Gcm::new(key.into()),
            key_id: id[..6].iter().map(|byte| format!("{byte:02x}")).collect(),
            spool_key: Zeroizing::new(derive(b"weir spool records", key)),
            audit_key: Zeroizing::new(derive(b"weir audit log", key)),
            session_key: Zeroizing::new(derive(b"weir refresh tokens", key)),
        }
    }

    /// A new random master key in base64.
    pub fn generate_base64() -> Zeroizing<String> {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let key = Zeroizing::new(rand::random::<[u8; 32]>());
        Zeroizing::new(BASE64_STANDARD.encode(key.as_slice()))
    }

    /// Names the master key without telling anything about it.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The key that authenticates spool records.
    pub fn spool_key(&self) -> &[u8; 32] {
        &self.spool_key
    }

    /// The key that chains the rows of the audit log.
    pub fn audit_key(&self) -> &[u8; 32] {
        &self.audit_key
    }

    /// The key that refresh tokens are authenticated with.
    pub fn session_key(&self) -> &[u8; 32] {
        &self.session_key
    }

    /// Seals a secret for one place.
    pub fn seal(&self, secret: &Secret, place: Place) -> Result<Sealed, Error> {
        let nonce = rand::random::<[u8; NONCE_BYTES]>();
        let payload = Payload {
            msg: secret.expose().as_bytes(),
            aad: &self.associated(place),
        };
        let sealed = self
            .cipher
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| Error::NotSealed)?;
        Ok(Sealed {
            bytes: [&nonce[..], &sealed].concat(),
            master_key_id: self.key_id.clone(),
        })
    }

    /// Opens what was sealed for the same place.
    pub fn open(&self, sealed: &Sealed, place: Place) -> Result<Secret, Error> {
        let failed = || Error::DoesNotOpen {
            table: place.table,
            column: place.column,
            row: place.row,
        };
        if sealed.master_key_id != self.key_id {
            return Err(failed());
        }
        let (nonce, ciphertext) = sealed
            .bytes
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(failed)?;
        let payload = Payload {
            msg: ciphertext,
            aad: &self.associated(place),
        };
        let opened = self
            .cipher
            .decrypt(&Nonce::from(*nonce), payload)
            .map_err(|_| failed())?;
        String::from_utf8(opened)
            .map(Secret::new)
            .map_err(|_| failed())
    }

    /// Every part with its length before it, so that no two places give the same bytes.
    fn associated(&self, place: Place) -> Vec<u8> {
        let tenant = place
            .tenant
            .map_or_else(|| "platform".to_owned(), |tenant| tenant.to_string());
        let row = place.row.to_string();
        let parts = [
            "weir1",
            place.table,
            place.column,
            &row,
            &tenant,
            &self.key_id,
        ];
        parts
            .iter()
            .flat_map(|part| {
                (part.len() as u32)
                    .to_be_bytes()
                    .into_iter()
                    .chain(part.bytes())
            })
            .collect()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sealer")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

fn derive(purpose: &[u8], key: &[u8; 32]) -> [u8; 32] {
    use hmac::{KeyInit as _, Mac as _};
    let mut mac = hmac::Hmac::<Sha256>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(purpose);
    mac.finalize().into_bytes().into()
}

/// SHA-256 in lower-case hexadecimal, for comparing secrets that must not be shown.
pub fn fingerprint(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            table: "credentials",
            column: "sealed",
            row: Uuid::from_u128(1),
            tenant: None,
        }
    }

    /// Threats: D2.
    #[test]
    fn a_secret_opens_in_its_own_place_only() {
        let sealer = Sealer::new(&[7; 32]);
        let sealed = sealer
            .seal(&Secret::new("sk-secret"), place())
            .expect("sealed");
        assert_eq!(
            sealer.open(&sealed, place()).expect("opened").expose(),
            "sk-secret"
        );
        let elsewhere = [
            Place {
                row: Uuid::from_u128(2),
                ..place()
            },
            Place {
                column: "other",
                ..place()
            },
            Place {
                table: "rules",
                ..place()
            },
            Place {
                tenant: Some(Uuid::from_u128(1)),
                ..place()
            },
        ];
        for place in elsewhere {
            assert!(sealer.open(&sealed, place).is_err(), "{place:?}");
        }
        assert!(Sealer::new(&[8; 32]).open(&sealed, place()).is_err());
        let renamed = Sealed {
            master_key_id: Sealer::new(&[8; 32]).key_id,
            ..sealed
        };
        assert!(Sealer::new(&[8; 32]).open(&renamed, place()).is_err());
    }

    /// The full length is that of threats.md; each nonce is drawn, so that a clone of a machine draws others.
    ///
    /// Threats: D2.
    #[test]
    fn no_nonce_comes_twice() {
        let full = std::env::var("WEIR_FAULTS").is_ok_and(|length| length == "full");
        let seals = if full { 1_000_000 } else { 20_000 };
        let (one, other) = (Sealer::new(&[7; 32]), Sealer::new(&[7; 32]));
        let secret = Secret::new("sk-secret");
        let mut nonces = std::collections::HashSet::new();
        for at in 0..seals {
            let sealer = if at % 2 == 0 { &one } else { &other };
            let sealed = sealer.seal(&secret, place()).expect("sealed");
            assert!(nonces.insert(sealed.bytes[..NONCE_BYTES].to_vec()));
        }
    }

    #[test]
    fn a_changed_or_cut_secret_does_not_open() {
        let sealer = Sealer::new(&[7; 32]);
        let sealed = sealer
            .seal(&Secret::new("sk-secret"), place())
            .expect("sealed");
        for at in 0..sealed.bytes.len() {
            let mut changed = sealed.clone();
            changed.bytes[at] ^= 1;
            assert!(sealer.open(&changed, place()).is_err());
            changed.bytes.truncate(at);
            assert!(sealer.open(&changed, place()).is_err());
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        assert_eq!(format!("{:?}", Secret::new("sk-secret")), "Secret(…)");
        assert!(!format!("{:?}", Sealer::new(&[7; 32])).contains("spool"));
    }
}
