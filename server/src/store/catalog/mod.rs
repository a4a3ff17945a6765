//! Rows to catalog types.
