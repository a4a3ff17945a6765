//! Finds the usage of a JSON answer that is too large to keep (thousands of embeddings, images in base64).
//!
//! It follows strings and nesting byte by byte and keeps only the value of the member `usage` at the top, so that the
//! bytes of a generated text that looks like a usage object are never taken for one. It does not validate.

use memchr::memchr2;

use crate::json::Reader;
use crate::neutral::Reported;

use super::usage;

/// Larger than any usage object.
const MAX_VALUE_BYTES: usize = 64 << 10;

/// One more byte than the key sought, so that a longer one is not taken for it.
const MAX_KEY_BYTES: usize = 6;

#[derive(Debug, Default)]
pub(super) struct Skim {
    depth: u64,
    in_string: bool,
    escaped: bool,
    /// The string that is passing may be a key at the top.
    key_due: bool,
    key: Vec<u8>,
    /// The value of `usage` so far.
    value: Option<Vec<u8>>,
    found: Option<Reported>,
}

impl Skim {
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.in_string && !self.escaped && !self.key_due && self.value.is_none() {
                // Inside some long text nothing matters but where it may end.
                let skipped = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
                if skipped > 0 {
                    bytes = bytes.get(skipped..).unwrap_or_default();
                    continue;
                }
            }
            self.step(byte);
            bytes = rest;
        }
    }

    /// The last usage that was found.
    pub(super) fn usage(&self) -> Option<Reported> {
        self.found
    }

    fn step(&mut self, byte: u8) {
        if self.depth == 1 && !self.in_string && matches!(byte, b',' | b'}') {
            self.end_value();
        }
        if let Some(value) = self
            .value
            .as_mut()
            .filter(|value| value.len() < MAX_VALUE_BYTES)
        {
            value.push(byte);
        }
        if self.in_string {
            self.step_in_string(byte);
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.key.clear();
            }
            b'{' | b'[' => {
                self.depth = self.depth.saturating_add(1);
                self.key_due = self.depth == 1;
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b',' => self.key_due = self.depth == 1,
            b':' if self.key_due => {
                self.key_due = false;
                if self.key == b"usage" {
                    self.value = Some(Vec::new());
                }
            }
            _ => {}
        }
    }

    fn step_in_string(&mut self, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if byte == b'"' {
            self.in_string = false;
            return;
        } else if byte == b'\\' {
            self.escaped = true;
        }
        if self.key_due && self.key.len() < MAX_KEY_BYTES {
            self.key.push(byte);
        }
    }

    fn end_value(&mut self) {
        let Some(value) = self.value.take() else {
            return;
        };
        let read = Reader::new(&value).and_then(|mut reader| usage::read(&mut reader));
        if let Ok(Some(reported)) = read {
            self.found = Some(reported);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::neutral::Usage;

    use super::*;

    fn skimmed(text: &str, size: usize) -> Option<Reported> {
        let mut skim = Skim::default();
        for chunk in text.as_bytes().chunks(size) {
            skim.feed(chunk);
        }
        skim.usage()
    }

    #[test]
    fn only_the_usage_at_the_top_counts() {
        let text = r#"{"data":[{"usage":{"prompt_tokens":1}},"\"usage\":{\"prompt_tokens\":2},","\\"],"usages":{"prompt_tokens":3},
            "x":{"usage":{"prompt_tokens":4}}, "usage" : {"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":2},"total_tokens":5} }"#;
        let wanted = Usage {
            input: 5,
            cached_read: 2,
            ..Usage::default()
        }
        .checked();
        for size in [1, 2, 3, 7, 1_000] {
            assert_eq!(skimmed(text, size), Some(wanted), "chunks of {size}");
        }
        assert_eq!(
            skimmed(r#"{"usage":{"prompt_tokens":5}"#, 4),
            None,
            "cut short"
        );
        assert_eq!(skimmed(r#"{"usage":null,"a":1}"#, 4), None);
        assert_eq!(skimmed("]]]}}}\"\\", 1), None);
    }
}
