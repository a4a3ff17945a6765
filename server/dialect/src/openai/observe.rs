//! Watches an answer while it passes to the client, so that it can be metered without being held back.
//!
//! The relay feeds it the same bytes that it sends, in chunks cut anywhere. Memory is bounded: a stream's event over
//! the bound is counted, not kept; of a JSON answer over the bound the text is given up and the usage still found.
//! When the bounds are met the gateway estimates: `text` holds what a tokenizer can count, the byte counts the rest.

use crate::neutral::{Observation, cut};
use crate::sse::{self, Splitter};

use super::chunk::Chunk;
use super::skim::Skim;

/// How much an observer keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest event (of a stream) or body (JSON) that is read whole.
    pub event_bytes: usize,
    /// How much generated text is kept; 0 keeps none.
    pub text_bytes: usize,
}

impl Default for Limits {
    /// 4 MiB an event, 8 MiB of text.
    fn default() -> Self {
        Self {
            event_bytes: sse::DEFAULT_BOUND,
            text_bytes: 8 << 20,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Observer {
    source: Source,
    limits: Limits,
    seen: Observation,
    text_is_full: bool,
}

#[derive(Debug)]
enum Source {
    Stream(Splitter),
    Json(Vec<u8>),
    /// A JSON answer over the bound, and its size so far.
    Large(Skim, u64),
}

impl Observer {
    /// For an answer of type `text/event-stream`.
    #[must_use]
    pub fn stream(limits: Limits) -> Self {
        Self::new(Source::Stream(Splitter::new(limits.event_bytes)), limits)
    }

    /// For an answer that is one JSON text.
    #[must_use]
    pub fn json(limits: Limits) -> Self {
        Self::new(Source::Json(Vec::new()), limits)
    }

    fn new(source: Source, limits: Limits) -> Self {
        Self {
            source,
            limits,
            seen: Observation::default(),
            text_is_full: false,
        }
    }

    /// Takes the next bytes of the answer.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Self {
            source,
            limits,
            seen,
            text_is_full,
        } = self;
        match source {
            Source::Stream(splitter) => {
                splitter.feed(bytes, |event| {
                    read(&event.data.unwrap_or_default(), limits, seen, text_is_full)
                });
            }
            Source::Json(kept) if kept.len().saturating_add(bytes.len()) <= limits.event_bytes => {
                kept.extend_from_slice(bytes);
            }
            Source::Json(kept) => {
                let mut skim = Skim::default();
                skim.feed(kept);
                skim.feed(bytes);
                *source = Source::Large(skim, kept.len() as u64 + bytes.len() as u64);
            }
            Source::Large(skim, size) => {
                skim.feed(bytes);
                *size = size.saturating_add(bytes.len() as u64);
            }
        }
    }

    /// What was seen so far. A JSON answer shows nothing before [`Observer::finish`].
    #[must_use]
    pub fn seen(&self) -> &Observation {
        &self.seen
    }

    /// The answer has ended, well or not: everything that was seen.
    #[must_use]
    pub fn finish(self) -> Observation {
        let Self {
            source,
            limits,
            mut seen,
            mut text_is_full,
        } = self;
        match source {
            Source::Stream(mut splitter) => {
                splitter.finish(|event| {
                    read(
                        &event.data.unwrap_or_default(),
                        &limits,
                        &mut seen,
                        &mut text_is_full,
                    )
                });
                seen.unread_bytes = seen.unread_bytes.saturating_add(splitter.dropped_bytes());
            }
            Source::Json(body) if body.is_empty() => {}
            Source::Json(body) => read(&body, &limits, &mut seen, &mut text_is_full),
            Source::Large(skim, size) => {
                seen.usage = skim.usage();
                seen.started = true;
                seen.unread_bytes = size;
            }
        }
        seen
    }
}

/// Reads one event's data, or a whole body, into what was seen.
fn read(data: &[u8], limits: &Limits, seen: &mut Observation, text_is_full: &mut bool) {
    if data.trim_ascii() == b"[DONE]" {
        seen.done = true;
        return;
    }
    let Ok(chunk) = Chunk::read(data) else {
        seen.unread_bytes = seen.unread_bytes.saturating_add(data.len() as u64);
        return;
    };
    seen.events += 1;
    seen.started |= chunk.audio || !chunk.texts.is_empty();
    seen.choices = seen.choices.max(chunk.choices);
    seen.usage = chunk.usage.or(seen.usage);
    if let Some(finish) = chunk.finish {
        seen.finish = Some(cut(&finish, 64).to_owned());
    }
    if let Some(model) = chunk
        .model
        .filter(|model| seen.model.as_deref() != Some(model))
    {
        seen.model = Some(cut(&model, crate::neutral::MAX_MODEL_BYTES).to_owned());
    }
    if chunk.error.is_some() {
        seen.error = chunk.error;
    }
    for text in chunk.texts {
        seen.generated_bytes = seen.generated_bytes.saturating_add(text.len() as u64);
        if *text_is_full {
            continue;
        }
        let room = limits.text_bytes.saturating_sub(seen.text.len());
        *text_is_full = text.len() > room;
        seen.text.push_str(cut(&text, room));
    }
}
