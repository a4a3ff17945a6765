//! How fast models generate, learned from answers that were reported: for what a model did in secret before a call was
//! cut. A non-streamed answer shows nothing until its end, and reasoning shows nothing at all.

use std::time::Duration;

use parking_lot::RwLock;

use crate::{hash::IdMap, tenancy::ModelId};

/// Tokens a second of a model that nothing is known of.
const DEFAULT: f64 = 40.0;
/// Weight of the newest answer.
const WEIGHT: f64 = 0.1;
/// Bounds of what is believed.
const BELIEVED: std::ops::RangeInclusive<f64> = 1.0..=2_000.0;

/// Tokens a second by model.
#[derive(Debug, Default)]
pub struct Pace(RwLock<IdMap<ModelId, f64>>);

impl Pace {
    /// Learns from one answer. Short ones say more of the network than of the model.
    pub fn learn(&self, model: ModelId, output_tokens: u64, took: Duration) {
        if output_tokens < 32 || took < Duration::from_millis(200) {
            return;
        }
        let seen =
            (output_tokens as f64 / took.as_secs_f64()).clamp(*BELIEVED.start(), *BELIEVED.end());
        let mut known = self.0.write();
        let pace = known.entry(model).or_insert(seen);
        *pace += (seen - *pace) * WEIGHT;
    }

    /// What a model may have generated in a time.
    pub fn tokens(&self, model: Option<ModelId>, during: Duration) -> u64 {
        let known = model.and_then(|model| self.0.read().get(&model).copied());
        (known.unwrap_or(DEFAULT) * during.as_secs_f64()).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_pace_is_learned_within_bounds() {
        let pace = Pace::default();
        let model = ModelId::random();
        assert_eq!(pace.tokens(Some(model), Duration::from_secs(2)), 80);
        pace.learn(model, 100, Duration::from_secs(1));
        assert_eq!(pace.tokens(Some(model), Duration::from_secs(2)), 200);
        pace.learn(model, 1_000_000, Duration::from_millis(1));
        pace.learn(model, 5, Duration::from_secs(9));
        assert_eq!(pace.tokens(Some(model), Duration::from_secs(2)), 200);
        pace.learn(model, 1_000_000, Duration::from_secs(1));
        assert_eq!(pace.tokens(Some(model), Duration::from_secs(1)), 290);
    }
}
