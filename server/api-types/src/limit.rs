//! Limits, which bound a rate, and budgets, which bound a sum, as YAML, API and database write them.
//!
//! On which thing one stands decides what it counts: a key's counts what that key does, a tenant's all that the tenant
//! does. Every one that applies to a call must let it through.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::span::Span;

/// So many requests, tokens or concurrent requests per window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Limit {
    pub metric: Metric,
    /// The window; needed for requests and tokens, meaningless for concurrent requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<Per>,
    /// The most that the window takes.
    pub max: u64,
    /// For a token bucket, what may come at once after a pause; `max` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub algorithm: Algorithm,
    /// For a leaky bucket, the longest that a request waits for its turn; 1 s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Span>,
    /// One count for each value of this; absent: one count for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<Each>,
    /// Counts only calls for the models whose public names match; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Counts only calls of this endpoint, such as `/v1/embeddings`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

impl Limit {
    /// So many in each window, by a token bucket without anything special; of concurrent requests there is no window.
    pub fn new(metric: Metric, per: Option<Per>, max: u64) -> Self {
        Self {
            metric,
            per,
            max,
            burst: None,
            algorithm: Algorithm::default(),
            max_wait: None,
            each: None,
            model: None,
            endpoint: None,
        }
    }
}

/// The endpoints that a limit can be for, by their labels in usage events and reports.
pub const ENDPOINTS: [&str; 15] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/api/v1/chat/completions",
    "/api/v1/embeddings",
    "/v1/{channel}/chat/completions",
    "/v1/{channel}/completions",
    "/v1/images",
    "/v1/audio",
    "/v1/moderations",
    "/v1/rerank",
    "/v1/files",
    "/v1/batches",
    "/v1/models",
    "/proxy",
];

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    Requests,
    /// Input and output together: estimated when a call begins, put right when it ends.
    Tokens,
    /// Requests that are under way.
    Concurrent,
}

/// A limit's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Per {
    Second,
    Minute,
    Hour,
    Day,
}

/// How a limit forgets.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Fills evenly with `max` per window, up to `burst`.
    #[default]
    TokenBucket,
    /// At most `max` in any window: 60 slices, of which the oldest counts whole.
    SlidingWindow,
    /// At most `max` in each second, minute, hour or day of the clock (UTC).
    FixedWindow,
    /// Lets calls through evenly, `max` per window; what comes early waits its turn.
    LeakyBucket,
}

/// By what a limit counts apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Each {
    /// A key that belongs to nobody counts for itself.
    User,
    Key,
    /// The caller's address; for IPv6 its /64, which is what one subscriber has.
    Ip,
    Model,
}

/// So much money, so many tokens or so many requests per period. Exactly one of the three is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// US dollars, an exact decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    pub period: Period,
    #[serde(default)]
    pub mode: Mode,
    /// Per cent of the budget at which an alert is written, once in a period each.
    #[serde(default = "usual_alerts")]
    pub alert_at: Vec<u16>,
}

/// From when to when a budget counts, in the tenant's time zone (a platform channel's in UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Day,
    /// From Monday, as ISO 8601 has it.
    Week,
    Month,
    /// Never begins anew.
    Forever,
}

/// What a budget does when it is spent.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing is sent that might go beyond it.
    #[default]
    Hard,
    /// It only tells.
    Soft,
}

impl Metric {
    /// The word that YAML, API and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Concurrent => "concurrent",
        }
    }
}

impl Per {
    /// The word that YAML and API use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// Microseconds.
    pub const fn micros(self) -> u64 {
        match self {
            Self::Second => 1_000_000,
            Self::Minute => 60 * 1_000_000,
            Self::Hour => 3_600 * 1_000_000,
            Self::Day => 86_400 * 1_000_000,
        }
    }
}

impl Algorithm {
    /// The word that YAML and API use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenBucket => "token_bucket",
            Self::SlidingWindow => "sliding_window",
            Self::FixedWindow => "fixed_window",
            Self::LeakyBucket => "leaky_bucket",
        }
    }
}

impl Mode {
    /// The word that YAML and API use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft => "soft",
        }
    }
}

impl Period {
    /// The word that YAML and API use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Forever => "forever",
        }
    }
}

/// As an error and a list name a limit: `600 requests per minute`.
impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.metric, self.per) {
            (Metric::Concurrent, _) => write!(formatter, "{} concurrent requests", self.max)?,
            (metric, None) => write!(formatter, "{} {}", self.max, metric.as_str())?,
            (metric, Some(per)) => {
                write!(
                    formatter,
                    "{} {} per {}",
                    self.max,
                    metric.as_str(),
                    per.as_str()
                )?;
            }
        }
        match self.each {
            Some(Each::User) => formatter.write_str(" for each user"),
            Some(Each::Key) => formatter.write_str(" for each key"),
            Some(Each::Ip) => formatter.write_str(" for each address"),
            Some(Each::Model) => formatter.write_str(" for each model"),
            None => Ok(()),
        }
    }
}

fn usual_alerts() -> Vec<u16> {
    vec![80, 100]
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            r#"{"metric":"requests","per":"minute","max":600,"burst":60,"each":"ip"}"#,
            r#"{"metric":"tokens","per":"day","max":5,"algorithm":"leaky_bucket","max_wait":"5s","model":"gpt-*"}"#,
            r#"{"metric":"concurrent","max":8,"endpoint":"/v1/embeddings"}"#,
        ] {
            let limit: Limit = serde_json::from_str(text).expect(text);
            assert_eq!(serde_json::to_string(&limit).expect("JSON"), text);
        }
        let text = r#"{"amount":"500.00","period":"month","mode":"hard","alert_at":[50,80,100]}"#;
        let budget: Budget = serde_json::from_str(text).expect(text);
        assert_eq!(serde_json::to_string(&budget).expect("JSON"), text);
        let short: Budget =
            serde_json::from_str(r#"{"tokens":1,"period":"week"}"#).expect("a budget");
        assert_eq!(
            (short.mode, &short.alert_at[..]),
            (Mode::Hard, &[80, 100][..])
        );
        for text in [
            r#"{"metric":"request","max":1}"#,
            r#"{"metric":"requests","per":"fortnight","max":1}"#,
            r#"{"metric":"requests","per":"minute","max":-1}"#,
            r#"{"metric":"requests","per":"minute","max":1,"bursts":2}"#,
        ] {
            assert!(serde_json::from_str::<Limit>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_names_itself() {
        let limit = |text: &str| {
            let limit: Limit = serde_json::from_str(text).expect(text);
            limit.to_string()
        };
        assert_eq!(
            limit(r#"{"metric":"requests","per":"minute","max":600,"each":"ip"}"#),
            "600 requests per minute for each address"
        );
        assert_eq!(
            limit(r#"{"metric":"concurrent","max":8}"#),
            "8 concurrent requests"
        );
    }
}
