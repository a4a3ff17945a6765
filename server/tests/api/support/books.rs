//! What the books say, read straight from the tables.

use std::path::PathBuf;

use sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, DbBackend, EntityTrait, IsolationLevel,
    QueryOrder, TransactionTrait,
};
use weir_entity::{usage_event, usage_rollup};

use super::{Bench, Store};

/// All usage events, oldest first, and the sums made of them.
#[derive(Debug, Clone)]
pub struct Books {
    pub events: Vec<usage_event::Model>,
    pub rollups: Vec<usage_rollup::Model>,
}

impl Books {
    /// Reads them once everything answered so far has been booked.
    pub async fn read(bench: &Bench) -> Self {
        let asked = bench
            .admin(reqwest::Method::GET, "/usage?by=key&wait=30s")
            .send()
            .await
            .unwrap();
        assert!(
            asked.status().is_success(),
            "{}",
            asked.text().await.unwrap()
        );
        Self::read_from(&connect(bench).await).await
    }

    /// Of one moment: another instance may book while they are read.
    pub async fn read_from(database: &DatabaseConnection) -> Self {
        let level = match database.get_database_backend() {
            DbBackend::Postgres => Some(IsolationLevel::RepeatableRead),
            _ => None,
        };
        let moment = database.begin_with_config(level, None).await.unwrap();
        let events = usage_event::Entity::find()
            .order_by_asc(usage_event::Column::Id)
            .all(&moment)
            .await
            .unwrap();
        let rollups = usage_rollup::Entity::find().all(&moment).await.unwrap();
        moment.rollback().await.unwrap();
        Self { events, rollups }
    }

    /// The only event there is.
    pub fn only(&self) -> &usage_event::Model {
        assert_eq!(self.events.len(), 1, "{:#?}", self.events);
        &self.events[0]
    }

    /// The events of calls: those that are no refusals and no lists.
    pub fn calls(&self) -> impl Iterator<Item = &usage_event::Model> {
        self.events.iter().filter(|event| {
            event
                .attempts
                .as_array()
                .is_some_and(|attempts| !attempts.is_empty())
        })
    }

    /// Input and output tokens of all attempts of all events.
    pub fn tokens(&self) -> (u64, u64) {
        let attempts = self
            .events
            .iter()
            .filter_map(|event| event.attempts.as_array())
            .flatten();
        attempts.fold((0, 0), |(input, output), attempt| {
            let count = |name: &str| attempt["usage"][name].as_u64().unwrap();
            (input + count("input"), output + count("output"))
        })
    }

    /// Fails unless the sums are those of the events, to the nano-dollar.
    pub fn assert_sums(&self) {
        let of_events = self.events.iter().fold([0; 4], |sum, event| {
            [
                sum[0] + i64::from(event.count),
                sum[1] + event.input_tokens,
                sum[2] + event.output_tokens,
                sum[3] + event.charge_nanos,
            ]
        });
        let of_rollups = self.rollups.iter().fold([0; 4], |sum, rollup| {
            [
                sum[0] + rollup.requests,
                sum[1] + rollup.input_tokens,
                sum[2] + rollup.output_tokens,
                sum[3] + rollup.charge_nanos,
            ]
        });
        assert_eq!(
            of_events, of_rollups,
            "requests, input, output, charge: events on the left, rollups on the right"
        );
    }
}

/// A connection to the bench's usage database.
pub async fn connect(bench: &Bench) -> DatabaseConnection {
    let url = match bench.stores.kind {
        Store::Embedded => format!("sqlite://{}/usage.db", reachable(bench).display()),
        Store::Cluster => bench.stores.variable("WEIR_DATABASE_URL").unwrap(),
    };
    let database = Database::connect(url).await.unwrap();
    database.execute_unprepared("select 1").await.unwrap();
    database
}

/// Where the usage database of an embedded instance can be opened. On a disk that only the process sees, SQLite finds no
/// way to it: a copy is read, made after everything answered so far was booked.
fn reachable(bench: &Bench) -> PathBuf {
    let data = bench.data();
    if !data.starts_with("/proc") {
        return data;
    }
    let copy = bench.stores.folder.path().join("copy");
    drop(std::fs::remove_dir_all(&copy));
    std::fs::create_dir(&copy).unwrap();
    for name in ["usage.db", "usage.db-wal"] {
        std::fs::copy(data.join(name), copy.join(name)).unwrap();
    }
    copy
}
