//! Who is signed in.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _,
};
use uuid::Uuid;
use weir_api_types::people::SessionItem;
use weir_entity::session::{ActiveModel, Column, Entity, Model};

use super::{Columns, Listed, Page, Result, moment};
use crate::tenancy::{TenantId, UserId};

/// A session to be begun.
#[derive(Debug)]
pub struct New {
    pub id: Uuid,
    pub user: UserId,
    pub expires_ms: i64,
    /// When its owner showed who they are, Unix milliseconds; 0: nobody knows.
    pub proved_ms: i64,
    pub address: String,
    pub agent: String,
    /// Whose word it rests on.
    pub voucher: Voucher,
}

/// Whose word a session rests on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Voucher {
    /// The identity provider; none: a password was shown.
    pub provider: Option<Uuid>,
    /// The one tenant that they are somebody in, where it was that tenant's provider.
    pub tenant: Option<TenantId>,
}

/// A session that is not over.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: Uuid,
    pub user: UserId,
    /// Which of its refresh tokens is the one to use.
    pub generation: i32,
    /// When that was given out, Unix milliseconds.
    pub rotated_ms: i64,
    /// When its owner last showed who they are, here or to the provider that vouches for them, Unix milliseconds; 0: nobody knows.
    pub proved_ms: i64,
    pub voucher: Voucher,
}

/// Begins a session.
pub async fn insert(db: &impl ConnectionTrait, new: New, now_ms: i64) -> Result<()> {
    let row = ActiveModel {
        id: Set(new.id),
        user_id: Set(new.user.0),
        generation: Set(0),
        rotated_ms: Set(now_ms),
        proved_ms: Set(new.proved_ms),
        expires_ms: Set(new.expires_ms),
        address: Set(new.address),
        agent: Set(new.agent),
        provider_id: Set(new.voucher.provider),
        tenant_id: Set(new.voucher.tenant.map(|tenant| tenant.0)),
        created_ms: Set(now_ms),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// The session of an id, unless it is over.
pub async fn living(db: &impl ConnectionTrait, id: Uuid, now_ms: i64) -> Result<Option<Session>> {
    let row = Entity::find_by_id(id)
        .filter(Column::ExpiresMs.gt(now_ms))
        .one(db)
        .await?;
    Ok(row.map(|row| Session {
        id: row.id,
        user: row.user_id.into(),
        generation: row.generation,
        rotated_ms: row.rotated_ms,
        proved_ms: row.proved_ms,
        voucher: Voucher {
            provider: row.provider_id,
            tenant: row.tenant_id.map(Into::into),
        },
    }))
}

/// Makes the next refresh token the one to use, if this one is; of several at once, one succeeds.
pub async fn rotate(
    db: &impl ConnectionTrait,
    session: &Session,
    expires_ms: i64,
    address: &str,
    now_ms: i64,
) -> Result<bool> {
    let update = Entity::update_many()
        .col_expr(Column::Generation, (session.generation + 1).into())
        .col_expr(Column::RotatedMs, now_ms.into())
        .col_expr(Column::ExpiresMs, expires_ms.into())
        .col_expr(Column::Address, address.into())
        .filter(Column::Id.eq(session.id))
        .filter(Column::Generation.eq(session.generation));
    Ok(update.exec(db).await?.rows_affected == 1)
}

/// Notes that a password or second factor was shown in a session.
pub async fn prove(db: &impl ConnectionTrait, id: Uuid, now_ms: i64) -> Result<()> {
    let update = Entity::update_many()
        .col_expr(Column::ProvedMs, now_ms.into())
        .filter(Column::Id.eq(id));
    update.exec(db).await?;
    Ok(())
}

/// Ends one of somebody's sessions; whether there was one.
pub async fn end(db: &impl ConnectionTrait, user: UserId, id: Uuid) -> Result<bool> {
    let ended = Entity::delete_by_id(id).filter(Column::UserId.eq(user.0));
    Ok(ended.exec(db).await?.rows_affected == 1)
}

/// Ends all of somebody's sessions, but one that is kept.
pub async fn end_all(db: &impl ConnectionTrait, user: UserId, kept: Option<Uuid>) -> Result<u64> {
    let mut ended = Entity::delete_many().filter(Column::UserId.eq(user.0));
    if let Some(kept) = kept {
        ended = ended.filter(Column::Id.ne(kept));
    }
    Ok(ended.exec(db).await?.rows_affected)
}

/// Deletes those that are over.
pub async fn prune(db: &impl ConnectionTrait, now_ms: i64) -> Result<u64> {
    let over = Entity::delete_many().filter(Column::ExpiresMs.lte(now_ms));
    Ok(over.exec(db).await?.rows_affected)
}

/// A page of somebody's sessions, in the order of their last use. `current` is the one that asks.
pub async fn list(
    db: &impl ConnectionTrait,
    user: UserId,
    current: Option<Uuid>,
    page: &Page,
    now_ms: i64,
) -> Result<Listed<SessionItem>> {
    let query = Entity::find()
        .filter(Column::UserId.eq(user.0))
        .filter(Column::ExpiresMs.gt(now_ms));
    let columns = Columns {
        id: Column::Id,
        name: Column::Address,
        created_ms: Column::RotatedMs,
        enabled: None,
    };
    let rows = page.named(db, query, columns).await?;
    Ok(rows.map(|row: Model| SessionItem {
        id: row.id,
        current: current == Some(row.id),
        address: row.address,
        agent: row.agent,
        created_at: moment(row.created_ms),
        used_at: moment(row.rotated_ms),
        expires_at: moment(row.expires_ms),
    }))
}
