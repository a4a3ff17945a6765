//! Usage: booking events with their sums, and asking for the sums.
//!
//! An event is booked by one durable transaction that inserts it and adds it to the sums if, and only if, it was not
//! there yet: so booking twice is harmless. Sums are derived, and [`rebuild`] makes them again from the events. The time
//! of an event is the one its id begins with; so a span of time is a range of ids on both stores. `jobs` books,
//! `reports` asks; nothing here waits for a request.

pub mod ask;
pub mod bodies;
pub mod histogram;
pub mod log;
pub mod partitions;
pub mod prune;
pub mod rebuild;
pub mod spent;
pub mod sums;

mod book;
mod bulk;
mod event_rows;

#[cfg(test)]
mod tests;

pub use book::{Booked, book};
pub use rebuild::rebuild;
pub use spent::{spent, spent_by_calls};

/// Milliseconds of a quarter hour, which every time zone's offset is a multiple of.
pub const QUARTER_MS: i64 = 15 * 60_000;

/// The start of the quarter hour that a moment is in.
pub fn quarter_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(QUARTER_MS) * QUARTER_MS
}
