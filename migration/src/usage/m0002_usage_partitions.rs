//! The months of `usage_events` on PostgreSQL, and the function that makes further ones.
//!
//! The function runs with the rights of the role that migrates, so that the role that serves needs
//! none to change the schema: `GRANT EXECUTE ON FUNCTION weir_make_usage_partition TO …` is enough.
//! There is no default partition, because making a month would then have to search it, with the
//! table locked.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{DbBackend, Statement};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        let db = manager.get_connection();
        let create = include_str!("weir_make_usage_partition.sql");
        let create = create.replace("{schema}", &current_schema(db).await?);
        db.execute_unprepared(&create).await?;
        db.execute_unprepared(THIS_MONTH_AND_THE_NEXT_TWO).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        manager
            .get_connection()
            .execute_unprepared("DROP FUNCTION weir_make_usage_partition(bigint)")
            .await?;
        Ok(())
    }
}

const THIS_MONTH_AND_THE_NEXT_TWO: &str = "
    WITH this(month) AS (SELECT date_trunc('month', now() AT TIME ZONE 'UTC'))
    SELECT weir_make_usage_partition((extract(epoch FROM made) * 1000)::bigint)
    FROM this, generate_series(month, month + interval '2 months', interval '1 month') AS made";

/// The schema that the tables are in, quoted as an identifier.
async fn current_schema(db: &SchemaManagerConnection<'_>) -> Result<String, DbErr> {
    let question = "SELECT quote_ident(current_schema()) AS name";
    let row = db
        .query_one_raw(Statement::from_string(DbBackend::Postgres, question))
        .await?
        .ok_or_else(|| DbErr::Migration("PostgreSQL names no current schema".to_owned()))?;
    row.try_get("", "name")
}
