//! The customers of the platform.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{enabled, instant};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("tenants")
            .col(pk_uuid("id"))
            .col(text_uniq("name"))
            .col(enabled())
            .col(text("time_zone").default("UTC"))
            .col(json_binary_null("grants"))
            .col(instant("created_ms"))
            .col(instant("updated_ms"))
            .to_owned();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("tenants").to_owned())
            .await
    }
}
