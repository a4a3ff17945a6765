//! The one row that tells this installation from every other and counts its catalog's versions.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;
use uuid::Uuid;

/// The first version of Weir: it knows this schema and every one that only adds to it.
const OLDEST_BINARY: &str = "0.1.0";

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let only_one = Expr::col("id").eq(1);
        let table = Table::create()
            .table("installation")
            .col(small_integer("id").primary_key().check(only_one))
            .col(uuid("epoch"))
            .col(big_integer("catalog_version").default(0))
            .col(text("oldest_binary"))
            .to_owned();
        manager.create_table(table).await?;

        let row = Query::insert()
            .into_table("installation")
            .columns(["id", "epoch", "oldest_binary"])
            .values_panic([1.into(), Uuid::new_v4().into(), OLDEST_BINARY.into()])
            .to_owned();
        manager.execute(row).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("installation").to_owned())
            .await
    }
}
