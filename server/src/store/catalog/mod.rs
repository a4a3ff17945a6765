//! Rows to the catalog: all of them at start, later only those that changed.
//!
//! Each reading is one snapshot, so a picture never mixes two versions. What cannot be read never stops the rest: an
//! entry with a broken row is left out, loudly; a credential that does not open stays in its pool without a secret.
//! `jobs::refresh_catalog` calls this and nobody else; writing is `store::change` and the files of the aggregates.

mod fetch;
mod row;
mod rows;
mod slice;

use std::collections::{BTreeMap, HashMap};

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Statement,
};
use uuid::Uuid;
use weir_entity::{catalog_change, installation};

use super::{Database, Error, Listed, Result};
use crate::clock::now_ms;
use crate::{
    catalog::{Delta, Entry, Kind, Version},
    secrets::Sealer,
};
use fetch::Which;
pub use row::{Row, Times, row};
pub use slice::{Slice, slice};

/// Changes are kept for so many versions …
const KEPT_VERSIONS: i64 = 10_000;
/// … and for so long, whichever is longer.
const KEPT_MS: i64 = 24 * 3_600_000;

/// What was read.
#[derive(Debug, Default)]
pub struct Reading {
    pub delta: Delta,
    /// Entries left out because a row of theirs cannot be read.
    pub broken: usize,
}

/// Reads everything.
pub async fn load(db: &Database, sealer: &Sealer) -> Result<Reading> {
    let snapshot = db.begin_snapshot().await?;
    let version = version(&snapshot).await?;
    let reading = whole(&snapshot, version, sealer).await?;
    snapshot.rollback().await?;
    Ok(reading)
}

/// Reads what changed since a version; everything, if that cannot be told. A delta of the same version is empty.
pub async fn changes_since(db: &Database, known: Version, sealer: &Sealer) -> Result<Reading> {
    let snapshot = db.begin_snapshot().await?;
    let version = version(&snapshot).await?;
    let reading = if version == known {
        Reading {
            delta: Delta {
                version,
                ..Delta::default()
            },
            broken: 0,
        }
    } else {
        match changed(&snapshot, known, version).await? {
            Some(changed) => some(&snapshot, version, &changed, sealer).await?,
            None => whole(&snapshot, version, sealer).await?,
        }
    };
    snapshot.rollback().await?;
    Ok(reading)
}

/// Deletes changes that are too old to be followed one by one. Returns how many rows went.
pub async fn prune(db: &Database) -> Result<u64> {
    let version = version(&db.write).await?.number;
    let old = catalog_change::Entity::delete_many()
        .filter(catalog_change::Column::Version.lte(version - KEPT_VERSIONS))
        .filter(catalog_change::Column::AtMs.lt(now_ms() - KEPT_MS));
    Ok(old.exec(&db.write).await?.rows_affected)
}

/// The present version.
pub async fn version(db: &impl ConnectionTrait) -> Result<Version> {
    let row = installation::Entity::find().one(db).await?;
    let row = row.ok_or_else(|| Error::other("the installation has no row"))?;
    Ok(Version {
        epoch: row.epoch,
        number: row.catalog_version,
        changed_ms: changed_ms(db, row.catalog_version).await?,
    })
}

/// Waits until no other change is under way, and keeps others waiting until this transaction ends.
pub async fn lock(transaction: &impl ConnectionTrait) -> Result<()> {
    let sql = "UPDATE installation SET catalog_version = catalog_version WHERE id = 1";
    let statement = Statement::from_string(transaction.get_database_backend(), sql);
    transaction.execute_raw(statement).await?;
    Ok(())
}

/// When the change of a number was; 0 where it is not kept.
async fn changed_ms(db: &impl ConnectionTrait, number: i64) -> Result<i64> {
    let change = catalog_change::Entity::find_by_id((number, 0));
    let change = change.one(db).await?;
    Ok(change.map_or(0, |change| change.at_ms))
}

