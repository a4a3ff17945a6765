//! `sign_in_failures`: who guessed lately.

use sea_orm::entity::prelude::*;

/// Failures that count together.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sign_in_failures")]
pub struct Model {
    /// An account, an address, or both together; hashed, as people type passwords where their address goes.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub whose: String,
    /// How many since the last success.
    pub count: i32,
    /// Before which no further try is looked at, Unix milliseconds.
    pub next_ms: i64,
    /// When the last one was, Unix milliseconds.
    pub updated_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}
