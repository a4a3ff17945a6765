//! The configuration as code: what a file for `weir apply` holds, and what `weir export` writes.
//!
//! Every field but a thing's own name is an `Option`: one that is given is the whole truth of that field, lists too; one
//! that is not given stays as it is stored, or takes its default where the thing is new. A field that can be taken away
//! is an `Option` of an `Option`, and `null` takes it away; elsewhere `null` is refused. What is allowed in a field
//! beyond its type is decided by the server's `resources` module.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    channel::{Auth, Kind, Retry, Settings, Timeouts},
    limit::{Budget, Limit},
    secret::{Credential, Secret},
};

/// A whole file. The collections are named ones: they shrink only by `--prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<Channel>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<Model>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Vec<Tenant>>,
}

/// What holds for the whole installation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Platform {
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<Limit>>,
}

/// One way upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ChannelOrder))]
#[serde(deny_unknown_fields, default)]
pub struct Channel {
    /// Unique among its owner's channels; a path segment.
    pub name: String,
    /// The tenant that owns the channel and alone may use it; absent: the platform's.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Needed for a new channel.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Needed for a new channel. Another scheme, host or port drops the stored credentials.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Of a tenant's channel, and for operators alone: scheme, host and port that they vouch for. Without their word a tenant's
    /// channel leads to the public network by https on port 443 and nowhere else; with it also to this origin, private as it may be.
    /// Another origin in `base_url` is not vouched for. `null`: nothing is.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub allowed_origin: Option<Option<String>>,
    /// How a credential is sent; `null`: as is usual for the kind.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub auth: Option<Option<Auth>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<Credential>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Path prefixes that `/proxy/` may reach on a platform channel; `null`: the kind's inference paths.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub proxy_paths: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// Share among channels of one priority where no route decides; 1 by default.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Higher goes first where no route decides; 0 by default.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<Limit>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub budgets: Option<Vec<Budget>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A public model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ModelOrder))]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// Unique among its owner's models; matched exactly, case included.
    pub name: String,
    /// The tenant that owns the model and alone may use it; absent: the platform's.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Words such as `vision` or `tools`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// Tokens of input and output together.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<Option<u64>>,
    /// The most that one answer may have.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<Option<u64>>,
    /// The most that one image is read as: what a hard budget reserves for it. `null`: nobody says, and calls with images are
    /// refused under one.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub max_image_tokens: Option<Option<u64>>,
    /// The tokenizer for estimates; `null`: o200k.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<Option<String>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<Route>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<Limit>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// US dollars per million, by unit, as exact decimals in text: `{input: "0.15", output: "0.60"}`.
pub type Rates = BTreeMap<String, String>;

/// What a model costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prices {
    /// From now on, or since ever where there was no price: nothing happens if these rates are in force already.
    Now(Rates),
    /// All of its prices, each from its moment on.
    Dated(Vec<DatedRates>),
}

/// What a model costs from a moment on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DatedRates {
    /// RFC 3339; absent: since ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub rates: Rates,
}

/// A way from a model to a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// The channel's name: the owner's own before the platform's. `platform/NAME` is the platform's in any case.
    pub channel: String,
    /// The model's name there; absent: its public one.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Share among routes of one priority; 1 by default, and 0 is used only when nothing else is left.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Higher goes first; 0 by default.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// The most requests a second that go this way; `null`: as many as come.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub max_rps: Option<Option<u32>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A customer of the platform. Its groups, users and keys are named collections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = TenantInFile))]
#[serde(deny_unknown_fields, default)]
pub struct Tenant {
    /// Unique over the installation.
    pub name: String,
    /// IANA name; `UTC` by default.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What of the platform it may use; `null`: everything.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub grants: Option<Option<Grants>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub policies: Option<Policies>,
    /// Roles of its own.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<OwnRole>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<Group>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<User>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<Key>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<Limit>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub budgets: Option<Vec<Budget>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// What a tenant's own people may do in it. The platform's may do everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Policies {
    /// The most keys that one user may have; absent: as many as they like.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub keys_per_user: Option<u32>,
    /// Whether they may bring channels of their own.
    pub own_channels: bool,
    /// For how many days what is said in calls is kept, masked and sealed; absent: not at all.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub log_bodies_days: Option<u32>,
}

/// What a tenant may use of the platform: names, or patterns with `*`. An absent list grants everything of its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<String>>,
}

/// A set of users in a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = GroupInFile))]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// Unique in the tenant.
    pub name: String,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<Limit>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub budgets: Option<Vec<Budget>>,
}

