//! Ids as types of their own, so that a key's id never stands where a tenant's is asked for.

use serde::{Deserialize, Serialize};
use uuid::{ContextV7, Timestamp, Uuid};

use crate::clock;

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
    /// A role of a tenant's own.
    RoleId;
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
    /// A limit.
    LimitId;
    /// A budget.
    BudgetId;
}

/// The id of one request: a UUIDv7 made by Weir, never by a caller. It is the usage event's key, and on PostgreSQL its
/// first 48 bits (Unix milliseconds, RFC 9562 section 5.7) choose the event's partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub Uuid);

impl RequestId {
    /// A new id that begins with the present millisecond; its parts below that come next, then 62 random bits.
    ///
    /// `Uuid::now_v7` never goes back, so that one jump ahead of the clock would date every later request, for as long
    /// as the process lives.
    pub fn new() -> Self {
        let since = clock::since_1970();
        let context = ContextV7::new().with_additional_precision();
        let now = Timestamp::from_unix(context, since.as_secs(), since.subsec_nanos());
        Self(Uuid::new_v7(now))
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn request_ids_are_of_now_in_order_and_never_alike() {
        let before_ms = clock::now_ms();
        let ids: Vec<RequestId> = (0..200_000).map(|_| RequestId::new()).collect();
        let after_ms = clock::now_ms();
        assert!(
            ids.iter()
                .all(|id| (before_ms..=after_ms).contains(&id.at_ms()))
        );
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        // Those of one process within a quarter of a microsecond stand in any order.
        let early = ids.iter().step_by(100);
        assert!(early.is_sorted());
    }
}
