//! `idempotency_keys`: what was answered to requests that may come again.

use sea_orm::entity::prelude::*;

/// One request that its caller gave a key.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_keys")]
pub struct Model {
    /// The beginning of a digest of caller, tenant, route and key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The beginning of the body's digest.
    pub body: Uuid,
    /// The answer's status; 0 while there is none.
    pub status: i16,
    /// The answer, without what was shown once. None: there was no body.
    #[sea_orm(column_type = "Text", nullable)]
    pub answer: Option<String>,
    /// When it came first, Unix milliseconds.
    pub created_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}
