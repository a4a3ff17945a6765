//! Who guessed lately.

use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, Statement};
use weir_entity::sign_in_failure::{Column, Entity};

use super::{Error, Result};

/// Failures are forgotten after so long without another one.
pub const FORGOTTEN_MS: i64 = 24 * 3_600_000;

/// When the next try of any of these is looked at, Unix milliseconds; 0 for at once.
pub async fn next_ms(db: &impl ConnectionTrait, whose: &[String]) -> Result<i64> {
    let rows = Entity::find().filter(Column::Whose.is_in(whose.iter().cloned()));
    let rows = rows.all(db).await?;
    Ok(rows.iter().map(|row| row.next_ms).max().unwrap_or(0))
}

/// A row as it was found, and kept from others until the transaction ends.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    pub count: u32,
    pub next_ms: i64,
}

/// What is counted of somebody; to be called in a transaction that writes, in which nobody else counts.
pub async fn locked(
    transaction: &impl ConnectionTrait,
    whose: &str,
    now_ms: i64,
) -> Result<Counted> {
    let sql = "INSERT INTO sign_in_failures (whose, count, next_ms, updated_ms) VALUES ($1, 0, 0, $2) \
               ON CONFLICT (whose) DO UPDATE SET \
               count = CASE WHEN sign_in_failures.updated_ms < $3 THEN 0 ELSE sign_in_failures.count END, \
               updated_ms = $2 RETURNING count, next_ms";
    let values = [whose.into(), now_ms.into(), (now_ms - FORGOTTEN_MS).into()];
    let backend = transaction.get_database_backend();
    let statement = Statement::from_sql_and_values(backend, sql, values);
    let row = transaction.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| Error::other("nothing was counted"))?;
    let count: i32 = row.try_get("", "count")?;
    Ok(Counted {
        count: count.unsigned_abs(),
        next_ms: row.try_get("", "next_ms")?,
    })
}

/// Says what is counted from now on.
pub async fn put(db: &impl ConnectionTrait, whose: &str, counted: Counted) -> Result<()> {
    let update = Entity::update_many()
        .col_expr(Column::Count, (counted.count as i32).into())
        .col_expr(Column::NextMs, counted.next_ms.into())
        .filter(Column::Whose.eq(whose));
    update.exec(db).await?;
    Ok(())
}

/// Forgets these.
pub async fn forget(db: &impl ConnectionTrait, whose: &[String]) -> Result<()> {
    let gone = Entity::delete_many().filter(Column::Whose.is_in(whose.iter().cloned()));
    gone.exec(db).await?;
    Ok(())
}

/// Deletes what is older.
pub async fn prune(db: &impl ConnectionTrait, before_ms: i64) -> Result<u64> {
    let old = Entity::delete_many().filter(Column::UpdatedMs.lt(before_ms));
    Ok(old.exec(db).await?.rows_affected)
}
