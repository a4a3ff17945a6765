//! Sets the usage chunk of a stream apart from the bytes that just pass.
//!
//! If the gateway asked for usage and the client did not, the relay leaves that chunk out; if the client wants the
//! cost, the relay writes it in with [`with_cost`]. All other bytes pass unchanged, and at once: of an event that is
//! cut over chunks, the first part is held only while it can still turn out to be the one sought. It passes as soon
//! as it shows choices (for [`Which::Alone`]) or is over 64 KiB. Azure's first chunk, with empty choices and no usage,
//! passes like any other.
//!
//! Deliberately absent: reading the usage itself, which is the [`Observer`](super::Observer)'s.

use bytes::Bytes;
use memchr::memmem;

use crate::json::{Error, Kind, Reader, Span, Splice, splice};
use crate::sse::{Ends, Event};

/// An event that grows beyond this is no usage chunk and passes as it comes.
const MAX_HELD_BYTES: usize = 64 << 10;

const CHOICES: &[u8] = b"\"choices\"";

/// Which chunks are set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that carry usage and nothing else: `choices` is empty. The answer to a gateway that asked for usage.
    Alone,
    /// All that carry usage, also beside choices. Each event is held until its end.
    Any,
}

/// What the relay is to do with some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Send them on.
    Pass(Bytes),
    /// A whole usage chunk, its blank line included: send it, send it [`with_cost`], or leave it out.
    Usage(Bytes),
}

/// See the module.
#[derive(Debug)]
pub struct Sieve {
    which: Which,
    ends: Ends,
    /// The start of an event that is not decided yet.
    held: Vec<u8>,
    /// The current event passes.
    flowing: bool,
    /// The event before this one was set apart.
    after_usage: bool,
}

impl Sieve {
    /// For one stream.
    #[must_use]
    pub fn new(which: Which) -> Self {
        Self {
            which,
            ends: Ends::default(),
            held: Vec::new(),
            flowing: false,
            after_usage: false,
        }
    }

    /// Takes the next chunk and says what to do with its bytes, in order.
    pub fn feed(&mut self, chunk: Bytes) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut from = 0; // where the current event begins in this chunk
        let mut sent = 0; // what was decided so far
        let between_events = self.held.is_empty() && !self.flowing;
        if between_events && self.ends.may_owe_lf() && chunk.starts_with(b"\n") {
            // The event before ended in a CR at its chunk's end; this goes where that went, and what was set apart alone
            // is left out.
            self.ends.next(b"\n", 0);
            let is_left_out = self.after_usage && self.which == Which::Alone;
            (from, sent) = (1, usize::from(is_left_out));
        }
        while let Some(end) = self.ends.next(&chunk, from) {
            let event_bytes = chunk.get(from..end).unwrap_or_default();
            self.after_usage = false;
            if !self.flowing {
                let whole = self.take_held(event_bytes);
                if is_usage(whole.as_deref().unwrap_or(event_bytes), self.which) {
                    pass(&mut pieces, chunk.slice(sent..from));
                    pieces.push(Piece::Usage(
                        whole.map_or_else(|| chunk.slice(from..end), Bytes::from),
                    ));
                    sent = end;
                    self.after_usage = true;
                } else if let Some(whole) = whole {
                    pass(&mut pieces, whole.into());
                    sent = end;
                }
            }
            self.flowing = false;
            from = end;
        }
        let rest = chunk.get(from..).unwrap_or_default();
        if self.flowing || rest.is_empty() {
            pass(&mut pieces, chunk.slice(sent..));
            return pieces;
        }
        pass(&mut pieces, chunk.slice(sent..from));
        self.held.extend_from_slice(rest);
        if self.cannot_be_usage(rest.len()) {
            self.flowing = true;
            pass(&mut pieces, std::mem::take(&mut self.held).into());
        }
        pieces
    }

    /// The stream has ended: what was still held.
    #[must_use]
    pub fn finish(self) -> Option<Piece> {
        if self.held.is_empty() {
            return None;
        }
        let usage = is_usage(&self.held, self.which);
        let bytes = Bytes::from(self.held);
        Some(if usage {
            Piece::Usage(bytes)
        } else {
            Piece::Pass(bytes)
        })
    }

    /// The current event whole, if its beginning was held.
    fn take_held(&mut self, tail: &[u8]) -> Option<Vec<u8>> {
        if self.held.is_empty() {
            return None;
        }
        let mut whole = std::mem::take(&mut self.held);
        whole.extend_from_slice(tail);
        Some(whole)
    }

    /// Whether the held part rules out that this becomes a chunk to set apart; only its last `new` bytes are new.
    fn cannot_be_usage(&self, new: usize) -> bool {
        if self.held.len() > MAX_HELD_BYTES {
            return true;
        }
        if self.which == Which::Any {
            return false;
        }
        // A quote inside a string is escaped, so this can only be a key. A few bytes before the new ones are looked at
        // again, since the key or what follows it may have been cut.
        let from = self.held.len().saturating_sub(new + CHOICES.len() + 8);
        let recent = self.held.get(from..).unwrap_or_default();
        memmem::find_iter(recent, CHOICES).any(|place| {
            let value = recent
                .get(place + CHOICES.len()..)
                .unwrap_or_default()
                .trim_ascii_start();
            let Some(array) = value.strip_prefix(b":").map(<[u8]>::trim_ascii_start) else {
                return false;
            };
            let first = array
                .strip_prefix(b"[")
                .map(<[u8]>::trim_ascii_start)
                .and_then(<[u8]>::first);
            matches!(first, Some(b'{'))
        })
    }
}

