//! Maps by ids of Weir's own making, and ids made of what something is.
//!
//! The standard library's hash withstands keys that an attacker chose for their collisions, and costs each call a
//! microsecond or two: a dozen maps are asked for each. Ids are random, digests are SHA-256, and names are those that
//! operators and tenants gave; `foldhash` is seeded for each map, which is enough for these. What callers choose freely,
//! such as addresses, stays with the standard library's.

use foldhash::quality::RandomState;
use imbl::{GenericHashMap, shared_ptr::DefaultSharedPtr};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A map by ids.
pub type IdMap<K, V> = std::collections::HashMap<K, V, RandomState>;

/// A map by ids whose copies share what they have in common.
pub type SharedIdMap<K, V> = GenericHashMap<K, V, RandomState, DefaultSharedPtr>;

/// An id that the parts alone decide: the first 16 bytes of the SHA-256 of all, each with its length before it, so that no two lists
/// are alike.
pub fn digest_id(parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u32).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lists_of_parts_are_alike() {
        assert_ne!(digest_id(&[b"ab", b"c"]), digest_id(&[b"a", b"bc"]));
        assert_ne!(digest_id(&[b"a"]), digest_id(&[b"a", b""]));
    }
}
