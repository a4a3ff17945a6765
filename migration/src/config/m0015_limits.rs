//! What bounds a rate, and on which thing it stands.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, index, instant, ordinal};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Each row stands on one thing: the platform where nothing is named, else what is named besides the tenant, else the
/// tenant itself. `tenant_id` is also that of a tenant's own channel or model.
const ONE_THING: &str = "(CASE WHEN group_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN user_id IS NULL THEN 0 ELSE 1 END) \
    + (CASE WHEN key_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN channel_id IS NULL THEN 0 ELSE 1 END) \
    + (CASE WHEN model_id IS NULL THEN 0 ELSE 1 END) <= 1";
const IN_A_TENANT: &str =
    "tenant_id IS NOT NULL OR (group_id IS NULL AND user_id IS NULL AND key_id IS NULL)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut membership = ForeignKey::create()
            .name("limits_membership_fkey")
            .from("limits", ("tenant_id", "user_id"))
            .to("memberships", ("tenant_id", "user_id"))
            .on_delete(ForeignKeyAction::Cascade)
            .to_owned();
        let table = Table::create()
            .table("limits")
            .col(pk_uuid("id"))
            .col(uuid_null("tenant_id"))
            .col(uuid_null("group_id"))
            .col(uuid_null("user_id"))
            .col(uuid_null("key_id"))
            .col(uuid_null("channel_id"))
            .col(uuid_null("model_id"))
            .col(json_binary("rule"))
            .col(ordinal("position"))
            .col(instant("created_ms"))
            .col(instant("updated_ms"))
            .foreign_key(&mut belongs_to("limits", "tenant_id", "tenants"))
            .foreign_key(&mut belongs_to("limits", "group_id", "groups"))
            .foreign_key(&mut belongs_to("limits", "user_id", "users"))
            .foreign_key(&mut belongs_to("limits", "key_id", "proxy_keys"))
            .foreign_key(&mut belongs_to("limits", "channel_id", "channels"))
            .foreign_key(&mut belongs_to("limits", "model_id", "models"))
            .foreign_key(&mut membership)
            .check(Expr::cust(ONE_THING))
            .check(Expr::cust(IN_A_TENANT))
            .to_owned();
        manager.create_table(table).await?;
        for column in [
            "tenant_id",
            "group_id",
            "user_id",
            "key_id",
            "channel_id",
            "model_id",
        ] {
            manager.create_index(index("limits", [column])).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("limits").to_owned())
            .await
    }
}
