//! The platform's own people.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{manage::PlatformRole, people::OneTimeLink, resources::given};

/// Somebody with a role on the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperatorItem {
    pub id: Uuid,
    pub email: String,
    pub name: String,
    pub enabled: bool,
    pub role: PlatformRole,
    /// Whether sign-in asks for a second factor.
    pub second_factor: bool,
    /// RFC 3339.
    pub created_at: String,
}

/// The order for an operator: somebody new, or whoever has the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewOperator {
    pub email: String,
    /// Of somebody new; the address by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub role: PlatformRole,
}

/// A new operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedOperator {
    #[serde(flatten)]
    pub operator: OperatorItem,
    /// With which they set a password, shown this once. None: they have one.
    pub link: Option<OneTimeLink>,
}

/// A change of an operator; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct OperatorPatch {
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub role: Option<PlatformRole>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}
