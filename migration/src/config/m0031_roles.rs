//! Roles of a tenant's own.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, instant, unique};

/// What can have such a role; the column is null where a role that is built in says all.
const HOLDERS: [&str; 2] = ["memberships", "service_tokens"];

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("roles")
            .col(pk_uuid("id"))
            .col(uuid("tenant_id"))
            .col(text("name"))
            .col(json_binary("permissions"))
            .col(instant("created_ms"))
            .col(instant("updated_ms"))
            .foreign_key(&mut belongs_to("roles", "tenant_id", "tenants"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(unique("roles", ["tenant_id", "name"]))
            .await?;
        for table in HOLDERS {
            // No foreign key: SQLite adds none to a table that exists. A role that is gone allows nothing.
            let table = Table::alter()
                .table(table)
                .add_column(uuid_null("role_id"))
                .to_owned();
            manager.alter_table(table).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in HOLDERS {
            let table = Table::alter()
                .table(table)
                .drop_column("role_id")
                .to_owned();
            manager.alter_table(table).await?;
        }
        manager
            .drop_table(Table::drop().table("roles").to_owned())
            .await
    }
}
