//! `usage_events`: the record of every request of a known key.

use sea_orm::entity::prelude::*;

/// One request with all its attempts: the source of every figure. Written once, never changed.
/// On PostgreSQL the table is partitioned by the month of the id.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_events")]
pub struct Model {
    /// The request id: a UUIDv7 made by Weir, so it begins with the request's milliseconds.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose request it was.
    pub tenant_id: Uuid,
    /// The proxy key it came with.
    pub key_id: Uuid,
    /// The user whom the key belonged to.
    pub user_id: Option<Uuid>,
    /// The group that counted for limits and reports.
    pub group_id: Option<Uuid>,
    /// The caller's own name for whom it was made (`user`, `user_id`); a label only.
    #[sea_orm(column_type = "Text", nullable)]
    pub end_user: Option<String>,
    /// The caller's own id of the request, up to 128 visible ASCII characters; a label only.
    #[sea_orm(column_type = "Text", nullable)]
    pub client_request_id: Option<String>,
    /// When its head had arrived, Unix milliseconds.
    pub started_ms: i64,
    /// `api`, `playground` or `probe`.
    #[sea_orm(column_type = "Text")]
    pub source: String,
    /// The endpoint asked, such as `/v1/chat/completions`.
    #[sea_orm(column_type = "Text")]
    pub endpoint: String,
    /// The caller's dialect, such as `openai`.
    #[sea_orm(column_type = "Text")]
    pub dialect: String,
    /// The public model name that was asked for; empty if there was none.
    #[sea_orm(column_type = "Text")]
    pub model: String,
    /// What the vendor calls the model that served it.
    #[sea_orm(column_type = "Text", nullable)]
    pub upstream_model: Option<String>,
    /// The channel whose answer the caller got.
    pub channel_id: Option<Uuid>,
    /// The credential it was called with.
    pub credential_id: Option<Uuid>,
    /// The vendor's own id of that call.
    #[sea_orm(column_type = "Text", nullable)]
    pub upstream_request_id: Option<String>,
    /// `ok`, `refused`, `upstream_error`, `client_error`, `cut_by_client`, `cut_by_upstream`,
    /// `cut_by_weir` or `interrupted`.
    #[sea_orm(column_type = "Text")]
    pub outcome: String,
    /// The HTTP status that the caller got; 0 if none was sent.
    pub status: i16,
    /// Weir's stable code of the error, such as `rate_limit_exceeded`.
    #[sea_orm(column_type = "Text", nullable)]
    pub error_code: Option<String>,
    /// The answer was a stream.
    pub streamed: bool,
    /// How many requests it stands for: 1, more only for refusals that share an event.
    pub count: i32,
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
    /// Part of the input: audio.
    pub audio_input_tokens: i64,
    /// Part of the output: audio.
    pub audio_output_tokens: i64,
    /// Part of the input: images.
    pub image_input_tokens: i64,
    /// Of the output tokens, those of images.
    pub image_output_tokens: i64,
    /// Weir counted some of the tokens, as the vendor did not report them.
    pub estimated: bool,
    /// The model had no price, so what is booked is less than what was used.
    pub unpriced: bool,
    /// What the vendors bill for all attempts, nano-dollars.
    pub cost_nanos: i64,
    /// What the tenant owes for the request, nano-dollars.
    pub charge_nanos: i64,
    /// The rates it was billed at, as in `prices.rates`.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub price: Option<Json>,
    /// From its head until the first byte of the answer left, microseconds.
    pub first_byte_us: Option<i64>,
    /// From its head until the end of the answer, microseconds.
    pub total_us: i64,
    /// The part of `first_byte_us` that was Weir's own doing, microseconds.
    pub overhead_us: Option<i64>,
    /// Size of the request's body, bytes.
    pub request_bytes: i64,
    /// Size of the answer's body as far as it was sent, bytes.
    pub response_bytes: i64,
    /// An array with every attempt: channel, credential, outcome, times, tokens and cost.
    #[sea_orm(column_type = "JsonBinary")]
    pub attempts: Json,
    /// The instance that served it.
    #[sea_orm(column_type = "Text")]
    pub instance: String,
}

impl ActiveModelBehavior for ActiveModel {}
