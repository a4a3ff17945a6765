//! Books usage events, each once.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait, DbErr, RuntimeErr, sqlx};

use super::{bulk, event_rows, partitions, sums::Sums};
use crate::{
    metering::UsageEvent,
    store::{Database, Error, Result},
    tenancy::RequestId,
};

/// What became of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Booked {
    /// Booked now.
    pub inserted: usize,
    /// Booked before, or twice in the same call.
    pub duplicates: usize,
}

/// Books events in one durable transaction: all of them or none. Meant for some thousand at a time.
pub async fn book(db: &Database, events: &[UsageEvent]) -> Result<Booked> {
    match book_once(db, events).await {
        Err(error) if is_missing_month(&error) => {
            partitions::make_for(db, events.iter().map(|event| event.id.at_ms())).await?;
            book_once(db, events).await
        }
        booked => booked,
    }
}

async fn book_once(db: &Database, events: &[UsageEvent]) -> Result<Booked> {
    if events.is_empty() {
        return Ok(Booked::default());
    }
    let mut bookable: Vec<_> = events.iter().map(event_rows::bookable).collect();
    // Every booker locks events, and then sums, in the order of their ids: so none waits for another in a circle.
    bookable.sort_unstable_by_key(|event| event.id);
    bookable.dedup_by_key(|event| event.id);

    let transaction = db.begin_write().await?;
    let rows = bookable.iter().map(|event| event_rows::row(event));
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let inserted = bulk::insert_new(&transaction, &event_rows::TABLE, rows).await?;
    let inserted: HashSet<_> = inserted.into_iter().map(RequestId).collect();
    let new = bookable.iter().map(AsRef::as_ref);
    let sums = Sums::of(new.filter(|event: &&UsageEvent| inserted.contains(&event.id)));
    add(&transaction, sums).await?;
    transaction.commit().await?;
    Ok(Booked {
        inserted: inserted.len(),
        duplicates: events.len() - inserted.len(),
    })
}

/// Adds sums to those that are there.
pub(super) async fn add(transaction: &impl ConnectionTrait, sums: Sums) -> Result<()> {
    bulk::add(transaction, &Sums::ROLLUPS, sums.rollups).await?;
    bulk::add(transaction, &Sums::HISTOGRAMS, sums.histograms).await?;
    bulk::add(transaction, &Sums::ATTEMPTS, sums.attempts).await
}

/// Whether an insert failed because PostgreSQL has no partition for the event's month: a check violation (23514) that
/// no constraint is named for.
fn is_missing_month(error: &Error) -> bool {
    let Error::Other(
        DbErr::Query(RuntimeErr::SqlxError(cause)) | DbErr::Exec(RuntimeErr::SqlxError(cause)),
    ) = error
    else {
        return false;
    };
    let sqlx::Error::Database(refused) = cause.as_ref() else {
        return false;
    };
    refused.code().as_deref() == Some("23514")
        && refused.constraint().is_none()
        && refused
            .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
            .is_some()
}
