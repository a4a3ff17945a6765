//! How people show who they are, and who of them are the platform's.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, instant, instant_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let users = Table::alter()
            .table("users")
            .add_column(
                text_null("platform_role")
                    .check(Expr::col("platform_role").is_in(["platform_admin", "platform_viewer"])),
            )
            .to_owned();
        manager.alter_table(users).await?;
        let table = Table::create()
            .table("sign_ins")
            .col(pk_uuid("user_id"))
            .col(text_null("password"))
            .col(binary_null("totp_sealed"))
            .col(text_null("master_key_id"))
            .col(boolean("totp_on").default(false))
            .col(big_integer("totp_step").default(0))
            .col(json_binary_null("recovery"))
            .col(instant_null("password_ms"))
            .col(instant("updated_ms"))
            .foreign_key(&mut belongs_to("sign_ins", "user_id", "users"))
            .to_owned();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::drop().table("sign_ins").to_owned();
        manager.drop_table(table).await?;
        let users = Table::alter()
            .table("users")
            .drop_column("platform_role")
            .to_owned();
        manager.alter_table(users).await
    }
}
