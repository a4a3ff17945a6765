//! Which user belongs to which tenant, in which role.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, index, one_of, unique};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("memberships")
            .col(pk_uuid("id"))
            .col(uuid("tenant_id"))
            .col(uuid("user_id"))
            .col(one_of(
                "role",
                ["owner", "admin", "finance", "developer", "viewer"],
            ))
            .foreign_key(&mut belongs_to("memberships", "tenant_id", "tenants"))
            .foreign_key(&mut belongs_to("memberships", "user_id", "users"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(unique("memberships", ["tenant_id", "user_id"]))
            .await?;
        manager
            .create_index(index("memberships", ["user_id"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("memberships").to_owned())
            .await
    }
}
