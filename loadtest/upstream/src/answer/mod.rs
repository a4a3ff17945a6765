//! Makes the answer to a request: which body, what it earns, and the faults that are in the body.
//!
//! Everything here is pure: bytes in a buffer, with marks. Delays, cuts and framing are `plan`'s.

mod chat;
mod media;
mod other;
mod stored;
mod words;

use std::borrow::Cow;
use std::io::Write;

use serde_json::{Value, json};

use crate::ask::Ask;
use crate::behaviour::{Behaviour, Fault};
use crate::bill::Tokens;
use crate::gzip;
use crate::request::Head;
use crate::state::{Choice, State};

/// An answer before it is cut and framed.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: Cow<'static, str>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// In the order of their `end`.
    pub(crate) marks: Vec<Mark>,
    /// Sent event by event.
    pub(crate) streamed: bool,
    /// The input side of the bill.
    pub(crate) input: Tokens,
}

/// What is earned once the first `end` bytes of the body are written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    pub(crate) end: usize,
    /// Output tokens, reasoning included.
    pub(crate) output: u64,
    pub(crate) reasoning: u64,
    /// A truthful report of usage is complete.
    pub(crate) reports_usage: bool,
    /// Where in the body the digits of the send time go.
    pub(crate) stamp_at: Option<usize>,
}

/// All that an answer depends on.
pub(crate) struct Request<'a> {
    pub(crate) head: &'a Head,
    pub(crate) ask: &'a Ask,
    pub(crate) choice: &'a Choice,
    pub(crate) serial: u64,
}

impl Request<'_> {
    fn behaviour(&self) -> &Behaviour {
        &self.choice.behaviour
    }

    /// Input tokens: one for each word, at least one.
    fn input(&self) -> Tokens {
        let input = self
            .behaviour()
            .input_tokens
            .unwrap_or(self.ask.words.max(1));
        let cached = self.behaviour().cached_tokens.min(input);
        Tokens {
            input,
            cached,
            ..Tokens::default()
        }
    }

    /// The model's name, or a default for the kind of request.
    fn model<'a>(&'a self, default: &'a str) -> &'a str {
        self.ask.model.as_deref().unwrap_or(default)
    }

    /// What stands for `usage`, and whether it is the truth.
    fn usage(&self, truth: Value) -> (Option<Value>, bool) {
        for fault in &self.behaviour().faults {
            match fault {
                Fault::NoUsage => return (None, false),
                Fault::LyingUsage(lie) => return (Some(lie.clone()), false),
                _ => {}
            }
        }
        (Some(truth), true)
    }
}

/// Makes the answer to a request in an empty `answer`.
pub(crate) fn make(request: &Request<'_>, state: &State, answer: &mut Answer) {
    let behaviour = request.behaviour();
    if let Some(replay) = &request.choice.replay {
        replay.replay(answer);
    } else if behaviour.raw.is_some() {
        answer.input.input = behaviour.input_tokens.unwrap_or_default();
    } else if let Some(error) = &request.ask.invalid {
        return answer.error(400, Some(error));
    } else if let Some(status) = behaviour.status.filter(|status| *status >= 400) {
        answer.error(status, None);
    } else {
        route(request, state, answer);
    }
    if let Some(status) = behaviour.status {
        answer.status = status;
    }
    damage(behaviour, answer);
}

/// Vendors mount the dialect at roots of their own, so only the end of the path counts.
fn route(request: &Request<'_>, state: &State, answer: &mut Answer) {
    let path = request.head.route().trim_end_matches('/');
    match (request.head.method.as_str(), path) {
        ("POST", path) if path.ends_with("/chat/completions") => {
            chat::answer(request, chat::Kind::Chat, state, answer);
        }
        ("POST", path) if path.ends_with("/completions") => {
            chat::answer(request, chat::Kind::Text, state, answer);
        }
        ("POST", path) if path.ends_with("/embeddings") => other::embeddings(request, answer),
        ("POST", path) if path.ends_with("/moderations") => other::moderations(request, answer),
        ("POST", path) if path.ends_with("/rerank") => other::rerank(request, answer),
        ("POST", path) if path.contains("/images/") => media::images(request, state, answer),
        ("POST", path) if path.ends_with("/audio/speech") => media::speech(request, answer),
        ("POST", path) if path.contains("/audio/") => media::transcription(request, answer),
        ("GET" | "HEAD", path) if path.contains("/models") => other::models(path, answer),
        (_, path) if path.contains("/files") => stored::files(request, path, state, answer),
        (_, path) if path.contains("/batches") => stored::batches(request, path, state, answer),
        (method, path) => answer.json(&json!({
            "object": "echo",
            "method": method,
            "path": path,
            "model": request.ask.model,
        })),
    }
}

