//! Reads a usage object, whichever of the dialect's vendors wrote it, into the neutral form.
//!
//! Vendors differ in where the cached tokens stand, in the names (Chat's `prompt_tokens`, the newer endpoints'
//! `input_tokens`), and in whether reasoning is inside the output. A number that is none of a count's, or parts that
//! do not fit their whole, make the report implausible as a whole: one lie is enough.

use crate::json::{Error, Kind, Reader};
use crate::neutral::{MAX_PLAUSIBLE_TOKENS, Reported, Usage};

/// Reads the next value; none if it is no object or says nothing about tokens (audio billed by the second).
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Option<Reported>, Error> {
    if reader.kind()? != Kind::Object {
        reader.skip()?;
        return Ok(None);
    }
    let mut counts = Counts::default();
    reader.object(|reader, member| match member.key.raw() {
        "prompt_tokens" | "input_tokens" => counts.read(reader, |counts| &mut counts.input),
        "completion_tokens" | "output_tokens" => counts.read(reader, |counts| &mut counts.output),
        "total_tokens" => counts.read(reader, |counts| &mut counts.total),
        // Moonshot, Mistral, DeepSeek: beside the details or instead of them
        "cached_tokens" | "num_cached_tokens" | "prompt_cache_hit_tokens" => {
            counts.read(reader, |counts| &mut counts.cached_beside)
        }
        "prompt_tokens_details" | "input_tokens_details" => counts.input_details(reader),
        "completion_tokens_details" | "output_tokens_details" => counts.output_details(reader),
        _ => reader.skip(),
    })?;
    Ok(counts.reported())
}

/// The numbers as they were written; none where absent or null.
#[derive(Default)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cached_beside: Option<u64>,
    cached_read: Option<u64>,
    cached_write: Option<u64>,
    audio_input: Option<u64>,
    image_input: Option<u64>,
    reasoning: Option<u64>,
    audio_output: Option<u64>,
    image_output: Option<u64>,
    /// Some number was negative, fractional, too large, or not a number.
    absurd: bool,
}

impl Counts {
    fn input_details(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        if reader.kind()? != Kind::Object {
            return reader.skip();
        }
        let read = reader.object(|reader, member| match member.key.raw() {
            "cached_tokens" => self.read(reader, |counts| &mut counts.cached_read),
            "cache_write_tokens" | "cache_creation_input_tokens" => {
                self.read(reader, |counts| &mut counts.cached_write)
            }
            "audio_tokens" => self.read(reader, |counts| &mut counts.audio_input),
            "image_tokens" => self.read(reader, |counts| &mut counts.image_input),
            _ => reader.skip(),
        });
        read.map(drop)
    }

    fn output_details(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        if reader.kind()? != Kind::Object {
            return reader.skip();
        }
        let read = reader.object(|reader, member| match member.key.raw() {
            "reasoning_tokens" => self.read(reader, |counts| &mut counts.reasoning),
            "audio_tokens" => self.read(reader, |counts| &mut counts.audio_output),
            "image_tokens" => self.read(reader, |counts| &mut counts.image_output),
            _ => reader.skip(),
        });
        read.map(drop)
    }

    fn read(
        &mut self,
        reader: &mut Reader<'_>,
        field: impl Fn(&mut Self) -> &mut Option<u64>,
    ) -> Result<(), Error> {
        match reader.kind()? {
            Kind::Null => return reader.skip(),
            Kind::Number => {
                let count = reader
                    .number()?
                    .parse()
                    .ok()
                    .filter(|&count| count <= MAX_PLAUSIBLE_TOKENS);
                self.absurd |= count.is_none();
                *field(self) = count;
            }
            _ => {
                self.absurd = true;
                reader.skip()?;
            }
        }
        Ok(())
    }

