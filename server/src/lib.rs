//! Weir: a multi-tenant gateway between a company's programs and the LLM vendors.
//!
//! The modules stand here in reading order. Imports point down this list, never up: the way of a request (`proxy`) and
//! the management side (`admin`, `jobs`, `reports`) never import each other; they meet in `catalog` (configuration going
//! in) and in `metering` (usage events coming out). Only `store` speaks to a database, and `proxy::State` holds none.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails with the reason"
    )
)]

// Puts the two halves together.
pub mod app;
pub mod cli;
pub mod config;
pub mod routes;

// The way of a request.
pub mod proxy;

// The management side.
pub mod admin;
pub mod jobs;
pub mod oidc;
pub mod reports;
pub mod resources;
pub mod store;

// What a request may look up.
pub mod catalog;

// Capabilities: no database.
pub mod bodies;
pub mod limits;
pub mod metering;
pub mod routing;

// The product's rules: no I/O.
pub mod access;
pub mod billing;
pub mod tenancy;

// Tools and vocabulary.
pub mod clock;
pub mod hash;
pub mod mail;
pub mod private_file;
pub mod redis;
pub mod secrets;
pub mod strict;
pub mod telemetry;
