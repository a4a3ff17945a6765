//! Runs both lists of steps under a lock, so that instances which start together migrate once.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};

use crate::{config, usage};

/// The advisory lock of a migration on PostgreSQL: `weir` in ASCII, then a number of our choice.
const LOCK: i64 = 0x7765_6972_0000_0001;

/// Applies every step that is missing and returns the names of those it applied.
///
/// Each list is one transaction: it is applied whole or not at all. If nothing is missing, neither
/// a lock nor a right to change the schema is needed. A schema that a newer binary has migrated
/// further is left as it is; whether this binary may serve it is for [`oldest_binary`] to say.
pub async fn up(
    config_db: &DatabaseConnection,
    usage_db: &DatabaseConnection,
) -> Result<Vec<String>, DbErr> {
    let mut applied = up_one::<config::Migrator>(config_db).await?;
    applied.extend(up_one::<usage::Migrator>(usage_db).await?);
    Ok(applied)
}

/// Takes every step back, the newest first. All data is gone afterwards.
pub async fn down(
    config_db: &DatabaseConnection,
    usage_db: &DatabaseConnection,
) -> Result<(), DbErr> {
    down_one::<usage::Migrator>(usage_db).await?;
    down_one::<config::Migrator>(config_db).await
}

/// The names of the steps that [`up`] would apply. Only reads.
pub async fn pending(
    config_db: &DatabaseConnection,
    usage_db: &DatabaseConnection,
) -> Result<Vec<String>, DbErr> {
    let mut pending = pending_one::<config::Migrator>(config_db).await?;
    pending.extend(pending_one::<usage::Migrator>(usage_db).await?);
    Ok(pending)
}

/// The oldest version of Weir (semver) that can serve this schema; `None` before the first step.
///
/// A step that an older binary could not live with sets it. Nothing here compares versions: the
/// binary that wants to start does.
pub async fn oldest_binary(config_db: &DatabaseConnection) -> Result<Option<String>, DbErr> {
    if !SchemaManager::new(config_db)
        .has_table("installation")
        .await?
    {
        return Ok(None);
    }
    let oldest = Query::select()
        .column("oldest_binary")
        .from("installation")
        .to_owned();
    let row = config_db.query_one(&oldest).await?;
    row.map(|row| row.try_get("", "oldest_binary")).transpose()
}

async fn up_one<M: MigratorTrait>(db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    if pending_one::<M>(db).await?.is_empty() {
        return Ok(Vec::new());
    }
    let transaction = begin_locked(db).await?;
    // Asked again: another instance may have done it while this one waited for the lock.
    let pending = pending_one::<M>(&transaction).await?;
    if !pending.is_empty() {
        M::up(&transaction, None).await?;
    }
    transaction.commit().await?;
    Ok(pending)
}

async fn down_one<M: MigratorTrait>(db: &DatabaseConnection) -> Result<(), DbErr> {
    let transaction = begin_locked(db).await?;
    M::down(&transaction, None).await?;
    transaction.commit().await
}

/// SeaORM's own list of pending steps will not do: it is an error there when the database has a
/// step that the binary does not know, and that is the normal state of a rolling upgrade.
async fn pending_one<'c, M: MigratorTrait>(
    db: impl IntoSchemaManagerConnection<'c>,
) -> Result<Vec<String>, DbErr> {
    let applied = applied::<M>(db).await?;
    let steps = M::get_migration_files();
    Ok(steps
        .iter()
        .map(|step| step.name().to_owned())
        .filter(|name| !applied.contains(name))
        .collect())
}

/// The names of the steps that the database has, read without creating SeaORM's table of them.
async fn applied<'c, M: MigratorTrait>(
    db: impl IntoSchemaManagerConnection<'c>,
) -> Result<Vec<String>, DbErr> {
    let manager = SchemaManager::new(db);
    let table = M::migration_table_name();
    if !manager.has_table(table.to_string()).await? {
        return Ok(Vec::new());
    }
    let versions = Query::select().column("version").from(table).to_owned();
    let rows = manager.get_connection().query_all(&versions).await?;
    rows.iter()
        .map(|row| row.try_get("", "version"))
        .collect::<Result<_, _>>()
}

/// A transaction that is alone with the schema until it ends.
///
/// On SQLite this takes the write lock at once; a second process waits for its busy timeout (5 s
/// unless set otherwise). On PostgreSQL the lock goes with the transaction, and so with a
/// connection that breaks.
async fn begin_locked(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let transaction = db
        .begin_with_options(TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        })
        .await?;
    if db.get_database_backend() == DbBackend::Postgres {
        let lock = format!("SELECT pg_advisory_xact_lock({LOCK})");
        transaction.execute_unprepared(&lock).await?;
    }
    Ok(transaction)
}
