//! What access tokens are signed with, as it is kept.

use sea_orm::{
    ActiveValue::Set, ConnectionTrait, EntityTrait as _, QueryOrder as _, QuerySelect as _,
};
use uuid::Uuid;
use weir_entity::signing_key::{ActiveModel, Column, Entity};

use super::Result;
use crate::secrets::Sealed;

/// A sealed signing key.
#[derive(Debug, Clone)]
pub struct Stored {
    pub id: Uuid,
    pub sealed: Sealed,
    pub created_ms: i64,
}

/// The keys that are believed: the newest, and the one before.
pub async fn newest(db: &impl ConnectionTrait) -> Result<Vec<Stored>> {
    let rows = Entity::find()
        .order_by_desc(Column::CreatedMs)
        .order_by_desc(Column::Id)
        .limit(2)
        .all(db)
        .await?;
    let stored = rows.into_iter().map(|row| Stored {
        id: row.id,
        sealed: Sealed {
            bytes: row.sealed,
            master_key_id: row.master_key_id,
        },
        created_ms: row.created_ms,
    });
    Ok(stored.collect())
}

/// Keeps a new one.
pub async fn insert(db: &impl ConnectionTrait, key: Stored) -> Result<()> {
    let row = ActiveModel {
        id: Set(key.id),
        sealed: Set(key.sealed.bytes),
        master_key_id: Set(key.sealed.master_key_id),
        created_ms: Set(key.created_ms),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}
