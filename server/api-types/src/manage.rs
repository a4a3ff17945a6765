//! Lists of the management API, and the orders for single keys.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    channel::Kind,
    limit::{Budget, Limit},
    resources::{Prices, RoleName, Route},
};

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page<T> {
    pub data: Vec<T>,
    /// What `cursor` asks for the next page; absent on the last one.
    pub next_cursor: Option<String>,
}

/// A tenant in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TenantItem {
    pub id: Uuid,
    pub name: String,
    pub enabled: bool,
    pub time_zone: String,
    /// RFC 3339.
    pub created_at: String,
}

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupItem {
    pub id: Uuid,
    pub tenant: String,
    pub name: String,
    /// How many users are in it.
    pub members: u64,
    /// RFC 3339.
    pub created_at: String,
}

/// A user in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserItem {
    pub id: Uuid,
    pub email: String,
    pub name: String,
    pub department: String,
    pub contact: String,
    pub enabled: bool,
    pub memberships: Vec<MembershipItem>,
}

/// A user's place in a tenant, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MembershipItem {
    pub tenant: String,
    pub role: RoleName,
    pub groups: Vec<String>,
}

/// What somebody may do on the whole platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlatformRole {
    PlatformAdmin,
    PlatformViewer,
}

impl PlatformRole {
    pub const ALL: [Self; 2] = [Self::PlatformAdmin, Self::PlatformViewer];

    /// The word that API and database use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PlatformAdmin => "platform_admin",
            Self::PlatformViewer => "platform_viewer",
        }
    }
}

/// A role of a tenant or of the platform.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum AnyRole {
    Platform(PlatformRole),
    Tenant(RoleName),
}

impl AnyRole {
    /// The word that the API uses.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Platform(role) => role.as_str(),
            Self::Tenant(role) => role.as_str(),
        }
    }
}

impl std::str::FromStr for AnyRole {
    type Err = std::convert::Infallible;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let mut platform = PlatformRole::ALL.into_iter();
        Ok(match platform.find(|role| role.as_str() == word) {
            Some(role) => Self::Platform(role),
            None => Self::Tenant(word.to_owned().into()),
        })
    }
}

/// A role of a tenant's own, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleItem {
    pub id: Uuid,
    pub tenant: String,
    pub name: String,
    /// What it allows, as `resource:action`.
    pub permissions: Vec<String>,
    /// How many people and service tokens have it.
    pub holders: u64,
    /// RFC 3339.
    pub created_at: String,
}

/// The permissions there are, and the roles that are built in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rights {
    pub permissions: Vec<PermissionItem>,
    pub roles: Vec<BuiltInRole>,
}

/// A permission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PermissionItem {
    /// As `resource:action`.
    pub name: String,
    /// What it allows, in words.
    pub meaning: String,
    /// Whether it can hold in a tenant; if not, the platform's people alone can have it.
    pub for_tenants: bool,
}

/// A role that every tenant, or the platform, has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BuiltInRole {
    pub name: String,
    pub for_tenants: bool,
    /// What it allows, as `resource:action`.
    pub permissions: Vec<String>,
}

/// A service token in a list. Its value is shown once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceTokenItem {
    pub id: Uuid,
    /// The tenant that its role holds in; absent: the platform's.
    pub tenant: Option<String>,
    pub name: String,
    pub role: AnyRole,
    /// The masked beginning of its value.
    pub hint: String,
    pub enabled: bool,
    /// RFC 3339.
    pub expires_at: Option<String>,
    /// When it was last used, to the minute; RFC 3339.
    pub last_used_at: Option<String>,
    /// RFC 3339.
    pub created_at: String,
}

/// The order for a new service token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewServiceToken {
    /// The tenant's name; without it the token is the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Unique in the tenant, or on the platform.
    pub name: String,
    pub role: AnyRole,
    /// RFC 3339; without it the token lasts until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// The answer to the order, and the only one with the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedServiceToken {
    #[serde(flatten)]
    pub token: ServiceTokenItem,
    /// Absent where the order came before, with the same `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A change of a service token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceTokenPatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A change, as the audit log has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditItem {
    /// The row's own, for good.
    pub id: Uuid,
    /// 1 and so on, without a gap over the whole installation; absent for callers of a tenant, whom it would tell how much others do.
    pub seq: Option<i64>,
    /// RFC 3339.
    pub at: String,
    /// `admin_token`, `service_token`, `user` or `process`.
    pub actor: String,
    pub actor_id: Option<Uuid>,
    /// The token's name then, or the person's address; of a process what it did.
    pub actor_name: String,
    /// Where the call came from; empty: from the process itself.
    pub address: String,
    /// The management request; empty: none.
    pub request_id: String,
    /// To whom what was changed belongs; absent: to the platform.
    pub tenant: Option<String>,
    /// `kind:create`, `kind:update` or `kind:delete`.
    pub action: String,
    /// The name of what was changed.
    pub object: String,
    /// The fields that differ as they were; secrets are masked.
    pub before: serde_json::Value,
    /// The same as they became.
    pub after: serde_json::Value,
}