/// The ids of what changed after `known`; `None` where a delta cannot tell.
async fn changed(
    db: &impl ConnectionTrait,
    known: Version,
    now: Version,
) -> Result<Option<BTreeMap<&'static str, Vec<Uuid>>>> {
    if known.epoch != now.epoch || known.number > now.number {
        return Ok(None);
    }
    // A database that was restored has gone another way from some number on.
    if changed_ms(db, known.number).await? != known.changed_ms {
        return Ok(None);
    }
    let oldest: Option<i64> = catalog_change::Entity::find()
        .select_only()
        .column(catalog_change::Column::Version)
        .order_by_asc(catalog_change::Column::Version)
        .limit(1)
        .into_tuple()
        .one(db)
        .await?;
    if oldest.is_none_or(|oldest| oldest > known.number + 1) {
        return Ok(None);
    }
    let rows = catalog_change::Entity::find()
        .filter(catalog_change::Column::Version.gt(known.number))
        .all(db)
        .await?;
    let mut changed: BTreeMap<&'static str, Vec<Uuid>> = BTreeMap::new();
    for row in rows {
        // A kind that only a newer binary knows is none of this one's business.
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == row.kind) else {
            continue;
        };
        changed.entry(kind.as_str()).or_default().push(row.row_id);
    }
    for ids in changed.values_mut() {
        ids.sort_unstable();
        ids.dedup();
    }
    Ok(Some(changed))
}

/// Some entries of one kind: those of the ids that are there and can be read, in any order.
pub async fn entries(
    db: &impl ConnectionTrait,
    kind: Kind,
    ids: &[Uuid],
    sealer: &Sealer,
) -> Result<Vec<Entry>> {
    let found = fetch::entries(db, kind, Which::Only(ids), sealer).await?;
    Ok(found.entries)
}

/// The entries of a page of rows of one kind, as far as they can be read, in the order of the rows.
pub(super) async fn listed<T>(
    db: &impl ConnectionTrait,
    kind: Kind,
    page: Listed<Uuid>,
    sealer: &Sealer,
    known: impl Fn(Entry) -> Option<(Uuid, T)>,
) -> Result<Listed<T>> {
    let found = entries(db, kind, &page.data, sealer).await?;
    let mut found: HashMap<Uuid, T> = found.into_iter().filter_map(known).collect();
    let data = page.data.iter().filter_map(|id| found.remove(id)).collect();
    Ok(Listed {
        data,
        next: page.next,
    })
}

/// Everything through a connection that is in a transaction of its own.
pub async fn whole(
    db: &impl ConnectionTrait,
    version: Version,
    sealer: &Sealer,
) -> Result<Reading> {
    let mut reading = Reading::default();
    reading.delta.version = version;
    reading.delta.full = true;
    for kind in Kind::ALL {
        let found = fetch::entries(db, kind, Which::All, sealer).await?;
        reading.broken += found.broken.len();
        reading.delta.entries.extend(found.entries);
    }
    Ok(reading)
}

async fn some(
    db: &impl ConnectionTrait,
    version: Version,
    changed: &BTreeMap<&'static str, Vec<Uuid>>,
    sealer: &Sealer,
) -> Result<Reading> {
    let mut reading = Reading::default();
    reading.delta.version = version;
    for kind in Kind::ALL {
        let Some(ids) = changed.get(kind.as_str()) else {
            continue;
        };
        let found = fetch::entries(db, kind, Which::Only(ids), sealer).await?;
        // What is not there any more, and what cannot be read any more, leaves the picture.
        let gone = ids.iter().filter(|id| !found.ids.contains(id));
        reading.delta.removed.extend(gone.map(|id| (kind, *id)));
        reading.broken += found.broken.len();
        reading.delta.entries.extend(found.entries);
    }
    Ok(reading)
}

#[cfg(test)]
mod tests;
