//! Configuration as code: a file in, the platform as the file says; and back.
//!
//! [`read`] turns text into resources, [`merge`] lays them over the stored [`Picture`], [`plan`] says in words what
//! differs, `write` makes it so. [`apply()`] is all of that in one transaction; [`stored`] is the way back, and what it
//! writes changes nothing when applied. Called by the management API and by `serve --resources`; the CLI reads and
//! expands files with the same code and sends them over HTTP.

mod apply;
mod edit;
pub mod expand;
pub mod export;
pub mod merge;
pub mod picture;
mod place;
pub mod plan;
pub mod read;
pub mod watch;

pub use apply::{Error, Options, apply, read_slice, stored};
pub use edit::{Edit, Laid};
pub use merge::{NO_CHANNEL, email, instant, line};
pub use picture::Picture;
pub use watch::{apply_file, watch};

#[cfg(test)]
mod tests;
