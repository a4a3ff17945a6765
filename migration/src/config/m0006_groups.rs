//! The sets of users within a tenant.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, instant, unique};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("groups")
            .col(pk_uuid("id"))
            .col(uuid("tenant_id"))
            .col(text("name"))
            .col(instant("created_ms"))
            .col(instant("updated_ms"))
            .foreign_key(&mut belongs_to("groups", "tenant_id", "tenants"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(unique("groups", ["tenant_id", "name"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("groups").to_owned())
            .await
    }
}
