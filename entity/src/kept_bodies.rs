//! `kept_bodies`: what was said in calls of tenants who want it kept.

use sea_orm::entity::prelude::*;

/// The bodies of one call.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "kept_bodies")]
pub struct Model {
    /// The request; its event has the same id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose call it was.
    pub tenant_id: Uuid,
    /// From when on nobody reads it, Unix milliseconds.
    pub expires_ms: i64,
    /// The names of the tools that the request offered, an array of text.
    #[sea_orm(column_type = "JsonBinary")]
    pub tools_offered: Json,
    /// The names of those that the answer called, an array of text.
    #[sea_orm(column_type = "JsonBinary")]
    pub tools_called: Json,
    /// Both bodies, masked and sealed.
    pub sealed: Vec<u8>,
    /// Which master key sealed them.
    #[sea_orm(column_type = "Text")]
    pub master_key_id: String,
}

impl ActiveModelBehavior for ActiveModel {}
