//! The vendor's own bill: what each request cost, to the token, and how it ended.
//!
//! A piece of an answer is booked just *before* it is written and taken back if the write fails.
//! So whoever has read an answer finds it in the bill at once, and a cut call is billed for exactly
//! the pieces that went into the socket whole. Every change wakes those who wait for one; nobody
//! polls.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::state::{Counters, Record};

/// Tokens, counted as OpenAI does: `input` includes `cached` and `cache_write`, `output` includes
/// `reasoning`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// All input tokens.
    pub input: u64,
    /// Of these, read from the vendor's prompt cache.
    pub cached: u64,
    /// Of these, written to the vendor's prompt cache.
    pub cache_write: u64,
    /// All output tokens.
    pub output: u64,
    /// Of these, reasoning.
    pub reasoning: u64,
}

impl std::ops::AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.cached += other.cached;
        self.cache_write += other.cache_write;
        self.output += other.output;
        self.reasoning += other.reasoning;
    }
}

impl std::ops::SubAssign for Tokens {
    fn sub_assign(&mut self, other: Self) {
        self.input -= other.input;
        self.cached -= other.cached;
        self.cache_write -= other.cache_write;
        self.output -= other.output;
        self.reasoning -= other.reasoning;
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The whole answer was written.
    Complete,
    /// The client's FIN or RST came first.
    ClientLeft,
    /// The vendor closed in the middle, as told.
    Closed,
    /// The vendor reset, as told.
    Reset,
    /// The vendor fell silent, as told; `client_left_ns` says when the client gave up.
    Hung,
    /// The vendor closed without an answer, as told.
    Refused,
    /// What came was not HTTP, or too large.
    BadRequest,
}

/// One request in the bill. All times are nanoseconds of one monotonic clock that was set to the
/// Unix epoch when the vendor started.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Counts requests, from 1.
    pub serial: u64,
    /// Counts connections, from 1.
    pub connection: u64,
    /// Method of the request.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// The API credential presented, without `Bearer`.
    pub credential: Option<String>,
    /// The model asked for, once the body was read.
    pub model: Option<String>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Status of the answer, once it was decided.
    pub status: Option<u16>,
    /// Tokens billed so far.
    pub tokens: Tokens,
    /// Whether the client was sent the whole of a truthful usage report.
    pub usage_reported: bool,
    /// How it ended; none while it runs.
    pub end: Option<End>,
    /// Pieces of the answer written, the head included.
    pub pieces: u64,
    /// When the head of the request was read.
    pub received_ns: u64,
    /// When the first byte of the answer was written.
    pub first_byte_ns: Option<u64>,
    /// When it ended.
    pub end_ns: Option<u64>,
    /// When the client's FIN or RST was seen, if it came before the end of the answer.
    pub client_left_ns: Option<u64>,
    /// When each stamped chunk was written (`Behaviour::stamp`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sent_ns: Vec<u64>,
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Received {
    /// The same serial as in the bill.
    pub serial: u64,
    /// Counts connections, from 1.
    pub connection: u64,
    /// Method of the request.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Headers in order, names as sent, bytes outside UTF-8 replaced.
    pub headers: Vec<(String, String)>,
    /// The head's raw bytes, including the empty line.
    pub head: Bytes,
    /// The body, transfer coding undone, up to the limit of [`Record::Full`].
    pub body: Bytes,
    /// Length of the whole body.
    pub body_bytes: u64,
}

impl Received {
    /// The first header of this name, case ignored.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// The body as JSON; `Null` if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Where lines and requests are kept.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) clock: Clock,
    record: Record,
    keep: usize,
    pages: Mutex<Pages>,
    changed: Notify,
    pub(crate) connections: AtomicU64,
    pub(crate) refused: AtomicU64,
    served: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
}

#[derive(Debug, Default)]
struct Pages {
    lines: VecDeque<Line>,
    requests: VecDeque<Received>,
}

impl Book {
    pub(crate) fn new(clock: Clock, record: Record, keep: usize) -> Self {
        Self {
            clock,
            record,
            keep: keep.max(1),
            pages: Mutex::default(),
            changed: Notify::new(),
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            served: AtomicU64::new(0),
            input: AtomicU64::new(0),
            output: AtomicU64::new(0),
        }
    }

    pub(crate) fn record(&self) -> Record {
        self.record
    }

