//! Sums of attempts per quarter hour, for what a channel costs and how often it fails.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{amount, index, instant};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("attempt_rollups")
            .col(pk_uuid("id"))
            .col(instant("quarter_ms"))
            .col(uuid("tenant_id"))
            .col(uuid("channel_id"))
            .col(uuid_null("credential_id"))
            .col(text("model"))
            .col(amount("attempts"))
            .col(amount("errors"))
            .col(amount("input_tokens"))
            .col(amount("cached_tokens"))
            .col(amount("cache_write_tokens"))
            .col(amount("output_tokens"))
            .col(amount("reasoning_tokens"))
            .col(amount("cost_nanos"))
            .check(Expr::cust("quarter_ms % 900000 = 0"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(index("attempt_rollups", ["channel_id", "quarter_ms"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("attempt_rollups").to_owned())
            .await
    }
}
