//! Where people have signed in from, so that nobody else's guesses keep them out there.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, index, instant};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("known_places")
            .col(uuid("user_id"))
            .col(text("network"))
            .col(instant("seen_ms"))
            .primary_key(Index::create().col("user_id").col("network"))
            .foreign_key(&mut belongs_to("known_places", "user_id", "users"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(index("known_places", ["seen_ms"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("known_places").to_owned())
            .await
    }
}
