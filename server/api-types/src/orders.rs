//! What single things are made and changed with, and how they are shown in full.
//!
//! The fields are those of a configuration file: one that is given is the whole truth of that field, one that is absent stays.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    limit::{Budget, Limit},
    manage::CredentialItem,
    resources::{self, Grants, KeyChannel, Policies, RoleName, given},
    secret::Sensitive,
};

/// A thing in full, as `GET`, `POST` and `PATCH` answer it. Its `ETag` is what `If-Match` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Detail<T> {
    pub id: Uuid,
    /// RFC 3339.
    pub created_at: String,
    /// When it was last changed, RFC 3339.
    pub updated_at: String,
    #[serde(flatten)]
    pub thing: T,
}

/// A tenant, without its groups, users and keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = TenantOrder))]
#[serde(deny_unknown_fields, default)]
pub struct Tenant {
    /// Unique over the installation.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// IANA name; `UTC` by default.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What of the platform it may use; `null`: everything.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub grants: Option<Option<Grants>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub policies: Option<Policies>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<Limit>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub budgets: Option<Vec<Budget>>,
    /// Off: suspended. Its keys and tokens are refused, its open streams end.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A group of users in a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = GroupOrder))]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// The tenant's name; it never changes.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Unique in the tenant.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<Limit>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub budgets: Option<Vec<Budget>>,
}

/// A role of a tenant's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = RoleOrder))]
#[serde(deny_unknown_fields, default)]
pub struct OwnRole {
    /// The tenant's name; it never changes.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Unique in the tenant, and none of those that are built in.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it allows, as `resource:action`: nothing that whoever orders it may not do.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<String>>,
}

/// A person in one tenant. Role, groups, limits and budgets are that tenant's; the rest is the person's in all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = UserOrder))]
#[serde(deny_unknown_fields, default)]
pub struct User {
    /// The tenant's name. Platform callers name it; to all others it is their own.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Unique over the installation, in lower case. They sign in with it.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// One that is built in, or one of the tenant's own; `viewer` by default.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// By name; the first one counts for limits and reports.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<Limit>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub budgets: Option<Vec<Budget>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A proxy key. A new one without `value` and `sha256` gets a generated value, which the answer shows once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = KeyOrder))]
#[serde(deny_unknown_fields, default)]
pub struct Key {
    /// The tenant's name; it never changes.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Unique in the tenant.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The e-mail of the user it belongs to; `null`: none. With neither user nor group it is the tenant's.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub user: Option<Option<String>>,
    /// The group it belongs to; `null`: none.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub group: Option<Option<String>>,
    /// For a new key, and for platform callers alone: the value that programs have already.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub value: Option<Sensitive>,
    /// The same by the value's SHA-256 in hexadecimal, so that keys of another gateway keep working.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Patterns of model names; `null`: all that the tenant may use.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub models: Option<Option<Vec<String>>>,
    /// Networks that may use the key; empty: any.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub ip_allow: Option<Vec<String>>,
    /// The key's own order of channels; empty: the routes' order, and every channel.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<KeyChannel>>,
    /// RFC 3339; `null`: never.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Option<String>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<Limit>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub budgets: Option<Vec<Budget>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A proxy key in full. A value that was made stands in `value` of the one answer that shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyDetail {
    /// Masked beginnings of its secrets, by which their owner recognises them.
    pub hints: Vec<String>,
    /// Of a key that was rotated: until when the secret before is valid too, RFC 3339.
    pub old_value_until: Option<String>,
    #[serde(flatten)]
    pub key: Key,
}

/// A key that somebody makes for themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MyKey {
    /// Unique in the tenant.
    pub name: String,
    /// Patterns of model names; absent: all that the tenant may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// Networks that may use the key; absent or empty: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_allow: Option<Vec<String>>,
    /// RFC 3339; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// What people change in a key of theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct MyKeyPatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `false` alone: on again it is switched by those who run the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// The order for another value of a key, which keeps its identity, its history and what it has spent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = KeyRotation))]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// Seconds for which the value before stays valid too; an hour if absent, at most 30 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u32>,
}

/// A channel in full. Its secrets are masked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChannelDetail {
    #[serde(flatten)]
    pub channel: resources::Channel,
    /// The pool as it is now, in the place of what a file would say.
    pub pool: Vec<CredentialItem>,
}

/// A credential to be added to a channel's pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewCredential {
    /// The secret. It is sealed, and never shown again.
    pub value: Sensitive,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What may be changed in a credential.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CredentialPatch {
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub name: Option<Option<String>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// What a vendor said when a credential was tried.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CredentialCheck {
    /// Whether the vendor took it.
    pub works: bool,
    /// The vendor's status; absent where there was no answer.
    pub status: Option<u16>,
    /// How many models the vendor lists for it.
    pub models: Option<u32>,
    /// Why not, in the vendor's words or ours.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
}

/// On what a limit or budget stands, in the words of their lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum On {
    Platform,
    Tenant,
    Group,
    User,
    Key,
    Channel,
    Model,
}

/// A limit to be set on one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewLimit {
    pub scope: On,
    /// The tenant that the thing is in, or that owns it; absent: the platform's channel or model, or the platform itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The thing's name, of a user the e-mail; nothing for a tenant and the platform.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub rule: Limit,
}

/// A budget to be set on one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewBudget {
    /// `tenant`, `group`, `user`, `key` or `channel`.
    pub scope: On,
    /// The tenant that the thing is in, or that owns it; absent: the platform's channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The thing's name, of a user the e-mail; nothing for a tenant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub rule: Budget,
}

/// Another rule for a limit. It has to count what it counted before, so that what is used stays used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LimitPatch {
    pub rule: Limit,
}

/// Another rule for a budget. It has to watch the sum that it watched before, so that what is spent stays spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BudgetPatch {
    pub rule: Budget,
}
