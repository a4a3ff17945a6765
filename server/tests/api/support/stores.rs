//! The stores of a bench: a folder of its own, and on a cluster a database and a Redis prefix of its own.

use tempfile::TempDir;
use uuid::Uuid;
use weir_migration::testing::TestDatabase;

/// Which of the two ways to run is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// SQLite, in process.
    Embedded,
    /// PostgreSQL and Redis.
    Cluster,
}

impl Store {
    /// Whether `make test` has started PostgreSQL and Redis. In CI their absence is a failure, elsewhere it is said.
    pub fn cluster_is_there() -> bool {
        let is_there = std::env::var_os("WEIR_TEST_DATABASE_URL").is_some()
            && std::env::var_os("WEIR_TEST_REDIS_URL").is_some();
        assert!(
            is_there || std::env::var_os("CI").is_none(),
            "CI runs every test on PostgreSQL and Redis too: use `make test`"
        );
        if !is_there {
            eprintln!(
                "skipped: no WEIR_TEST_DATABASE_URL and WEIR_TEST_REDIS_URL; `make test` starts both"
            );
        }
        is_there
    }
}

/// The stores of one bench; gone when dropped.
pub struct Stores {
    pub kind: Store,
    pub folder: TempDir,
    database: Option<TestDatabase>,
    prefix: String,
    master_key: String,
}

impl Stores {
    pub async fn create(kind: Store) -> Self {
        let database = match kind {
            Store::Embedded => None,
            Store::Cluster => TestDatabase::create().await,
        };
        Self {
            kind,
            folder: tempfile::tempdir().unwrap(),
            database,
            prefix: format!("weir-test-{}", Uuid::new_v4().simple()),
            master_key: weir::secrets::Sealer::generate_base64().to_string(),
        }
    }

    /// The environment of an instance that uses these stores, with a data folder of its own.
    pub fn environment(&self, instance: &str) -> Vec<(String, String)> {
        let mut environment = vec![
            (
                "WEIR_DATA_DIR".to_owned(),
                self.folder.path().join(instance).display().to_string(),
            ),
            ("WEIR_MASTER_KEY".to_owned(), self.master_key.clone()),
            ("WEIR_ADMIN_TOKEN".to_owned(), ADMIN_TOKEN.to_owned()),
            ("WEIR_INSTANCE".to_owned(), instance.to_owned()),
            ("WEIR_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("WEIR_WORKERS".to_owned(), "2".to_owned()),
        ];
        if let Some(database) = &self.database {
            environment.push(("WEIR_DATABASE_URL".to_owned(), database.url().to_owned()));
            environment.push((
                "WEIR_REDIS_URL".to_owned(),
                std::env::var("WEIR_TEST_REDIS_URL").unwrap(),
            ));
            environment.push(("WEIR_REDIS_PREFIX".to_owned(), self.prefix.clone()));
        }
        environment
    }
}

impl Stores {
    /// One variable of the instance `one`.
    pub fn variable(&self, name: &str) -> Option<String> {
        let environment = self.environment("one");
        environment
            .into_iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }
}

/// The admin token of every bench.
pub const ADMIN_TOKEN: &str = "wa-test-admin-token-that-is-long-enough-for-everybody";
