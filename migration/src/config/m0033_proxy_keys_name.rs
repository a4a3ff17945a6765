//! Keys are found by a piece of their name: all names are looked through, and nothing else of the keys need be read for it.

use sea_orm_migration::prelude::*;

use crate::columns::index;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_index(index("proxy_keys", ["name", "tenant_id", "id"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = Index::drop()
            .name("proxy_keys_name_tenant_id_id_idx")
            .table("proxy_keys")
            .to_owned();
        manager.drop_index(index).await
    }
}
