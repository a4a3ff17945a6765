//! The identities that programs call with. Their secrets are the next step's.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, enabled, index, instant, instant_null, unique};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("proxy_keys")
            .col(pk_uuid("id"))
            .col(uuid("tenant_id"))
            .col(text("name"))
            .col(uuid_null("user_id"))
            .col(uuid_null("group_id"))
            .col(enabled())
            .col(instant_null("expires_ms"))
            .col(json_binary_null("models"))
            .col(json_binary_null("channels"))
            .col(json_binary_null("ip_allow"))
            .col(instant("created_ms"))
            .col(instant("updated_ms"))
            .check(
                Expr::col("user_id")
                    .is_null()
                    .or(Expr::col("group_id").is_null()),
            )
            .foreign_key(&mut belongs_to("proxy_keys", "tenant_id", "tenants"))
            // Not SET NULL: that would make the key of a leaver the tenant's own.
            .foreign_key(&mut belongs_to("proxy_keys", "user_id", "users"))
            .foreign_key(&mut belongs_to("proxy_keys", "group_id", "groups"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(unique("proxy_keys", ["tenant_id", "name"]))
            .await?;
        manager
            .create_index(index("proxy_keys", ["user_id"]))
            .await?;
        manager
            .create_index(index("proxy_keys", ["group_id"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("proxy_keys").to_owned())
            .await
    }
}
