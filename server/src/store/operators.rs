//! The platform's own people, as they are listed.

use std::collections::HashSet;

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QuerySelect as _,
    QueryTrait as _,
};
use uuid::Uuid;
use weir_api_types::operators::OperatorItem;
use weir_entity::{membership, sign_in, user};

use super::{Columns, Listed, Page, Result, Scope, moment, users};
use crate::tenancy::UserId;

/// A page of those who have a role on the platform; of a tenant, those who are members of it.
pub async fn list(
    db: &impl ConnectionTrait,
    scope: Scope,
    page: &Page,
) -> Result<Listed<OperatorItem>> {
    let mut page = page.clone();
    let mut query = user::Entity::find().filter(user::Column::PlatformRole.is_not_null());
    if let Scope::Tenant(tenant) = scope {
        let members = membership::Entity::find()
            .select_only()
            .column(membership::Column::UserId)
            .filter(membership::Column::TenantId.eq(tenant.0));
        query = query.filter(user::Column::Id.in_subquery(members.into_query()));
    }
    if let Some(piece) = page.piece.take() {
        query = query.filter(users::called(db, &piece));
    }
    let columns = Columns {
        id: user::Column::Id,
        name: user::Column::Email,
        created_ms: user::Column::CreatedMs,
        enabled: Some(user::Column::Enabled),
    };
    let Listed { data, next } = page.named(db, query, columns).await?;
    let data = items(db, data).await?;
    Ok(Listed { data, next })
}

/// One of them.
pub async fn one(db: &impl ConnectionTrait, id: UserId) -> Result<Option<OperatorItem>> {
    let row = user::Entity::find_by_id(id.0).one(db).await?;
    Ok(items(db, row.into_iter().collect()).await?.pop())
}

async fn items(db: &impl ConnectionTrait, rows: Vec<user::Model>) -> Result<Vec<OperatorItem>> {
    let ids = rows.iter().map(|row| row.id);
    let kept = sign_in::Entity::find()
        .filter(sign_in::Column::UserId.is_in(ids))
        .filter(sign_in::Column::TotpOn.eq(true));
    let kept = kept.all(db).await?;
    let with_factor: HashSet<Uuid> = kept.iter().map(|row| row.user_id).collect();
    let item = |row: user::Model| {
        Some(OperatorItem {
            id: row.id,
            role: row
                .platform_role
                .as_deref()
                .and_then(users::platform_role)?,
            email: row.email,
            name: row.name,
            enabled: row.enabled,
            second_factor: with_factor.contains(&row.id),
            created_at: moment(row.created_ms),
        })
    };
    Ok(rows.into_iter().filter_map(item).collect())
}
