//! Signing in, and what people see and change of themselves.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{manage::PlatformRole, resources::RoleName, secret::Sensitive};

/// Who wants to sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub email: String,
    pub password: Sensitive,
    /// Six digits of the second factor, or a recovery code; asked for by `second_factor_needed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Sensitive>,
}

/// What somebody who is signed in calls management with. The refresh token is in a cookie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Access {
    /// For `authorization: Bearer`.
    pub access_token: String,
    /// Seconds for which it is good.
    pub expires_in: u32,
}

/// Whoever calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Me {
    /// `user`, `service_token` or `admin_token`.
    pub kind: String,
    pub id: Option<Uuid>,
    /// Of a person their address, of a token its name.
    pub name: String,
    /// Of a person.
    pub person: Option<MyPerson>,
    /// The tenant that this call's permissions hold in; absent: the platform.
    pub tenant: Option<String>,
    /// What this call may do, as `resource:action`.
    pub permissions: Vec<String>,
    /// In which time zone that tenant counts days; the platform does in UTC.
    pub time_zone: String,
    /// Where programs call this installation, as its settings have it.
    pub public_url: Option<String>,
    pub features: Features,
}

/// What there is here for whoever calls, besides what their role allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Features {
    /// Whether letters are sent, such as invitations.
    pub mail: bool,
    /// Whether the tenant's people may bring channels of their own.
    pub own_channels: bool,
    /// Whether what is said in the tenant's calls is kept.
    pub body_log: bool,
}

/// What a person sees of themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MyPerson {
    pub email: String,
    pub name: String,
    pub department: String,
    pub contact: String,
    pub platform_role: Option<PlatformRole>,
    /// The tenants that they can call in, by `x-weir-tenant`.
    pub tenants: Vec<MyTenant>,
    /// Whether a second factor is asked for.
    pub second_factor: bool,
    /// Recovery codes that are left.
    pub recovery_codes: usize,
}

/// A tenant that somebody is a member of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MyTenant {
    pub id: Uuid,
    pub name: String,
    pub time_zone: String,
    pub role: RoleName,
}

/// What people change of themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct MePatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

/// Another password for oneself. All other sessions end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    pub current: Sensitive,
    pub new: Sensitive,
}

/// That somebody is still there: their password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Proof {
    pub password: Sensitive,
}

/// The seed of a second factor, shown this once. It is in force when a code of it was confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Seed {
    /// In base32, to be typed.
    pub secret: String,
    /// `otpauth://totp/…`, to be scanned.
    pub uri: String,
}

/// A code of the second factor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FactorCode {
    pub code: Sensitive,
}

/// What signs in once each when the second factor is lost; shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecoveryCodes {
    pub codes: Vec<String>,
}

/// One of somebody's sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionItem {
    pub id: Uuid,
    /// Whether it is the one that asks.
    pub current: bool,
    pub address: String,
    pub agent: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub used_at: String,
    /// RFC 3339.
    pub expires_at: String,
}

/// A link that works once, for somebody who has no password or lost it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OneTimeLink {
    /// Absent where the order came before, with the same `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// RFC 3339.
    pub expires_at: String,
}

/// The order for an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    /// The tenant's name; to callers of a tenant their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Whom it is for: it works for nobody else.
    pub email: String,
    /// Nothing that allows more than the inviter may.
    pub role: RoleName,
    /// By name; the first one counts for limits and reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// An invitation that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InvitationItem {
    pub id: Uuid,
    pub tenant: String,
    pub email: String,
    pub role: RoleName,
    /// Who invited: an address, or a token's name.
    pub invited_by: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub expires_at: String,
}

/// An invitation that was made, with its link: shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedInvitation {
    #[serde(flatten)]
    pub invitation: InvitationItem,
    /// Give it to the person, and to nobody else. Absent where it was mailed to them, or where the order came before, with the same
    /// `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether it was mailed.
    pub mailed: bool,
}

/// That somebody takes an invitation. Who has an account already does so signed in, or with its password and second factor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// What stands behind `#` in the link.
    pub token: Sensitive,
    /// Of somebody new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For a new account, or of the one that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Sensitive>,
    /// Of the second factor, where the account has one: six digits, or a recovery code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Sensitive>,
}

/// That somebody sets another password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PasswordReset {
    /// What stands behind `#` in the link.
    pub token: Sensitive,
    pub password: Sensitive,
}

/// Whoever lost their password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResetRequest {
    pub email: String,
}
