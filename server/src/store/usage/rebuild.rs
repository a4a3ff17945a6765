//! Makes the sums again from the events.

use std::ops::Range;

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Statement,
};
use uuid::Uuid;
use weir_entity::usage_event;
use weir_migration::usage::partition::first_id;

use super::{QUARTER_MS, book, event_rows, quarter_of, sums::Sums};
use crate::{
    metering::UsageEvent,
    store::{Database, Result},
};

/// So much is rebuilt in one transaction, during which nothing is booked: the spool holds it.
const STEP_MS: i64 = 24 * 3_600_000;
const EVENTS_PER_PAGE: u64 = 2_000;

/// Rebuilds the sums of all quarter hours that a span of time touches. Returns how many events they are made of.
pub async fn rebuild(db: &Database, from_ms: i64, to_ms: i64) -> Result<u64> {
    let end = quarter_of(to_ms.saturating_add(QUARTER_MS - 1));
    let mut start = quarter_of(from_ms.max(0));
    let mut events = 0;
    while start < end {
        let step = start..end.min(start.saturating_add(STEP_MS));
        start = step.end;
        events += rebuild_step(db, step).await?;
    }
    Ok(events)
}

async fn rebuild_step(db: &Database, span: Range<i64>) -> Result<u64> {
    let transaction = db.begin_write().await?;
    keep_bookers_out(&transaction).await?;
    for table in [
        "usage_histograms WHERE rollup_id IN (SELECT id FROM usage_rollups WHERE quarter_ms >= $1 AND quarter_ms < $2)",
        "usage_rollups WHERE quarter_ms >= $1 AND quarter_ms < $2",
        "attempt_rollups WHERE quarter_ms >= $1 AND quarter_ms < $2",
    ] {
        let delete = Statement::from_sql_and_values(
            transaction.get_database_backend(),
            format!("DELETE FROM {table}"),
            [span.start.into(), span.end.into()],
        );
        transaction.execute_raw(delete).await?;
    }
    let ids = first_id(span.start)..first_id(span.end);
    let mut after = None;
    let mut events = 0;
    loop {
        let page = page(&transaction, &ids, after).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.0);
        events += page.len() as u64;
        book::add(&transaction, Sums::of(page.iter())).await?;
    }
    transaction.commit().await?;
    Ok(events)
}

/// On PostgreSQL a booker that has inserted its events but not yet their sums waits here, and adds them afterwards; one
/// that has added them is waited for. SQLite has one writer anyway.
async fn keep_bookers_out(transaction: &DatabaseTransaction) -> Result<()> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        // In the order in which bookers write them.
        let lock = "LOCK TABLE usage_rollups, usage_histograms, attempt_rollups IN SHARE ROW EXCLUSIVE MODE";
        transaction.execute_unprepared(lock).await?;
    }
    Ok(())
}

async fn page(
    db: &impl ConnectionTrait,
    ids: &Range<Uuid>,
    after: Option<Uuid>,
) -> Result<Vec<UsageEvent>> {
    let mut query = usage_event::Entity::find()
        .filter(usage_event::Column::Id.gte(ids.start))
        .filter(usage_event::Column::Id.lt(ids.end));
    if let Some(after) = after {
        query = query.filter(usage_event::Column::Id.gt(after));
    }
    let rows = query
        .order_by_asc(usage_event::Column::Id)
        .limit(EVENTS_PER_PAGE)
        .all(db)
        .await?;
    rows.into_iter().map(event_rows::event).collect()
}
