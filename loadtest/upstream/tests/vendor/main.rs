//! The stand-in itself, watched by a raw TCP client: what it answers, how it misbehaves, what it
//! bills. One file per promise.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

mod answers;
mod billing;
mod connections;
mod control;
mod endpoints;
mod faults;
mod recordings;
mod tls;
