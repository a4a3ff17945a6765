//! The models that callers name.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{amount_null, belongs_to, enabled, instant, unique_names};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("models")
            .col(pk_uuid("id"))
            .col(uuid_null("tenant_id"))
            .col(text("name"))
            .col(json_binary("capabilities"))
            .col(amount_null("context_tokens"))
            .col(amount_null("max_output_tokens"))
            .col(text_null("tokenizer"))
            .col(enabled())
            .col(instant("created_ms"))
            .col(instant("updated_ms"))
            .foreign_key(&mut belongs_to("models", "tenant_id", "tenants"))
            .to_owned();
        manager.create_table(table).await?;
        for index in unique_names("models") {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("models").to_owned())
            .await
    }
}
