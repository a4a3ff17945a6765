//! Requests that came with a key of their own, so that one that comes twice is done once.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _,
    sea_query::OnConflict,
};
use uuid::Uuid;
use weir_entity::idempotency_key::{ActiveModel, Column, Entity};

use super::Result;

/// For how long an answer is kept.
pub const KEPT_MS: i64 = 24 * 3_600_000;

/// What is known of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Nothing: it is noted now, and may be done.
    New,
    /// Another body came with this key.
    OtherBody,
    /// It is under way, or was when its process died.
    UnderWay,
    Done {
        status: u16,
        answer: Option<String>,
    },
}

/// Notes a request, unless it is known. Of several at once one is new.
pub async fn begin(db: &impl ConnectionTrait, id: Uuid, body: Uuid, now_ms: i64) -> Result<Known> {
    forget_older(db, now_ms - KEPT_MS, Some(id)).await?;
    let row = ActiveModel {
        id: Set(id),
        body: Set(body),
        status: Set(0),
        answer: Set(None),
        created_ms: Set(now_ms),
    };
    let known = OnConflict::column(Column::Id).do_nothing().to_owned();
    let insert = Entity::insert(row).on_conflict(known);
    if insert.exec_without_returning(db).await? == 1 {
        return Ok(Known::New);
    }
    let row = Entity::find_by_id(id).one(db).await?;
    Ok(match row {
        None => Known::UnderWay,
        Some(row) if row.body != body => Known::OtherBody,
        Some(row) => match u16::try_from(row.status) {
            Ok(0) | Err(_) => Known::UnderWay,
            Ok(status) => Known::Done {
                status,
                answer: row.answer,
            },
        },
    })
}

/// Keeps the answer.
pub async fn done(
    db: &impl ConnectionTrait,
    id: Uuid,
    status: u16,
    answer: Option<String>,
) -> Result<()> {
    let update = Entity::update_many()
        .col_expr(Column::Status, i16::try_from(status).unwrap_or(0).into())
        .col_expr(Column::Answer, answer.into())
        .filter(Column::Id.eq(id));
    update.exec(db).await?;
    Ok(())
}

/// Forgets a request that changed nothing: it may be tried again.
pub async fn forget(db: &impl ConnectionTrait, id: Uuid) -> Result<()> {
    Entity::delete_by_id(id).exec(db).await?;
    Ok(())
}

/// Forgets requests before a moment, all or one.
pub async fn forget_older(
    db: &impl ConnectionTrait,
    before_ms: i64,
    one: Option<Uuid>,
) -> Result<u64> {
    let mut old = Entity::delete_many().filter(Column::CreatedMs.lt(before_ms));
    if let Some(id) = one {
        old = old.filter(Column::Id.eq(id));
    }
    Ok(old.exec(db).await?.rows_affected)
}
