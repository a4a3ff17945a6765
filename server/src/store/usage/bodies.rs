//! What was said in calls, as it is kept, read and forgotten.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _,
    QuerySelect as _, Statement, sea_query::OnConflict,
};
use uuid::Uuid;
use weir_entity::kept_bodies::{ActiveModel, Column, Entity};

use crate::{
    secrets::Sealed,
    store::{Database, Error, Result, Stores, document},
    tenancy::{RequestId, TenantId},
};

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

/// Keeps bodies. What is kept already stays as it is.
pub async fn keep(db: &Database, all: &[Kept]) -> Result<()> {
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
    let rows: Vec<ActiveModel> = all.iter().map(row).collect::<Result<_>>()?;
    let known = OnConflict::column(Column::Id).do_nothing().to_owned();
    let insert = Entity::insert_many(rows).on_conflict(known);
    insert.exec_without_returning(&db.write).await?;
    Ok(())
}

/// The bodies of a call, until their time is over.
pub async fn one(
    db: &Database,
    tenant: TenantId,
    id: RequestId,
    now_ms: i64,
) -> Result<Option<Kept>> {
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

/// Forgets all that was said in a tenant's calls. Returns how many calls that were.
pub async fn forget(db: &Database, tenant: TenantId) -> Result<u64> {
    let own = Entity::delete_many().filter(Column::TenantId.eq(tenant.0));
    Ok(own.exec(&db.write).await?.rows_affected)
}

/// Forgets what has had its time, and what was a tenant's that is gone.
pub async fn prune(stores: &Stores, now_ms: i64) -> Result<u64> {
    let db = &stores.usage;
    let over = Entity::delete_many().filter(Column::ExpiresMs.lte(now_ms));
    let mut gone = over.exec(&db.write).await?.rows_affected;
    let owners: Vec<Uuid> = Entity::find()
        .select_only()
        .column(Column::TenantId)
        .distinct()
        .into_tuple()
        .all(&db.read)
        .await?;
    for owner in owners {
        let sql = "SELECT 1 AS one FROM tenants WHERE id = $1";
        let config = &stores.config;
        let there = Statement::from_sql_and_values(config.backend(), sql, [owner.into()]);
        if config.read.query_one_raw(there).await?.is_none() {
            gone += forget(db, owner.into()).await?;
        }
    }
    Ok(gone)
}
