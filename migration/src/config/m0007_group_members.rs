//! Which user is in which group.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, index, ordinal};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("group_members")
            .col(uuid("group_id"))
            .col(uuid("user_id"))
            .col(ordinal("position"))
            .primary_key(Index::create().col("group_id").col("user_id"))
            .foreign_key(&mut belongs_to("group_members", "group_id", "groups"))
            .foreign_key(&mut belongs_to("group_members", "user_id", "users"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(index("group_members", ["user_id"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("group_members").to_owned())
            .await
    }
}
