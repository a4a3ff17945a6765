//! The tables as they are now, one file each: what every column means and how rows refer to each
//! other. Only `server/src/store` uses this crate; what may be done with a row is decided there and
//! above. `weir-migration` makes the tables and does not know this crate.
//!
//! In every table: ids are UUIDs; instants are Unix milliseconds in UTC (`…_ms`), durations say
//! their unit (`…_us`), money is whole nano-dollars (`…_nanos`). Closed lists of words, such as a
//! role, are text that the table checks; the types that stand for them are the server's.

#![forbid(unsafe_code)]

// What is set up. Here a row that is deleted takes along what belongs to it.
pub mod audit_row;
pub mod catalog_change;
pub mod installation;
pub mod instance;
pub mod leader;

pub mod group;
pub mod group_member;
pub mod membership;
pub mod role;
pub mod tenant;
pub mod user;

pub mod identity;
pub mod identity_provider;
pub mod known_place;
pub mod one_time_link;
pub mod session;
pub mod sign_in;
pub mod sign_in_failure;
pub mod signing_key;

pub mod key_secret;
pub mod proxy_key;
pub mod service_token;

pub mod channel;
pub mod credential;
pub mod model;
pub mod price;
pub mod route;

pub mod budget;
pub mod limit;

pub mod idempotency_key;
pub mod runtime_setting;

// What traffic leaves behind. In embedded mode these are in a file of their own, and they outlive
// the rows above, so their ids refer to nothing that the database would check.
pub mod attempt_rollup;
pub mod budget_alert;
pub mod forgotten_bodies;
pub mod kept_bodies;
pub mod usage_event;
pub mod usage_histogram;
pub mod usage_rollup;
