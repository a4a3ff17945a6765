//! Tokens that Weir counts or estimates where no upstream has reported them.
//!
//! Counting takes a tokenizer and time, so it is for a thread beside the requests. Estimates are for the request path:
//! bytes times what has been learned of the model from what its upstream did report. A correction is learned per
//! [`ModelId`], so a tenant's own model and its upstream never move another's figures. All is in integers.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::RwLock;

use crate::{hash::IdMap, tenancy::ModelId};

/// The tokens of a text by the nearest tokenizer there is: o200k, unless `tokenizer` names cl100k. Takes about 10 ms
/// for a megabyte, and at its first call longer: not for a thread that serves requests.
pub fn tokens(text: &str, tokenizer: Option<&str>) -> u64 {
    let tokenizer = match tokenizer {
        Some(name) if name.starts_with("cl100k") => bpe_openai::cl100k_base(),
        _ => bpe_openai::o200k_base(),
    };
    tokenizer.count(text) as u64
}

/// Ratios are whole 65,536ths.
const ONE: u64 = 1 << 16;
/// A correction stays within a quarter and four times.
const CORRECTIONS: (u64, u64) = (ONE / 4, ONE * 4);
/// Tokens per byte of a request: one per 4 bytes until learned, and within one per 32 and two per byte.
const PER_BYTE: u64 = ONE / 4;
const PER_BYTES: (u64, u64) = (ONE / 32, ONE * 2);
/// What an image takes when nothing better is known: about a high-detail image of 1,024 pixels.
const IMAGE_TOKENS: u64 = 1024;
/// A new observation counts for an eighth.
const WEIGHT: u64 = 8;
/// Fewer tokens say too little about a ratio.
const LEAST_TOKENS: u64 = 16;
/// Of a model's answers one in so many is counted: each takes another thread, which a busy core feels.
const ONE_IN: u64 = 64;
/// Once so many have passed its ratio is known, and one in as many says whether it still holds.
const KNOWN_AFTER: u64 = 4_096;
const THEN_ONE_IN: u64 = 1_024;
/// Of its first answers, as many, each is counted whose text is no longer than this.
const SMALL_TEXT_BYTES: usize = 512;
/// Models that are learned of; the rest go by the defaults.
const MOST_MODELS: usize = 10_000;

/// What has been learned of each model. Any thread may ask and teach.
#[derive(Default)]
pub struct Corrections {
    models: RwLock<IdMap<ModelId, Arc<Learned>>>,
}

struct Learned {
    /// Reported output tokens per token that Weir counted.
    output: AtomicU64,
    /// Reported input tokens per byte of a request.
    input: AtomicU64,
    answers: AtomicU64,
}

impl Corrections {
    /// Whether to count this answer for [`Corrections::learn_output`], although its upstream reported its tokens: every
    /// 64th of a model, and of the first 64 the small ones too; every 1,024th once 4,096 have passed.
    pub fn wants(&self, model: ModelId, text_bytes: usize) -> bool {
        let Some(learned) = self.learned(model) else {
            return false;
        };
        let nth = learned.answers.fetch_add(1, Relaxed);
        let one_in = if nth < KNOWN_AFTER {
            ONE_IN
        } else {
            THEN_ONE_IN
        };
        nth.is_multiple_of(one_in) || (nth < ONE_IN && text_bytes <= SMALL_TEXT_BYTES)
    }

    /// Learns from an answer of which the upstream reported `reported` output tokens and Weir counted `counted`.
    pub fn learn_output(&self, model: ModelId, reported: u64, counted: u64) {
        if reported > 0
            && counted >= LEAST_TOKENS
            && let Some(learned) = self.learned(model)
        {
            approach(&learned.output, ratio(reported, counted), CORRECTIONS);
        }
    }

    /// Learns from a request without images of which the upstream reported the input tokens.
    pub fn learn_input(&self, model: ModelId, reported: u64, bytes: u64) {
        if reported >= LEAST_TOKENS
            && bytes > 0
            && let Some(learned) = self.learned(model)
        {
            approach(&learned.input, ratio(reported, bytes), PER_BYTES);
        }
    }

    /// Counted tokens as the model's upstream would report them.
    pub fn corrected(&self, model: Option<ModelId>, counted: u64) -> u64 {
        times(
            counted,
            self.known(model)
                .map_or(ONE, |learned| learned.output.load(Relaxed)),
        )
    }

    /// The input tokens that a request of so many bytes of text and so many images may have.
    pub fn estimate_input(&self, model: Option<ModelId>, bytes: u64, images: u64) -> u64 {
        let per_byte = self
            .known(model)
            .map_or(PER_BYTE, |learned| learned.input.load(Relaxed));
        times(bytes, per_byte).saturating_add(images.saturating_mul(IMAGE_TOKENS))
    }

