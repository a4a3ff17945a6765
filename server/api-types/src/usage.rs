//! Questions about usage, and what comes back.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What usage can be told apart by. Its word is also the name of the row's field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    Tenant,
    Key,
    User,
    Group,
    Model,
    /// The channel whose answer the caller got.
    Channel,
    /// The credential that this channel was called with. For operators.
    Credential,
    Endpoint,
    /// `api`, `playground` or `probe`.
    Source,
    /// How requests ended: `ok`, `refused`, `cut_by_client`, …
    Outcome,
    /// Weir's code of the refusal or failure; empty where there was none.
    Error,
}

impl Dimension {
    pub const ALL: [Self; 11] = [
        Self::Tenant,
        Self::Key,
        Self::User,
        Self::Group,
        Self::Model,
        Self::Channel,
        Self::Credential,
        Self::Endpoint,
        Self::Source,
        Self::Outcome,
        Self::Error,
    ];

    /// The word that the query, the row and the command line use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Key => "key",
            Self::User => "user",
            Self::Group => "group",
            Self::Model => "model",
            Self::Channel => "channel",
            Self::Credential => "credential",
            Self::Endpoint => "endpoint",
            Self::Source => "source",
            Self::Outcome => "outcome",
            Self::Error => "error",
        }
    }
}

impl std::str::FromStr for Dimension {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == word);
        found.ok_or_else(|| {
            let words: Vec<&str> = Self::ALL.into_iter().map(Self::as_str).collect();
            let word: String = word.chars().take(64).collect();
            format!("{word:?} is none of {}", words.join(", "))
        })
    }
}

/// How time is cut, in the time zone of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    Hour,
    Day,
    Month,
}

/// A question about usage, as the query of `GET /v1/admin/usage`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct UsageQuery {
    /// Separated by commas in the query. Without any, and without a grain, there is one row: the total.
    #[serde(
        serialize_with = "write_list",
        deserialize_with = "read_list",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub by: Vec<Dimension>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(inline))]
    pub grain: Option<Grain>,
    /// RFC 3339, or a date: its first moment in the time zone. Cut to the quarter hour. Default: 30 days before `to`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// As `from`, and not included itself. Default: now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// IANA name. Default: the tenant's, for an operator UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Only this tenant's, by name or id; and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// By e-mail address or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// By name or id. For operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether each row has [`UsageDetails`] too.
    #[serde(
        deserialize_with = "read_truth",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub details: bool,
}

impl UsageQuery {
    /// Whether each row can say what the attempts at its channel cost.
    pub fn tells_attempts(&self) -> bool {
        let told = |dimension: &Dimension| {
            matches!(
                dimension,
                Dimension::Tenant | Dimension::Model | Dimension::Channel | Dimension::Credential
            )
        };
        let mut filtered = Dimension::ALL
            .into_iter()
            .filter(|dimension| self.filter(*dimension).is_some());
        let at = [Dimension::Channel, Dimension::Credential];
        at.iter().any(|dimension| self.by.contains(dimension))
            && self.by.iter().all(told)
            && filtered.all(|dimension| told(&dimension))
    }

    /// The filter of a dimension, if there is one.
    pub fn filter(&self, dimension: Dimension) -> Option<&str> {
        let filter = match dimension {
            Dimension::Tenant => &self.tenant,
            Dimension::Key => &self.key,
            Dimension::User => &self.user,
            Dimension::Group => &self.group,
            Dimension::Model => &self.model,
            Dimension::Channel => &self.channel,
            Dimension::Credential => &self.credential,
            Dimension::Endpoint => &self.endpoint,
            Dimension::Source => &self.source,
            Dimension::Outcome => &self.outcome,
            Dimension::Error => &self.error,
        };
        filter.as_deref()
    }
}

