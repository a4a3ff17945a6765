//! `usage_rollups`: usage summed per quarter hour.

use sea_orm::entity::prelude::*;

/// The sums of the usage events of one quarter hour that are alike in every dimension. Derived: it
/// can be made again from the events at any time.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_rollups")]
pub struct Model {
    /// Made by the program from the quarter and all dimensions, so that each combination has one
    /// row.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Start of the quarter hour in which the requests started, Unix milliseconds.
    pub quarter_ms: i64,
    /// Dimension: whose requests.
    pub tenant_id: Uuid,
    /// Dimension: the proxy key.
    pub key_id: Uuid,
    /// Dimension: the user of the key.
    pub user_id: Option<Uuid>,
    /// Dimension: the group that counted.
    pub group_id: Option<Uuid>,
    /// Dimension: the public model name.
    #[sea_orm(column_type = "Text")]
    pub model: String,
    /// Dimension: the channel whose answer the callers got.
    pub channel_id: Option<Uuid>,
    /// Dimension: the endpoint.
    #[sea_orm(column_type = "Text")]
    pub endpoint: String,
    /// Dimension: as in `usage_events`.
    #[sea_orm(column_type = "Text")]
    pub source: String,
    /// Dimension: as in `usage_events`.
    #[sea_orm(column_type = "Text")]
    pub outcome: String,
    /// Dimension: the credential that the channel was called with.
    pub credential_id: Option<Uuid>,
    /// Dimension: Weir's code of the refusal or failure; empty where there was none.
    #[sea_orm(column_type = "Text")]
    pub error_code: String,
    /// Requests, the shared ones by their count.
    pub requests: i64,
    /// Those of them that failed.
    pub errors: i64,
    /// Those of them whose tokens Weir had to count.
    pub estimated_requests: i64,
    /// All tokens that went in; the kinds of input below are parts of it.
    pub input_tokens: i64,
    /// Part of the input: read from the vendor's prompt cache.
    pub cached_tokens: i64,
    /// Part of the input: written to the vendor's prompt cache.
    pub cache_write_tokens: i64,
    /// All tokens that came out; the kinds of output below are parts of it.
    pub output_tokens: i64,
    /// Part of the output: what the model thought with.
    pub reasoning_tokens: i64,
    /// What the vendors bill, nano-dollars.
    pub cost_nanos: i64,
    /// What the tenant owes, nano-dollars.
    pub charge_nanos: i64,
}

impl ActiveModelBehavior for ActiveModel {}
