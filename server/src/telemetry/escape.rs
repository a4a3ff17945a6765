//! Makes whatever a log line holds harmless, in the one place that all lines pass on their way out.
//!
//! The subscriber hands over each event as one piece of text that ends with a line feed. Every other control character,
//! line separator, bidirectional mark or invisible character in it is written as `\uXXXX`, which is also what JSON calls
//! it; so a value can neither begin a line of its own nor drive a terminal nor read differently than it is
//! (threats.md, D5 and H9).

use std::io::{self, Write};

/// Passes lines on to a writer, one write each, escaped.
#[derive(Debug)]
pub struct Escaping<W>(pub W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line)?;
        Ok(line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let (text, end) = match line.strip_suffix(b"\n") {
            Some(text) => (text, "\n"),
            None => (line, ""),
        };
        if text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return self.0.write_all(line);
        }
        let mut escaped = escaped(&String::from_utf8_lossy(text));
        escaped.push_str(end);
        self.0.write_all(escaped.as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The text with every character that could mislead a reader written as `\uXXXX`.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if misleads(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// The beginning of a text of at most so many bytes, with a mark where something was cut off.
pub fn cut(text: &str, max_bytes: usize) -> std::borrow::Cow<'_, str> {
    if text.len() <= max_bytes {
        return text.into();
    }
    let end = (0..=max_bytes)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}…", &text[..end]).into()
}

fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str) -> String {
        let mut out = Vec::new();
        Escaping(&mut out)
            .write_all(line.as_bytes())
            .expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn only_the_last_line_feed_ends_a_line() {
        assert_eq!(written("plain\n"), "plain\n");
        assert_eq!(written("a\r\nb\n"), "a\\u000d\\u000ab\n");
        assert_eq!(written("\u{1b}[31mred\u{9b}0m"), "\\u001b[31mred\\u009b0m");
        assert_eq!(
            written("a\u{2028}b\u{202e}c\u{e0041}\n"),
            "a\\u2028b\\u202ec\\udb40\\udc41\n"
        );
        assert_eq!(written("张三 é\n"), "张三 é\n");
    }

    #[test]
    fn a_long_text_is_cut_with_a_mark() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc…");
        assert_eq!(cut("aé", 2), "a…");
    }
}
