//! The living instances, and which of them does what only one does.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{amount, instant};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let instances = Table::create()
            .table("instances")
            .col(pk_uuid("id"))
            .col(text("name"))
            .col(text("version"))
            .col(amount("catalog_version"))
            .col(instant("started_ms"))
            .col(instant("seen_ms"))
            .to_owned();
        manager.create_table(instances).await?;
        let leaders = Table::create()
            .table("leaders")
            .col(text("task").primary_key())
            .col(uuid("instance_id"))
            .col(instant("until_ms"))
            .to_owned();
        manager.create_table(leaders).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["leaders", "instances"] {
            manager
                .drop_table(Table::drop().table(table).to_owned())
                .await?;
        }
        Ok(())
    }
}
