//! Errors of the management API: problem documents as in RFC 9457.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The body of an answer that is no success, as `application/problem+json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A URI of the code: `urn:weir:error:` and the code.
    pub r#type: String,
    /// The code in words, always the same.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong this time and what to do.
    pub detail: String,
    /// Stable, for programs.
    pub code: String,
    /// Weir's own id of the request.
    pub request_id: String,
    /// Every field that was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// Why a field is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// Where it stands, such as `channels[0].base_url`; empty is the document itself.
    pub path: String,
    pub message: String,
    /// In the text as it was sent, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl FieldError {
    pub fn new(path: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            path: path.into(),
            message: message.to_string(),
            line: None,
            column: None,
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(formatter, "line {line} column {column}: ")?;
        }
        formatter.write_str(&self.message)?;
        if self.path.is_empty() {
            Ok(())
        } else {
            write!(formatter, " ({})", self.path)
        }
    }
}
