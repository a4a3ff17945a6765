//! A change of the configuration: one transaction, one version of the catalog.
//!
//! The next version is taken first. Its row stays locked until the end, so writers go one after the other and versions
//! become visible in their order: who has seen version 7 will never meet a version 6 that commits later. Whoever writes
//! names every entry of the catalog that looks different afterwards; what the database deletes along with a tenant, user,
//! group or channel is named by [`Change::deletes`]. Nothing outside the database is awaited in between.

mod along;

pub use along::dependants;
#[cfg(test)]
pub use along::references;

use std::{collections::BTreeMap, sync::Arc};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Statement, Value};
use tokio::sync::watch;
use uuid::Uuid;

use super::{Error, Result, Stores};
use crate::{catalog::Kind, clock::now_ms};

/// Rows of `catalog_changes` in one statement: five values each, and SQLite takes 32,766.
const ROWS_PER_INSERT: usize = 5_000;

/// A change under way. Dropped without [`Change::commit`] it is rolled back.
#[derive(Debug)]
pub struct Change {
    transaction: DatabaseTransaction,
    version: i64,
    /// What is named, in the order of first naming, and whether it is deleted.
    named: Vec<Named>,
    places: BTreeMap<(&'static str, Uuid), usize>,
    committed: Arc<watch::Sender<i64>>,
}

#[derive(Debug, Clone, Copy)]
struct Named {
    kind: Kind,
    id: Uuid,
    deleted: bool,
}

impl Change {
    /// Begins a change and takes its version; waits while another one is under way.
    pub async fn begin(stores: &Stores) -> Result<Self> {
        let transaction = stores.config.begin_write().await?;
        let next = Statement::from_string(
            transaction.get_database_backend(),
            "UPDATE installation SET catalog_version = catalog_version + 1 WHERE id = 1 RETURNING catalog_version",
        );
        let row = transaction.query_one_raw(next).await?;
        let row = row.ok_or_else(|| Error::other("the installation has no row"))?;
        Ok(Self {
            version: row.try_get("", "catalog_version")?,
            transaction,
            named: Vec::new(),
            places: BTreeMap::new(),
            committed: stores.committed.clone(),
        })
    }

    /// What to write through.
    pub fn transaction(&self) -> &DatabaseTransaction {
        &self.transaction
    }

    /// The version that the catalog has once this change is committed.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Names an entry that is new or different.
    pub fn changed(&mut self, kind: Kind, id: Uuid) {
        self.name(kind, id, false);
    }

    /// Names an entry that will be gone, and what the database deletes or changes along with it. To be called before the
    /// row goes.
    pub async fn deletes(&mut self, kind: Kind, id: Uuid) -> Result<()> {
        self.deletes_all(kind, &[id]).await
    }

    /// The same for many of one kind.
    pub async fn deletes_all(&mut self, kind: Kind, ids: &[Uuid]) -> Result<()> {
        for (kind, id, deleted) in along::with(&self.transaction, kind, ids).await? {
            self.name(kind, id, deleted);
        }
        for id in ids {
            self.name(kind, *id, true);
        }
        Ok(())
    }

    /// Whether anything was named yet.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Ends the change and wakes those in this process who follow the catalog. Returns the version of the catalog
    /// afterwards; a change that named nothing is rolled back and leaves the version that was.
    pub async fn commit(self) -> Result<i64> {
        if self.named.is_empty() {
            self.transaction.rollback().await?;
            return Ok(self.version - 1);
        }
        let at_ms = now_ms();
        for (chunk, rows) in self.named.chunks(ROWS_PER_INSERT).enumerate() {
            let first_seq = chunk * ROWS_PER_INSERT;
            insert(&self.transaction, self.version, first_seq, rows, at_ms).await?;
        }
        self.transaction.commit().await?;
        self.committed.send_replace(self.version);
        Ok(self.version)
    }

    /// Gives the change up; the version is free for the next one.
    pub async fn rollback(self) -> Result<()> {
        Ok(self.transaction.rollback().await?)
    }

    /// The last word on an entry counts.
    fn name(&mut self, kind: Kind, id: Uuid, deleted: bool) {
        let next = self.named.len();
        let place = *self.places.entry((kind.as_str(), id)).or_insert(next);
        let named = Named { kind, id, deleted };
        match self.named.get_mut(place) {
            Some(earlier) => *earlier = named,
            None => self.named.push(named),
        }
    }
}

async fn insert(
    transaction: &DatabaseTransaction,
    version: i64,
    first_seq: usize,
    rows: &[Named],
    at_ms: i64,
) -> Result<(), DbErr> {
    let mut sql = String::from(
        "INSERT INTO catalog_changes (version, seq, kind, row_id, deleted, at_ms) VALUES ",
    );
    let mut values: Vec<Value> = vec![version.into(), at_ms.into()];
    for (at, named) in rows.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let first = values.len() + 1;
        let (seq, kind, row, deleted) = (first, first + 1, first + 2, first + 3);
        sql.push_str(&format!(
            "{comma}($1, ${seq}, ${kind}, ${row}, ${deleted}, $2)"
        ));
        values.push(((first_seq + at) as i32).into());
        values.push(named.kind.as_str().into());
        values.push(named.id.into());
        values.push(named.deleted.into());
    }
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
    transaction.execute_raw(statement).await.map(drop)
}

#[cfg(test)]
mod tests;