/// A role of a tenant's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = RoleInFile))]
#[serde(deny_unknown_fields, default)]
pub struct OwnRole {
    /// Unique in the tenant, and none of those that are built in.
    pub name: String,
    /// What it allows, as `resource:action`; the reference of permissions lists them.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<String>>,
}

/// A person in a tenant. Role and groups belong to this tenant; the rest is the person's in every tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = UserInFile))]
#[serde(deny_unknown_fields, default)]
pub struct User {
    /// Unique over the installation, in lower case.
    pub email: String,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// One that is built in, or one of the tenant's own; `viewer` by default.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// The first one counts for limits and reports.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<Limit>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub budgets: Option<Vec<Budget>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// What a user may do in a tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Owner,
    Admin,
    Finance,
    Developer,
    #[default]
    Viewer,
}

impl Role {
    pub const ALL: [Self; 5] = [
        Self::Owner,
        Self::Admin,
        Self::Finance,
        Self::Developer,
        Self::Viewer,
    ];

    /// The word that YAML, API and database use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Finance => "finance",
            Self::Developer => "developer",
            Self::Viewer => "viewer",
        }
    }
}

/// A role by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RoleName {
    BuiltIn(Role),
    /// What no built-in role is called: one that the tenant has made.
    Own(String),
}

impl Default for RoleName {
    fn default() -> Self {
        Self::BuiltIn(Role::default())
    }
}

impl RoleName {
    /// The word that YAML and API use.
    pub fn as_str(&self) -> &str {
        match self {
            Self::BuiltIn(role) => role.as_str(),
            Self::Own(name) => name,
        }
    }
}

impl From<String> for RoleName {
    fn from(name: String) -> Self {
        let mut built_in = Role::ALL.into_iter();
        match built_in.find(|role| role.as_str() == name) {
            Some(role) => Self::BuiltIn(role),
            None => Self::Own(name),
        }
    }
}

impl std::str::FromStr for RoleName {
    type Err = std::convert::Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(name.to_owned().into())
    }
}

impl Serialize for RoleName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for RoleName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for RoleName {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        String::schema()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for RoleName {}

/// A proxy key. Of `value` and `sha256` at most one is given; a new key without either gets a generated value, which
/// the answer to `apply` shows once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = KeyInFile))]
#[serde(deny_unknown_fields, default)]
pub struct Key {
    /// Unique in the tenant.
    pub name: String,
    /// The e-mail of the user it belongs to; `null`: none. With neither user nor group it is the tenant's.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub user: Option<Option<String>>,
    /// The group it belongs to; `null`: none.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub group: Option<Option<String>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub value: Option<Secret>,
    /// SHA-256 of the value, in hexadecimal.
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

/// One entry of a key's own order of channels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct KeyChannel {
    /// As a route names a channel.
    pub channel: String,
    /// Higher goes first; 0 by default.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
}

/// A field that stands there has its type: `null` is a value of those fields alone that can be taken away.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads prices in either of their forms.
struct PricesVisitor;

impl<'de> de::Visitor<'de> for PricesVisitor {
    type Value = Prices;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("rates such as {input: \"0.15\"}, or a list of dated ones")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Prices, A::Error> {
        Rates::deserialize(de::value::MapAccessDeserializer::new(map)).map(Prices::Now)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Prices, A::Error> {
        Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(Prices::Dated)
    }
}

impl<'de> Deserialize<'de> for Prices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PricesVisitor)
    }
}

impl Serialize for Prices {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Now(rates) => rates.serialize(serializer),
            Self::Dated(list) => list.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_takes_away_only_what_can_be_taken_away() {
        let key: Key = serde_json::from_str(r#"{"name": "a", "expires_at": null}"#).expect("a key");
        assert_eq!(key.expires_at, Some(None));
        assert_eq!(key.models, None);
        assert!(serde_json::from_str::<Key>(r#"{"name": "a", "enabled": null}"#).is_err());
        assert!(serde_json::from_str::<Resources>(r#"{"channels": null}"#).is_err());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = r#"{"models":[{"name":"m","prices":[{"from":"2027-01-01T00:00:00Z","input":"1"}],"routes":[{"channel":"c","weight":3}]}],"tenants":[{"name":"t","grants":null,"users":[{"email":"a@b.c","role":"owner"}]}]}"#;
        let resources: Resources = serde_json::from_str(text).expect("resources");
        assert_eq!(serde_json::to_string(&resources).expect("JSON"), text);
    }
}
