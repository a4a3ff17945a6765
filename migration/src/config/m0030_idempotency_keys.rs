//! What was answered to a request that may come again.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{index, instant};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("idempotency_keys")
            .col(pk_uuid("id"))
            .col(uuid("body"))
            .col(small_integer("status").default(0))
            .col(text_null("answer"))
            .col(instant("created_ms"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(index("idempotency_keys", ["created_ms"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("idempotency_keys").to_owned())
            .await
    }
}
