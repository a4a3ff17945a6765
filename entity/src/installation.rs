//! `installation`: the one row that tells this installation from every other.

use sea_orm::entity::prelude::*;

/// The installation. There is exactly one row.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "installation")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i16,
    /// Random, made with the database. If it differs from the one an instance knows, the database
    /// is another one or was made anew, and the instance loads the catalog in full.
    pub epoch: Uuid,
    /// The version of the catalog. A transaction that changes configuration takes the next one here
    /// before it writes, which also puts such transactions in order.
    pub catalog_version: i64,
    /// The oldest version of Weir (semver) that can serve this schema; set by migrations.
    #[sea_orm(column_type = "Text")]
    pub oldest_binary: String,
}

impl ActiveModelBehavior for ActiveModel {}
