//! What is found by key, user or a class of failures within a tenant is found by the index alone, without a look at the row.
//! On PostgreSQL: SQLite's indexes have no further columns.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

use crate::columns::index;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        build(manager, true).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        build(manager, false).await
    }
}

async fn build(manager: &SchemaManager<'_>, is_covered: bool) -> Result<(), DbErr> {
    if manager.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let mut failed = index("usage_events", ["tenant_id", "id"]);
    failed.name("usage_events_failed_idx");
    failed.and_where(Expr::col("status").gte(400));
    for (name, mut index, further) in [
        (
            "usage_events_key_id_id_idx",
            index("usage_events", ["key_id", "id"]),
            "tenant_id",
        ),
        (
            "usage_events_user_id_id_idx",
            index("usage_events", ["user_id", "id"]),
            "tenant_id",
        ),
        ("usage_events_failed_idx", failed, "status"),
    ] {
        let before = Index::drop().name(name).table("usage_events").to_owned();
        manager.drop_index(before).await?;
        if is_covered {
            index.include(further);
        }
        manager.create_index(index).await?;
    }
    Ok(())
}
