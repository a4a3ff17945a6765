//! What was said in calls, as it is kept, read and forgotten.

use std::collections::{HashMap, HashSet};

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait as _, EntityTrait as _,
    PaginatorTrait as _, QueryFilter as _, QuerySelect as _, Statement, sea_query::OnConflict,
};
use uuid::Uuid;
use weir_entity::{
    forgotten_bodies,
    kept_bodies::{ActiveModel, Column, Entity},
};
use weir_migration::usage::partition::first_id;

use crate::{
    secrets::Sealed,
    store::{Database, Error, Result, Stores, document},
    tenancy::{RequestId, TenantId},
};

/// How far the clock of another instance may be ahead.
const SKEW_MS: i64 = 5_000;

/// The bodies of one call, to be kept.
#[derive(Debug, Clone)]
pub struct Kept {
    pub id: RequestId,
    pub tenant: TenantId,
    pub expires_ms: i64,
    pub tools: Tools,
    pub sealed: Sealed,
}

/// The names of tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tools {
    pub offered: Vec<String>,
    pub called: Vec<String>,
}

/// Keeps bodies, and returns of how many calls. What is kept already stays as it is, and what was forgotten before it came is not
/// kept.
pub async fn keep(db: &Database, all: &[Kept]) -> Result<usize> {
    let owners = all.iter().map(|kept| kept.tenant.0);
    let until = forgotten(db, owners.collect()).await?;
    let is_forgotten = |kept: &&Kept| {
        let until = until.get(&kept.tenant.0);
        until.is_some_and(|until| kept.id.at_ms() <= *until)
    };
    let row = |kept: &Kept| {
        Ok(ActiveModel {
            id: Set(kept.id.0),
            tenant_id: Set(kept.tenant.0),
            expires_ms: Set(kept.expires_ms),
            tools_offered: Set(document(&kept.tools.offered)?),
            tools_called: Set(document(&kept.tools.called)?),
            sealed: Set(kept.sealed.bytes.clone()),
            master_key_id: Set(kept.sealed.master_key_id.clone()),
        })
    };
    let wanted = all.iter().filter(|kept| !is_forgotten(kept));
    let rows: Vec<ActiveModel> = wanted.map(row).collect::<Result<_>>()?;
    let count = rows.len();
    if count == 0 {
        return Ok(0);
    }
    let known = OnConflict::column(Column::Id).do_nothing().to_owned();
    let insert = Entity::insert_many(rows).on_conflict(known);
    insert.exec_without_returning(&db.write).await?;
    Ok(count)
}

/// Until when what some tenants said is forgotten, of those who wanted that.
async fn forgotten(db: &Database, tenants: HashSet<Uuid>) -> Result<HashMap<Uuid, i64>> {
    let marks =
        forgotten_bodies::Entity::find().filter(forgotten_bodies::Column::TenantId.is_in(tenants));
    let marks = marks.all(&db.read).await?;
    let marks = marks
        .into_iter()
        .map(|mark| (mark.tenant_id, mark.until_ms));
    Ok(marks.collect())
}

/// The bodies of a call, until their time is over or they are forgotten.
pub async fn one(
    db: &Database,
    tenant: TenantId,
    id: RequestId,
    now_ms: i64,
) -> Result<Option<Kept>> {
    // Another instance may have brought it in the moment in which it was forgotten.
    let until = forgotten(db, HashSet::from([tenant.0])).await?;
    if until.values().any(|until| id.at_ms() <= *until) {
        return Ok(None);
    }
    let row = Entity::find_by_id(id.0)
        .filter(Column::TenantId.eq(tenant.0))
        .filter(Column::ExpiresMs.gt(now_ms))
        .one(&db.read)
        .await?;
    let words = |column: &str, value| {
        let words = serde_json::from_value::<Vec<String>>(value);
        words.map_err(|error| Error::other(format!("kept_bodies.{column}: {error}")))
    };
    let kept = row.map(|row| {
        Ok(Kept {
            id,
            tenant,
            expires_ms: row.expires_ms,
            tools: Tools {
                offered: words("tools_offered", row.tools_offered)?,
                called: words("tools_called", row.tools_called)?,
            },
            sealed: Sealed {
                bytes: row.sealed,
                master_key_id: row.master_key_id,
            },
        })
    });
    kept.transpose()
}

/// Of how many calls a tenant's bodies are kept.
pub async fn count(db: &Database, tenant: TenantId) -> Result<u64> {
    let own = Entity::find().filter(Column::TenantId.eq(tenant.0));
    Ok(own.count(&db.read).await?)
}

/// Forgets all that is kept of a tenant's calls, and what is still on its way from some instance of those that began until now.
/// Returns how many calls that were, as far as they had come.
pub async fn forget(db: &Database, tenant: TenantId, now_ms: i64) -> Result<u64> {
    mark(db, tenant, now_ms + SKEW_MS).await?;
    let own = Entity::delete_many().filter(Column::TenantId.eq(tenant.0));
    Ok(own.exec(&db.write).await?.rows_affected)
}

async fn mark(db: &Database, tenant: TenantId, until_ms: i64) -> Result<()> {
    let sql = "INSERT INTO forgotten_bodies (tenant_id, until_ms) VALUES ($1, $2)
               ON CONFLICT (tenant_id) DO UPDATE SET until_ms = excluded.until_ms
               WHERE forgotten_bodies.until_ms < excluded.until_ms";
    let values = [tenant.0.into(), until_ms.into()];
    let mark = Statement::from_sql_and_values(db.backend(), sql, values);
    db.write.execute_raw(mark).await?;
    Ok(())
}

