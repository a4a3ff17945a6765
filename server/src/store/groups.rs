//! Groups, as they are written.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _,
    sea_query::OnConflict,
};
use weir_entity::group::{ActiveModel, Column, Entity};

use super::Result;
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
