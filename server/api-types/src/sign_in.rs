//! Sign-in through an identity provider (OpenID Connect).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{manage::AnyRole, resources::given, secret::Sensitive};

/// A provider of identities, as it is made and changed. A field that is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct IdentityProviderOrder {
    /// The tenant's name; it never changes. Without it the provider is the platform's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What people choose it by; unique in the tenant, or on the platform.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its issuer identifier: `/.well-known/openid-configuration` behind it says the rest. Another one forgets who is who.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What Weir is called there.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Never shown again; `null`: there is none. Another issuer forgets it.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Option<Sensitive>>,
    /// What is asked for; `openid`, `email` and `profile` by default.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The claim that lists somebody's groups; `groups` by default.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub groups_claim: Option<String>,
    /// Which group is in which role. The first one that fits counts in each tenant, and on the platform.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<GroupRole>>,
    /// Whether somebody who is not known yet becomes a user, where a role fits.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub creates_people: Option<bool>,
    /// For a tenant's provider, and by the platform alone: an origin outside the public network that it may be at; `null`: none.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub allowed_origin: Option<Option<String>>,
    /// Off: it signs nobody in, and the sessions that it began end.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A provider of identities, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IdentityProviderItem {
    pub id: Uuid,
    /// Absent: the platform's.
    pub tenant: Option<String>,
    pub name: String,
    pub issuer: String,
    pub client_id: String,
    /// Whether there is a client secret.
    pub has_secret: bool,
    pub scopes: Vec<String>,
    pub groups_claim: String,
    pub roles: Vec<GroupRole>,
    pub creates_people: bool,
    pub allowed_origin: Option<String>,
    pub enabled: bool,
    /// What the provider has to know as the redirect URI.
    pub redirect_uri: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// A group of a provider's, and what whoever is in it is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GroupRole {
    /// As the claim has it; `*` is everybody.
    pub group: String,
    /// Of a platform's provider: the tenant that the role holds in. A tenant's own names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    pub role: AnyRole,
}

/// A provider that somebody may sign in with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignInProvider {
    pub id: Uuid,
    pub name: String,
    /// Where a browser begins: with the setting `public_url` below that, otherwise a path of the asked server's.
    pub url: String,
}

/// Oneself as a provider knows one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IdentityItem {
    pub id: Uuid,
    /// The provider's name.
    pub provider: String,
    /// RFC 3339.
    pub created_at: String,
}

/// That one wants to sign in with a provider from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewIdentity {
    /// The provider.
    pub provider: Uuid,
    /// Where the browser comes back to; a path here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_to: Option<String>,
}

/// Where a browser goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GoTo {
    pub url: String,
}
