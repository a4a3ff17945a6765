//! What was said in calls of tenants who want it kept.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{index, instant};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("kept_bodies")
            .col(pk_uuid("id"))
            .col(uuid("tenant_id"))
            .col(instant("expires_ms"))
            .col(json_binary("tools_offered"))
            .col(json_binary("tools_called"))
            .col(binary("sealed"))
            .col(text("master_key_id"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(index("kept_bodies", ["expires_ms"]))
            .await?;
        manager
            .create_index(index("kept_bodies", ["tenant_id"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("kept_bodies").to_owned())
            .await
    }
}
