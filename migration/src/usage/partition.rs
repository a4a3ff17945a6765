//! Time and the ids of usage events. An id is a UUIDv7 and so begins with its request's Unix
//! milliseconds in 48 bits: a span of time is a range of ids, on both stores.

use std::ops::Range;

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{DbBackend, Statement};
use time::{Date, Month};
use uuid::Uuid;

/// The smallest id that an event of this millisecond can have. A moment before 1970 counts as 1970.
pub fn first_id(at_ms: i64) -> Uuid {
    let at_ms = u128::try_from(at_ms).unwrap_or(0);
    Uuid::from_u128(at_ms << 80)
}

/// The ids of a month's events (UTC), which are the bounds of its partition on PostgreSQL.
/// `None` for a year that no calendar has.
pub fn uuid_bounds(year: i32, month: Month) -> Option<Range<Uuid>> {
    let next_year = if month == Month::December {
        year + 1
    } else {
        year
    };
    Some(first_id(month_start_ms(year, month)?)..first_id(month_start_ms(next_year, month.next())?))
}

/// Makes the partition for the month of `at_ms`, unless it is there; says whether it made one.
/// SQLite has no partitions and nothing is done.
///
/// Not to be called in the transaction that an insert has just failed in: PostgreSQL accepts no
/// further command there (the insert's error is 23514, "no partition of relation").
pub async fn make(db: &impl ConnectionTrait, at_ms: i64) -> Result<bool, DbErr> {
    if db.get_database_backend() != DbBackend::Postgres {
        return Ok(false);
    }
    let call = "SELECT weir_make_usage_partition($1) AS made";
    let call = Statement::from_sql_and_values(DbBackend::Postgres, call, [at_ms.into()]);
    let row = db.query_one_raw(call).await?;
    row.map_or(Ok(false), |row| row.try_get("", "made"))
}

fn month_start_ms(year: i32, month: Month) -> Option<i64> {
    let first = Date::from_calendar_date(year, month, 1).ok()?;
    Some(first.midnight().assume_utc().unix_timestamp() * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UUIDv7 with the given millisecond and all its other bits as they sort last or first.
    fn v7(at_ms: i64, rest: u8) -> Uuid {
        uuid::Builder::from_unix_timestamp_millis(at_ms as u64, &[rest; 10]).into_uuid()
    }

    #[test]
    fn a_month_holds_the_ids_of_its_first_and_last_millisecond_and_no_others() {
        // 2026-12-01T00:00:00Z and 2027-01-01T00:00:00Z.
        let (first_ms, next_ms) = (1_796_083_200_000, 1_798_761_600_000);
        let december = uuid_bounds(2026, Month::December).expect("a month of our calendar");

        assert!(!december.contains(&v7(first_ms - 1, 0xff)));
        assert!(december.contains(&v7(first_ms, 0)));
        assert!(december.contains(&v7(next_ms - 1, 0xff)));
        assert!(!december.contains(&v7(next_ms, 0)));
    }

    #[test]
    fn months_follow_each_other_without_a_gap() {
        let january = uuid_bounds(2028, Month::January).expect("a month of our calendar");
        let february = uuid_bounds(2028, Month::February).expect("a month of our calendar");
        assert_eq!(january.end, february.start);
    }
}
