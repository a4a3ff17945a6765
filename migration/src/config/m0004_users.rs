//! The people who sign in.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{enabled, instant};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("users")
            .col(pk_uuid("id"))
            .col(text_uniq("email").check(Expr::cust("email = lower(email)")))
            .col(text("name"))
            .col(text("department").default(""))
            .col(text("contact").default(""))
            .col(enabled())
            .col(instant("created_ms"))
            .col(instant("updated_ms"))
            .to_owned();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("users").to_owned())
            .await
    }
}
