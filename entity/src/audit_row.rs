//! `audit_log`: what was changed, by whom.

use sea_orm::entity::prelude::*;

/// One change. Rows are only ever added; each one's hash covers the one before.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_log")]
pub struct Model {
    /// 1 and so on, without a gap.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// `admin_token`, `service_token` or `process`.
    #[sea_orm(column_type = "Text")]
    pub actor: String,
    /// The service token.
    pub actor_id: Option<Uuid>,
    /// Its name then; of a process what it did, such as `serve --resources`.
    #[sea_orm(column_type = "Text")]
    pub actor_name: String,
    /// Where the call came from. Empty: from the process itself.
    #[sea_orm(column_type = "Text")]
    pub address: String,
    /// The management request. Empty: none.
    #[sea_orm(column_type = "Text")]
    pub request_id: String,
    /// The tenant to whom what was changed belongs. None: the platform's.
    pub tenant_id: Option<Uuid>,
    /// `kind:create`, `kind:update` or `kind:delete`.
    #[sea_orm(column_type = "Text")]
    pub action: String,
    /// The name of what was changed.
    #[sea_orm(column_type = "Text")]
    pub object: String,
    /// The fields that differ as they were, a JSON object; secrets are masked.
    #[sea_orm(column_type = "Text")]
    pub before: String,
    /// The same as they are now.
    #[sea_orm(column_type = "Text")]
    pub after: String,
    /// The master key that the hash was made under.
    #[sea_orm(column_type = "Text")]
    pub key_id: String,
    /// HMAC-SHA-256 over the hash before and all other columns.
    pub hash: Vec<u8>,
}

impl ActiveModelBehavior for ActiveModel {}
