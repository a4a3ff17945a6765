//! The request log: what is asked of it, and what comes back.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// What requests are looked for, as the query of `GET /v1/admin/requests`. Everything that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields, default)]
pub struct RequestQuery {
    /// RFC 3339, or a date: its first moment in the time zone. Default: 30 days before `to`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// As `from`, and not included itself. Default: now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// IANA name. Default: the tenant's, for an operator UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Its own id, as `x-request-id` told it; the span of time does not matter then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// By name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// By name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// By e-mail address or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// By name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The public model name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The channel whose answer the caller got, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The credential that it was called with, by name or id. For operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// `api`, `playground` or `probe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `ok`, `refused`, `cut_by_client`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// A status such as `429`, or a class such as `5xx`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Weir's code of the refusal or failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The caller's own id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_request_id: Option<String>,
    /// The vendor's id of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_request_id: Option<String>,
    /// The caller's label of its own user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_user: Option<String>,
    /// What was owed for it, in US dollars: at least so much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_cost_usd: Option<String>,
    /// The same: at most so much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<String>,
    /// It took at least so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ms: Option<String>,
    /// It took at most so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<String>,
}

/// In which order requests come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = RequestOrder))]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    NewestFirst,
    OldestFirst,
}

/// A page of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RequestPage {
    pub data: Vec<RequestItem>,
    /// What `cursor` asks for the next page; absent on the last one.
    pub next_cursor: Option<String>,
    /// Where the search stopped for want of time, RFC 3339: what lies beyond was not looked at, and `next_cursor` goes on from
    /// there. Absent where the page is whole.
    pub looked_to: Option<String>,
}

/// A request in the log. Things that have been deleted show their ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RequestItem {
    /// As `x-request-id` told it.
    pub id: Uuid,
    /// When its head had been read, RFC 3339.
    pub at: String,
    pub tenant: String,
    pub key: String,
    pub key_id: Uuid,
    /// Their e-mail address; absent for a key of nobody.
    pub user: Option<String>,
    pub group: Option<String>,
    /// `api`, `playground` or `probe`.
    pub source: String,
    pub endpoint: String,
    pub dialect: String,
    /// The public model name; empty if none was asked for.
    pub model: String,
    /// The channel whose answer the caller got.
    pub channel: Option<String>,
    /// `ok`, `refused`, `cut_by_client`, …
    pub outcome: String,
    /// The status that the caller got, or would have got.
    pub status: u16,
    /// Weir's code of the refusal or failure.
    pub error: Option<String>,
    pub streamed: bool,
    /// Requests that it stands for: more than 1 only for refusals in a flood.
    pub count: u32,
    pub input_tokens: u64,
    /// Part of the input: read from the vendor's cache.
    pub cached_tokens: u64,
    pub output_tokens: u64,
    /// Weir counted some of the tokens, as the vendor did not report them.
    pub estimated: bool,
    /// The model had no price.
    pub unpriced: bool,
    /// What is owed, in US dollars, as an exact decimal.
    pub cost_usd: String,
    /// From its head to the first byte of the answer.
    pub first_byte_ms: Option<f64>,
    /// From its head to the end of the answer.
    pub total_ms: f64,
    /// The caller's own id of the request.
    pub client_request_id: Option<String>,
    /// The caller's label of its own user.
    pub end_user: Option<String>,
}

/// All there is about one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RequestDetail {
    #[serde(flatten)]
    pub item: RequestItem,
    /// What the vendor calls the model that served it.
    pub upstream_model: Option<String>,
    /// The vendor's id of the answer.
    pub upstream_request_id: Option<String>,
    /// Part of the input: written to the vendor's cache.
    pub cache_write_tokens: u64,
    /// Part of the output: what the model thought with.
    pub reasoning_tokens: u64,
    pub audio_input_tokens: u64,
    pub audio_output_tokens: u64,
    pub image_input_tokens: u64,
    pub image_output_tokens: u64,
    /// The prices that it was billed at, US dollars per million, as exact decimals.
    pub prices: Option<Value>,
    /// What Weir itself took before the (last) call upstream was under way.
    pub overhead_ms: f64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// The instance that served it. For operators.
    pub instance: Option<String>,
    pub attempts: Vec<AttemptItem>,
    /// The names of the tools that it offered, where the tenant has bodies kept.
    pub tools_offered: Vec<String>,
    /// The names of those that the answer called.
    pub tools_called: Vec<String>,
    /// Whether what was said can be read.
    pub has_bodies: bool,
}

/// Whether what is said in a tenant's calls is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BodyLog {
    pub tenant: String,
    /// For how many days; absent: not at all.
    pub days: Option<u32>,
}

/// A change of that, for calls from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BodyLogPatch {
    /// The tenant's name; to callers of a tenant their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// 1 to 365; `null`: nothing is kept any longer.
    pub days: Option<u32>,
}

/// What was said in a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeptBodies {
    pub request: KeptBody,
    pub response: KeptBody,
    /// RFC 3339.
    pub kept_until: String,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeptBody {
    /// JSON, or text, without what looks like a secret; of a stream the message that its events make. `null`: neither of them.
    pub content: Value,
    /// How long it was.
    pub bytes: u64,
    /// Whether that is more than what is kept.
    pub is_cut: bool,
}

/// One call to one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptItem {
    pub channel: String,
    /// By name, or id where it has none. For operators.
    pub credential: Option<String>,
    pub upstream_model: String,
    /// When it began, after the request's head.
    pub started_ms: f64,
    pub took_ms: f64,
    /// The vendor's status, if it answered.
    pub status: Option<u16>,
    /// What went wrong, such as `connect` or `first_byte_timeout`.
    pub failure: Option<String>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub estimated: bool,
    /// What the vendor bills for it, in US dollars. For operators.
    pub cost_usd: Option<String>,
}

/// What requests can be counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Facet {
    Key,
    User,
    Group,
    Model,
    Channel,
    Endpoint,
    Outcome,
    Status,
    Error,
}

impl Facet {
    pub const ALL: [Self; 9] = [
        Self::Key,
        Self::User,
        Self::Group,
        Self::Model,
        Self::Channel,
        Self::Endpoint,
        Self::Outcome,
        Self::Status,
        Self::Error,
    ];

    /// The word that the query and the answer use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::User => "user",
            Self::Group => "group",
            Self::Model => "model",
            Self::Channel => "channel",
            Self::Endpoint => "endpoint",
            Self::Outcome => "outcome",
            Self::Status => "status",
            Self::Error => "error",
        }
    }
}

/// How many of the requests that were looked for have which value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RequestFacets {
    pub facets: Vec<FacetCounts>,
    /// Where the counting stopped, RFC 3339: only what is newer was looked at. Absent where all was.
    pub looked_to: Option<String>,
}

/// The values of one facet, the most frequent first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FacetCounts {
    pub facet: Facet,
    pub values: Vec<FacetCount>,
}

/// A value, and how many requests have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FacetCount {
    /// What the query's word of the same name takes; empty for requests that have none.
    pub value: String,
    /// What people call it.
    pub name: String,
    pub requests: i64,
}

/// What stands next to a request in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Neighbours {
    pub newer: Option<Uuid>,
    pub older: Option<Uuid>,
    /// Until when newer ones were looked for, RFC 3339, where time ran out before one was found; absent: to the end.
    pub newer_looked_to: Option<String>,
    /// The same of older ones.
    pub older_looked_to: Option<String>,
}
