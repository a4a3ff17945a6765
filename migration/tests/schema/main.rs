//! What the schema promises, on SQLite always and on PostgreSQL where `WEIR_TEST_DATABASE_URL`
//! names a server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod constraints;
mod partitions;
mod steps;

use sea_orm_migration::sea_orm::{Database, DatabaseConnection};
use tempfile::TempDir;

/// The data directory of embedded mode, with a SQLite file for each list of steps.
struct Embedded(TempDir);

impl Embedded {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The configuration and the usage, opened anew as another process would.
    async fn connect(&self) -> (DatabaseConnection, DatabaseConnection) {
        let open = |name| {
            let path = self.0.path().join(name);
            Database::connect(format!("sqlite://{}?mode=rwc", path.display()))
        };
        let config = open("weir.db").await.unwrap();
        (config, open("usage.db").await.unwrap())
    }
}
