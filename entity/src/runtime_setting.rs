//! `runtime_settings`: what operators set while Weir runs.

use sea_orm::entity::prelude::*;

/// All run-time settings, in one row.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "runtime_settings")]
pub struct Model {
    /// Always the same.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// `{"mode": .., "log": .., ..}`; what is absent is the default.
    #[sea_orm(column_type = "JsonBinary")]
    pub settings: Json,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
    /// When the row was last changed, Unix milliseconds.
    pub updated_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}
