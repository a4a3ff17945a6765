//! Groups, as they are written and listed.

use std::collections::HashMap;

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _,
    QuerySelect as _, sea_query::OnConflict,
};
use uuid::Uuid;
use weir_api_types::manage::GroupItem;
use weir_entity::{
    group::{ActiveModel, Column, Entity, Model},
    group_member,
};

use super::{
    Columns, Listed, Page, Result, Scope, moment,
    names::{self, Named},
};
use crate::tenancy::{Group, GroupId, TenantId};

/// Makes a group, or brings its row up to date.
pub async fn put(db: &impl ConnectionTrait, group: &Group, now_ms: i64) -> Result<()> {
    let row = ActiveModel {
        id: Set(group.id.0),
        tenant_id: Set(group.tenant.0),
        name: Set(group.name.clone()),
        created_ms: Set(now_ms),
        updated_ms: Set(now_ms),
    };
    let changed = [Column::Name, Column::UpdatedMs];
    let known = OnConflict::column(Column::Id)
        .update_columns(changed)
        .to_owned();
    let insert = Entity::insert(row).on_conflict(known);
    insert.exec_without_returning(db).await?;
    Ok(())
}

/// Deletes a tenant's group; its members leave it.
pub async fn delete(db: &impl ConnectionTrait, tenant: TenantId, id: GroupId) -> Result<()> {
    let own = Column::TenantId.eq(tenant.0);
    Entity::delete_by_id(id.0).filter(own).exec(db).await?;
    Ok(())
}

/// Those of these groups that the tenant has, in their order.
pub async fn those_of(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    ids: &[GroupId],
) -> Result<Vec<GroupId>> {
    let query = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::TenantId.eq(tenant.0))
        .filter(Column::Id.is_in(ids.iter().map(|id| id.0)));
    let there: Vec<Uuid> = query.into_tuple().all(db).await?;
    let kept = ids.iter().copied().filter(|id| there.contains(&id.0));
    Ok(kept.collect())
}

/// A page of the groups of one tenant, or of all.
pub async fn list(
    db: &impl ConnectionTrait,
    scope: Scope,
    page: &Page,
) -> Result<Listed<GroupItem>> {
    let mut query = Entity::find();
    if let Scope::Tenant(tenant) = scope {
        query = query.filter(Column::TenantId.eq(tenant.0));
    }
    let columns = Columns {
        id: Column::Id,
        name: Column::Name,
        created_ms: Column::CreatedMs,
        enabled: None,
    };
    let rows = page.named(db, query, columns).await?;
    let tenants: Vec<Uuid> = rows.data.iter().map(|row| row.tenant_id).collect();
    let tenants = names::of(db, Named::Tenant, &tenants).await?;
    let ids = rows.data.iter().map(|row| row.id);
    let members: Vec<(Uuid, i64)> = group_member::Entity::find()
        .select_only()
        .column(group_member::Column::GroupId)
        .column_as(group_member::Column::UserId.count(), "members")
        .filter(group_member::Column::GroupId.is_in(ids))
        .group_by(group_member::Column::GroupId)
        .into_tuple()
        .all(db)
        .await?;
    let members: HashMap<Uuid, i64> = members.into_iter().collect();
    let item = |row: Model| GroupItem {
        id: row.id,
        tenant: tenants.get(&row.tenant_id).cloned().unwrap_or_default(),
        name: row.name,
        members: members.get(&row.id).copied().unwrap_or(0).unsigned_abs(),
        created_at: moment(row.created_ms),
    };
    Ok(rows.map(item))
}
