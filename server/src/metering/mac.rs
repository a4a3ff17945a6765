//! The key that authenticates what metering leaves on disk.
//!
//! Spool records and in-flight slots carry a tag: HMAC-SHA-256, cut to 16 bytes, over the content and the place it
//! stands at. So an edited record, and one copied from elsewhere, is told from a true one. Nothing here is secret but
//! the key, and nothing is encrypted: events hold no secrets.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;

/// An HMAC cut to 16 bytes.
pub type Tag = [u8; TAG_BYTES];

/// A key for tags, already mixed in, so that a tag costs no more than the hash of what it covers.
#[derive(Clone)]
pub struct MacKey(Hmac<Sha256>);

impl MacKey {
    /// From the bytes of `secrets::Sealer::spool_key`.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(
            Hmac::new_from_slice(key)
                .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length")),
        )
    }

    /// The key of one purpose or place: all its tags cover `context` too. Contexts of one key have one length, or
    /// differ within the length of the shorter.
    #[must_use]
    pub fn bound(&self, context: &[u8]) -> Self {
        let mut bound = self.0.clone();
        bound.update(context);
        Self(bound)
    }

    /// The tag of the parts in a row; all but the last have a fixed length.
    pub fn tag(&self, parts: &[&[u8]]) -> Tag {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&whole[..TAG_BYTES]);
        tag
    }

    /// Whether `tag` is the parts' own, in a time that does not tell where it differs.
    pub fn verifies(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.tag(parts).ct_eq(tag).into()
    }
}
