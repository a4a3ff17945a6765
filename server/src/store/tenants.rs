//! Tenants, as they are written and listed.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _,
    sea_query::OnConflict,
};
use uuid::Uuid;
use weir_api_types::manage::TenantItem;
use weir_entity::tenant::{ActiveModel, Column, Entity};

use super::{Columns, Listed, Page, Result, Scope, document, moment};
use crate::tenancy::{Tenant, TenantId};

/// Makes a tenant, or brings its row up to date.
pub async fn put(db: &impl ConnectionTrait, tenant: &Tenant, now_ms: i64) -> Result<()> {
    let row = ActiveModel {
        id: Set(tenant.id.0),
        name: Set(tenant.name.clone()),
        enabled: Set(tenant.enabled),
        time_zone: Set(tenant.time_zone.clone()),
        grants: Set(tenant.grants.as_ref().map(document).transpose()?),
        policies: Set(Some(document(&tenant.policies)?)),
        created_ms: Set(now_ms),
        updated_ms: Set(now_ms),
    };
    let changed = [
        Column::Name,
        Column::Enabled,
        Column::TimeZone,
        Column::Grants,
        Column::Policies,
        Column::UpdatedMs,
    ];
    let known = OnConflict::column(Column::Id)
        .update_columns(changed)
        .to_owned();
    let insert = Entity::insert(row).on_conflict(known);
    insert.exec_without_returning(db).await?;
    Ok(())
}

/// Deletes a tenant and all that belongs to it.
pub async fn delete(db: &impl ConnectionTrait, id: TenantId) -> Result<()> {
    Entity::delete_by_id(id.0).exec(db).await?;
    Ok(())
}

/// A page of all tenants, or the one.
pub async fn list(
    db: &impl ConnectionTrait,
    scope: Scope,
    page: &Page,
) -> Result<Listed<TenantItem>> {
    let mut query = Entity::find();
    if let Scope::Tenant(tenant) = scope {
        query = query.filter(Column::Id.eq(tenant.0));
    }
    let columns = Columns {
        id: Column::Id,
        name: Column::Name,
        created_ms: Column::CreatedMs,
        enabled: Some(Column::Enabled),
    };
    let rows = page.named(db, query, columns).await?;
    let item = |row: weir_entity::tenant::Model| TenantItem {
        id: row.id,
        name: row.name,
        enabled: row.enabled,
        time_zone: row.time_zone,
        created_at: moment(row.created_ms),
    };
    Ok(rows.map(item))
}

/// Whether a tenant is there.
pub async fn is_there(db: &impl ConnectionTrait, id: TenantId) -> Result<bool> {
    Ok(Entity::find_by_id(id.0).one(db).await?.is_some())
}

/// Whether a tenant is there and not suspended.
pub async fn is_enabled(db: &impl ConnectionTrait, id: TenantId) -> Result<bool> {
    let row = Entity::find_by_id(id.0).one(db).await?;
    Ok(row.is_some_and(|row| row.enabled))
}

/// The tenant of a name.
pub async fn named(db: &impl ConnectionTrait, name: &str) -> Result<Option<TenantId>> {
    let row = Entity::find_by_name(name).one(db).await?;
    Ok(row.map(|row| row.id.into()))
}

/// The tenant that a word is the id or else the name of, and its name.
pub async fn of_word(db: &impl ConnectionTrait, word: &str) -> Result<Option<(TenantId, String)>> {
    let of_id = match Uuid::parse_str(word) {
        Ok(id) => Entity::find_by_id(id).one(db).await?,
        Err(_) => None,
    };
    let row = match of_id {
        Some(row) => Some(row),
        None => Entity::find_by_name(word).one(db).await?,
    };
    Ok(row.map(|row| (row.id.into(), row.name)))
}
