//! Server-sent events out of chunks that are cut anywhere, as the WHATWG's standard reads them.
//!
//! Observers feed a [`Splitter`] with what passes and are given whole events; the bytes themselves go on to the
//! client without waiting for it. [`Ends`] finds only where events end, for those who decide about raw bytes.
//! [`Event::parse`] reads one event. Lines may end in LF, CRLF or CR.
//!
//! Deliberately absent: the `last-event-id` and reconnection logic of a browser. Writing is in [`write()`].

use std::borrow::Cow;

use memchr::memchr2;

#[cfg(test)]
mod tests;
mod write;

pub use write::{LineBreak, comment, write};

/// The largest event that is kept for reading unless the caller says otherwise.
pub const DEFAULT_BOUND: usize = 4 << 20;

/// A buffer that grew beyond this for one large event is given back after it.
const KEPT_CAPACITY: usize = 64 << 10;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// One event: what its lines said. Bytes are not checked to be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// `event:`, the last one given.
    pub name: Option<&'a [u8]>,
    /// `data:`, several lines joined with LF; none if the event has no such line.
    pub data: Option<Cow<'a, [u8]>>,
    /// `id:`, the last one given.
    pub id: Option<&'a [u8]>,
    /// `retry:`, if it was all digits.
    pub retry_ms: Option<u64>,
}

impl<'a> Event<'a> {
    /// Reads the lines of one raw event. A byte order mark before them is skipped.
    #[must_use]
    pub fn parse(raw: &'a [u8]) -> Self {
        let mut event = Self::default();
        let mut rest = raw.strip_prefix(BOM).unwrap_or(raw);
        while !rest.is_empty() {
            let (line, after) = split_line(rest);
            rest = after;
            event.line(line);
        }
        event
    }

    fn line(&mut self, line: &'a [u8]) {
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => line.split_at(colon),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => match &mut self.data {
                None => self.data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            b"event" => self.name = Some(value),
            b"id" if !value.contains(&0) => self.id = Some(value),
            b"retry" => self.retry_ms = digits(value),
            _ => {} // a comment, or a field that nobody knows
        }
    }
}

/// Finds the ends of events in bytes that arrive in chunks. It keeps no bytes.
#[derive(Debug)]
pub struct Ends {
    line_is_empty: bool,
    after_cr: bool,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            line_is_empty: true,
            after_cr: false,
        }
    }
}

impl Ends {
    /// Looks from `from` for the end of the current event and says where the next one begins, if that is in this chunk.
    ///
    /// Must be called again from there until it says none; then the next chunk is due. Where a chunk ends in the CR
    /// of a blank line the event ends there, and [`Ends::may_owe_lf`] is true: an LF at the start of the next chunk
    /// still belongs to that line.
    pub fn next(&mut self, chunk: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            let rest = chunk.get(at..).unwrap_or_default();
            let &first = rest.first()?;
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                at += 1;
                continue;
            }
            let Some(stop) = memchr2(b'\n', b'\r', rest) else {
                self.line_is_empty = false;
                return None;
            };
            let blank = stop == 0 && self.line_is_empty;
            self.line_is_empty = true;
            self.after_cr = rest.get(stop) == Some(&b'\r');
            at += stop + 1;
            if !blank {
                continue;
            }
            if self.after_cr && chunk.get(at) == Some(&b'\n') {
                self.after_cr = false;
                at += 1;
            }
            return Some(at);
        }
    }

    /// Whether an LF that comes next would only complete the line end before it.
    #[must_use]
    pub fn may_owe_lf(&self) -> bool {
        self.after_cr
    }
}

/// Gathers events out of chunks; see the module.
#[derive(Debug)]
pub struct Splitter {
    ends: Ends,
    /// The current event's bytes from earlier chunks.
    held: Vec<u8>,
    /// The current event is over the bound: so many bytes of it have passed.
    oversized: Option<usize>,
    bound: usize,
    dropped: u64,
    dropped_bytes: u64,
}

impl Splitter {
    /// Events over `bound` bytes are not given out, only counted.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self {
            ends: Ends::default(),
            held: Vec::new(),
            oversized: None,
            bound,
            dropped: 0,
            dropped_bytes: 0,
        }
    }

    /// Takes the next chunk and gives out each event that ends in it and has data. An event that lies whole in the
    /// chunk is not copied.
    pub fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(Event<'_>)) {
        let mut from = 0;
        while let Some(end) = self.ends.next(chunk, from) {
            self.complete(chunk.get(from..end).unwrap_or_default(), &mut each);
            from = end;
        }
        self.keep(chunk.get(from..).unwrap_or_default());
    }

    /// The bytes have ended: gives out the last event if its blank line never came.
    pub fn finish(&mut self, mut each: impl FnMut(Event<'_>)) {
        self.complete(&[], &mut each);
    }

    /// How many events were over the bound.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many bytes those events had.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    fn complete(&mut self, tail: &[u8], each: &mut impl FnMut(Event<'_>)) {
        if self.oversized.is_none() && self.held.is_empty() && tail.len() <= self.bound {
            give(tail, each);
            return;
        }
        self.keep(tail);
        if let Some(size) = self.oversized.take() {
            self.dropped += 1;
            self.dropped_bytes = self.dropped_bytes.saturating_add(size as u64);
            return;
        }
        give(&self.held, each);
        self.held.clear();
        self.held.shrink_to(KEPT_CAPACITY);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let size = self
            .oversized
            .unwrap_or(self.held.len())
            .saturating_add(bytes.len());
        if size <= self.bound {
            self.held.extend_from_slice(bytes);
        } else {
            self.oversized = Some(size);
            self.held = Vec::new();
        }
    }
}

fn give(raw: &[u8], each: &mut impl FnMut(Event<'_>)) {
    let event = Event::parse(raw);
    if event.data.is_some() {
        each(event);
    }
}

/// The first line without its end, and what follows that end.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((line, end)) =
        memchr2(b'\n', b'\r', bytes).and_then(|stop| bytes.split_at_checked(stop))
    else {
        return (bytes, &[]);
    };
    let after = end
        .strip_prefix(b"\r\n")
        .or_else(|| end.get(1..))
        .unwrap_or_default();
    (line, after)
}

fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}
