//! What every request of a known key leaves behind: one usage event, with all its attempts.
//!
//! The relay makes events, the `recorder` sees that none is lost, the `spool` keeps them until a durable transaction has
//! booked them, `jobs::write_usage` books them. What a call had come to when the process died is in the in-flight
//! record. Nothing here speaks to a database. A flood of refusals shares events (`refusals`); everything else is one
//! request, one event.

pub mod count;
pub mod directory;
pub mod event;
pub mod inflight;
pub mod mac;
pub mod recorder;
pub mod refusals;
#[cfg(test)]
pub(crate) mod sample;
pub mod spool;

pub use event::{Attempt, Outcome, Source, UsageEvent};
pub use inflight::Start;
pub use recorder::{Draft, Flight, Recorder};
