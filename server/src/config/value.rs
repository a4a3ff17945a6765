//! Values of settings: how each kind is read, from a file's TOML as from an environment's text.
//!
//! No message here repeats a value that could be a secret. An empty text is "not set" everywhere.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Value;

use crate::secrets::Secret;

/// The status of a spent budget: 429, or 402.
pub fn budget_exceeded_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    match u16::deserialize(deserializer)? {
        status @ (429 | 402) => Ok(status),
        _ => Err(D::Error::custom("must be 429 or 402")),
    }
}

/// A number of bytes, written `4096`, `64KiB`, `32MiB` or `4GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
];

impl Bytes {
    /// As a length in memory.
    pub fn get(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            let shown: String = text.chars().take(64).collect();
            format!("{shown:?} is not a size such as 4096, 64KiB, 32MiB or 4GiB")
        };
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit.trim())
            .ok_or_else(bad)?;
        number.checked_mul(*factor).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        let (unit, factor) = exact.copied().unwrap_or(("", 1));
        write!(formatter, "{}{unit}", self.0 / factor)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Integer(bytes) => u64::try_from(bytes).map(Self).map_err(D::Error::custom),
            Value::String(text) => text.parse().map_err(D::Error::custom),
            _ => Err(D::Error::custom("must be a size such as \"32MiB\"")),
        }
    }
}

/// A value that is not set when its text is empty.
pub fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(D::Error::custom),
    }
}

/// A secret that is not set when its text is empty. What stood there instead of a text is not repeated.
pub fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => Ok(Some(Secret::new(text))),
        _ => Err(D::Error::custom("must be a text in quotes")),
    }
}

/// The address under which Weir is reached: a scheme and a host, without a slash at its end.
pub fn public_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let text = text.trim_end_matches('/');
    if text.is_empty() {
        return Ok(None);
    }
    let url: http::Uri = text.parse().map_err(D::Error::custom)?;
    let plain = url
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@'));
    let web = matches!(url.scheme_str(), Some("http" | "https"));
    if web && plain && url.query().is_none() {
        Ok(Some(text.to_owned()))
    } else {
        Err(D::Error::custom(
            "must be an address such as https://llm.example.com",
        ))
    }
}

/// Reads a variable's or a flag's text as the kind of value that the default is.
pub fn from_text(text: &str, default: &Value) -> Result<Value, String> {
    let bad = |what: &str| format!("must be {what}");
    let text = text.trim();
    match default {
        Value::Integer(_) => text
            .parse()
            .map(Value::Integer)
            .map_err(|_| bad("a whole number")),
        Value::Float(_) => text.parse().map(Value::Float).map_err(|_| bad("a number")),
        Value::Boolean(_) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(Value::Boolean(true)),
            "false" | "no" | "off" | "0" => Ok(Value::Boolean(false)),
            _ => Err(bad("true or false")),
        },
        Value::Array(_) => Ok(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::String(item.to_owned()))
                .collect(),
        )),
        Value::String(_) | Value::Datetime(_) | Value::Table(_) => {
            Ok(Value::String(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [
            ("0", 0),
            ("4097", 4097),
            ("64KiB", 65_536),
            ("32MiB", 33_554_432),
            ("4GiB", 4 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)));
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        for text in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "32MB",
            "99999999999GiB",
            "1 parsec",
        ] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }
}
