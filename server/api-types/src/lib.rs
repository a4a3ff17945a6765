//! What Weir's management API says on the wire: plain serde structs, used by the server, the CLI and the portal.
//!
//! Nothing here knows HTTP, a store or a rule of the product. Names of fields are the ones of the YAML and JSON.

#![forbid(unsafe_code)]

pub mod apply;
pub mod channel;
pub mod limit;
pub mod manage;
pub mod orders;
pub mod people;
pub mod problem;
pub mod resources;
pub mod secret;
pub mod span;
pub mod usage;
