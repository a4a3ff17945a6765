//! Which channel serves which model, and under what name.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, enabled, index, ordinal, unique};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("routes")
            .col(pk_uuid("id"))
            .col(uuid("model_id"))
            .col(uuid("channel_id"))
            .col(text("upstream_model"))
            .col(ordinal("weight"))
            .col(integer("priority"))
            .col(enabled())
            .col(ordinal("position"))
            .foreign_key(&mut belongs_to("routes", "model_id", "models"))
            .foreign_key(&mut belongs_to("routes", "channel_id", "channels"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(unique(
                "routes",
                ["model_id", "channel_id", "upstream_model"],
            ))
            .await?;
        manager.create_index(index("routes", ["channel_id"])).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("routes").to_owned())
            .await
    }
}
