//! Who may do what in management: permissions, the roles that have them, and callers with their rights.
//!
//! A permission is `resource:action`. What each route needs stands in one table, `admin::routes`; a handler asks its caller in
//! which tenants that permission holds, and to whom it does not hold there, what is there does not exist. No I/O.

mod author;
mod caller;
mod permission;
mod role;

pub use author::Author;
pub use caller::{Caller, FRESH_MS, Reach, Subject};
pub use permission::{Permission, Permissions};
pub use role::{OwnRole, is_built_in, of_platform_role, of_role};

#[cfg(test)]
mod tests;
