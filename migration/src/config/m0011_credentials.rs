//! The sealed secrets of a channel.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, enabled, index, instant, ordinal};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("credentials")
            .col(pk_uuid("id"))
            .col(uuid("channel_id"))
            .col(ordinal("position"))
            .col(text_null("name"))
            .col(blob("sealed"))
            .col(text("master_key_id"))
            .col(text("origin"))
            .col(enabled())
            .col(instant("created_ms"))
            .col(instant("updated_ms"))
            .foreign_key(&mut belongs_to("credentials", "channel_id", "channels"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(index("credentials", ["channel_id", "position"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("credentials").to_owned())
            .await
    }
}
