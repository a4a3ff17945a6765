//! Writes server-sent events. The one place where a value becomes an SSE line, so that no value can become two.
//!
//! Data and comments are split into several lines where they hold a line break; names and ids cannot be, and are refused.

/// An event's name or id holds CR, LF or NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {field} of an event holds a line break")]
pub struct LineBreak {
    /// `event` or `id`.
    pub field: &'static str,
}

/// Appends one event. Nothing is written where a name or id is refused.
pub fn write(
    out: &mut Vec<u8>,
    name: Option<&str>,
    id: Option<&str>,
    data: &[u8],
) -> Result<(), LineBreak> {
    let fields = [("event", name), ("id", id)];
    for (field, value) in fields {
        if value.is_some_and(|value| value.contains(['\r', '\n', '\0'])) {
            return Err(LineBreak { field });
        }
    }
    for (field, value) in fields {
        if let Some(value) = value {
            line(out, field, value.as_bytes());
        }
    }
    lines(out, "data", data);
    out.push(b'\n');
    Ok(())
}

/// Appends a comment, which clients ignore.
pub fn comment(out: &mut Vec<u8>, text: &str) {
    lines(out, "", text.as_bytes());
    out.push(b'\n');
}

fn lines(out: &mut Vec<u8>, field: &str, mut value: &[u8]) {
    loop {
        let has_break = value.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
        let (first, rest) = super::split_line(value);
        line(out, field, first);
        if !has_break {
            return;
        }
        value = rest;
    }
}

fn line(out: &mut Vec<u8>, field: &str, value: &[u8]) {
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.push(b'\n');
}
