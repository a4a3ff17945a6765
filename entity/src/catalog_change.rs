//! `catalog_changes`: what each version of the catalog changed.

use sea_orm::entity::prelude::*;

/// One row that a version of the catalog wrote or deleted. An instance follows by reading the
/// changes after the version it has; if those are no longer kept, it loads in full.
/// What a deleted row took along (a tenant's keys, a channel's routes) is not listed: it goes with
/// its owner in the catalog too.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "catalog_changes")]
pub struct Model {
    /// The version that the change came with; from 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i64,
    /// Counts the changes of one version, from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i32,
    /// What kind of row: `tenant`, `user`, `group`, `key`, `channel`, `model`, …
    #[sea_orm(column_type = "Text")]
    pub kind: String,
    /// The id of the row.
    pub row_id: Uuid,
    /// The row is gone; else it is new or changed.
    pub deleted: bool,
    /// When, Unix milliseconds. Old changes are deleted by it.
    pub at_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}
