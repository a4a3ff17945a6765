//! Who guessed lately, so that the next guess waits.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{index, instant, ordinal};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("sign_in_failures")
            .col(text("whose").primary_key())
            .col(ordinal("count"))
            .col(instant("next_ms"))
            .col(instant("updated_ms"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(index("sign_in_failures", ["updated_ms"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("sign_in_failures").to_owned())
            .await
    }
}
