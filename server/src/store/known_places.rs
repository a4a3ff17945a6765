//! Where people have signed in from.

use std::net::IpAddr;

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _,
    sea_query::OnConflict,
};
use weir_entity::known_place::{ActiveModel, Column, Entity};

use super::Result;
use crate::tenancy::{UserId, address};

/// A place is forgotten when somebody was not there for so long.
pub const FORGOTTEN_MS: i64 = 180 * 24 * 3_600_000;

/// Notes that somebody showed at an address who they are.
pub async fn note(
    db: &impl ConnectionTrait,
    user: UserId,
    address: IpAddr,
    now_ms: i64,
) -> Result<()> {
    let row = ActiveModel {
        user_id: Set(user.0),
        network: Set(network(address)),
        seen_ms: Set(now_ms),
    };
    let known = OnConflict::columns([Column::UserId, Column::Network])
        .update_column(Column::SeenMs)
        .to_owned();
    let insert = Entity::insert(row).on_conflict(known);
    insert.exec_without_returning(db).await?;
    Ok(())
}

/// Whether they ever did there.
pub async fn knows(db: &impl ConnectionTrait, user: UserId, address: IpAddr) -> Result<bool> {
    let row = Entity::find_by_id((user.0, network(address)))
        .one(db)
        .await?;
    Ok(row.is_some())
}

/// Forgets those where nobody was for too long.
pub async fn prune(db: &impl ConnectionTrait, before_ms: i64) -> Result<u64> {
    let old = Entity::delete_many().filter(Column::SeenMs.lt(before_ms));
    Ok(old.exec(db).await?.rows_affected)
}

/// Addresses of one owner are one place: programs change the last half of an IPv6 address now and then.
fn network(address: IpAddr) -> String {
    address::network(address).to_string()
}
