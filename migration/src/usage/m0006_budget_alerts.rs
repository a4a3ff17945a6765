//! What budgets told: once for each threshold and period, whichever instance saw it first.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{amount, index, instant, one_of, ordinal, unique};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("budget_alerts")
            .col(pk_uuid("id"))
            .col(uuid("budget_id"))
            .col(uuid_null("tenant_id"))
            .col(instant("window_ms"))
            .col(one_of("kind", ["crossed", "refused"]))
            .col(ordinal("percent"))
            .col(amount("spent"))
            .col(amount("amount"))
            .col(instant("at_ms"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(unique(
                "budget_alerts",
                ["budget_id", "window_ms", "kind", "percent"],
            ))
            .await?;
        manager
            .create_index(index("budget_alerts", ["tenant_id", "at_ms"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("budget_alerts").to_owned())
            .await
    }
}
