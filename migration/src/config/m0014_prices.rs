//! The dated prices of a model.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, instant, unique};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("prices")
            .col(pk_uuid("id"))
            .col(uuid("model_id"))
            .col(instant("effective_ms"))
            .col(json_binary("rates"))
            .col(instant("created_ms"))
            .foreign_key(&mut belongs_to("prices", "model_id", "models"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(unique("prices", ["model_id", "effective_ms"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("prices").to_owned())
            .await
    }
}
