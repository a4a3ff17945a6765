//! The most tokens that one image is read as, by model: what hard budgets reserve for it.

use sea_orm_migration::prelude::*;

use crate::columns::amount_null;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::alter()
            .table("models")
            .add_column(amount_null("max_image_tokens"))
            .to_owned();
        manager.alter_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::alter()
            .table("models")
            .drop_column("max_image_tokens")
            .to_owned();
        manager.alter_table(table).await
    }
}
