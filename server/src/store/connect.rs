//! Opening the databases, bringing their schema up to date, and refusing one that is too new.

use std::{
    fs::{DirBuilder, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use sea_orm::{
    ConnectOptions, DatabaseConnection, SqlxPostgresConnector, SqlxSqliteConnector,
    sqlx::{
        self, Connection as _, Executor as _, PgConnection, SqliteConnection,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};
use serde::Deserialize;

use super::{Database, Stores};
use crate::secrets::Secret;

/// How long SQLite waits for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a pooled connection to PostgreSQL may take to show that it is alive.
const PING_TIMEOUT: Duration = Duration::from_millis(500);
/// What the one who writes to SQLite may hold of it in memory: what a booking touches, so that no page of it is written
/// before its end and read again. In KiB, negative as the pragma wants it.
const WRITER_CACHE: &str = "-16384";
/// Pages in the log at which SQLite copies them to where they belong: a page that changes with each booking is copied
/// once for several of them. 16 MiB.
const CHECKPOINT_PAGES: &str = "4000";
/// Connections that nobody needed for so long are closed.
const IDLE: Duration = Duration::from_secs(60);

/// Where the databases are and how they are used.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `postgres://…`; its `sslmode` counts. Absent: SQLite files in the data directory.
    pub database_url: Option<Secret>,
    /// Most connections at a time to PostgreSQL, or for reading each SQLite file.
    pub max_connections: u32,
    /// Milliseconds that a caller waits for a connection before the database counts as unavailable.
    pub acquire_timeout_ms: u64,
    /// Whether a start brings the schema up to date.
    pub migrate: Migrate,
}

/// Whether a start brings the schema up to date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Migrate {
    /// Under a lock, so that instances which start together migrate once.
    #[default]
    Auto,
    /// Refuse the start while a step is missing: somebody else runs `weir migrate`.
    Never,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database_url: None,
            max_connections: 16,
            acquire_timeout_ms: 3_000,
            migrate: Migrate::Auto,
        }
    }
}

/// Why a start cannot go on with its databases.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("database_url must begin with postgres:// or postgresql://")]
    BadUrl,
    #[error("the data directory's {path}: {cause}")]
    File { path: PathBuf, cause: io::Error },
    #[error(
        "the database's schema needs Weir {oldest} or newer, this is {ours}: start a newer binary"
    )]
    TooOld { oldest: String, ours: &'static str },
    #[error(
        "the database's schema lacks {}: run `weir migrate`, or set migrate = \"auto\"",
        .0.join(", ")
    )]
    Pending(Vec<String>),
    #[error(transparent)]
    Store(#[from] super::Error),
}

impl From<sea_orm::DbErr> for Error {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Store(error.into())
    }
}

/// Opens both databases; nothing is read yet.
pub async fn open(config: &Config, data_dir: &Path) -> Result<Stores, Error> {
    let Some(url) = &config.database_url else {
        prepare_directory(data_dir)?;
        let config_path = data_dir.join("weir.db");
        let usage_path = data_dir.join("usage.db");
        return Ok(Stores::new(
            sqlite(config, &config_path, SqliteSynchronous::Normal).await?,
            // A booked event's segment is deleted: the booking must outlive a power cut.
            sqlite(config, &usage_path, SqliteSynchronous::Full).await?,
        ));
    };
    let database = postgres(config, url).await?;
    Ok(Stores::new(database.clone(), database))
}

/// Brings the schema up to date as the setting says, and refuses one that needs a newer binary. Returns the steps taken.
pub async fn migrate(stores: &Stores, migrate: Migrate) -> Result<Vec<String>, Error> {
    let (config, usage) = (&stores.config.write, &stores.usage.write);
    refuse_newer(weir_migration::oldest_binary(config).await?)?;
    match migrate {
        Migrate::Auto => Ok(weir_migration::up(config, usage).await?),
        Migrate::Never => match weir_migration::pending(config, usage).await? {
            pending if pending.is_empty() => Ok(pending),
            pending => Err(Error::Pending(pending)),
        },
    }
}