/// Sums of usage. The chosen dimensions are there and no others; one that a request did not have (a key of no user) is
/// empty, and a thing that has been deleted shows its id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageRow {
    /// With a grain: `2026-01-31T14:00:00+08:00`, `2026-01-31` or `2026-01`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Their e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Its name, or its id where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub requests: i64,
    /// Those that failed; a caller's own leaving is no failure.
    pub errors: i64,
    pub input_tokens: i64,
    /// Part of the input: read from the vendor's cache.
    pub cached_tokens: i64,
    pub output_tokens: i64,
    /// What is owed, in US dollars, as an exact decimal.
    pub cost_usd: String,
    /// Calls to the channel, retries and those that another channel then answered included. Given to operators where
    /// channels are told apart, and nothing else but tenants, models and time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,
    /// What the vendor bills for these, in US dollars, as an exact decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_cost_usd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<UsageDetails>,
}

/// What a row says besides, where `details` asked for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageDetails {
    /// The share of requests that did not fail, from 0 to 1; absent where there was no request.
    pub success_rate: Option<f64>,
    /// Requests whose tokens Weir had to count.
    pub estimated_requests: i64,
    /// Part of the input: written to the vendor's cache.
    pub cache_write_tokens: i64,
    /// Part of the output: what the model thought with.
    pub reasoning_tokens: i64,
    /// From a request's head to the end of its answer; absent where none was measured.
    pub total_ms: Option<Percentiles>,
    /// From a request's head to the first byte of its answer; absent where none came.
    pub first_byte_ms: Option<Percentiles>,
}

/// Times in milliseconds that so many of a hundred requests stayed below; each at most a sixteenth away from the truth, as
/// times are counted on a logarithmic scale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Percentiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

impl UsageRow {
    /// Where the value of a dimension stands.
    pub fn field(&mut self, dimension: Dimension) -> &mut Option<String> {
        match dimension {
            Dimension::Tenant => &mut self.tenant,
            Dimension::Key => &mut self.key,
            Dimension::User => &mut self.user,
            Dimension::Group => &mut self.group,
            Dimension::Model => &mut self.model,
            Dimension::Channel => &mut self.channel,
            Dimension::Credential => &mut self.credential,
            Dimension::Endpoint => &mut self.endpoint,
            Dimension::Source => &mut self.source,
            Dimension::Outcome => &mut self.outcome,
            Dimension::Error => &mut self.error,
        }
    }
}

fn write_list<S: Serializer>(list: &[Dimension], serializer: S) -> Result<S::Ok, S::Error> {
    let words: Vec<&str> = list.iter().map(|dimension| dimension.as_str()).collect();
    serializer.serialize_str(&words.join(","))
}

/// A query has words alone.
pub(crate) fn read_truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Truth {
        Value(bool),
        Word(String),
    }
    match Truth::deserialize(deserializer)? {
        Truth::Value(value) => Ok(value),
        Truth::Word(word) => word
            .parse()
            .map_err(|_| serde::de::Error::custom("is true or false")),
    }
}

fn read_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Dimension>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let mut list = Vec::new();
    for word in words {
        let dimension = word.parse().map_err(serde::de::Error::custom)?;
        if !list.contains(&dimension) {
            list.push(dimension);
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_a_list_of_words() {
        let query: UsageQuery =
            serde_json::from_str(r#"{"by": "model, key,model", "grain": "day"}"#).expect("a query");
        assert_eq!(query.by, [Dimension::Model, Dimension::Key]);
        assert_eq!(
            serde_json::to_string(&query).expect("JSON"),
            r#"{"by":"model,key","grain":"day"}"#
        );
        assert!(serde_json::from_str::<UsageQuery>(r#"{"by": "colour"}"#).is_err());
    }

    #[test]
    fn a_row_has_the_chosen_dimensions_and_no_others() {
        let mut row = UsageRow {
            cost_usd: "0.000000001".to_owned(),
            ..UsageRow::default()
        };
        *row.field(Dimension::Model) = Some("gpt-4o".to_owned());
        assert_eq!(
            serde_json::to_string(&row).expect("JSON"),
            r#"{"model":"gpt-4o","requests":0,"errors":0,"input_tokens":0,"cached_tokens":0,"output_tokens":0,"cost_usd":"0.000000001"}"#
        );
    }
}
