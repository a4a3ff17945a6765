//! The ways upstream.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, enabled, instant, ordinal, unique_names};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("channels")
            .col(pk_uuid("id"))
            .col(uuid_null("tenant_id"))
            .col(text("name"))
            .col(text("kind"))
            .col(text("base_url"))
            .col(json_binary_null("auth"))
            .col(json_binary("timeouts"))
            .col(json_binary("retry"))
            .col(json_binary_null("proxy_paths"))
            .col(json_binary("settings"))
            .col(ordinal("weight"))
            .col(integer("priority"))
            .col(enabled())
            .col(text("origin"))
            .col(instant("created_ms"))
            .col(instant("updated_ms"))
            .foreign_key(&mut belongs_to("channels", "tenant_id", "tenants"))
            .to_owned();
        manager.create_table(table).await?;
        for index in unique_names("channels") {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("channels").to_owned())
            .await
    }
}
