//! What automation calls management with.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, enabled, instant, instant_null, one_of, unique_names};

const ROLES: [&str; 7] = [
    "platform_admin",
    "platform_viewer",
    "owner",
    "admin",
    "finance",
    "developer",
    "viewer",
];

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let for_platform = Expr::col("role").is_in(["platform_admin", "platform_viewer"]);
        let table = Table::create()
            .table("service_tokens")
            .col(pk_uuid("id"))
            .col(uuid_null("tenant_id"))
            .col(text("name"))
            .col(one_of("role", ROLES))
            .col(binary_len_uniq("digest", 32).check(Expr::cust("length(digest) = 32")))
            .col(text("hint"))
            .col(enabled())
            .col(instant_null("expires_ms"))
            .col(instant_null("used_ms"))
            .col(instant("created_ms"))
            .col(instant("updated_ms"))
            // A tenant's token can never be the platform's, whoever writes the row.
            .check(Expr::col("tenant_id").is_null().eq(for_platform))
            .foreign_key(&mut belongs_to("service_tokens", "tenant_id", "tenants"))
            .to_owned();
        manager.create_table(table).await?;
        for names in unique_names("service_tokens") {
            manager.create_index(names).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("service_tokens").to_owned())
            .await
    }
}
