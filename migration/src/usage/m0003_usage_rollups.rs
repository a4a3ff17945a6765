//! Sums of usage per quarter hour and set of dimensions.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{amount, index, instant};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("usage_rollups")
            .col(pk_uuid("id"))
            .col(instant("quarter_ms"))
            .col(uuid("tenant_id"))
            .col(uuid("key_id"))
            .col(uuid_null("user_id"))
            .col(uuid_null("group_id"))
            .col(text("model"))
            .col(uuid_null("channel_id"))
            .col(text("endpoint"))
            .col(text("source"))
            .col(text("outcome"))
            .col(amount("requests"))
            .col(amount("errors"))
            .col(amount("estimated_requests"))
            .col(amount("input_tokens"))
            .col(amount("cached_tokens"))
            .col(amount("cache_write_tokens"))
            .col(amount("output_tokens"))
            .col(amount("reasoning_tokens"))
            .col(amount("cost_nanos"))
            .col(amount("charge_nanos"))
            .check(Expr::cust("quarter_ms % 900000 = 0"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(index("usage_rollups", ["tenant_id", "quarter_ms"]))
            .await?;
        manager
            .create_index(index("usage_rollups", ["quarter_ms"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("usage_rollups").to_owned())
            .await
    }
}
