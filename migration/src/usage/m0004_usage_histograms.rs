//! How the times of a rollup's requests are spread.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::amount;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("usage_histograms")
            .col(uuid("rollup_id"))
            .col(small_integer("kind").check(Expr::col("kind").is_in([0, 1])))
            .col(small_integer("bucket").check(Expr::col("bucket").gte(0)))
            .col(amount("count"))
            .primary_key(Index::create().col("rollup_id").col("kind").col("bucket"))
            .to_owned();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("usage_histograms").to_owned())
            .await
    }
}
