//! Sign-in through others: the providers of identities, who is who there, and the sessions that come of it.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::columns::{belongs_to, enabled, index, instant, unique, unique_names};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("identity_providers")
            .col(pk_uuid("id"))
            .col(uuid_null("tenant_id"))
            .col(text("name"))
            .col(text("issuer"))
            .col(text("client_id"))
            .col(binary_null("sealed"))
            .col(text_null("master_key_id"))
            .col(json_binary("settings"))
            .col(text_null("allowed_origin"))
            .col(enabled())
            .col(instant("created_ms"))
            .col(instant("updated_ms"))
            .foreign_key(&mut belongs_to(
                "identity_providers",
                "tenant_id",
                "tenants",
            ))
            .to_owned();
        manager.create_table(table).await?;
        for names in unique_names("identity_providers") {
            manager.create_index(names).await?;
        }
        let table = Table::create()
            .table("identities")
            .col(pk_uuid("id"))
            .col(uuid("provider_id"))
            .col(uuid("user_id"))
            .col(text("subject"))
            .col(instant("created_ms"))
            .foreign_key(&mut belongs_to(
                "identities",
                "provider_id",
                "identity_providers",
            ))
            .foreign_key(&mut belongs_to("identities", "user_id", "users"))
            .to_owned();
        manager.create_table(table).await?;
        manager
            .create_index(unique("identities", ["provider_id", "subject"]))
            .await?;
        manager
            .create_index(index("identities", ["user_id"]))
            .await?;
        // SQLite adds one column at a time.
        for column in ["provider_id", "tenant_id"] {
            let table = Table::alter()
                .table("sessions")
                .add_column(uuid_null(column))
                .to_owned();
            manager.alter_table(table).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["tenant_id", "provider_id"] {
            let table = Table::alter()
                .table("sessions")
                .drop_column(column)
                .to_owned();
            manager.alter_table(table).await?;
        }
        for table in ["identities", "identity_providers"] {
            manager
                .drop_table(Table::drop().table(table).to_owned())
                .await?;
        }
        Ok(())
    }
}
