//! Who is signed in, from where and since when.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, index, instant, ordinal};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("sessions")
            .col(pk_uuid("id"))
            .col(uuid("user_id"))
            .col(ordinal("generation"))
            .col(instant("rotated_ms"))
            .col(instant("proved_ms"))
            .col(instant("expires_ms"))
            .col(text("address"))
            .col(text("agent"))
            .col(instant("created_ms"))
            .foreign_key(&mut belongs_to("sessions", "user_id", "users"))
            .to_owned();
        manager.create_table(table).await?;
        manager.create_index(index("sessions", ["user_id"])).await?;
        manager
            .create_index(index("sessions", ["expires_ms"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("sessions").to_owned())
            .await
    }
}