    /// Opens a line; `received.serial` is set here.
    pub(crate) fn open(&self, mut received: Received, credential: Option<String>) -> u64 {
        if self.record == Record::Nothing {
            return self.served.fetch_add(1, Relaxed) + 1;
        }
        let now = self.clock.now_ns();
        let mut pages = self.pages.lock();
        // Under the lock, so that lines stand in the order of their serials.
        let serial = self.served.fetch_add(1, Relaxed) + 1;
        pages.lines.push_back(Line {
            serial,
            connection: received.connection,
            method: received.method.clone(),
            path: received.path.clone(),
            credential,
            model: None,
            stream: false,
            status: None,
            tokens: Tokens::default(),
            usage_reported: false,
            end: None,
            pieces: 0,
            received_ns: now,
            first_byte_ns: None,
            end_ns: None,
            client_left_ns: None,
            sent_ns: Vec::new(),
        });
        if pages.lines.len() > self.keep {
            pages.lines.pop_front();
        }
        if matches!(self.record, Record::Full { .. }) {
            received.serial = serial;
            pages.requests.push_back(received);
            if pages.requests.len() > self.keep {
                pages.requests.pop_front();
            }
        }
        drop(pages);
        self.changed.notify_waiters();
        serial
    }

    /// Keeps a request's body, as far as the record goes.
    pub(crate) fn body(&self, serial: u64, body: &Bytes) {
        let Record::Full { body_limit } = self.record else {
            return;
        };
        let mut pages = self.pages.lock();
        if let Ok(at) = pages
            .requests
            .binary_search_by_key(&serial, |request| request.serial)
        {
            let request = &mut pages.requests[at];
            request.body = body.slice(..body.len().min(body_limit));
            request.body_bytes = body.len() as u64;
        }
    }

    /// Changes a line and wakes the waiting.
    pub(crate) fn edit(&self, serial: u64, change: impl FnOnce(&mut Line)) {
        if self.record == Record::Nothing {
            return;
        }
        let mut pages = self.pages.lock();
        if let Ok(at) = pages
            .lines
            .binary_search_by_key(&serial, |line| line.serial)
        {
            change(&mut pages.lines[at]);
        }
        drop(pages);
        self.changed.notify_waiters();
    }

    /// Adds to the running totals, which go on without any record.
    pub(crate) fn count(&self, tokens: Tokens) {
        self.input.fetch_add(tokens.input, Relaxed);
        self.output.fetch_add(tokens.output, Relaxed);
    }

    /// Takes back what a failed write had counted.
    pub(crate) fn uncount(&self, tokens: Tokens) {
        self.input.fetch_sub(tokens.input, Relaxed);
        self.output.fetch_sub(tokens.output, Relaxed);
    }

    /// Ends a line, once; a later end does not replace an earlier one.
    pub(crate) fn end(&self, serial: u64, end: End) {
        let now = self.clock.now_ns();
        self.edit(serial, |line| {
            if line.end.is_none() {
                line.end = Some(end);
                line.end_ns = Some(now);
            }
        });
    }

    /// Notes that the client has gone; ends the line unless something else has.
    pub(crate) fn client_left(&self, serial: u64) {
        let now = self.clock.now_ns();
        self.edit(serial, |line| {
            line.client_left_ns.get_or_insert(now);
            if line.end.is_none() {
                line.end = Some(End::ClientLeft);
                line.end_ns = Some(now);
            }
        });
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.pages.lock().lines.iter().cloned().collect()
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.pages.lock().requests.iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        *self.pages.lock() = Pages::default();
        self.changed.notify_waiters();
    }

    /// Sums the kept lines by what `key` says of them.
    pub(crate) fn totals(&self, key: impl Fn(&Line) -> Option<&str>) -> BTreeMap<String, Tokens> {
        let mut totals = BTreeMap::<String, Tokens>::new();
        for line in &self.pages.lock().lines {
            *totals
                .entry(key(line).unwrap_or_default().to_owned())
                .or_default() += line.tokens;
        }
        totals
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            connections: self.connections.load(Relaxed),
            refused: self.refused.load(Relaxed),
            requests: self.served.load(Relaxed),
            input_tokens: self.input.load(Relaxed),
            output_tokens: self.output.load(Relaxed),
        }
    }

    /// Waits until the lines fulfil `condition`.
    pub(crate) async fn wait_for(
        &self,
        condition: impl Fn(&[Line]) -> bool,
        timeout: Duration,
    ) -> anyhow::Result<Vec<Line>> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no change falls between look and wait.
            changed.as_mut().enable();
            let lines = self.lines();
            if condition(&lines) {
                return Ok(lines);
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                bail!("the bill did not come to that within {timeout:?}: {lines:#?}");
            }
        }
    }
}
