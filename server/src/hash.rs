//! Maps by ids of Weir's own making.
//!
//! The standard library's hash withstands keys that an attacker chose for their collisions, and costs each call a
//! microsecond or two: a dozen maps are asked for each. Ids are random, digests are SHA-256, and names are those that
//! operators and tenants gave; `foldhash` is seeded for each map, which is enough for these. What callers choose freely,
//! such as addresses, stays with the standard library's.

use foldhash::quality::RandomState;
use imbl::{GenericHashMap, shared_ptr::DefaultSharedPtr};

/// A map by ids.
pub type IdMap<K, V> = std::collections::HashMap<K, V, RandomState>;

/// A map by ids whose copies share what they have in common.
pub type SharedIdMap<K, V> = GenericHashMap<K, V, RandomState, DefaultSharedPtr>;
