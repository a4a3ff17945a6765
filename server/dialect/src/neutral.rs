//! The vocabulary that all dialects share: what an answer used, what it showed, which names are acceptable.
//!
//! Dialects fill these in; the gateway meters, bills and reports from them without knowing the wire format.
//! Every count follows one convention, whatever the vendor's: the whole includes its parts (see [`Usage`]).
//!
//! Deliberately absent: prices, and the estimate that replaces a report that is missing or [`Reported::Implausible`].

use serde::{Deserialize, Serialize};

/// No call uses more tokens than this; a vendor that reports more is not believed.
pub const MAX_PLAUSIBLE_TOKENS: u64 = 1 << 40;

/// The longest model name that is read, in bytes.
pub const MAX_MODEL_BYTES: usize = 256;

/// Tokens of one call, told apart by what they are priced as.
///
/// `input` and `output` are wholes; every other field is a part of one of them and is never added to it.
/// Audio and image counts may overlap with cached ones (cached audio is both). Written down, it goes without the parts
/// that are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// All tokens that went in: includes cached (read and written), audio and image ones.
    pub input: u64,
    /// Part of `input`: read from the vendor's prompt cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cached_read: u64,
    /// Part of `input`: written to the vendor's prompt cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cached_write: u64,
    /// Part of `input`: audio.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_input: u64,
    /// Part of `input`: images.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_input: u64,
    /// All tokens that came out: includes reasoning, audio and image ones.
    pub output: u64,
    /// Part of `output`: what the model reasoned, shown or not.
    #[serde(skip_serializing_if = "is_zero")]
    pub reasoning: u64,
    /// Part of `output`: audio.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_output: u64,
    /// Part of `output`: images.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_output: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde gives the field by reference"
)]
fn is_zero(tokens: &u64) -> bool {
    *tokens == 0
}

impl Usage {
    /// Input and output together; the parts are inside them already.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// Believes these numbers only if every part fits into its whole and no whole is absurd.
    #[must_use]
    pub fn checked(self) -> Reported {
        let cached = self.cached_read.saturating_add(self.cached_write);
        let fits = self.input <= MAX_PLAUSIBLE_TOKENS
            && self.output <= MAX_PLAUSIBLE_TOKENS
            && cached <= self.input
            && self.audio_input <= self.input
            && self.image_input <= self.input
            && self.reasoning <= self.output
            && self.audio_output <= self.output
            && self.image_output <= self.output;
        if fits {
            Reported::Plausible(self)
        } else {
            Reported::Implausible
        }
    }
}

/// What an upstream said about its usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// Numbers that can be true.
    Plausible(Usage),
    /// Negative, fractional, absurdly large, or parts larger than their whole: count for yourself and mark it estimated.
    Implausible,
}

impl Reported {
    /// The numbers, if they can be believed.
    #[must_use]
    pub fn plausible(self) -> Option<Usage> {
        match self {
            Self::Plausible(usage) => Some(usage),
            Self::Implausible => None,
        }
    }
}

/// What an answer showed while it passed; filled in by a dialect's observer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The last usage that was reported, if any was.
    pub usage: Option<Reported>,
    /// The dialect's end mark was seen (`[DONE]`). A stream without it may still have ended well: see `finish`.
    pub done: bool,
    /// The last reason given for ending, as the vendor wrote it, at most 64 bytes.
    pub finish: Option<String>,
    /// Something generated was seen: the time to the first token ends when this turns true.
    pub started: bool,
    /// What was generated (text, reasoning, refusals, tool names and arguments) in order of arrival, up to the bound.
    pub text: String,
    /// Bytes of everything generated, also of what `text` had no room for.
    pub generated_bytes: u64,
    /// The number of choices the answer has (highest index seen, plus one).
    pub choices: u32,
    /// An error that came inside an answer whose status was a success.
    pub error: Option<UpstreamError>,
    /// The model that the upstream says answered, at most 256 bytes.
    pub model: Option<String>,
    /// Events (or bodies) that were read.
    pub events: u64,
    /// Bytes of events (or bodies) that could not be read: too large, or not this dialect. An estimate adds them.
    pub unread_bytes: u64,
}

/// An upstream's own words about a failure. They may quote a credential: clean them before they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamError {
    /// The message, at most 1,024 bytes.
    pub message: String,
    /// The vendor's `type`, at most 64 bytes.
    pub kind: Option<String>,
    /// The vendor's `code` (numbers as they were written), at most 64 bytes.
    pub code: Option<String>,
}

/// Why a model name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadModel {
    /// Nothing in it.
    #[error("is empty")]
    Empty,
    /// More than [`MAX_MODEL_BYTES`].
    #[error("is longer than 256 bytes")]
    TooLong,
    /// A control character or a line separator, which would break out of headers and logs.
    #[error("has a control character in it")]
    Control,
}

/// Accepts a model name that every sink (header, log, metric, cache key) can carry.
pub fn check_model(name: &str) -> Result<(), BadModel> {
    if name.is_empty() {
        Err(BadModel::Empty)
    } else if name.len() > MAX_MODEL_BYTES {
        Err(BadModel::TooLong)
    } else if has_control(name) {
        Err(BadModel::Control)
    } else {
        Ok(())
    }
}

/// Whether a text holds a control character or one of Unicode's two line separators.
pub(crate) fn has_control(text: &str) -> bool {
    text.chars()
        .any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

/// Whether a reader that ignores letter case would take `found` for `name` (which is lower case).
///
/// Go's `encoding/json` folds by Unicode, so the long s and the Kelvin sign count as `s` and `k`.
pub(crate) fn same_but_for_case(found: &str, name: &str) -> bool {
    let folded = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    found.len() <= name.len().saturating_mul(3) && found.chars().map(folded).eq(name.chars())
}

/// At most `max` bytes of a text, cut between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_larger_than_its_whole_is_implausible() {
        let usage = Usage {
            input: 10,
            cached_read: 6,
            cached_write: 4,
            output: 3,
            reasoning: 3,
            ..Usage::default()
        };
        assert_eq!(usage.checked(), Reported::Plausible(usage));
        assert_eq!(usage.total(), 13);
        for wrong in [
            Usage {
                cached_write: 5,
                ..usage
            },
            Usage {
                reasoning: 4,
                ..usage
            },
            Usage {
                audio_input: 11,
                ..usage
            },
            Usage {
                image_output: 4,
                ..usage
            },
            Usage {
                output: MAX_PLAUSIBLE_TOKENS + 1,
                ..usage
            },
            Usage {
                cached_read: u64::MAX,
                ..usage
            },
        ] {
            assert_eq!(wrong.checked(), Reported::Implausible, "{wrong:?}");
        }
    }

    #[test]
    fn a_model_name_is_bounded_and_free_of_control_characters() {
        assert_eq!(check_model("meta/llama-3:free"), Ok(()));
        assert_eq!(check_model(&"m".repeat(256)), Ok(()));
        assert_eq!(check_model(&"m".repeat(257)), Err(BadModel::TooLong));
        assert_eq!(check_model(""), Err(BadModel::Empty));
        for name in ["a\nb", "a\0", "a\u{85}b", "a\u{2028}b"] {
            assert_eq!(check_model(name), Err(BadModel::Control), "{name:?}");
        }
    }

    #[test]
    fn letter_case_is_folded_as_go_folds_it() {
        assert!(same_but_for_case("Model", "model"));
        assert!(same_but_for_case("\u{17f}tream", "stream"));
        assert!(same_but_for_case("max_to\u{212a}ens", "max_tokens"));
        assert!(!same_but_for_case("models", "model"));
    }
}
