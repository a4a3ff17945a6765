//! Tenants, users, groups and proxy keys: what they are and the rules that need no store.
//!
//! The catalog holds these types, identification reads them, the store makes them out of rows. Nothing here does I/O
//! or knows a clock: whoever asks passes the time.

pub mod address;
pub mod ids;
pub mod key;
pub mod limit;
pub mod name;
pub mod person;
pub mod reach;

use serde::{Deserialize, Serialize};
use weir_api_types::resources::Policies;

pub use ids::{
    BudgetId, ChannelId, CredentialId, GroupId, KeyId, LimitId, ModelId, RequestId, RoleId,
    RouteId, TenantId, UserId,
};
pub use key::{Owner, ProxyKey};
pub use limit::{Budget, Limit, Scope};
pub use person::{MemberRole, Membership, Person};

/// A customer of the platform: the unit of isolation, billing and limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    pub id: TenantId,
    /// Unique over the installation.
    pub name: String,
    /// A disabled tenant's keys answer `key_disabled`.
    pub enabled: bool,
    /// IANA name; reports and budgets of the tenant use its days.
    pub time_zone: String,
    /// What of the platform the tenant may use; `None` grants every platform model and channel.
    pub grants: Option<Grants>,
    /// What its own people may do in it.
    pub policies: Policies,
}

/// What a tenant may use of the platform. A list that is absent grants everything of its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<String>>,
}

impl Tenant {
    /// Whether the platform's model of this name is granted.
    pub fn may_use_model(&self, name: &str) -> bool {
        granted(
            self.grants
                .as_ref()
                .and_then(|grants| grants.models.as_deref()),
            name,
        )
    }

    /// Whether the platform's channel of this name is granted.
    pub fn may_use_channel(&self, name: &str) -> bool {
        granted(
            self.grants
                .as_ref()
                .and_then(|grants| grants.channels.as_deref()),
            name,
        )
    }
}

fn granted(patterns: Option<&[String]>, name: &str) -> bool {
    patterns.is_none_or(|patterns| patterns.iter().any(|pattern| name::matches(pattern, name)))
}

/// A person, as far as a request needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    pub id: UserId,
    /// Lower case; unique over the installation.
    pub email: String,
    pub name: String,
    /// A disabled user's keys answer `key_disabled`.
    pub enabled: bool,
    /// The tenants that the user is a member of. A key of a user who has left its tenant is as good as disabled.
    pub tenants: Vec<TenantId>,
    /// By position: the first group of a tenant is the one that limits and reports count.
    pub groups: Vec<GroupId>,
}

/// A set of users in a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    pub id: GroupId,
    pub tenant: TenantId,
    pub name: String,
}
