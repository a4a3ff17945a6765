//! Limits, as they are written and listed.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _,
    sea_query::OnConflict,
};
use weir_entity::limit::{ActiveModel, Column, Entity};

use super::{
    Listed, Page, Result, Scope as Seen, catalog,
    columns::{Place, PlaceColumns, StandingOn},
    count, document,
};
use crate::{
    catalog::{Entry, Kind},
    secrets::Sealer,
    tenancy::{Limit, LimitId, TenantId},
};

/// Makes a limit, or brings its row up to date. `owner` is the tenant that it is in, or that owns its channel or model.
pub async fn put(
    db: &impl ConnectionTrait,
    limit: &Limit,
    owner: Option<TenantId>,
    now_ms: i64,
) -> Result<()> {
    let place = Place::of(limit.scope, owner);
    let row = ActiveModel {
        id: Set(limit.id.0),
        tenant_id: Set(place.tenant),
        group_id: Set(place.group),
        user_id: Set(place.user),
        key_id: Set(place.key),
        channel_id: Set(place.channel),
        model_id: Set(place.model),
        rule: Set(document(&limit.rule)?),
        position: Set(count(limit.position)?),
        created_ms: Set(now_ms),
        updated_ms: Set(now_ms),
    };
    // What it stands on never changes.
    let known = OnConflict::column(Column::Id)
        .update_columns([Column::Rule, Column::Position, Column::UpdatedMs])
        .to_owned();
    let insert = Entity::insert(row).on_conflict(known);
    insert.exec_without_returning(db).await?;
    Ok(())
}

/// Deletes a limit.
pub async fn delete(db: &impl ConnectionTrait, id: LimitId) -> Result<()> {
    Entity::delete_by_id(id.0).exec(db).await?;
    Ok(())
}

/// A page of the limits of one tenant and of its channels and models, or of all; of those, the ones that stand on what is asked for.
pub async fn list(
    db: &impl ConnectionTrait,
    seen: Seen,
    on: StandingOn,
    page: &Page,
    sealer: &Sealer,
) -> Result<Listed<Limit>> {
    let mut query = Entity::find();
    if let Seen::Tenant(tenant) = seen {
        query = query.filter(Column::TenantId.eq(tenant.0));
    }
    let places = PlaceColumns {
        tenant: Column::TenantId,
        group: Column::GroupId,
        user: Column::UserId,
        key: Column::KeyId,
        channel: Column::ChannelId,
        model: Column::ModelId,
    };
    let query = query.filter(places.condition(on));
    let rows = page.of(db, query, Column::Id).await?;
    let ids = rows.map(|row| row.id);
    catalog::listed(db, Kind::Limit, ids, sealer, |entry| match entry {
        Entry::Limit(limit) => Some((limit.id.0, limit)),
        _ => None,
    })
    .await
}
