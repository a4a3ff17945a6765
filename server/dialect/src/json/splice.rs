//! Edits of JSON in place: some spans are replaced, every other byte is copied as it stands.

use super::Span;

/// A replacement of some bytes by others.
#[derive(Clone, Debug)]
pub struct Splice {
    /// What goes; empty for an insertion.
    pub span: Span,
    /// What comes in its place.
    pub with: String,
}

/// Copies `bytes` with all splices done in one pass. They must not overlap; one that does is left out.
#[must_use]
pub fn splice(bytes: &[u8], mut splices: Vec<Splice>) -> Vec<u8> {
    // An insertion goes before a removal that starts at the same place.
    splices.sort_by_key(|splice| (splice.span.start, splice.span.end));
    let grown: usize = splices.iter().map(|splice| splice.with.len()).sum();
    let mut out = Vec::with_capacity(bytes.len() + grown);
    let mut copied = 0;
    for Splice { span, with } in splices {
        if span.start < copied || span.end < span.start || span.end > bytes.len() {
            continue;
        }
        out.extend_from_slice(
            Span {
                start: copied,
                end: span.start,
            }
            .of(bytes),
        );
        out.extend_from_slice(with.as_bytes());
        copied = span.end;
    }
    out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
    out
}

/// A text as a JSON string, quotes included.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
