//! What the request log is searched by: within one tenant, by whatever narrows it most. Failures are few, so what finds
//! them costs the others nothing.

use sea_orm_migration::prelude::*;

use crate::columns::index;

/// The indexes that a tenant's own take the place of.
const BEFORE: [&str; 2] = ["model", "channel_id"];

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for first in BEFORE {
            let name = format!("usage_events_{first}_id_idx");
            manager.drop_index(drop(&name)).await?;
        }
        for index in within_a_tenant() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [
            "usage_events_tenant_id_model_id_idx",
            "usage_events_tenant_id_channel_id_id_idx",
            "usage_events_failed_idx",
            "usage_events_tenant_id_status_id_idx",
            "usage_events_tenant_id_error_code_id_idx",
        ] {
            manager.drop_index(drop(name)).await?;
        }
        for first in BEFORE {
            manager
                .create_index(index("usage_events", [first, "id"]))
                .await?;
        }
        Ok(())
    }
}

/// Each is in the order of the ids, which is that of time, behind what narrows it.
fn within_a_tenant() -> [IndexCreateStatement; 5] {
    let mut failed = index("usage_events", ["tenant_id", "id"]);
    failed.name("usage_events_failed_idx");
    failed.and_where(Expr::col("status").gte(400));
    let mut status = index("usage_events", ["tenant_id", "status", "id"]);
    status.and_where(Expr::col("status").ne(200));
    let mut code = index("usage_events", ["tenant_id", "error_code", "id"]);
    code.and_where(Expr::col("error_code").is_not_null());
    [
        index("usage_events", ["tenant_id", "model", "id"]),
        index("usage_events", ["tenant_id", "channel_id", "id"]),
        failed,
        status,
        code,
    ]
}

fn drop(name: &str) -> IndexDropStatement {
    Index::drop().name(name).table("usage_events").to_owned()
}
