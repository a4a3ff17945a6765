//! `instances`: the processes that serve, or did until a moment ago.

use sea_orm::entity::prelude::*;

/// A process, from its start to its end. Its times are the database's.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "instances")]
pub struct Model {
    /// The process; another one with each start.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// What its settings call it.
    #[sea_orm(column_type = "Text")]
    pub name: String,
    /// The version of Weir.
    #[sea_orm(column_type = "Text")]
    pub version: String,
    /// The version of the catalog that it served when it was last heard of.
    pub catalog_version: i64,
    /// When it started, Unix milliseconds.
    pub started_ms: i64,
    /// When it was last heard of, Unix milliseconds.
    pub seen_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}
