//! Settings that operators change while Weir runs: one row, or none while nobody changed any.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::instant;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("runtime_settings")
            .col(pk_uuid("id"))
            .col(json_binary("settings"))
            .col(instant("created_ms"))
            .col(instant("updated_ms"))
            .to_owned();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("runtime_settings").to_owned())
            .await
    }
}
