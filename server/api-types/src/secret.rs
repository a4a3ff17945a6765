//! Secrets in configuration files: given as they are, or kept by their id.
//!
//! An export writes `{keep: id}` for every secret, so that what it wrote can be applied again without knowing any.
//! Nothing here prints a secret.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};
use uuid::Uuid;

/// One secret of a channel's pool. Written as a text, as `{name, value}` or as `{keep: id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    pub secret: Secret,
    pub name: Option<String>,
    /// On unless said otherwise.
    pub enabled: bool,
}

/// A secret as a file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// The secret itself.
    Value(Sensitive),
    /// The stored one with this id: what an export writes, since secrets never leave.
    Keep(Uuid),
}

/// A text that does not print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sensitive(String);

impl Sensitive {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text in clear: for the one place that seals, digests or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sensitive(…)")
    }
}

/// The long form of a secret and of a credential.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretFields {
    value: Option<Sensitive>,
    keep: Option<Uuid>,
    name: Option<String>,
    enabled: Option<bool>,
}

impl SecretFields {
    fn secret<E: de::Error>(&self) -> Result<Secret, E> {
        match (&self.value, self.keep) {
            (Some(value), None) => Ok(Secret::Value(value.clone())),
            (None, Some(id)) => Ok(Secret::Keep(id)),
            _ => Err(E::custom("needs either `value` or `keep`")),
        }
    }
}

/// Reads a credential in any of its forms.
struct CredentialVisitor;

impl<'de> de::Visitor<'de> for CredentialVisitor {
    type Value = Credential;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a secret as text, {name, value} or {keep: id}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Credential, E> {
        Ok(Credential {
            secret: Secret::Value(Sensitive::new(text)),
            name: None,
            enabled: true,
        })
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Credential, A::Error> {
        let fields = SecretFields::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Credential {
            secret: fields.secret()?,
            name: fields.name,
            enabled: fields.enabled.unwrap_or(true),
        })
    }
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CredentialVisitor)
    }
}

impl Serialize for Credential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.secret {
            Secret::Value(value) => map.serialize_entry("value", value)?,
            Secret::Keep(id) => map.serialize_entry("keep", id)?,
        }
        if let Some(name) = &self.name {
            map.serialize_entry("name", name)?;
        }
        if !self.enabled {
            map.serialize_entry("enabled", &false)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let credential = deserializer.deserialize_any(CredentialVisitor)?;
        match credential {
            Credential {
                secret,
                name: None,
                enabled: true,
            } => Ok(secret),
            _ => Err(de::Error::custom(
                "is a text or {keep: id}, without name or enabled",
            )),
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Keep(id) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("keep", id)?;
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_three_forms_and_never_print() {
        let id = Uuid::from_u128(7);
        let text = format!(
            r#"["sk-plain", {{"name": "second", "value": "sk-named"}}, {{"keep": "{id}"}}]"#
        );
        let credentials: Vec<Credential> = serde_json::from_str(&text).expect("credentials");
        assert_eq!(credentials[1].name.as_deref(), Some("second"));
        assert_eq!(credentials[2].secret, Secret::Keep(id));
        assert!(!format!("{credentials:?}").contains("sk-"));
        for bad in [
            r#"{"name": "neither"}"#,
            r#"{"value": "a", "keep": "00000000-0000-0000-0000-000000000000"}"#,
            r#"{"value": "a", "colour": "red"}"#,
            "7",
        ] {
            assert!(serde_json::from_str::<Credential>(bad).is_err(), "{bad}");
        }
    }
}
