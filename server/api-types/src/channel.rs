//! The parts of a channel that the YAML, the API and the database share.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use crate::span::Span;

/// What kind of vendor a channel speaks to: decides the default auth, the inference paths and the dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Openai,
    Anthropic,
    Gemini,
    Dashscope,
    AzureOpenai,
    Custom,
}

impl Kind {
    /// The word that YAML, API and database use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Dashscope => "dashscope",
            Self::AzureOpenai => "azure-openai",
            Self::Custom => "custom",
        }
    }
}

/// Where a channel's credential goes. Exactly one of `header` and `query` is given; without either, the kind's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Name of the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Template of the header's value, with `{secret}` once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<QueryAuth>,
}

/// A credential that travels in the query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct QueryAuth {
    pub name: String,
    /// Template of the value, with `{secret}` once.
    pub value: String,
}

/// How long a channel waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until the connection stands, TLS included.
    pub connect: Span,
    /// From the request's last byte to the answer's head; for streamed calls only. Others have `total`.
    pub first_byte: Span,
    /// Between two pieces of the answer.
    pub idle: Span,
    /// For the whole attempt.
    pub total: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Span(Duration::from_secs(5)),
            first_byte: Span(Duration::from_secs(120)),
            idle: Span(Duration::from_secs(120)),
            total: Span(Duration::from_secs(30 * 60)),
        }
    }
}

/// When a failed attempt is followed by another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts on this channel, the first included.
    pub attempts: u8,
    /// What is worth another attempt: `connect`, `timeout`, a status such as `"429"`, or a class such as `"5xx"`.
    pub on: BTreeSet<RetryOn>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: [
                RetryOn::Connect,
                RetryOn::Timeout,
                RetryOn::Status(429),
                RetryOn::Class(5),
            ]
            .into(),
        }
    }
}

/// One cause that is worth another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RetryOn {
    /// No connection, or one that died before any byte of an answer.
    Connect,
    /// No answer in time.
    Timeout,
    Status(u16),
    /// The first digit of a class of statuses: 4 or 5.
    Class(u8),
}

impl TryFrom<String> for RetryOn {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "connect" => return Ok(Self::Connect),
            "timeout" => return Ok(Self::Timeout),
            "4xx" => return Ok(Self::Class(4)),
            "5xx" => return Ok(Self::Class(5)),
            _ => {}
        }
        match text.parse::<u16>() {
            Ok(status @ 400..=599) => Ok(Self::Status(status)),
            _ => Err(format!(
                "{text:?} is none of connect, timeout, 4xx, 5xx or a status from 400 to 599"
            )),
        }
    }
}

impl From<RetryOn> for String {
    fn from(on: RetryOn) -> Self {
        match on {
            RetryOn::Connect => "connect".to_owned(),
            RetryOn::Timeout => "timeout".to_owned(),
            RetryOn::Status(status) => status.to_string(),
            RetryOn::Class(class) => format!("{class}xx"),
        }
    }
}

/// Further switches of a channel, each off or on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Ask a streamed call for its usage (`stream_options.include_usage`) where the caller did not.
    pub ask_usage: bool,
    /// How the next credential of the pool is chosen.
    pub rotation: Rotation,
    /// Let callers' beta flags (`openai-beta`, `anthropic-beta`) through.
    pub allow_beta: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ask_usage: true,
            rotation: Rotation::RoundRobin,
            allow_beta: false,
        }
    }
}

/// How a credential is chosen out of a channel's pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest calls under way.
    LeastUsed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_causes_are_words_or_statuses() {
        let retry: Retry =
            serde_json::from_str(r#"{"attempts": 3, "on": ["connect", "429", "5xx"]}"#)
                .expect("a policy");
        assert!(retry.on.contains(&RetryOn::Status(429)) && retry.on.contains(&RetryOn::Class(5)));
        assert_eq!(
            serde_json::to_string(&retry).expect("JSON"),
            r#"{"attempts":3,"on":["connect","429","5xx"]}"#
        );
        assert!(serde_json::from_str::<Retry>(r#"{"on": ["200"]}"#).is_err());
    }

    #[test]
    fn the_defaults_are_those_of_the_design() {
        let written = serde_json::to_string(&Timeouts::default()).expect("JSON");
        assert_eq!(
            written,
            r#"{"connect":"5s","first_byte":"2m","idle":"2m","total":"30m"}"#
        );
    }
}
