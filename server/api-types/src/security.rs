//! The care of the admin token.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::secret::Sensitive;

/// The admin token, masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AdminKeyInfo {
    /// `setting`: WEIR_ADMIN_TOKEN; `file`: Weir made it, and keeps it in its data directory.
    pub source: String,
    /// Its masked beginning.
    pub hint: String,
    /// Since when this process believes it, RFC 3339.
    pub since: String,
}

/// Another admin token, shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewAdminKey {
    /// Absent where the order came before, with the same `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its masked beginning.
    pub hint: String,
}

/// A value that might let somebody in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KeyToCheck {
    pub key: Sensitive,
}

/// Whether it does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyCheck {
    pub valid: bool,
    /// `admin_token`, `service_token` or `proxy_key`.
    pub kind: Option<String>,
    pub id: Option<Uuid>,
}

impl KeyCheck {
    /// One that does.
    pub fn of(kind: &str, id: Option<Uuid>) -> Self {
        Self {
            valid: true,
            kind: Some(kind.to_owned()),
            id,
        }
    }
}
