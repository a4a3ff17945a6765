//! What was changed, by whom: a chain of rows, each of which covers the one before.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{index, instant};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Nothing refers to what it tells of: it outlives that.
        let log = Table::create()
            .table("audit_log")
            .col(big_integer("seq").primary_key())
            .col(instant("at_ms"))
            .col(text("actor"))
            .col(uuid_null("actor_id"))
            .col(text("actor_name"))
            .col(text("address"))
            .col(text("request_id"))
            .col(uuid_null("tenant_id"))
            .col(text("action"))
            .col(text("object"))
            .col(text("before"))
            .col(text("after"))
            .col(text("key_id"))
            .col(binary_len("hash", 32))
            .to_owned();
        manager.create_table(log).await?;
        manager
            .create_index(index("audit_log", ["tenant_id", "seq"]))
            .await?;
        // The last row, and what writers wait for one another by.
        let head = Table::create()
            .table("audit_head")
            .col(integer("id").primary_key().check(Expr::col("id").eq(1)))
            .col(big_integer("seq"))
            .col(binary_len("hash", 32))
            .to_owned();
        manager.create_table(head).await?;
        let first = Query::insert()
            .into_table("audit_head")
            .columns(["id", "seq", "hash"])
            .values_panic([1.into(), 0_i64.into(), vec![0_u8; 32].into()])
            .to_owned();
        manager.execute(first).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["audit_head", "audit_log"] {
            manager
                .drop_table(Table::drop().table(table).to_owned())
                .await?;
        }
        Ok(())
    }
}
