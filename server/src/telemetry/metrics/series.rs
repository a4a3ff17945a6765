//! Series by channel and model: found without a lock, and never more than a cap.
//!
//! The handles of each pair stand in an immutable map that is replaced when a pair is new, which happens a bounded number
//! of times; so a request finds its counters with two look-ups by name. Names and not ids are the key, so that a renamed
//! channel counts under its new name.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::{Histogram, IntCounter, IntCounterVec};

use super::{NONE, OTHER, declared::Families};

/// Channels that have series of their own besides the pairs: for attempts, and for what is `other` among their models.
const MAX_PROVIDERS: usize = 200;

/// Statuses with a series of their own; an upstream can answer any number, so the rest share their class.
const STATUSES: [(u16, &str); 27] = [
    (101, "101"),
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (204, "204"),
    (206, "206"),
    (400, "400"),
    (401, "401"),
    (402, "402"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (413, "413"),
    (415, "415"),
    (422, "422"),
    (424, "424"),
    (429, "429"),
    (431, "431"),
    (499, "499"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (529, "529"),
];
const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Kinds of tokens, none counted in two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    Input,
    CachedRead,
    CachedWrite,
    Output,
    Reasoning,
    AudioInput,
    AudioOutput,
    ImageInput,
    ImageOutput,
}

const TOKEN_TYPES: [&str; 9] = [
    "input",
    "cached_read",
    "cached_write",
    "output",
    "reasoning",
    "audio_input",
    "audio_output",
    "image_input",
    "image_output",
];

/// Whether a channel has a label of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Own,
    Other,
}

/// The series that exist.
#[derive(Debug)]
pub(super) struct Series {
    max_pairs: usize,
    known: ArcSwap<Known>,
    /// Held while the map is replaced.
    growing: Mutex<()>,
}

/// The pairs that have series.
#[derive(Debug, Clone, Default)]
struct Known {
    /// By channel, then by model.
    providers: HashMap<String, HashMap<String, Arc<Pair>>>,
    /// How many there are with a model of their own; those of `other` are bounded by the channels.
    pairs: usize,
}

/// The handles of one channel and model.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) duration: Histogram,
    pub(super) first_byte: Histogram,
    requests: IntCounterVec,
    tokens: IntCounterVec,
    provider: String,
    model: String,
    by_status: [OnceLock<IntCounter>; STATUSES.len()],
    by_type: [OnceLock<IntCounter>; TOKEN_TYPES.len()],
}

impl Series {
    pub(super) fn new(max_pairs: usize) -> Self {
        Self {
            max_pairs,
            known: ArcSwap::default(),
            growing: Mutex::new(()),
        }
    }

    /// The handles for a channel and model, their own or the nearest that are bounded.
    pub(super) fn of(&self, families: &Families, provider: &str, model: &str) -> Arc<Pair> {
        let known = self.known.load();
        known
            .find(provider, model)
            .or_else(|| {
                let (provider, model) = self.bounded(&known, provider, model);
                known.find(provider, model)
            })
            .unwrap_or_else(|| self.add(families, provider, model))
    }

    /// Whether a channel is, or can still become, one with a label of its own.
    pub(super) fn provider(&self, families: &Families, provider: &str) -> Label {
        if self.known.load().providers.contains_key(provider) {
            return Label::Own;
        }
        match self.of(families, provider, OTHER).provider == provider {
            true => Label::Own,
            false => Label::Other,
        }
    }

    fn bounded<'a>(&self, known: &Known, provider: &'a str, model: &'a str) -> (&'a str, &'a str) {
        let providers = &known.providers;
        let fits =
            providers.len() < MAX_PROVIDERS || providers.contains_key(provider) || provider == NONE;
        let provider = if fits { provider } else { OTHER };
        let model = if known.pairs < self.max_pairs {
            model
        } else {
            OTHER
        };
        (provider, model)
    }

    /// Adds a pair; of several threads that come at once, each finds the same one.
    fn add(&self, families: &Families, provider: &str, model: &str) -> Arc<Pair> {
        let _growing = self.growing.lock();
        let known = self.known.load_full();
        let (provider, model) = self.bounded(&known, provider, model);
        if let Some(pair) = known.find(provider, model) {
            return pair;
        }
        let pair = Arc::new(Pair::new(families, provider, model));
        let mut next = (*known).clone();
        next.pairs += usize::from(model != OTHER);
        let models = next.providers.entry(provider.to_owned()).or_default();
        models.insert(model.to_owned(), pair.clone());
        self.known.store(Arc::new(next));
        pair
    }
}

impl Known {
    fn find(&self, provider: &str, model: &str) -> Option<Arc<Pair>> {
        self.providers.get(provider)?.get(model).cloned()
    }
}

impl Pair {
    fn new(families: &Families, provider: &str, model: &str) -> Self {
        let labels = [provider, model];
        Self {
            duration: families.request_duration.with_label_values(&labels),
            first_byte: families.first_byte.with_label_values(&labels),
            requests: families.requests.clone(),
            tokens: families.tokens_used.clone(),
            provider: provider.to_owned(),
            model: model.to_owned(),
            by_status: Default::default(),
            by_type: Default::default(),
        }
    }

    /// Requests that ended with this status.
    pub(super) fn requests(&self, status: u16) -> IntCounter {
        let counter = |status: &str| {
            self.requests
                .with_label_values(&[&self.provider, &self.model, status])
        };
        match STATUSES.binary_search_by_key(&status, |(usual, _)| *usual) {
            Ok(at) => self.by_status[at]
                .get_or_init(|| counter(STATUSES[at].1))
                .clone(),
            Err(_) => counter(CLASSES.get(usize::from(status / 100)).unwrap_or(&OTHER)),
        }
    }

    /// Tokens of this kind.
    pub(super) fn tokens(&self, kind: TokenType) -> &IntCounter {
        let name = TOKEN_TYPES[kind as usize];
        self.by_type[kind as usize].get_or_init(|| {
            self.tokens
                .with_label_values(&[&self.provider, &self.model, name])
        })
    }
}
