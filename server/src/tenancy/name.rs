//! Names of tenants, channels, models, groups and keys: what is allowed, how they are brought into one form, and the
//! patterns that lists of names are made of.

use thiserror::Error;

/// Longest name, in bytes after normalisation.
pub const MAX_BYTES: usize = 128;

/// Channel names that would shadow a path word of the data plane or the management API (threats.md, K6).
const RESERVED_CHANNELS: &[&str] = &[
    "admin",
    "api",
    "audio",
    "batches",
    "channels",
    "chat",
    "completions",
    "docs",
    "embeddings",
    "files",
    "health",
    "images",
    "messages",
    "metrics",
    "models",
    "moderations",
    "proxy",
    "ready",
    "realtime",
    "rerank",
    "responses",
    "v1",
    "v1beta",
    "weir",
];

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    #[error("must not be empty")]
    Empty,
    #[error("is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("has the character U+{0:04X}, which is not allowed in a name")]
    BadCharacter(u32),
    #[error("is a word of Weir's own paths; choose another")]
    Reserved,
}

/// Brings a name into its stored form: trimmed and in Unicode's normal form C, so that look-alikes by composition are
/// one name. Refuses control, bidirectional and zero-width characters (threats.md, T12).
pub fn normal(text: &str) -> Result<String, Error> {
    use unicode_normalization::UnicodeNormalization;
    let name: String = text.trim().nfc().collect();
    if name.is_empty() {
        return Err(Error::Empty);
    }
    if name.len() > MAX_BYTES {
        return Err(Error::TooLong);
    }
    match name.chars().find(|character| is_refused(*character)) {
        Some(character) => Err(Error::BadCharacter(character as u32)),
        None => Ok(name),
    }
}

/// Whether a text has characters that no name may have, for one that is kept as somebody else writes it.
pub fn misleads(text: &str) -> bool {
    text.chars().any(is_refused)
}

/// As [`normal`], for the name of a channel, which stands in paths: lower-case ASCII letters, digits, `-`, `_` and `.`,
/// beginning with a letter or digit, and none of the words that Weir's own paths use.
pub fn channel(text: &str) -> Result<String, Error> {
    let name = normal(text)?;
    let allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if let Some(character) = name.chars().find(|c| !allowed(*c)) {
        return Err(Error::BadCharacter(character as u32));
    }
    match name.chars().next() {
        Some(first) if !first.is_ascii_alphanumeric() => Err(Error::BadCharacter(first as u32)),
        _ if RESERVED_CHANNELS.contains(&name.as_str()) => Err(Error::Reserved),
        _ => Ok(name),
    }
}

/// Whether `name` fits `pattern`: exact, or with `*` for any run of characters.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, others)) = pattern.split_once('*') else {
        return name == pattern;
    };
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = others.rsplit_once('*').unwrap_or(("", others));
    for part in middle.split('*') {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn is_refused(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}' | '\u{061C}' | '\u{00AD}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_composed() {
        assert_eq!(normal("  Cafe\u{301} ").as_deref(), Ok("Café"));
        assert_eq!(normal(" "), Err(Error::Empty));
        assert_eq!(normal("a\u{202E}b"), Err(Error::BadCharacter(0x202E)));
        assert_eq!(normal("a\u{200B}"), Err(Error::BadCharacter(0x200B)));
        assert_eq!(normal(&"a".repeat(129)), Err(Error::TooLong));
    }

    #[test]
    fn a_channel_may_not_take_a_path_word() {
        assert_eq!(channel("openai").as_deref(), Ok("openai"));
        for word in ["chat", "admin", "models"] {
            assert_eq!(channel(word), Err(Error::Reserved));
        }
        for text in ["OpenAI", "оpenai", "a/b", ".hidden", "open ai"] {
            assert!(
                matches!(channel(text), Err(Error::BadCharacter(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, fits) in [
            ("*", "anything", true),
            ("gpt-*", "gpt-4o", true),
            ("gpt-*", "xgpt-4o", false),
            ("gpt-4o", "gpt-4o-mini", false),
            ("*-mini", "gpt-4o-mini", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