    fn known(&self, model: Option<ModelId>) -> Option<Arc<Learned>> {
        self.models.read().get(&model?).cloned()
    }

    /// The model's figures, begun if it has none; `None` once there are too many models.
    fn learned(&self, model: ModelId) -> Option<Arc<Learned>> {
        if let Some(learned) = self.known(Some(model)) {
            return Some(learned);
        }
        let mut models = self.models.write();
        if models.len() >= MOST_MODELS {
            return models.get(&model).cloned();
        }
        let begun = || {
            Arc::new(Learned {
                output: AtomicU64::new(ONE),
                input: AtomicU64::new(PER_BYTE),
                answers: AtomicU64::new(0),
            })
        };
        Some(Arc::clone(models.entry(model).or_insert_with(begun)))
    }
}

/// `a / b` in 65,536ths, at most the largest there is.
fn ratio(a: u64, b: u64) -> u64 {
    let exact = u128::from(a) * u128::from(ONE) / u128::from(b);
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// `count` times a ratio, rounded up.
fn times(count: u64, ratio: u64) -> u64 {
    let exact = (u128::from(count) * u128::from(ratio)).div_ceil(u128::from(ONE));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// Moves a learned ratio an eighth of the way to an observed one. The observation is bounded first, so that one lie
/// moves it no further than an extreme truth.
fn approach(learned: &AtomicU64, observed: u64, (least, most): (u64, u64)) {
    let observed = observed.clamp(least, most);
    // Two at once may count as one: nothing is owed by these figures.
    let old = learned.load(Relaxed);
    learned.store((old * (WEIGHT - 1) + observed).div_ceil(WEIGHT), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_the_tokenizers() {
        assert_eq!(tokens("", None), 0);
        assert_eq!(tokens("Hello, world!", None), 4);
        let chinese = "你好,世界";
        assert!(tokens(chinese, None) < tokens(chinese, Some("cl100k_base")));
        assert_eq!(tokens(chinese, Some("unheard of")), tokens(chinese, None));
        assert!(tokens(&"a".repeat(100_000), None) > 1_000);
    }

    #[test]
    fn a_correction_is_learned_and_bounded() {
        let (model, other) = (ModelId::random(), ModelId::random());
        let corrections = Corrections::default();
        assert_eq!(corrections.corrected(Some(model), 100), 100);
        for _ in 0..100 {
            corrections.learn_output(model, 150, 100);
        }
        assert_eq!(corrections.corrected(Some(model), 100), 150);
        assert_eq!(corrections.corrected(Some(other), 100), 100);
        assert_eq!(corrections.corrected(None, 100), 100);
        for _ in 0..200 {
            corrections.learn_output(model, u64::MAX, 16);
        }
        assert_eq!(corrections.corrected(Some(model), 100), 400);
        for _ in 0..200 {
            corrections.learn_output(model, 1, u64::MAX);
        }
        assert_eq!(corrections.corrected(Some(model), 100), 26);
        assert_eq!(corrections.corrected(Some(model), u64::MAX) >> 60, 4);
    }

    #[test]
    fn input_is_estimated_by_what_was_reported() {
        let model = ModelId::random();
        let corrections = Corrections::default();
        assert_eq!(corrections.estimate_input(None, 4_001, 0), 1_001);
        assert_eq!(
            corrections.estimate_input(Some(model), 0, 2),
            2 * IMAGE_TOKENS
        );
        for _ in 0..100 {
            corrections.learn_input(model, 1_000, 2_000);
        }
        let estimate = corrections.estimate_input(Some(model), 2_000, 0);
        assert!((990..=1_001).contains(&estimate), "{estimate}");
        corrections.learn_input(model, 3, 1_000_000);
        assert_eq!(corrections.estimate_input(Some(model), 2_000, 0), estimate);
        assert_eq!(
            corrections.estimate_input(None, u64::MAX, u64::MAX),
            u64::MAX
        );
    }

    #[test]
    fn only_some_answers_are_counted() {
        let model = ModelId::random();
        let corrections = Corrections::default();
        let wanted = (0..640).filter(|_| corrections.wants(model, 10_000));
        assert_eq!(wanted.count(), 10);
        let other = ModelId::random();
        let wanted = (0..640).filter(|_| corrections.wants(other, 100));
        assert_eq!(wanted.count(), 64 + 9);
        let wanted = (640..14_336).filter(|_| corrections.wants(other, 100));
        assert_eq!(wanted.count(), 54 + 10);
    }
}
