//! The secrets of a proxy key: up to two at a time, so that they can be rotated.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, instant, instant_null, unique};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("key_secrets")
            .col(pk_uuid("id"))
            .col(uuid("key_id"))
            .col(small_integer("slot").check(Expr::col("slot").is_in([0, 1])))
            .col(binary_len_uniq("digest", 32).check(Expr::cust("length(digest) = 32")))
            .col(text("hint"))
            .col(instant("created_ms"))
            .col(instant_null("expires_ms"))
            .foreign_key(&mut belongs_to("key_secrets", "key_id", "proxy_keys"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(unique("key_secrets", ["key_id", "slot"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("key_secrets").to_owned())
            .await
    }
}
