//! Being built.
pub mod upstream;
