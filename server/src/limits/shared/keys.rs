//! How counts are named in Redis, and told to its scripts. No name that people give ever comes into a key, only ids and
//! addresses.

use super::super::{
    claim::{Counted, Value},
    rate::{Kind, Shape},
};
use crate::tenancy::{LimitId, Scope};

/// What ties the keys of one round trip together: a tenant's, or one limit's that crosses tenants.
pub fn tag(counted: &Counted<'_>) -> String {
    tag_of(counted.limit.scope, counted.limit.id)
}

pub fn tag_of(scope: Scope, limit: LimitId) -> String {
    match scope.tenant() {
        Some(tenant) => tenant.0.simple().to_string(),
        None => limit.0.simple().to_string(),
    }
}

/// A count's key below its tag: ids and addresses alone.
pub fn key(limit: LimitId, value: Value) -> String {
    let limit = limit.0.simple();
    match value {
        Value::All => format!("r:{limit}"),
        Value::Key(id) => format!("r:{limit}:k{}", id.0.simple()),
        Value::User(id) => format!("r:{limit}:u{}", id.0.simple()),
        Value::Model(id) => format!("r:{limit}:m{}", id.0.simple()),
        Value::Network(address) => format!("r:{limit}:n{address}"),
    }
}

pub fn letter(kind: Kind) -> &'static str {
    match kind {
        Kind::Governed | Kind::Bucket => "b",
        Kind::Leaky => "l",
        Kind::Sliding => "s",
        Kind::Fixed => "f",
        Kind::Concurrent => "c",
    }
}

/// At most what the limit can ever hold.
pub fn bounded(shape: &Shape, cost: u64) -> u64 {
    match shape.kind {
        Kind::Governed | Kind::Bucket => cost.min(shape.burst),
        Kind::Sliding | Kind::Fixed => cost.min(shape.max),
        Kind::Leaky | Kind::Concurrent => cost,
    }
}
