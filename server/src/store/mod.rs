//! The only module that speaks to a database: rows in, the product's types out.
//!
//! Two databases, told apart by what is in them: `config` (what people set up) and `usage` (what traffic leaves behind).
//! On SQLite each is a file of its own, on PostgreSQL they are one. Configuration is written through a [`Change`], read
//! back by [`catalog`]; usage is booked by [`usage`]. Functions are free, one file per aggregate, and take any connection.
//! The way of a request never comes here: `proxy::State` has no connection.

pub mod alerts;
pub mod audit;
pub mod budgets;
pub mod catalog;
pub mod change;
pub mod channels;
mod columns;
pub mod connect;
pub mod counts;
pub mod error;
pub mod groups;
pub mod idempotency;
pub mod identities;
pub mod instances;
pub mod keys;
pub mod known_places;
pub mod limits;
pub mod models;
pub mod names;
pub mod one_time_links;
pub mod operators;
pub mod page;
pub mod roles;
pub mod sealed;
pub mod search;
pub mod service_tokens;
pub mod sessions;
pub mod settings;
pub mod sign_in_failures;
pub mod sign_ins;
pub mod signing_keys;
pub mod tenants;
pub mod usage;
pub mod users;

#[cfg(test)]
pub mod testing;

use std::sync::Arc;

use sea_orm::{
    AccessMode, ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend,
    IsolationLevel, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use tokio::sync::watch;

pub use change::Change;
pub use columns::StandingOn;
use columns::{count, document, moment};
pub use connect::{Config, Migrate};
pub use error::{Error, Result};
use page::Columns;
pub use page::{Listed, Page};

use crate::tenancy::TenantId;

/// Ids in one question: each is a bound value.
const IDS_PER_QUERY: usize = 1_000;

/// Both databases, and word of what this process changed in them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stores {
    /// Tenants, keys, channels, models: what the catalog is made of.
    pub config: Database,
    /// Usage events and the sums made of them.
    pub usage: Database,
    /// The last version that this process committed.
    committed: Arc<watch::Sender<i64>>,
}

/// One database. On PostgreSQL both are the same pool; SQLite has one connection that writes and a pool that reads.
#[derive(Debug, Clone)]
pub struct Database {
    pub write: DatabaseConnection,
    pub read: DatabaseConnection,
}

/// Whose rows a question may see. Every function that reports to people takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The platform's operators: everything.
    Platform,
    /// One tenant's people: its own alone.
    Tenant(TenantId),
}

impl Stores {
    pub(crate) fn new(config: Database, usage: Database) -> Self {
        let committed = Arc::new(watch::Sender::new(0));
        Self {
            config,
            usage,
            committed,
        }
    }

    /// Wakes its holder whenever this process has committed a [`Change`]; other processes' are seen by Redis or poll.
    pub fn committed(&self) -> watch::Receiver<i64> {
        self.committed.subscribe()
    }

    /// Closes all connections, after those who use them have ended.
    pub async fn close(&self) {
        for database in [&self.config, &self.usage] {
            for connection in [&database.read, &database.write] {
                if let Err(error) = connection.close_by_ref().await {
                    tracing::warn!(%error, "a database connection did not close");
                }
            }
        }
    }
}

impl Database {
    /// Which store it is, for the few statements that differ.
    pub fn backend(&self) -> DbBackend {
        self.write.get_database_backend()
    }

    /// A transaction that writes. SQLite takes its write lock at once, so that none fails half-way for want of it.
    pub async fn begin_write(&self) -> Result<DatabaseTransaction> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        Ok(self.write.begin_with_options(options).await?)
    }

    /// A transaction that reads, all of it from one moment.
    pub async fn begin_snapshot(&self) -> Result<DatabaseTransaction> {
        let options = match self.backend() {
            // SQLite's read transactions are snapshots as they are.
            DbBackend::Sqlite => TransactionOptions::default(),
            _ => TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                access_mode: Some(AccessMode::ReadOnly),
                sqlite_transaction_mode: None,
            },
        };
        Ok(self.read.begin_with_options(options).await?)
    }

    /// The same, of which each question is planned for the values that it has. Of one that it has been asked a few
    /// times PostgreSQL keeps a plan for any values: fit for a tenant like most, and hundreds of times slower for another.
    pub async fn begin_planned(&self) -> Result<DatabaseTransaction> {
        let transaction = self.begin_snapshot().await?;
        if self.backend() == DbBackend::Postgres {
            let custom = "SET LOCAL plan_cache_mode = force_custom_plan";
            transaction.execute_unprepared(custom).await?;
        }
        Ok(transaction)
    }
}
