//! Until when what was said in a tenant's calls is forgotten, whenever and by whichever instance it is still brought.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::instant;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("forgotten_bodies")
            .col(pk_uuid("tenant_id"))
            .col(instant("until_ms"))
            .to_owned();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("forgotten_bodies").to_owned())
            .await
    }
}
