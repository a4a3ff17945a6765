//! Databases for tests: SQLite in a temporary directory always, PostgreSQL where `WEIR_TEST_DATABASE_URL` names a server
//! (in CI it must). Each is new, migrated, and gone when the test ends.

use std::path::Path;

use sea_orm::{ConnectionTrait as _, Statement, Value};
use weir_migration::testing::TestDatabase;

use super::{Config, Migrate, Stores, connect};
use crate::secrets::Secret;

/// The stores of one test.
pub struct TestStores {
    pub stores: Stores,
    pub directory: tempfile::TempDir,
    /// Dropped last, after the connections.
    pub postgres: Option<TestDatabase>,
}

/// Fresh stores of every kind there is here; a test runs on each in turn.
pub async fn all() -> Vec<TestStores> {
    let mut all = vec![sqlite().await];
    all.extend(postgres().await);
    all
}

/// Fresh stores in SQLite files.
pub async fn sqlite() -> TestStores {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let stores = migrated(&Config::default(), directory.path()).await;
    TestStores {
        stores,
        directory,
        postgres: None,
    }
}

/// Fresh stores in a PostgreSQL database of their own, if there is a server.
pub async fn postgres() -> Option<TestStores> {
    let database = TestDatabase::create().await?;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let stores = migrated(&postgres_config(&database.url()), directory.path()).await;
    Some(TestStores {
        stores,
        directory,
        postgres: Some(database),
    })
}

/// Settings for a PostgreSQL database, with the short waits of a test.
pub fn postgres_config(url: &str) -> Config {
    Config {
        database_url: Some(Secret::new(url)),
        acquire_timeout_ms: 1_000,
        ..Config::default()
    }
}

async fn migrated(config: &Config, directory: &Path) -> Stores {
    let stores = connect::open(config, directory).await.expect("stores");
    connect::migrate(&stores, Migrate::Auto)
        .await
        .expect("a migrated schema");
    stores
}

impl TestStores {
    /// The same databases as another process would open them.
    pub async fn open_again(&self) -> Stores {
        let config = match &self.postgres {
            Some(database) => postgres_config(&database.url()),
            None => Config::default(),
        };
        connect::open(&config, self.directory.path())
            .await
            .expect("stores")
    }

    /// Runs a statement on the configuration.
    pub async fn execute(&self, sql: &str, values: Vec<Value>) {
        run(&self.stores.config.write, sql, values).await;
    }

    /// Runs a statement on the usage.
    pub async fn execute_usage(&self, sql: &str, values: Vec<Value>) {
        run(&self.stores.usage.write, sql, values).await;
    }
}

async fn run(db: &sea_orm::DatabaseConnection, sql: &str, values: Vec<Value>) {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    db.execute_raw(statement).await.expect(sql);
}
