//! Questions that people ask of the usage.
//!
//! The management API calls these; `store::usage` answers: [`usage`] from the sums, [`log`] from single events. Every function takes
//! the [`Scope`](crate::store::Scope) of whoever asks. What is computed for invoices is not here.

pub mod log;
mod question;
pub mod usage;

pub use question::Error;
