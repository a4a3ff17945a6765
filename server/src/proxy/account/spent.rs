//! What an attempt has spent: reported usage as it is, where it can be true; everything else estimated and marked.

use std::time::Duration;

use weir_dialect::{
    neutral::{Observation, Usage},
    openai::Input,
};

use super::{
    super::{
        endpoint::Endpoint,
        plausible::{Carried, believed},
    },
    Account,
    attempt::Current,
};
use crate::{routing, tenancy::ModelId};

/// Tokens of an attempt as far as they are known.
pub(super) enum Spent {
    Known(Usage),
    /// Input is estimated; the text is still to be counted.
    ToCount {
        usage: Usage,
        text: String,
    },
}

impl Current {
    pub(super) fn carried(&self) -> Carried {
        let input = &self.input;
        let is_text = input.media_bytes == 0 && input.images + input.audios + input.files == 0;
        Carried {
            request_bytes: is_text.then_some(input.text_bytes),
            took: self.began.elapsed(),
        }
    }

    /// The usage that the answer reported, if it can be true and Weir can read this vendor's reports.
    pub(super) fn believed(&self, seen: &Observation) -> Option<Usage> {
        if !routing::speaks_openai(&self.candidate.channel) {
            return None;
        }
        believed(seen, self.carried())
    }
}

impl Account {
    /// What an attempt has spent: as reported, or estimated.
    pub(super) fn spent(&self, current: &Current, seen: Option<&Observation>) -> Spent {
        if let Some(usage) = seen.and_then(|seen| current.believed(seen)) {
            return Spent::Known(usage);
        }
        if !current.reached.get() {
            return Spent::Known(Usage::default());
        }
        let model = current.candidate.model.as_ref();
        let input = self.estimated_input(model.map(|model| model.id), &current.input);
        let usage = Usage {
            input,
            ..Usage::default()
        };
        let with_output = |output| Usage { output, ..usage };
        let writes_text = self.endpoint.needs_model() || self.endpoint == Endpoint::Proxy;
        if !writes_text || !current.is_text {
            return Spent::Known(usage);
        }
        match seen {
            Some(seen) if !seen.text.is_empty() => {
                let untold = seen.generated_bytes.saturating_sub(seen.text.len() as u64);
                let unread = bytes_as_tokens(seen.unread_bytes.saturating_add(untold));
                let output = unread + self.before_the_text(current);
                Spent::ToCount {
                    usage: with_output(output),
                    text: seen.text.clone(),
                }
            }
            Some(seen) if seen.unread_bytes > 0 => {
                Spent::Known(with_output(bytes_as_tokens(seen.unread_bytes)))
            }
            // Another vendor's answer, in which OpenAI's reader finds no text.
            _ if self.endpoint == Endpoint::Proxy => {
                Spent::Known(with_output(bytes_as_tokens(current.relayed_bytes)))
            }
            // Nothing was shown: what the model may have done in secret meanwhile.
            _ if self.endpoint.finishes() => Spent::Known(with_output(
                self.in_secret(current, current.began.elapsed()),
            )),
            _ => Spent::Known(usage),
        }
    }

    /// What a model that reasons did before it showed its first text.
    fn before_the_text(&self, current: &Current) -> u64 {
        let reasons = current
            .candidate
            .model
            .as_ref()
            .is_some_and(|model| model.capabilities.iter().any(|word| word == "reasoning"));
        match current.first_text {
            Some(after) if reasons => self.in_secret(current, after),
            _ => 0,
        }
    }

    /// What a model may have generated in a time, at most what the call or the model allows.
    fn in_secret(&self, current: &Current, during: Duration) -> u64 {
        let model = current.candidate.model.as_ref();
        let ceiling = model.and_then(|model| model.max_output_tokens);
        let bound = current.bound.or(ceiling).unwrap_or(u64::MAX);
        self.shared
            .pace
            .tokens(self.last.model_id(), during)
            .min(bound)
    }

    pub(super) fn estimated_input(&self, model: Option<ModelId>, input: &Input) -> u64 {
        self.shared.recorder.corrections().estimate_input(
            model,
            input.text_bytes,
            u64::from(input.images),
        )
    }

    /// Learns from an answer that was reported.
    pub(super) fn learn(
        &self,
        model: ModelId,
        usage: &Usage,
        seen: Option<&Observation>,
        input: &Input,
        took: Duration,
    ) {
        let corrections = self.shared.recorder.corrections();
        self.shared.pace.learn(model, usage.output, took);
        if input.images == 0 && input.media_bytes == 0 {
            corrections.learn_input(model, usage.input, input.text_bytes);
        }
        let text = seen.map(|seen| seen.text.as_str()).unwrap_or_default();
        if !text.is_empty() && usage.reasoning == 0 && corrections.wants(model, text.len()) {
            self.shared
                .recorder
                .learn(model, self.last.tokenizer(), text.to_owned(), usage.output);
        }
    }
}

/// Four bytes a token, rounded up: for text that no tokenizer will see.
pub(super) fn bytes_as_tokens(bytes: u64) -> u64 {
    bytes.div_ceil(4)
}
