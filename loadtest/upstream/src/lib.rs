//! The vendor stand-in: an HTTP/1.1 server that plays an OpenAI-dialect vendor.
//!
//! Tests, benchmarks and the demo channel all talk to this one. It does three things: it
//! **answers** like the vendor (or replays a recording), it **misbehaves** on command down to the
//! byte (resets, hangs, interim responses, lying usage), and it keeps **its own bill**, to the
//! token, also of calls that were cut: the witness that the gateway's books are compared with.
//!
//! It speaks raw TCP instead of using a web framework, because a framework's whole purpose is to
//! make the misbehaviour impossible. Deliberately absent: HTTP/2, WebSockets, any real model, and
//! any knowledge of the gateway.
//!
//! ```
//! use weir_upstream::{Behaviour, Cut, Fault, Vendor};
//!
//! let vendor = Vendor::spawn();
//! vendor.push(Behaviour::status(429).with_retry_after(2)); // the next request
//! vendor.on_model("flaky", Behaviour::fault(Fault::Reset(Cut::AfterChunks(3))));
//! println!("{}/chat/completions", vendor.base_url());
//! assert!(vendor.bill().is_empty());
//! ```
//!
//! In reading order: what a test asks for and gets back ([`Behaviour`], [`Line`]), then the way of
//! a request (`connection` → `request`, `ask` → `answer`, `recording` → `plan` → `play` → `link`).

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    expect(clippy::unwrap_used, reason = "a test fails by panicking")
)]

mod behaviour;
mod bill;
mod clock;
mod vendor;

mod connection;
mod request;

mod ask;
mod multipart;

mod answer;
mod gzip;
mod recording;

mod link;
mod plan;
mod play;

mod control;
mod state;
#[cfg(feature = "tls")]
mod tls;

pub use ask::Reading;
pub use behaviour::{Behaviour, Cut, Fault, Raw, RawPiece, Then};
pub use bill::{End, Line, Received, Tokens};
pub use control::Orders;
pub use state::{ConnectionPolicy, Counters, Options, Record};
#[cfg(feature = "tls")]
pub use tls::Identity;
pub use vendor::Vendor;
