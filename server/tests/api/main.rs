//! Drives the running server: the real app on a free port, before the stand-in vendor, on both stores.
//!
//! Files are named after what they attack or promise. A new case takes a [`support::Bench`] and asks the four witnesses:
//! the reply, what the vendor received, what the traps saw, what the books say.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the reason"
)]

mod support;

mod bad_input;
mod begins;
mod bodies;
mod books;
mod browser;
mod catalog;
mod chat;
mod cli;
mod clients;
mod conservation;
mod contract;
mod crash;
mod environment;
mod fleet;
mod floods;
mod framing;
mod front;
mod fuzzed;
mod hard_luck;
mod identify;
mod left_behind;
mod lies;
mod limits;
mod mail;
mod management;
mod memory;
mod models;
mod multipart;
mod observability;
mod prices;
mod proxied;
mod secrets;
mod settings;
mod sign_in;
mod slow;
mod soak;
mod stores;
mod story;
mod tls;
mod upstream;
mod usage;
