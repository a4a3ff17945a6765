//! The months of `usage_events` on PostgreSQL. SQLite has none, and nothing here does anything there.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan as _, civil, tz::TimeZone};
use weir_migration::usage::partition;

use crate::store::{Database, Result};

/// Makes the months that some moments are in, where they are missing. Returns how many it made.
pub async fn make_for(db: &Database, moments_ms: impl Iterator<Item = i64>) -> Result<usize> {
    let months: BTreeMap<(i16, i8), i64> =
        moments_ms.map(|at_ms| (month_of(at_ms), at_ms)).collect();
    let mut made = 0;
    for at_ms in months.into_values() {
        made += usize::from(partition::make(&db.write, at_ms).await?);
    }
    Ok(made)
}

/// Makes the present month and the next `ahead`, where they are missing. Returns how many it made.
pub async fn make_ahead(db: &Database, now_ms: i64, ahead: u8) -> Result<usize> {
    let (year, month) = month_of(now_ms);
    let first = civil::date(year, month, 1);
    let months = (0..=i32::from(ahead)).filter_map(|months| {
        let start = first.checked_add(months.months()).ok()?;
        let start = start.to_zoned(TimeZone::UTC).ok()?;
        Some(start.timestamp().as_millisecond())
    });
    make_for(db, months).await
}

/// Year and month in UTC; a moment that no calendar has counts as the first there is.
fn month_of(at_ms: i64) -> (i16, i8) {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let date = at.to_zoned(TimeZone::UTC).date();
    (date.year(), date.month())
}