fn pass(pieces: &mut Vec<Piece>, bytes: Bytes) {
    if !bytes.is_empty() {
        pieces.push(Piece::Pass(bytes));
    }
}

/// Whether a raw event is one to set apart. One that carries an error never is.
fn is_usage(raw: &[u8], which: Which) -> bool {
    if memmem::find(raw, b"\"usage\"").is_none() {
        return false;
    }
    let Some(data) = Event::parse(raw).data else {
        return false;
    };
    let Ok(shape) = Shape::read(&data) else {
        return false;
    };
    shape.usage.is_some() && !shape.has_error && (which == Which::Any || shape.choices == Some(0))
}

/// What has to be known of a chunk to sort it.
#[derive(Default)]
struct Shape {
    /// How many choices, if that is an array.
    choices: Option<usize>,
    /// Where the usage object lies.
    usage: Option<Span>,
    /// How many members the usage has.
    usage_members: usize,
    /// Where the value of `usage.cost` lies.
    cost: Option<Span>,
    has_error: bool,
}

impl Shape {
    fn read(data: &[u8]) -> Result<Self, Error> {
        let mut shape = Self::default();
        let mut reader = Reader::new(data)?;
        reader.object(|reader, member| {
            let kind = reader.kind()?;
            match (member.key.raw(), kind) {
                ("choices", Kind::Array) => {
                    let mut choices = 0;
                    reader.array(|reader| {
                        choices += 1;
                        reader.skip()
                    })?;
                    shape.choices = Some(choices);
                }
                ("usage", Kind::Object) => shape.usage(reader)?,
                ("error", kind) => {
                    shape.has_error = kind != Kind::Null;
                    reader.skip()?;
                }
                _ => reader.skip()?,
            }
            Ok::<_, Error>(())
        })?;
        reader.end()?;
        Ok(shape)
    }

    fn usage(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        (self.usage_members, self.cost) = (0, None);
        let span = reader.object(|reader, member| {
            let value = reader.value()?;
            self.usage_members += 1;
            if member.key.raw() == "cost" {
                self.cost = Some(value);
            }
            Ok::<_, Error>(())
        })?;
        self.usage = Some(span);
        Ok(())
    }
}

/// Writes a cost (a decimal number, such as `0.000125`) into a usage chunk: as the last member of its usage, or in
/// place of the `cost` that the vendor put there. An event that has no place for it, or a cost that is no number, leaves
/// the event as it was.
#[must_use]
pub fn with_cost(event: &Bytes, cost: &str) -> Bytes {
    edit(event, cost).unwrap_or_else(|| event.clone())
}

fn edit(event: &Bytes, cost: &str) -> Option<Bytes> {
    let mut number = Reader::new(cost.as_bytes()).ok()?;
    if number.number().ok()? != cost {
        return None;
    }
    // The data is edited where it lies, which needs it to be one line.
    let data = Event::parse(event).data?;
    let base = memmem::find(event, &data)?;
    let shape = Shape::read(&data).ok()?;
    let usage = shape.usage?;
    let (place, with) = match shape.cost {
        Some(old) => (old, cost.to_owned()),
        None => {
            let comma = if shape.usage_members > 0 { "," } else { "" };
            (Span::at(usage.end - 1), format!("{comma}\"cost\":{cost}"))
        }
    };
    let span = Span {
        start: base + place.start,
        end: base + place.end,
    };
    Some(splice(event, vec![Splice { span, with }]).into())
}
