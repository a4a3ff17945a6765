//! How values of the product stand in columns.

use sea_orm::JsonValue;
use serde::Serialize;

use super::{Error, Result};

/// A document.
pub fn document(value: &impl Serialize) -> Result<JsonValue> {
    serde_json::to_value(value).map_err(|error| Error::other(error.to_string()))
}

/// A small count.
pub fn count(value: u32) -> Result<i32> {
    i32::try_from(value).map_err(|_| Error::other("a count is out of range"))
}

/// A moment, as lists show it: RFC 3339.
pub fn moment(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| ms.to_string(), |moment| moment.to_string())
}
