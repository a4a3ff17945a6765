//! What every request of a known key leaves behind: one usage event, with all its attempts.
//!
//! The relay makes events, the spool keeps them until a durable transaction has booked them, `jobs::write_usage` books
//! them. Nothing here speaks to a database. A flood of refusals shares events (`refusals`); everything else is one
//! request, one event.

pub mod count;
pub mod event;
pub mod inflight;
pub mod recorder;
pub mod refusals;
pub mod spool;

pub use event::{Attempt, Outcome, Source, UsageEvent};
