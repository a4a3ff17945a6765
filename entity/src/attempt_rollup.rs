//! `attempt_rollups`: attempts summed per quarter hour.

use sea_orm::entity::prelude::*;

/// The sums of the attempts of one quarter hour that are alike in every dimension: what a channel
/// cost and how often it failed, whoever got the answer. Derived like `usage_rollups`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "attempt_rollups")]
pub struct Model {
    /// Made by the program from the quarter and all dimensions, so that each combination has one
    /// row.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Start of the quarter hour in which the requests started, Unix milliseconds.
    pub quarter_ms: i64,
    /// Dimension: whose requests.
    pub tenant_id: Uuid,
    /// Dimension: the channel called.
    pub channel_id: Uuid,
    /// Dimension: the credential it was called with.
    pub credential_id: Option<Uuid>,
    /// Dimension: the public model name.
    #[sea_orm(column_type = "Text")]
    pub model: String,
    /// Attempts.
    pub attempts: i64,
    /// Those of them that failed.
    pub errors: i64,
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
    /// What the vendor bills, nano-dollars.
    pub cost_nanos: i64,
}

impl ActiveModelBehavior for ActiveModel {}
