//! Proxy keys: how a value looks, how it is made and looked up, and what a key allows.
//!
//! A value is `wk-`, 43 base62 digits of 256 random bits and 6 base62 digits of a CRC-32 over them. The checksum serves
//! secret scanners and typing errors; the look-up is by SHA-256 alone, with the same cost for every miss.

use std::fmt;

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use super::{ChannelId, GroupId, KeyId, TenantId, UserId, name};

/// SHA-256 of a key's value: what is stored and looked up.
pub type Digest = [u8; 32];

/// Shortest value that an operator may give, in bytes.
pub const MIN_GIVEN_BYTES: usize = 24;

const PREFIX: &str = "wk-";
/// What service tokens begin with.
pub const SERVICE_PREFIX: &str = "wst-";
/// Begins the admin token that Weir makes.
const ADMIN_PREFIX: &str = "wa-";
/// What tokens of links begin with.
const LINK_PREFIX: &str = "wl-";
const RANDOM_DIGITS: usize = 43;
const CHECK_DIGITS: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Whom a key belongs to; limits, budgets and reports count it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Tenant,
    User(UserId),
    Group(GroupId),
}

/// The credential that a program sends to Weir.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyKey {
    pub id: KeyId,
    pub tenant: TenantId,
    /// Unique in the tenant.
    pub name: String,
    pub owner: Owner,
    pub enabled: bool,
    /// Unix milliseconds from which the key is refused.
    pub expires_ms: Option<i64>,
    /// Patterns of public model names; `None` allows all that the tenant may use.
    pub models: Option<Vec<String>>,
    /// The key's own order of channels, best first; empty leaves the routes' order and allows every channel.
    pub channels: Vec<ChannelPreference>,
    /// Addresses that may use the key; empty allows all.
    pub ip_allow: Vec<IpNet>,
    /// One, or two while the key is rotated.
    pub secrets: Vec<KeySecret>,
}

/// One entry of a key's own channel order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelPreference {
    pub channel: ChannelId,
    /// Higher goes first.
    pub priority: i32,
}

/// One of a key's secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySecret {
    pub digest: Digest,
    /// Unix milliseconds from which this secret, not the key, is refused.
    pub expires_ms: Option<i64>,
}

impl ProxyKey {
    /// Whether the key's own list allows the model; the tenant's grants are asked elsewhere.
    pub fn may_use_model(&self, model: &str) -> bool {
        self.models
            .as_ref()
            .is_none_or(|patterns| patterns.iter().any(|pattern| name::matches(pattern, model)))
    }

    /// Whether the key's own list allows the channel, and with which priority if the key says so.
    pub fn channel_priority(&self, channel: ChannelId) -> Option<Option<i32>> {
        if self.channels.is_empty() {
            return Some(None);
        }
        self.channels
            .iter()
            .find(|preference| preference.channel == channel)
            .map(|preference| Some(preference.priority))
    }
}

/// A key's value in clear, which exists only between its making and the answer that shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(String);

impl Value {
    /// A new random value.
    pub fn generate() -> Self {
        Self::from_random(PREFIX, rand::random())
    }

    /// A new random value of a service token, which looks alike behind another beginning.
    pub fn of_service_token() -> Self {
        Self::from_random(SERVICE_PREFIX, rand::random())
    }

    /// A new random value of the admin token.
    pub fn of_admin_token() -> Self {
        Self::from_random(ADMIN_PREFIX, rand::random())
    }

    /// The token of a link that works once.
    pub fn of_link() -> Self {
        Self::from_random(LINK_PREFIX, rand::random())
    }

    fn from_random(prefix: &str, random: [u8; 32]) -> Self {
        let mut text = String::with_capacity(prefix.len() + RANDOM_DIGITS + CHECK_DIGITS);
        text.push_str(prefix);
        push_base62(&mut text, &random, RANDOM_DIGITS);
        let check = crc32(text.as_bytes()).to_be_bytes();
        push_base62(&mut text, &check, CHECK_DIGITS);
        Self(text)
    }

    /// The value itself, for the one answer that shows it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What it is looked up by.
    pub fn digest(&self) -> Digest {
        digest(self.0.as_bytes())
    }

    /// A masked start, for lists: enough to recognise a key, too little to use it.
    pub fn hint(&self) -> String {
        hint(&self.0)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Value(…)")
    }
}

