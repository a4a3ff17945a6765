//! Whether an upstream's report can be true of what was carried: an invented figure must not move anybody's money.
//!
//! The dialect has refused by then what no call can have (negative, absurd, parts larger than their whole). Here the report
//! is held against the bytes that passed. The bounds are wide, for an honest report that is not believed costs money too:
//! only what no tokenizer, system prompt or thinking could explain is counted by Weir instead.

use std::time::Duration;

use weir_dialect::neutral::{Observation, Usage};

/// What a vendor may add to a request of its own: its system prompt, pages it searched. The largest contexts hold it.
const ADDED_INPUT: u64 = 2_000_000;
/// What a model may have thought without showing it: at once, and for each second of its time.
const SECRET_OUTPUT: u64 = 100_000;
const SECRET_OUTPUT_PER_SECOND: f64 = 10_000.0;

/// What passed between caller and upstream in one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Carried {
    /// Bytes of the request that can be text; `None` where pictures, sound or files make it more than it looks.
    pub request_bytes: Option<u64>,
    pub took: Duration,
}

/// The usage that an answer reported, if it can be true.
pub fn believed(seen: &Observation, carried: Carried) -> Option<Usage> {
    let usage = seen.usage?.plausible()?;
    // No token is shorter than a byte.
    let most_input = carried.request_bytes.map(|bytes| bytes + ADDED_INPUT);
    let secret = (carried.took.as_secs_f64() * SECRET_OUTPUT_PER_SECOND) as u64 + SECRET_OUTPUT;
    let shown = seen.generated_bytes.saturating_add(seen.unread_bytes);
    let is_text = usage.audio_output == 0 && usage.image_output == 0;
    let fits = most_input.is_none_or(|most| usage.input <= most)
        && (!is_text || usage.output <= shown.saturating_add(secret));
    fits.then_some(usage)
}

#[cfg(test)]
mod tests {
    use weir_dialect::neutral::Reported;

    use super::*;

    fn seen(input: u64, output: u64) -> Observation {
        let usage = Usage {
            input,
            output,
            ..Usage::default()
        };
        Observation {
            usage: Some(Reported::Plausible(usage)),
            generated_bytes: 1_000,
            ..Observation::default()
        }
    }

    #[test]
    fn what_the_bytes_cannot_explain_is_not_believed() {
        let carried = Carried {
            request_bytes: Some(5_000),
            took: Duration::from_secs(2),
        };
        for (input, output) in [(0, 0), (5_000, 1_000), (2_005_000, 121_000)] {
            assert!(believed(&seen(input, output), carried).is_some());
        }
        for (input, output) in [(2_005_001, 0), (1_000_000_000, 1), (1, 121_001)] {
            assert!(believed(&seen(input, output), carried).is_none());
        }
    }

    #[test]
    fn pictures_and_sound_are_more_than_their_bytes() {
        let carried = Carried {
            request_bytes: None,
            took: Duration::ZERO,
        };
        assert!(believed(&seen(3_000_000, 1), carried).is_some());
        let mut spoken = seen(1, 500_000);
        if let Some(Reported::Plausible(usage)) = &mut spoken.usage {
            usage.audio_output = 500_000;
        }
        assert!(believed(&spoken, carried).is_some());
        assert_eq!(believed(&Observation::default(), carried), None);
    }
}
