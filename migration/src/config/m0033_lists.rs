//! What lists are looked through and sorted by: all names, and nothing else of the keys need be read for it.

use sea_orm_migration::prelude::*;

use crate::columns::index;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_index(index("proxy_keys", ["name", "id", "tenant_id"]))
            .await?;
        manager
            .create_index(index("proxy_keys", ["created_ms", "id"]))
            .await?;
        manager
            .create_index(index("users", ["created_ms", "id"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, table) in [
            ("proxy_keys_name_id_tenant_id_idx", "proxy_keys"),
            ("proxy_keys_created_ms_id_idx", "proxy_keys"),
            ("users_created_ms_id_idx", "users"),
        ] {
            let index = Index::drop().name(name).table(table).to_owned();
            manager.drop_index(index).await?;
        }
        Ok(())
    }
}