/// The digest that a presented value is looked up by.
pub fn digest(value: &[u8]) -> Digest {
    Sha256::digest(value).into()
}

/// A masked start of any value: seven bytes at most, and never more than a quarter of it.
pub fn hint(value: &str) -> String {
    let shown: String = value
        .chars()
        .take((value.chars().count() / 4).min(7))
        .collect();
    format!("{shown}…")
}

/// Why a given value is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GivenError {
    #[error("must have at least {MIN_GIVEN_BYTES} characters")]
    TooShort,
    #[error("must be visible ASCII without spaces")]
    BadCharacter,
    #[error("repeats itself too much to be a secret")]
    TooPlain,
    #[error("looks like a Weir key but its checksum is wrong: a typing error?")]
    BadChecksum,
}

/// Checks a value that an operator brings along from elsewhere.
pub fn check_given(value: &str) -> Result<(), GivenError> {
    if value.len() < MIN_GIVEN_BYTES {
        return Err(GivenError::TooShort);
    }
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(GivenError::BadCharacter);
    }
    let mut seen = [false; 128];
    value
        .bytes()
        .for_each(|byte| seen[usize::from(byte & 0x7f)] = true);
    if seen.iter().filter(|seen| **seen).count() < 8 {
        return Err(GivenError::TooPlain);
    }
    if has_weir_shape(value) && !checksum_fits(value) {
        return Err(GivenError::BadChecksum);
    }
    Ok(())
}

fn has_weir_shape(value: &str) -> bool {
    value.len() == PREFIX.len() + RANDOM_DIGITS + CHECK_DIGITS
        && value
            .strip_prefix(PREFIX)
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn checksum_fits(value: &str) -> bool {
    let (body, check) = value.split_at(value.len() - CHECK_DIGITS);
    let mut expected = String::with_capacity(CHECK_DIGITS);
    push_base62(
        &mut expected,
        &crc32(body.as_bytes()).to_be_bytes(),
        CHECK_DIGITS,
    );
    check == expected
}

/// Writes a big-endian number in base 62 with leading zeros.
fn push_base62(text: &mut String, number: &[u8], digits: usize) {
    let mut number = number.to_vec();
    let mut reversed = Vec::with_capacity(digits);
    for _ in 0..digits {
        let mut remainder = 0u32;
        for byte in number.iter_mut() {
            let value = remainder * 256 + u32::from(*byte);
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        reversed.push(BASE62[remainder as usize]);
    }
    text.extend(reversed.iter().rev().map(|digit| char::from(*digit)));
}

/// CRC-32 as in ISO 3309 (the polynomial of zlib), bit by bit: it runs when a key is made or checked, not per request.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_that_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_made_value_has_its_shape_and_passes_its_own_check() {
        for seed in 0..=255u8 {
            let value = Value::from_random(PREFIX, [seed; 32]);
            assert_eq!(value.reveal().len(), 52);
            assert!(has_weir_shape(value.reveal()) && checksum_fits(value.reveal()));
        }
        assert_eq!(check_given(Value::generate().reveal()), Ok(()));
        assert_ne!(Value::generate(), Value::generate());
    }

    #[test]
    fn a_mistyped_value_is_told_apart() {
        let value = Value::from_random(PREFIX, [7; 32]);
        let mut mistyped = value.reveal().to_owned();
        let last = mistyped.pop();
        mistyped.push(if last == Some('a') { 'b' } else { 'a' });
        assert_eq!(check_given(&mistyped), Err(GivenError::BadChecksum));
    }

    #[test]
    fn given_values_need_length_and_variety() {
        assert_eq!(check_given("sk-short"), Err(GivenError::TooShort));
        assert_eq!(
            check_given("aaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            Err(GivenError::TooPlain)
        );
        assert_eq!(
            check_given("sk-with a space 1234567890abcd"),
            Err(GivenError::BadCharacter)
        );
        assert_eq!(check_given("sk-proj-abcdefghij0123456789"), Ok(()));
    }

    #[test]
    fn a_hint_never_shows_much() {
        assert_eq!(hint("wk-abcdefghijklmnopqrstuvwxyz0123456789"), "wk-abcd…");
        assert_eq!(hint("short"), "s…");
        assert!(!format!("{:?}", Value::generate()).contains("wk-"));
    }
}