    fn reported(self) -> Option<Reported> {
        if self.absurd {
            return Some(Reported::Implausible);
        }
        let mut output = self.output.unwrap_or_default();
        // Some embeddings and rerankers give the total alone.
        let input = match (self.input, self.total) {
            (Some(input), _) => input,
            (None, Some(total)) => total.saturating_sub(output),
            (None, None) => {
                self.output?;
                0
            }
        };
        let reasoning = self.reasoning.unwrap_or_default();
        // xAI counts reasoning beside the completion; the total gives it away.
        if reasoning > 0 && self.total == Some(input + output + reasoning) {
            output += reasoning;
        }
        let usage = Usage {
            input,
            cached_read: self.cached_read.or(self.cached_beside).unwrap_or_default(),
            cached_write: self.cached_write.unwrap_or_default(),
            audio_input: self.audio_input.unwrap_or_default(),
            image_input: self.image_input.unwrap_or_default(),
            output,
            reasoning,
            audio_output: self.audio_output.unwrap_or_default(),
            image_output: self.image_output.unwrap_or_default(),
        };
        Some(usage.checked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(text: &str) -> Option<Reported> {
        read(&mut Reader::new(text.as_bytes()).unwrap()).unwrap()
    }

    fn plausible(text: &str) -> Usage {
        reported(text).unwrap().plausible().unwrap()
    }

    #[test]
    fn cached_tokens_are_found_wherever_vendors_put_them() {
        let wanted = Usage {
            input: 9,
            cached_read: 4,
            output: 2,
            ..Usage::default()
        };
        for place in [
            r#""prompt_tokens_details":{"cached_tokens":4,"audio_tokens":null}"#,
            r#""prompt_tokens_details":null,"cached_tokens":4"#,
            r#""num_cached_tokens":4"#,
            r#""prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":5"#,
            r#""prompt_cache_hit_tokens":4,"prompt_tokens_details":{"cached_tokens":4}"#,
        ] {
            let text =
                format!(r#"{{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,{place}}}"#);
            assert_eq!(plausible(&text), wanted, "{place}");
        }
    }

    #[test]
    fn the_newer_names_mean_the_same() {
        let text = r#"{"input_tokens":50,"output_tokens":7,"input_tokens_details":{"cached_tokens":2,"cache_write_tokens":3,
            "audio_tokens":4,"image_tokens":5},"output_tokens_details":{"reasoning_tokens":1,"audio_tokens":2,"image_tokens":3}}"#;
        let wanted = Usage {
            input: 50,
            cached_read: 2,
            cached_write: 3,
            audio_input: 4,
            image_input: 5,
            output: 7,
            reasoning: 1,
            audio_output: 2,
            image_output: 3,
        };
        assert_eq!(plausible(text), wanted);
    }

    #[test]
    fn reasoning_beside_the_output_is_added_to_it() {
        let text = |total| {
            format!(
                r#"{{"prompt_tokens":5,"completion_tokens":3,"total_tokens":{total},"completion_tokens_details":{{"reasoning_tokens":2}}}}"#
            )
        };
        assert_eq!(plausible(&text(10)).output, 5);
        assert_eq!(plausible(&text(8)).output, 3);
    }

    #[test]
    fn a_total_alone_is_input() {
        assert_eq!(plausible(r#"{"total_tokens":12}"#).input, 12);
        assert_eq!(
            plausible(r#"{"prompt_tokens":8,"total_tokens":8}"#),
            Usage {
                input: 8,
                ..Usage::default()
            }
        );
    }

    #[test]
    fn what_says_nothing_about_tokens_is_no_report() {
        for text in [
            "null",
            "{}",
            "[]",
            "7",
            r#"{"type":"duration","seconds":3}"#,
            r#"{"prompt_tokens":null}"#,
        ] {
            assert_eq!(reported(text), None, "{text}");
        }
    }

    #[test]
    fn absurd_numbers_are_implausible() {
        for number in [
            "-1",
            "1.5",
            "1e3",
            "1000000000000000000",
            "99999999999999999999999",
            "\"5\"",
            "true",
            "{}",
        ] {
            let text = format!(r#"{{"prompt_tokens":{number},"completion_tokens":1}}"#);
            assert_eq!(reported(&text), Some(Reported::Implausible), "{number}");
        }
        let cached = r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":6}}"#;
        assert_eq!(reported(cached), Some(Reported::Implausible));
        let reasoning = r#"{"prompt_tokens":5,"completion_tokens":1,"completion_tokens_details":{"reasoning_tokens":2}}"#;
        assert_eq!(reported(reasoning), Some(Reported::Implausible));
    }
}