/// The faults that are in the body itself.
fn damage(behaviour: &Behaviour, answer: &mut Answer) {
    for fault in &behaviour.faults {
        match fault {
            Fault::MalformedSse => answer.break_an_event(),
            Fault::TruncatedJson => answer.truncate(),
            _ => {}
        }
    }
    // Last, so that what is packed is what the other faults made.
    if behaviour.has(&Fault::Gzip) {
        gzip::wrap(answer);
    }
}

impl Answer {
    /// Empties it for the next request.
    pub(crate) fn clear(&mut self) {
        self.status = 200;
        self.content_type = Cow::Borrowed("application/json");
        self.headers.clear();
        self.body.clear();
        self.marks.clear();
        self.streamed = false;
        self.input = Tokens::default();
    }

    /// A JSON body.
    pub(crate) fn json(&mut self, value: &Value) {
        put(&mut self.body, format_args!("{value}"));
    }

    /// OpenAI's error of a status, with its own or another message. Bills nothing.
    pub(crate) fn error(&mut self, status: u16, message: Option<&str>) {
        let (kind, code, usual) = match status {
            400 | 422 => (
                "invalid_request_error",
                None,
                "We could not parse the JSON body.",
            ),
            401 => (
                "invalid_request_error",
                Some("invalid_api_key"),
                "Incorrect API key provided.",
            ),
            402 => (
                "insufficient_quota",
                Some("insufficient_quota"),
                "Insufficient balance.",
            ),
            403 => (
                "invalid_request_error",
                Some("forbidden"),
                "You are not allowed to do this.",
            ),
            404 => (
                "invalid_request_error",
                Some("model_not_found"),
                "The model does not exist.",
            ),
            429 => (
                "requests",
                Some("rate_limit_exceeded"),
                "Rate limit reached for requests.",
            ),
            503 | 529 => (
                "server_error",
                Some("overloaded"),
                "The engine is overloaded.",
            ),
            _ => (
                "server_error",
                None,
                "The server had an error while processing your request.",
            ),
        };
        self.status = status;
        self.json(&json!({"error": {
            "message": message.unwrap_or(usual),
            "type": kind,
            "param": null,
            "code": code,
        }}));
    }

    /// The whole body so far earns this.
    fn earn(&mut self, output: u64, reports_usage: bool) {
        let end = self.body.len();
        self.marks.push(Mark {
            end,
            output,
            reports_usage,
            ..Mark::default()
        });
    }

    /// Overwrites the second half of the event in the middle; no byte moves.
    fn break_an_event(&mut self) {
        let middle = self.marks.len() / 2;
        let Some(end) = self.marks.get(middle).map(|mark| mark.end) else {
            return;
        };
        let start = middle
            .checked_sub(1)
            .map_or(0, |before| self.marks[before].end);
        // The empty line at the end of the event stays.
        let from = start + (end - start) / 2;
        self.body[from..end.saturating_sub(2).max(from)].fill(b'#');
        self.marks[middle].reports_usage = false;
    }

    /// Drops the second half of the body. It is billed all the same, since it was generated.
    fn truncate(&mut self) {
        let half = self.body.len() / 2;
        self.body.truncate(half);
        for mark in self.marks.iter_mut().filter(|mark| mark.end > half) {
            mark.end = half;
            mark.reports_usage = false;
            mark.stamp_at = None;
        }
    }
}

/// Writes into a buffer, which takes every write.
pub(crate) fn put(buffer: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    drop(buffer.write_fmt(arguments));
}
