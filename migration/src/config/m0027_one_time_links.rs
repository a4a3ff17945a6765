//! Links that work once: invitations, and other passwords for those who lost theirs.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, index, instant, instant_null, one_of};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("one_time_links")
            .col(pk_uuid("id"))
            .col(one_of("kind", ["invitation", "reset"]))
            .col(binary_len_uniq("digest", 32).check(Expr::cust("length(digest) = 32")))
            .col(text("email"))
            .col(uuid_null("user_id"))
            .col(uuid_null("tenant_id"))
            .col(text_null("role"))
            .col(json_binary_null("groups"))
            .col(uuid_null("inviter_id"))
            .col(text("invited_by"))
            .col(boolean("proves_email"))
            .col(instant("expires_ms"))
            .col(instant_null("used_ms"))
            .col(instant("created_ms"))
            .foreign_key(&mut belongs_to("one_time_links", "user_id", "users"))
            .foreign_key(&mut belongs_to("one_time_links", "tenant_id", "tenants"))
            .foreign_key(&mut belongs_to("one_time_links", "inviter_id", "users"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(index("one_time_links", ["tenant_id"]))
            .await?;
        let users = Table::alter()
            .table("users")
            .add_column(boolean("email_proven").default(true))
            .to_owned();
        manager.alter_table(users).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let users = Table::alter()
            .table("users")
            .drop_column("email_proven")
            .to_owned();
        manager.alter_table(users).await?;
        manager
            .drop_table(Table::drop().table("one_time_links").to_owned())
            .await
    }
}
