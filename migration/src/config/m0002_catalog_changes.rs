//! What each version of the catalog changed, so that an instance can follow by deltas.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{instant, ordinal};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("catalog_changes")
            .col(big_integer("version").check(Expr::col("version").gt(0)))
            .col(ordinal("seq"))
            .col(text("kind"))
            .col(uuid("row_id"))
            .col(boolean("deleted"))
            .col(instant("at_ms"))
            .primary_key(Index::create().col("version").col("seq"))
            .to_owned();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("catalog_changes").to_owned())
            .await
    }
}
