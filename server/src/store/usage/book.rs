//! Books usage events, each once.

use std::{
    borrow::{Borrow, Cow},
    collections::HashSet,
};

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
pub async fn book(db: &Database, events: &[impl Borrow<UsageEvent>]) -> Result<Booked> {
    let events: Vec<&UsageEvent> = events.iter().map(Borrow::borrow).collect();
    let events = &events;
    match book_once(db, events).await {
        Err(error) if is_missing_month(&error) => {
            partitions::make_for(db, events.iter().map(|event| event.id.at_ms())).await?;
            book_once(db, events).await
        }
        booked => booked,
    }
}

async fn book_once(db: &Database, events: &[&UsageEvent]) -> Result<Booked> {
    if events.is_empty() {
        return Ok(Booked::default());
    }
    let mut bookable: Vec<_> = events
        .iter()
        .map(|event| event_rows::bookable(event))
        .collect();
    // Every booker locks events, and then sums, in the order of their ids: so none waits for another in a circle.
    bookable.sort_unstable_by_key(|event| event.id);
    bookable.dedup_by_key(|event| event.id);

    let all = bookable.iter().map(AsRef::as_ref);
    let transaction = db.begin_write().await?;
    let mut inserted = 0;
    for some in bookable.chunks(bulk::rows_at_once(db.backend())) {
        inserted += bulk::insert(&transaction, &event_rows::TABLE, rows(some)?).await?;
    }
    let inserted = if inserted == bookable.len() as u64 {
        add(&transaction, Sums::of(all)).await?;
        transaction.commit().await?;
        bookable.len()
    } else {
        // Some were there, as after a crash. Only then are the new ones named, which costs a row back for each.
        transaction.rollback().await?;
        let transaction = db.begin_write().await?;
        let inserted = bulk::insert_new(&transaction, &event_rows::TABLE, rows(&bookable)?).await?;
        let inserted: HashSet<_> = inserted.into_iter().map(RequestId).collect();
        let new = all.filter(|event: &&UsageEvent| inserted.contains(&event.id));
        add(&transaction, Sums::of(new)).await?;
        transaction.commit().await?;
        inserted.len()
    };
    Ok(Booked {
        inserted,
        duplicates: events.len() - inserted,
    })
}

fn rows(events: &[Cow<'_, UsageEvent>]) -> Result<Vec<bulk::Row>> {
    events.iter().map(|event| event_rows::row(event)).collect()
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
