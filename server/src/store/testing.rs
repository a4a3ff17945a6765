//! Databases for tests: SQLite in a temporary directory always, PostgreSQL where `WEIR_TEST_DATABASE_URL` names a server
//! (in CI it must). Each is new, migrated, and gone when the test ends.

use std::path::Path;

use sea_orm::{ConnectionTrait as _, Statement, Value};
use uuid::Uuid;
use weir_dialect::neutral::Usage;
use weir_migration::testing::TestDatabase;

use super::{Config, Migrate, Stores, connect};
use crate::{
    billing::{Money, Rates},
    metering::{Attempt, Outcome, Source, UsageEvent},
    secrets::Secret,
    tenancy::{ChannelId, KeyId, RequestId, TenantId},
};

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

/// A request id of a given millisecond.
pub fn request_id(at_ms: i64) -> RequestId {
    let random: [u8; 10] = rand::random();
    let id = uuid::Builder::from_unix_timestamp_millis(at_ms as u64, &random);
    RequestId(id.into_uuid())
}

/// An ordinary usage event of a given millisecond; the seed varies its dimensions and amounts.
pub fn event(at_ms: i64, seed: u64) -> UsageEvent {
    let usage = Usage {
        input: 100 + seed % 17,
        cached_read: seed % 5,
        output: 10 + seed % 7,
        reasoning: seed % 3,
        ..Usage::default()
    };
    let attempt = |failure: Option<&str>| Attempt {
        channel: ChannelId(Uuid::from_u128(u128::from(seed % 2) + 1)),
        credential: None,
        upstream_model: "upstream".to_owned(),
        started_us: 100,
        took_us: 1_000,
        status: Some(200),
        failure: failure.map(str::to_owned),
        usage,
        estimated: false,
        cost: Money::from_nanos(1_000 + seed as i64 % 11),
    };
    UsageEvent {
        id: request_id(at_ms),
        tenant: TenantId(Uuid::from_u128(7)),
        key: KeyId(Uuid::from_u128(u128::from(seed % 10))),
        user: None,
        group: None,
        started_ms: at_ms,
        endpoint: "/v1/chat/completions".to_owned(),
        dialect: "openai".to_owned(),
        model: format!("model-{}", seed % 3),
        source: Source::Api,
        outcome: if seed.is_multiple_of(13) {
            Outcome::UpstreamError
        } else {
            Outcome::Ok
        },
        status: 200,
        error_code: None,
        streamed: seed.is_multiple_of(2),
        count: 1,
        usage,
        estimated: seed.is_multiple_of(4),
        unpriced: false,
        cost: Money::from_nanos(1_000 + seed as i64 % 11),
        charge: Money::from_nanos(1_000 + seed as i64 % 11),
        rates: Some(Rates {
            input: "0.15".parse().ok(),
            ..Rates::default()
        }),
        first_byte_us: Some(50_000 + seed % 1_000),
        total_us: 500_000 + seed % 100_000,
        overhead_us: 200,
        request_bytes: 400,
        response_bytes: 4_000,
        client_request_id: None,
        upstream_request_id: Some("req-1".to_owned()),
        end_user: None,
        attempts: vec![
            attempt(seed.is_multiple_of(5).then_some("connect")),
            attempt(None),
        ],
        instance: "test".to_owned(),
    }
}

/// A TCP proxy before a server, which a test can cut.
pub struct Proxy {
    /// The address to use instead of the server's.
    pub address: std::net::SocketAddr,
    up: tokio::sync::watch::Sender<bool>,
}

impl Proxy {
    /// Listens on a port of its own and passes on to `server`.
    pub async fn before(server: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (up, mut is_up) = tokio::sync::watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if !*is_up.borrow_and_update() {
                    continue;
                }
                let (mut is_up, server) = (is_up.clone(), server.clone());
                tokio::spawn(async move {
                    let Ok(mut server) = tokio::net::TcpStream::connect(server).await else {
                        return;
                    };
                    tokio::select! {
                        _ = is_up.wait_for(|up| !up) => {}
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    }
                });
            }
        });
        Self { address, up }
    }

    /// Breaks all connections and refuses new ones.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    /// Lets new connections through.
    pub fn restore(&self) {
        self.up.send_replace(true);
    }
}

impl TestStores {
    /// The same PostgreSQL database behind a proxy; `None` on SQLite.
    pub async fn behind_proxy(&self) -> Option<(Stores, Proxy)> {
        let url = self.postgres.as_ref()?.url();
        let start = url
            .find('@')
            .map_or_else(|| url.find("://").unwrap_or(0) + 3, |at| at + 1);
        let end = url[start..].find('/').map_or(url.len(), |at| start + at);
        let proxy = Proxy::before(url[start..end].to_owned()).await;
        let url = format!("{}{}{}", &url[..start], proxy.address, &url[end..]);
        let stores = connect::open(&postgres_config(&url), self.directory.path()).await;
        Some((stores.expect("stores"), proxy))
    }
}

/// Waits until something holds, at most `seconds`.
pub async fn eventually(seconds: u64, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(seconds);
    while !holds().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not within {seconds} s: {what}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
