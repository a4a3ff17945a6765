//! Secrets: a type that never prints, and the sealing of those that are stored.
//!
//! A sealed secret is AES-256-GCM under the master key with a random nonce of 96 bits, bound by its associated data to
//! the table, column, row and tenant it belongs to and to the key's id: moved anywhere else it does not open. The stored
//! form is `nonce || ciphertext || tag`; the id of the master key stands beside it, for rotation.

use std::{
    fmt,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use aes_gcm::{
    Aes256Gcm, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
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

impl Sealed {
    /// For what somebody else keeps until they bring it back: a cookie, a cursor. Letters, digits, `-`, `_` and `.`.
    pub fn to_text(&self) -> String {
        use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

        let bytes = BASE64_URL_SAFE_NO_PAD.encode(&self.bytes);
        format!("{}.{bytes}", self.master_key_id)
    }

    /// What [`Self::to_text`] made; `None` if it cannot have.
    pub fn from_text(text: &str) -> Option<Self> {
        use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

        let (key, bytes) = text.split_once('.')?;
        Some(Self {
            bytes: BASE64_URL_SAFE_NO_PAD.decode(bytes).ok()?,
            master_key_id: key.to_owned(),
        })
    }
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
    #[error("a master key must be 32 bytes in base64")]
    BadMasterKey,
    #[error("the secret could not be sealed")]
    NotSealed,
}

/// Why the keys in a file cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error(transparent)]
    Read(#[from] std::io::Error),
    #[error(transparent)]
    Keys(#[from] Error),
}

/// A master key with what is derived from it, so that the master key itself serves one purpose only.
struct Key {
    id: String,
    cipher: Aes256Gcm,
    spool: Zeroizing<[u8; 32]>,
    audit: Zeroizing<[u8; 32]>,
    session: Zeroizing<[u8; 32]>,
}

impl Key {
    fn new(key: &[u8; 32]) -> Self {
        let id = derive(b"weir master key id", key);
        Self {
            id: hex::encode(&id[..6]),
            cipher: Aes256Gcm::new(key.into()),
            spool: Zeroizing::new(derive(b"weir spool records", key)),
            audit: Zeroizing::new(derive(b"weir audit log", key)),
            session: Zeroizing::new(derive(b"weir refresh tokens", key)),
        }
    }
}

/// Master keys: the first one seals, all of them open.
type Ring = Arc<Vec<Key>>;

/// Seals under the first of its master keys, and opens under any.
///
/// The keys of a file are read again where one of them is missing, and before anything is sealed: so `weir secrets rotate` changes the file
/// and a process that serves goes on.
#[derive(Clone)]
pub struct Sealer(Arc<Keys>);

struct Keys {
    ring: ArcSwap<Vec<Key>>,
    /// Where they come from, and what the file was like when it was read.
    file: Option<(PathBuf, Mutex<Stamp>)>,
}

/// Tells a file from what it was before: its inode, length, and time of change. A file that is as it was is not read again, whoever
/// makes up keys that are not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64);

impl Stamp {
    fn of(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::metadata(path)?;
        Ok(Self(
            file.ino(),
            file.len(),
            file.mtime(),
            file.mtime_nsec(),
        ))
    }
}

impl Sealer {
    /// From master keys as settings give them: each 32 bytes in standard base64, between blanks, line breaks or commas.
    pub fn from_base64(text: &str) -> Result<Self, Error> {
        Ok(Self::of(ring(text)?, None))
    }

    /// From the master keys in a file, which may change.
    pub fn from_file(path: &Path) -> Result<Self, FileError> {
        // Before it is read: what changes meanwhile is read again.
        let stamp = Stamp::of(path)?;
        let ring = read(path)?;
        let file = (path.to_owned(), Mutex::new(stamp));
        Ok(Self::of(ring, Some(file)))
    }

    /// From the bytes of one master key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self::of(Arc::new(vec![Key::new(key)]), None)
    }

    fn of(ring: Ring, file: Option<(PathBuf, Mutex<Stamp>)>) -> Self {
        Self(Arc::new(Keys {
            ring: ArcSwap::new(ring),
            file,
        }))
    }

    /// A new random master key in base64.
    pub fn generate_base64() -> Zeroizing<String> {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let key = Zeroizing::new(rand::random::<[u8; 32]>());
        Zeroizing::new(BASE64_STANDARD.encode(key.as_slice()))
    }

    /// Names the master key that seals, without telling anything about it.
    pub fn key_id(&self) -> String {
        self.ring()[0].id.clone()
    }

    /// Names all that open, the one that seals first.
    pub fn key_ids(&self) -> Vec<String> {
        self.ring().iter().map(|key| key.id.clone()).collect()
    }

    /// The key that authenticates spool records under a master key.
    pub fn spool_key(&self, id: &str) -> Option<Zeroizing<[u8; 32]>> {
        self.under(id, |key| key.spool.clone())
    }

    /// The key that chains the rows of the audit log under a master key.
    pub fn audit_key(&self, id: &str) -> Option<Zeroizing<[u8; 32]>> {
        self.under(id, |key| key.audit.clone())
    }

    /// The keys that refresh tokens are authenticated with, the one for new ones first.
    pub fn session_keys(&self) -> Vec<Zeroizing<[u8; 32]>> {
        self.ring().iter().map(|key| key.session.clone()).collect()
    }

    fn ring(&self) -> Ring {
        self.0.ring.load_full()
    }

    fn under<T>(&self, id: &str, take: impl Fn(&Key) -> T) -> Option<T> {
        let find = |ring: Ring| ring.iter().find(|key| key.id == id).map(&take);
        find(self.ring()).or_else(|| {
            self.look_again();
            find(self.ring())
        })
    }

    /// Reads the file again if it has changed. What cannot be read leaves the keys as they were.
    pub fn look_again(&self) {
        let Some((path, known)) = &self.0.file else {
            return;
        };
        let mut known = known.lock();
        let stamp = Stamp::of(path).unwrap_or_default();
        if stamp == *known {
            return;
        }
        match read(path) {
            Ok(ring) => {
                self.0.ring.store(ring);
                *known = stamp;
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the master keys cannot be read again");
            }
        }
    }

    /// Seals a secret for one place.
    pub fn seal(&self, secret: &Secret, place: Place) -> Result<Sealed, Error> {
        self.look_again();
        let ring = self.ring();
        let key = &ring[0];
        let nonce = rand::random::<[u8; NONCE_BYTES]>();
        let payload = Payload {
            msg: secret.expose().as_bytes(),
            aad: &associated(&key.id, place),
        };
        let sealed = key
            .cipher
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| Error::NotSealed)?;
        Ok(Sealed {
            bytes: [&nonce[..], &sealed].concat(),
            master_key_id: key.id.clone(),
        })
    }

    /// Opens what was sealed for the same place.
    pub fn open(&self, sealed: &Sealed, place: Place) -> Result<Secret, Error> {
        let failed = || Error::DoesNotOpen {
            table: place.table,
            column: place.column,
            row: place.row,
        };
        let id = &sealed.master_key_id;
        let cipher = self.under(id, |key| key.cipher.clone());
        let cipher = cipher.ok_or_else(failed)?;
        let (nonce, ciphertext) = sealed
            .bytes
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(failed)?;
        let payload = Payload {
            msg: ciphertext,
            aad: &associated(id, place),
        };
        let opened = cipher
            .decrypt(&Nonce::from(*nonce), payload)
            .map_err(|_| failed())?;
        String::from_utf8(opened)
            .map(Secret::new)
            .map_err(|_| failed())
    }
}

/// Every part with its length before it, so that no two places give the same bytes.
fn associated(key_id: &str, place: Place) -> Vec<u8> {
    let tenant = place
        .tenant
        .map_or_else(|| "platform".to_owned(), |tenant| tenant.to_string());
    let row = place.row.to_string();
    let parts = ["weir1", place.table, place.column, &row, &tenant, key_id];
    let framed = parts.iter().flat_map(|part| {
        let length = (part.len() as u32).to_be_bytes();
        length.into_iter().chain(part.bytes())
    });
    framed.collect()
}

fn read(path: &Path) -> Result<Ring, FileError> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new)?;
    Ok(ring(&text)?)
}

