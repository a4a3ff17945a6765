//! Two more dimensions of the sums: with which credential requests were answered, and with which of Weir's codes they
//! failed. What was summed before has neither.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite takes one column at a time.
        for column in [
            uuid_null("credential_id"),
            text("error_code").default("").take(),
        ] {
            let table = Table::alter()
                .table("usage_rollups")
                .add_column(column)
                .to_owned();
            manager.alter_table(table).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["credential_id", "error_code"] {
            let table = Table::alter()
                .table("usage_rollups")
                .drop_column(column)
                .to_owned();
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}
