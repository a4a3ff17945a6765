//! Whoever is deleted is looked for among the links: whose they are, and who made them; and a role among those who have it. People
//! are looked for by their names, too.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::uuid_null;

use crate::columns::index;

#[derive(DeriveMigrationName)]
pub struct Migration;

const COLUMNS: [(&str, &str); 4] = [
    ("one_time_links", "user_id"),
    ("one_time_links", "inviter_id"),
    ("memberships", "role_id"),
    ("service_tokens", "role_id"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in COLUMNS {
            manager.create_index(index(table, [column])).await?;
        }
        manager
            .create_index(index("users", ["email", "name", "id"]))
            .await?;
        let token = Table::alter()
            .table("one_time_links")
            .add_column(uuid_null("inviter_token_id"))
            .to_owned();
        manager.alter_table(token).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let token = Table::alter()
            .table("one_time_links")
            .drop_column("inviter_token_id")
            .to_owned();
        manager.alter_table(token).await?;
        let drop =
            |table: &'static str, name: String| Index::drop().name(name).table(table).to_owned();
        manager
            .drop_index(drop("users", "users_email_name_id_idx".to_owned()))
            .await?;
        for (table, column) in COLUMNS {
            let name = format!("{table}_{column}_idx");
            manager.drop_index(drop(table, name)).await?;
        }
        Ok(())
    }
}
