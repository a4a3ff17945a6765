//! What Weir's management API says on the wire: plain serde structs, used by the server, the CLI and the portal.
//!
//! Nothing here knows HTTP, a store or a rule of the product. Names of fields are the ones of the YAML and JSON.

#![forbid(unsafe_code)]

pub mod apply;
pub mod channel;
pub mod insight;
pub mod limit;
pub mod log;
pub mod manage;
pub mod operators;
pub mod orders;
pub mod people;
pub mod problem;
pub mod queries;
pub mod resources;
#[cfg(feature = "openapi")]
mod schema;
pub mod secret;
pub mod security;
pub mod settings;
pub mod sign_in;
pub mod span;
pub mod system;
pub mod usage;
