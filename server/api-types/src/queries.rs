//! The words of queries that many paths share.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{log::Order, orders::On};

/// Which part of a list, and whose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct ListQuery {
    /// How many rows at most, from 1 to 1000; 100 by default.
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 1000))]
    pub limit: Option<u64>,
    /// What `next_cursor` of the page before said.
    pub cursor: Option<String>,
    /// Only this tenant's, by name.
    pub tenant: Option<String>,
}

/// Which part of a list of things that have names, whose, and in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct NamedQuery {
    /// How many rows at most, from 1 to 1000; 100 by default.
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 1000))]
    pub limit: Option<u64>,
    /// What `next_cursor` of the page before said.
    pub cursor: Option<String>,
    /// Only this tenant's, by name.
    pub tenant: Option<String>,
    /// Only those with this in the name (of people in the address), whatever the case of its letters (on SQLite of the ASCII ones); 1 to 200
    /// bytes.
    #[cfg_attr(feature = "openapi", param(min_length = 1, max_length = 200))]
    pub q: Option<String>,
    /// Only what is switched on, or off.
    pub enabled: Option<bool>,
    /// `name` (of people the address) or `created_at`, with `-` before it from the end; without it an order that stays, or by name
    /// where `q` is given.
    #[cfg_attr(feature = "openapi", param(inline))]
    pub sort: Option<Sort>,
}

/// Which rows of the audit log; all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct AuditQuery {
    /// From when on, RFC 3339.
    pub from: Option<String>,
    /// Until when, RFC 3339, not included.
    pub to: Option<String>,
    /// Who did it: a token's name then, or a person's address.
    pub actor: Option<String>,
    /// What was done, such as `key:update`, or to which kind of thing, such as `key`.
    pub action: Option<String>,
    /// To what, by its name then.
    pub object: Option<String>,
}

/// Whose keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct WhoseQuery {
    /// Only those of the user with this address.
    pub user: Option<String>,
    /// Only those of the group with this name.
    pub group: Option<String>,
}

/// On what limits or budgets stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct BoundQuery {
    /// Only those on things of this kind.
    #[cfg_attr(feature = "openapi", param(inline))]
    pub scope: Option<On>,
    /// Only those on the thing of this id: a tenant, group, user, key, channel or model.
    pub of: Option<Uuid>,
}

/// What budgets told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct AlertQuery {
    /// Only of this one.
    pub budget: Option<Uuid>,
    /// Only of this kind.
    #[cfg_attr(feature = "openapi", param(inline))]
    pub kind: Option<AlertKind>,
}

/// What a budget tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// So much of it is spent.
    Crossed,
    /// It refused a call, for the first time in its window.
    Refused,
}

impl AlertKind {
    /// The word of lists and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crossed => "crossed",
            Self::Refused => "refused",
        }
    }
}

/// What people may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct RoleQuery {
    /// Only those who have this role in the tenant, or in any.
    pub role: Option<String>,
}

/// What a list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Sort {
    #[serde(rename = "name")]
    Name,
    #[serde(rename = "-name")]
    NameFromTheEnd,
    #[serde(rename = "created_at")]
    CreatedAt,
    #[serde(rename = "-created_at")]
    CreatedAtFromTheEnd,
}

/// What is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct SearchQuery {
    /// A piece of a name, or an id; 1 to 200 bytes.
    #[cfg_attr(feature = "openapi", param(min_length = 1, max_length = 200))]
    pub q: String,
}

/// Whose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct TenantQuery {
    /// Only this tenant's, by name.
    pub tenant: Option<String>,
}

/// A row of the audit log that was the last one once, as it was told then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct HeadQuery {
    /// Its number.
    #[cfg_attr(feature = "openapi", param(minimum = 1))]
    pub seq: Option<i64>,
    /// Its hash, in hexadecimal; goes with `seq`.
    pub head: Option<String>,
}

/// Where a browser comes back to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct ReturnQuery {
    /// A path of this installation; `/` by default.
    pub return_to: Option<String>,
    /// Have the provider ask who one is, even if it knows: what may do much harm is for a session that began so, or with a password.
    pub again: Option<bool>,
}

/// What an identity provider sends a browser back with (RFC 6749, 4.1.2; RFC 9207).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(default)]
pub struct CallbackQuery {
    pub state: Option<String>,
    pub code: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
    /// Which provider answers.
    pub iss: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct PageQuery {
    /// How many rows at most, from 1 to 1000; 100 by default.
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 1000))]
    pub limit: Option<u64>,
    /// What `next_cursor` of the page before said.
    pub cursor: Option<String>,
}

/// In which order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct OrderQuery {
    #[cfg_attr(feature = "openapi", param(inline))]
    pub order: Option<Order>,
}

/// Whether to wait first until what was answered so far is booked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct WaitQuery {
    /// At most so long, such as `5s`, and never longer than 30 s. The answer's `x-weir-usage-complete` says whether it was.
    pub wait: Option<String>,
}

/// What requests are counted by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct FacetQuery {
    /// Separated by commas: `key`, `user`, `group`, `model`, `channel`, `endpoint`, `outcome`, `status`, `error`.
    pub by: Option<String>,
}

/// In which tenant somebody is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct MemberQuery {
    /// The tenant's name, where they are in several.
    pub tenant: Option<String>,
}

/// How a file is applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct ApplyQuery {
    /// Whether named things go that a given collection does not have.
    pub prune: Option<bool>,
    /// Whether to tell only what would change.
    pub dry_run: Option<bool>,
}