fn refuse_newer(oldest: Option<String>) -> Result<(), Error> {
    let ours = env!("CARGO_PKG_VERSION");
    match oldest {
        Some(oldest) if version_numbers(&oldest) > version_numbers(ours) => {
            Err(Error::TooOld { oldest, ours })
        }
        _ => Ok(()),
    }
}

/// `1.20.3` as numbers; what follows a `-` or `+` does not count.
fn version_numbers(version: &str) -> Vec<u64> {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    plain
        .split('.')
        .map(|part| part.parse().unwrap_or(u64::MAX))
        .collect()
}

async fn postgres(config: &Config, url: &Secret) -> Result<Database, Error> {
    let url = url.expose();
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(Error::BadUrl);
    }
    let mut options = options(config, url);
    options
        .max_connections(config.max_connections)
        .idle_timeout(IDLE)
        .set_application_name("weir")
        .test_before_acquire(false)
        .map_sqlx_postgres_before_acquire(|connection, _| Box::pin(is_alive(connection)));
    let pool = SqlxPostgresConnector::connect(options).await?;
    Ok(Database {
        write: pool.clone(),
        read: pool,
    })
}

/// Asks a pooled connection for a sign of life. A peer that vanished without a word would keep sqlx waiting for as long
/// as TCP does, and after an outage every pooled connection may be such a one.
async fn is_alive(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(PING_TIMEOUT, connection.ping()).await {
        Ok(answer) => answer.map(|()| true),
        Err(_) => Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())),
    }
}

async fn sqlite(
    config: &Config,
    path: &Path,
    synchronous: SqliteSynchronous,
) -> Result<Database, Error> {
    prepare_file(path)?;
    let write = sqlite_pool(config, path, 1, move |options| {
        options
            .synchronous(synchronous)
            .pragma("cache_size", WRITER_CACHE)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
    });
    let write = write.await?;
    let read = sqlite_pool(config, path, config.max_connections, move |options| {
        options.pragma("query_only", "ON")
    });
    let read = read.await?;
    Ok(Database { write, read })
}

async fn sqlite_pool(
    config: &Config,
    path: &Path,
    max_connections: u32,
    shape: impl Fn(SqliteConnectOptions) -> SqliteConnectOptions + Send + Sync + 'static,
) -> Result<DatabaseConnection, Error> {
    let path = path.to_owned();
    // The path goes in as a path: inside a URL some of its characters would mean something.
    let mut options = options(config, "sqlite::memory:");
    options
        .max_connections(max_connections)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .map_sqlx_sqlite_pool_opts(|pool| {
            pool.after_release(|connection, _| Box::pin(is_clean(connection)))
        })
        .map_sqlx_sqlite_opts(move |options| {
            let options = options
                .in_memory(false)
                .shared_cache(false)
                .filename(&path)
                .journal_mode(SqliteJournalMode::Wal)
                .busy_timeout(BUSY_TIMEOUT)
                .foreign_keys(true);
            shape(options)
        });
    Ok(SqlxSqliteConnector::connect(options).await?)
}

/// Whether a connection that comes back may be given to the next one. Where a transaction could not end, as on a full
/// disk, SQLite and sqlx may differ on whether there still is one: all later ones would be parts of it, told as
/// committed and never written. Such a connection is closed.
async fn is_clean(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // Refused where there is no transaction. One that was dropped is rolled back by then: its end stood before this in the
    // connection's queue, and so it counts no longer either.
    let is_open = connection.execute("ROLLBACK").await.is_ok();
    let is_counted = connection.is_in_transaction();
    if is_counted || is_open {
        tracing::warn!(
            is_counted,
            is_open,
            "a connection to SQLite is closed with its transaction"
        );
    }
    Ok(!is_counted && !is_open)
}

fn options(config: &Config, url: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(url.to_owned());
    options
        .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
        .sqlx_logging(false);
    options
}

fn prepare_directory(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|cause| Error::File {
        path: path.to_owned(),
        cause,
    })
}

/// Makes the file for its owner alone; SQLite gives its companions (`-wal`, `-shm`) the same mode.
fn prepare_file(path: &Path) -> Result<(), Error> {
    let made = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .and_then(|file| file.set_permissions(Permissions::from_mode(0o600)));
    made.map_err(|cause| Error::File {
        path: path.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests;
