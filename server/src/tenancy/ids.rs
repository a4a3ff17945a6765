//! Ids as types of their own, so that a key's id never stands where a tenant's is asked for.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new random id: sequential ones would tell how much there is.
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )*};
}

id! {
    /// A tenant.
    TenantId;
    /// A user, who may be a member of several tenants.
    UserId;
    /// A group of users in one tenant.
    GroupId;
    /// A proxy key; both of its secrets share it.
    KeyId;
    /// A channel of the platform or of one tenant.
    ChannelId;
    /// One secret of a channel's pool.
    CredentialId;
    /// A public model.
    ModelId;
    /// A way from a model to a channel.
    RouteId;
}

/// The id of one request: a UUIDv7 made by Weir, never by a caller. It is the usage event's key, and on PostgreSQL its
/// first 48 bits (Unix milliseconds, RFC 9562 section 5.7) choose the event's partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub Uuid);

impl RequestId {
    /// A new id that begins with the present millisecond.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Unix milliseconds that the id begins with.
    pub fn at_ms(&self) -> i64 {
        (self.0.as_u128() >> 80) as i64
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}
