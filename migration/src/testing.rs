//! PostgreSQL databases for tests: each test gets one of its own on the server that
//! `WEIR_TEST_DATABASE_URL` names (a role that may create databases), gone when the test ends.

use std::env;

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{Database, DatabaseConnection};
use uuid::Uuid;

const VARIABLE: &str = "WEIR_TEST_DATABASE_URL";

/// An empty database, dropped with this value.
pub struct TestDatabase {
    server_url: String,
    name: String,
}

impl TestDatabase {
    /// `None` where no server is named. Where `CI` is set that is a failure, so that no pipeline is
    /// green because it tested nothing.
    pub async fn create() -> Option<Self> {
        let Ok(server_url) = env::var(VARIABLE) else {
            assert!(
                env::var_os("CI").is_none(),
                "CI is set, so {VARIABLE} must name a PostgreSQL server for the tests"
            );
            eprintln!("skipped: {VARIABLE} names no PostgreSQL server");
            return None;
        };
        let name = format!("weir_test_{}", Uuid::new_v4().simple());
        run(&server_url, &format!("CREATE DATABASE {name}")).await;
        Some(Self { server_url, name })
    }

    /// The address of this database.
    pub fn url(&self) -> String {
        let (address, options) = match self.server_url.split_once('?') {
            Some((address, options)) => (address, format!("?{options}")),
            None => (self.server_url.as_str(), String::new()),
        };
        let scheme_end = address.find("://").map_or(0, |at| at + 3);
        let server_end = address[scheme_end..]
            .find('/')
            .map_or(address.len(), |at| scheme_end + at);
        format!("{}/{}{options}", &address[..server_end], self.name)
    }

    /// A new pool of connections to this database.
    pub async fn connect(&self) -> DatabaseConnection {
        Database::connect(self.url())
            .await
            .expect("the database just made takes connections")
    }
}

impl Drop for TestDatabase {
    /// On a thread and runtime of its own, as a test that panics unwinds through here too.
    fn drop(&mut self) {
        let server_url = self.server_url.clone();
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime for one statement");
            runtime.block_on(run(&server_url, &drop));
        });
        if dropping.join().is_err() {
            eprintln!("database {} was left behind", self.name);
        }
    }
}

async fn run(server_url: &str, sql: &str) {
    let server = Database::connect(server_url)
        .await
        .unwrap_or_else(|error| panic!("{VARIABLE} takes no connection: {error}"));
    server
        .execute_unprepared(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}