async fn delete(db: &Database, tenant: TenantId, until_ms: i64) -> Result<u64> {
    let begun = Column::Id.lt(first_id(until_ms.saturating_add(1)));
    let own = Entity::delete_many().filter(Column::TenantId.eq(tenant.0));
    Ok(own.filter(begun).exec(&db.write).await?.rows_affected)
}

/// Forgets what has had its time, what came after it was forgotten, and what was a tenant's that is gone.
pub async fn prune(stores: &Stores, now_ms: i64) -> Result<u64> {
    let db = &stores.usage;
    let over = Entity::delete_many().filter(Column::ExpiresMs.lte(now_ms));
    let mut gone = over.exec(&db.write).await?.rows_affected;
    let marks = forgotten_bodies::Entity::find().all(&db.read).await?;
    for mark in &marks {
        gone += delete(db, mark.tenant_id.into(), mark.until_ms).await?;
    }
    let mut owners: HashSet<Uuid> = marks.iter().map(|mark| mark.tenant_id).collect();
    let kept = Entity::find()
        .select_only()
        .column(Column::TenantId)
        .distinct();
    owners.extend(kept.into_tuple::<Uuid>().all(&db.read).await?);
    for owner in owners {
        let sql = "SELECT 1 AS one FROM tenants WHERE id = $1";
        let config = &stores.config;
        let there = Statement::from_sql_and_values(config.backend(), sql, [owner.into()]);
        if config.read.query_one_raw(there).await?.is_none() {
            let own = Entity::delete_many().filter(Column::TenantId.eq(owner));
            gone += own.exec(&db.write).await?.rows_affected;
            let mark = forgotten_bodies::Entity::delete_by_id(owner);
            mark.exec(&db.write).await?;
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::now_ms, store::testing::all};

    fn said(tenant: TenantId, at_ms: i64) -> Kept {
        Kept {
            id: RequestId(
                uuid::Builder::from_unix_timestamp_millis(at_ms as u64, &rand::random())
                    .into_uuid(),
            ),
            tenant,
            expires_ms: now_ms() + 3_600_000,
            tools: Tools::default(),
            sealed: Sealed {
                bytes: vec![1],
                master_key_id: "2026".to_owned(),
            },
        }
    }

    #[actix_rt::test]
    async fn what_is_forgotten_stays_so_however_late_it_comes() {
        for test in all().await {
            let db = &test.stores.usage;
            let [tenant, other] = [Uuid::new_v4(), Uuid::new_v4()];
            for id in [tenant, other] {
                let sql =
                    "INSERT INTO tenants (id, name, created_ms, updated_ms) VALUES ($1, $2, 0, 0)";
                let values = [id.into(), id.to_string().into()];
                let made = Statement::from_sql_and_values(db.backend(), sql, values);
                let made = test.stores.config.write.execute_raw(made).await;
                made.expect("a tenant");
            }
            let (tenant, other) = (tenant.into(), other.into());
            let [early, late, slow] = [0, 1, 2].map(|_| said(tenant, now_ms()));
            // Of an instance whose clock is ahead.
            let ahead = said(tenant, now_ms() + 3_000);
            let theirs = said(other, now_ms());
            keep(db, &[early.clone(), ahead, theirs.clone()])
                .await
                .expect("kept");
            let now = now_ms();
            assert_eq!(forget(db, tenant, now).await.expect("forgotten"), 2);
            // What waited elsewhere comes now; what was being written in that very moment is there, and nobody's to read.
            mark(db, tenant, 0).await.expect("an older mark");
            let kept = keep(db, std::slice::from_ref(&late)).await;
            assert_eq!(kept.expect("a look"), 0);
            let is_there = async |kept: &Kept| {
                let found = one(db, kept.tenant, kept.id, now_ms()).await;
                found.expect("a look").is_some()
            };
            let rows = async || Entity::find().all(&db.read).await.expect("rows").len();
            assert!(!is_there(&early).await && !is_there(&late).await && is_there(&theirs).await);
            assert_eq!(rows().await, 1);
            forgotten_bodies::Entity::delete_many()
                .exec(&db.write)
                .await
                .expect("no marks");
            keep(db, std::slice::from_ref(&slow)).await.expect("kept");
            mark(db, tenant, now + SKEW_MS).await.expect("a mark");
            assert!(!is_there(&slow).await);
            assert_eq!(rows().await, 2);
            // What is said later is kept.
            let next = said(tenant, now_ms() + 2 * SKEW_MS);
            keep(db, std::slice::from_ref(&next)).await.expect("kept");
            assert!(is_there(&next).await);
            prune(&test.stores, now_ms()).await.expect("pruned");
            assert_eq!(rows().await, 2, "the other tenant's and the next");
            let gone = "DELETE FROM tenants";
            let config = &test.stores.config.write;
            config.execute_unprepared(gone).await.expect("tenants go");
            prune(&test.stores, now_ms()).await.expect("pruned");
            let marks = forgotten_bodies::Entity::find().all(&db.read).await;
            assert_eq!((rows().await, marks.expect("marks").len()), (0, 0));
        }
    }
}