/// Whether the audit log's chain is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditVerdict {
    /// Rows that fit, from the first.
    pub rows: i64,
    /// The last one's hash in hexadecimal, to be kept elsewhere: only so is a tail seen that was cut.
    pub head: Option<String>,
    /// The first row that does not fit.
    pub bad_row: Option<i64>,
    /// What is wrong with it.
    pub reason: Option<String>,
}

/// A proxy key in a list. Its value is shown once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyItem {
    pub id: Uuid,
    pub tenant: String,
    pub name: String,
    /// Masked beginnings of its secrets, by which their owner recognises them.
    pub hints: Vec<String>,
    /// The e-mail of the user it belongs to.
    pub user: Option<String>,
    /// The group it belongs to.
    pub group: Option<String>,
    pub enabled: bool,
    /// RFC 3339.
    pub expires_at: Option<String>,
    /// RFC 3339.
    pub created_at: String,
}

/// What the platform grants a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Granted {
    pub models: Vec<GrantedModel>,
    pub channels: Vec<GrantedChannel>,
}

/// A model of the platform's that a tenant may use, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GrantedModel {
    pub name: String,
    pub capabilities: Vec<String>,
    pub context_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
    /// What the tenant is charged.
    pub prices: Prices,
    /// Of the granted channels, those that it goes to.
    pub channels: Vec<String>,
}

/// A channel of the platform's that a tenant may use, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GrantedChannel {
    pub name: String,
    pub kind: Kind,
    /// Whether it could take a call now.
    pub up: bool,
}

/// A living instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceItem {
    /// Another one with each start.
    pub id: Uuid,
    pub name: String,
    /// The version of Weir.
    pub version: String,
    /// RFC 3339.
    pub started_at: String,
    /// Milliseconds since it was last heard of.
    pub silent_ms: u64,
    /// The version of the configuration that it served then.
    pub catalog_version: i64,
    /// How many versions that is behind the newest.
    pub behind: u64,
    /// Whether it does what only one instance does.
    pub leads: bool,
}

/// A limit in a list, as this instance sees it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LimitItem {
    pub id: Uuid,
    /// The tenant that it concerns; absent is the platform.
    pub tenant: Option<String>,
    /// On what it stands: `platform`, `tenant`, `group`, `user`, `key`, `channel` or `model`.
    pub scope: String,
    /// The name of that; empty for the platform.
    pub name: String,
    pub rule: Limit,
    /// What is left; absent for one that counts apart, and where the Redis that counts does not say.
    pub remaining: Option<u64>,
}

/// A budget in a list, as this instance sees it now. Figures are nano-dollars, tokens or requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BudgetItem {
    pub id: Uuid,
    /// The tenant that it concerns; absent is the platform.
    pub tenant: Option<String>,
    /// On what it stands: `tenant`, `group`, `user`, `key` or `channel`.
    pub scope: String,
    /// The name of that.
    pub name: String,
    pub rule: Budget,
    pub amount: u64,
    /// Absent until it is known.
    pub spent: Option<u64>,
    /// What calls under way may come to; of hard budgets.
    pub reserved: Option<u64>,
    /// When the period began, RFC 3339.
    pub window_start: String,
    /// When the next one begins, RFC 3339; absent: never.
    pub resets_at: Option<String>,
}

/// What a budget told, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertItem {
    pub id: Uuid,
    /// The budget's id.
    pub budget: Uuid,
    /// `crossed`: a threshold was reached; `refused`: a call was refused, for the first time in the period.
    pub kind: String,
    /// The threshold in per cent; 0 for a refusal.
    pub percent: u16,
    /// What was spent: nano-dollars, tokens or requests.
    pub spent: u64,
    /// What the budget had, in the same unit.
    pub amount: u64,
    /// When the period began, RFC 3339.
    pub window_start: String,
    /// RFC 3339.
    pub at: String,
}

/// A channel in a list, as this instance sees it now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChannelItem {
    pub id: Uuid,
    /// The owner; absent is the platform.
    pub tenant: Option<String>,
    pub name: String,
    pub kind: Kind,
    pub base_url: String,
    pub enabled: bool,
    pub weight: u32,
    pub priority: i32,
    pub credentials: Vec<CredentialItem>,
}

/// A credential in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CredentialItem {
    pub id: Uuid,
    pub name: Option<String>,
    /// The masked beginning of its secret; absent where it cannot be opened.
    pub hint: Option<String>,
    pub enabled: bool,
    pub state: CredentialState,
}

/// What a credential is good for at present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum CredentialState {
    /// In the rotation.
    Ready,
    /// The vendor refused it with this status: not used, but for one call a minute that tries it again.
    SetAside { status: u16 },
    /// The vendor asked for a pause.
    Resting {
        /// RFC 3339.
        until: String,
    },
    /// It does not open with this master key, or was given for another origin: never used.
    Unusable,
}

/// A model in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelItem {
    pub id: Uuid,
    /// The owner; absent is the platform.
    pub tenant: Option<String>,
    pub name: String,
    pub enabled: bool,
    pub capabilities: Vec<String>,
    pub context_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
    pub max_image_tokens: Option<u64>,
    pub prices: Prices,
    pub routes: Vec<Route>,
}