fn ring(text: &str) -> Result<Ring, Error> {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let words = text.split(|character: char| character.is_whitespace() || character == ',');
    let mut keys: Vec<Key> = Vec::new();
    for word in words.filter(|word| !word.is_empty()) {
        let bytes = BASE64_STANDARD.decode(word).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| Error::BadMasterKey)?;
        let bytes: &[u8; 32] = bytes
            .as_slice()
            .try_into()
            .map_err(|_| Error::BadMasterKey)?;
        let key = Key::new(bytes);
        if keys.iter().all(|known| known.id != key.id) {
            keys.push(key);
        }
    }
    match keys.is_empty() {
        true => Err(Error::BadMasterKey),
        false => Ok(Arc::new(keys)),
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sealer")
            .field("key_ids", &self.key_ids())
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
    hex::encode(Sha256::digest(bytes))
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
            master_key_id: Sealer::new(&[8; 32]).key_id(),
            ..sealed
        };
        assert!(Sealer::new(&[8; 32]).open(&renamed, place()).is_err());
    }

    #[test]
    fn all_keys_open_and_the_first_one_seals() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let (old, new) = (Sealer::generate_base64(), Sealer::generate_base64());
        std::fs::write(&path, format!("{}\n", *old)).unwrap();
        let sealer = Sealer::from_file(&path).unwrap();
        let secret = Secret::new("sk-secret");
        let before = sealer.seal(&secret, place()).unwrap();
        // Another process changes the file: what is sealed from then on is so under the new key.
        std::fs::write(&path, format!("{}\n{}\n", *new, *old)).unwrap();
        let after = sealer.seal(&secret, place()).unwrap();
        assert_ne!(before.master_key_id, after.master_key_id);
        for sealed in [&before, &after] {
            assert_eq!(sealer.open(sealed, place()).unwrap(), secret);
        }
        assert_eq!(sealer.key_id(), after.master_key_id);
        let only_old = Sealer::from_base64(&old).unwrap();
        assert!(only_old.open(&after, place()).is_err());
        // A file that cannot be read takes nothing away.
        std::fs::write(&path, "half a ke").unwrap();
        assert_eq!(
            sealer.seal(&secret, place()).unwrap().master_key_id,
            after.master_key_id
        );
        for bad in ["", "half a key", &format!("{},x", *new)] {
            assert!(Sealer::from_base64(bad).is_err(), "{bad}");
        }
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
