//! From when to when a budget counts.
//!
//! Days, weeks and months are those of a calendar in a time zone; they begin when the zone's clocks first show their first
//! day, whatever daylight saving does there. Every zone's offset is a whole number of quarter hours today, so the sums of
//! usage per quarter hour can tell what a period has spent.

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use weir_api_types::limit::Period;

/// From a first millisecond (since 1970, UTC) to the first one that is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    pub start_ms: i64,
    pub end_ms: i64,
}

impl Window {
    /// All of time.
    pub const FOREVER: Self = Self {
        start_ms: 0,
        end_ms: i64::MAX,
    };

    pub fn contains(&self, at_ms: i64) -> bool {
        (self.start_ms..self.end_ms).contains(&at_ms)
    }
}

/// The zone of a name; UTC where the name is none, which the configuration refuses.
pub fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// The window of a period that a moment is in.
pub fn window(period: Period, zone: &TimeZone, at_ms: i64) -> Window {
    let days = |first: Date, next: Date| {
        Some(Window {
            start_ms: begins(first, zone)?,
            end_ms: begins(next, zone)?,
        })
    };
    let found = || {
        let date = Timestamp::from_millisecond(at_ms)
            .ok()?
            .to_zoned(zone.clone())
            .date();
        match period {
            Period::Forever => Some(Window::FOREVER),
            Period::Day => days(date, date.tomorrow().ok()?),
            Period::Week => {
                let since_monday = date.weekday().to_monday_zero_offset();
                let monday = date.checked_sub(i64::from(since_monday).days()).ok()?;
                days(monday, monday.checked_add(7.days()).ok()?)
            }
            Period::Month => {
                let first = date.first_of_month();
                days(first, first.checked_add(1.month()).ok()?)
            }
        }
    };
    // Only a moment beyond the year 9999 has none.
    found().unwrap_or(Window::FOREVER)
}

fn begins(date: Date, zone: &TimeZone) -> Option<i64> {
    let midnight = zone.to_ambiguous_zoned(date.to_datetime(jiff::civil::Time::midnight()));
    let begins = midnight.compatible().ok()?;
    Some(begins.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> i64 {
        let moment: Timestamp = text.parse().expect(text);
        moment.as_millisecond()
    }

    #[test]
    fn windows_begin_and_end_by_the_zones_calendar() {
        for (period, name, at, start, end) in [
            (
                Period::Day,
                "UTC",
                "2026-11-21T09:00:00Z",
                "2026-11-21T00:00:00Z",
                "2026-11-22T00:00:00Z",
            ),
            (
                Period::Day,
                "UTC",
                "2026-11-21T23:59:59.999Z",
                "2026-11-21T00:00:00Z",
                "2026-11-22T00:00:00Z",
            ),
            (
                Period::Day,
                "UTC",
                "2026-11-22T00:00:00Z",
                "2026-11-22T00:00:00Z",
                "2026-11-23T00:00:00Z",
            ),
            (
                Period::Day,
                "Asia/Shanghai",
                "2026-11-21T16:00:00Z",
                "2026-11-21T16:00:00Z",
                "2026-11-22T16:00:00Z",
            ),
            (
                Period::Month,
                "Asia/Shanghai",
                "2026-11-30T15:59:59.999Z",
                "2026-10-31T16:00:00Z",
                "2026-11-30T16:00:00Z",
            ),
            (
                Period::Month,
                "UTC",
                "2026-12-31T23:00:00Z",
                "2026-12-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
            // A leap day is a day of its month, and the last day of a short month.
            (
                Period::Day,
                "UTC",
                "2028-02-29T12:00:00Z",
                "2028-02-29T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
            (
                Period::Month,
                "UTC",
                "2028-02-29T12:00:00Z",
                "2028-02-01T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
            (
                Period::Month,
                "UTC",
                "2027-02-28T12:00:00Z",
                "2027-02-01T00:00:00Z",
                "2027-03-01T00:00:00Z",
            ),
            // Weeks begin on Monday, also over the year's end.
            (
                Period::Week,
                "UTC",
                "2026-11-22T23:59:59Z",
                "2026-11-16T00:00:00Z",
                "2026-11-23T00:00:00Z",
            ),
            (
                Period::Week,
                "UTC",
                "2027-01-01T00:00:00Z",
                "2026-12-28T00:00:00Z",
                "2027-01-04T00:00:00Z",
            ),
            // A day of 23 hours, and one of 25.
            (
                Period::Day,
                "Europe/Berlin",
                "2026-03-29T12:00:00Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            (
                Period::Day,
                "Europe/Berlin",
                "2026-10-25T12:00:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            (
                Period::Month,
                "America/New_York",
                "2026-03-15T00:00:00Z",
                "2026-03-01T05:00:00Z",
                "2026-04-01T04:00:00Z",
            ),
            // Where midnight itself is left out, the day begins at one.
            (
                Period::Day,
                "America/Sao_Paulo",
                "2018-11-04T12:00:00Z",
                "2018-11-04T03:00:00Z",
                "2018-11-05T02:00:00Z",
            ),
            // Where midnight comes twice, at the first.
            (
                Period::Day,
                "America/Havana",
                "2026-11-01T12:00:00Z",
                "2026-11-01T04:00:00Z",
                "2026-11-02T05:00:00Z",
            ),
            // Offsets of quarter hours.
            (
                Period::Day,
                "Asia/Kathmandu",
                "2026-11-21T18:14:59Z",
                "2026-11-20T18:15:00Z",
                "2026-11-21T18:15:00Z",
            ),
            (
                Period::Day,
                "Pacific/Chatham",
                "2026-11-21T10:14:59Z",
                "2026-11-20T10:15:00Z",
                "2026-11-21T10:15:00Z",
            ),
            // A zone that changed its day: the 30th never was.
            (
                Period::Day,
                "Pacific/Apia",
                "2011-12-30T09:59:59Z",
                "2011-12-29T10:00:00Z",
                "2011-12-30T10:00:00Z",
            ),
        ] {
            let window = window(period, &zone(name), ms(at));
            let expected = Window {
                start_ms: ms(start),
                end_ms: ms(end),
            };
            assert_eq!(window, expected, "{period:?} {name} {at}");
        }
        assert_eq!(window(Period::Forever, &TimeZone::UTC, 5), Window::FOREVER);
    }

    proptest! {
        #[test]
        fn every_moment_is_in_one_window_and_windows_follow_each_other(
            at_ms in 1_700_000_000_000i64..2_500_000_000_000,
            name in prop::sample::select(vec!["UTC", "Asia/Shanghai", "America/Havana", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu"]),
            period in prop::sample::select(vec![Period::Day, Period::Week, Period::Month]),
        ) {
            let zone = zone(name);
            let this = window(period, &zone, at_ms);
            prop_assert!(this.contains(at_ms));
            prop_assert_eq!(window(period, &zone, this.start_ms), this);
            prop_assert_eq!(window(period, &zone, this.end_ms - 1), this);
            let next = window(period, &zone, this.end_ms);
            prop_assert_eq!(next.start_ms, this.end_ms);
            prop_assert_eq!(this.start_ms % 900_000, 0, "sums are per quarter hour");
        }
    }
}
