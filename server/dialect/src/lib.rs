//! The vendors' wire formats: bytes in, bytes out, no I/O.
//!
//! The gateway's request path calls this crate to read what a caller asks, to edit a body in place, to watch
//! an answer go by and to write an error in the caller's own dialect. Each dialect is one module that
//! speaks [`neutral`] on its inner side, so n formats need n modules. What the formats share lies
//! beside them: [`json`], [`sse`] and [`multipart`].
//!
//! Deliberately absent: sockets, clocks, prices, tokenizers, and any knowledge of tenants or channels.
//! Every function takes bytes that an attacker chose: none panics, and each has a bound.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    expect(clippy::unwrap_used, reason = "a test that fails may panic")
)]

pub mod neutral;

pub mod openai;

pub mod json;
pub mod multipart;
pub mod sse;
