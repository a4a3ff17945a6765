//! Turns an answer and a behaviour into the exact bytes to write, piece by piece.
//!
//! A [`Plan`] owns one buffer with every byte of the exchange and a list of writes; a connection
//! keeps its plan and fills it anew for each request, so the plain path allocates nothing here.

use std::io::Write;
use std::ops::Range;
use std::time::Duration;

use crate::answer::Answer;
use crate::behaviour::{Behaviour, Cut, Fault, Raw, Then};
use crate::play::STAMP_DIGITS;
use crate::request::Head;

/// One write.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) range: Range<usize>,
    /// Silence before it.
    pub(crate) after: Duration,
    /// Output tokens that it completes, reasoning included.
    pub(crate) output: u64,
    pub(crate) reasoning: u64,
    /// Whether it completes a truthful report of usage.
    pub(crate) reports_usage: bool,
    /// Whether it completes the answer.
    pub(crate) completes: bool,
    /// Where in the wire the time of writing goes.
    pub(crate) stamp_at: Option<usize>,
}

/// What comes after the last piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The next request.
    #[default]
    Keep,
    /// FIN.
    Close,
    /// FIN, having answered nothing.
    Refuse,
    /// RST.
    Reset,
    /// Silence until the client leaves.
    Hang,
}

/// How the end of the body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunks,
    Close,
}

/// All writes of one answer.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) wire: Vec<u8>,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) ending: Ending,
    /// Where the piece begins that is being made.
    from: usize,
}

impl Plan {
    /// Fills the plan for an answer. `request_id` goes into the head.
    pub(crate) fn fill(
        &mut self,
        answer: &Answer,
        behaviour: &Behaviour,
        head: &Head,
        request_id: [u64; 2],
    ) {
        self.clear();
        let first = Duration::from_millis(behaviour.first_byte_delay_ms);
        if let Some(raw) = &behaviour.raw {
            return self.script(raw, behaviour, first);
        }
        if behaviour.has(&Fault::Refuse) {
            self.ending = Ending::Refuse;
            return;
        }
        let cut = cut_of(behaviour);
        if let Some((Cut::BeforeHead, ending)) = cut {
            self.ending = ending;
            return;
        }
        let bodyless = head.method == "HEAD" || matches!(answer.status, 204 | 304);
        let framing = if head.http10 || behaviour.has(&Fault::CloseDelimited) {
            Framing::Close
        } else if answer.streamed {
            Framing::Chunks
        } else {
            Framing::Length
        };
        let closes = head.close || framing == Framing::Close;
        let gap = self.interims(behaviour, first);
        self.head(answer, behaviour, framing, closes, bodyless, request_id);
        // A plain answer leaves in one write; whoever wants a seam says so.
        let whole = !answer.streamed
            && behaviour.chunk_bytes.is_none()
            && cut.is_none()
            && !behaviour
                .faults
                .iter()
                .any(|fault| matches!(fault, Fault::Drip { .. }));
        let body_from = if whole && !bodyless {
            self.body(answer, behaviour, framing, None, gap);
            self.pieces.len()
        } else {
            self.piece(gap).completes = bodyless;
            let body_from = self.pieces.len();
            if !bodyless {
                let cut = cut.map(|(cut, _)| cut);
                self.body(answer, behaviour, framing, cut, Duration::ZERO);
            }
            body_from
        };
        self.ending = match cut {
            Some((_, ending)) => ending,
            None if closes => Ending::Close,
            None => Ending::Keep,
        };
        self.afterthoughts(behaviour, body_from);
    }

    fn clear(&mut self) {
        self.wire.clear();
        self.pieces.clear();
        self.from = 0;
        self.ending = Ending::Keep;
    }

    /// Makes a piece of all that was written since the last one.
    fn piece(&mut self, after: Duration) -> &mut Piece {
        let range = self.from..self.wire.len();
        self.from = range.end;
        self.pieces.push(Piece {
            range,
            after,
            output: 0,
            reasoning: 0,
            reports_usage: false,
            completes: false,
            stamp_at: None,
        });
        let last = self.pieces.len() - 1;
        &mut self.pieces[last]
    }

    /// The rogue's script, which is billed with its last piece.
    fn script(&mut self, raw: &Raw, behaviour: &Behaviour, first: Duration) {
        for piece in &raw.pieces {
            self.wire.extend_from_slice(&piece.bytes);
            self.piece(Duration::from_millis(piece.after_ms));
        }
        if let Some(piece) = self.pieces.first_mut() {
            piece.after += first;
        }
        if let Some(piece) = self.pieces.last_mut() {
            piece.output = behaviour.tokens.unwrap_or_default().into();
            piece.completes = matches!(raw.then, Then::Keep | Then::Close);
        }
        self.ending = match raw.then {
            Then::Keep => Ending::Keep,
            Then::Close => Ending::Close,
            Then::Reset => Ending::Reset,
            Then::Hang => Ending::Hang,
        };
    }

    /// Interim responses; gives the silence before what follows.
    fn interims(&mut self, behaviour: &Behaviour, first: Duration) -> Duration {
        let mut gap = first;
        for fault in &behaviour.faults {
            let Fault::Interim {
                status,
                gap_ms,
                count,
            } = fault
            else {
                continue;
            };
            for _ in 0..*count {
                put(
                    &mut self.wire,
                    format_args!("HTTP/1.1 {status} {}\r\n", reason(*status)),
                );
                self.wire
                    .extend_from_slice(b"link: </style.css>; rel=preload\r\n\r\n");
                self.piece(gap);
                gap = Duration::from_millis(*gap_ms);
            }
        }
        gap
    }

    fn head(
        &mut self,
        answer: &Answer,
        behaviour: &Behaviour,
        framing: Framing,
        closes: bool,
        bodyless: bool,
        request_id: [u64; 2],
    ) {
        let wire = &mut self.wire;
        put(
            wire,
            format_args!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status)),
        );
        let own_type = behaviour
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if behaviour.has(&Fault::WrongContentType) {
            wire.extend_from_slice(b"content-type: text/html; charset=utf-8\r\n");
        } else if !own_type {
            put(
                wire,
                format_args!("content-type: {}\r\n", answer.content_type),
            );
        }
        for (name, value) in answer.headers.iter().chain(&behaviour.headers) {
            put(wire, format_args!("{name}: {value}\r\n"));
        }
        if let Some(seconds) = behaviour.retry_after {
            put(wire, format_args!("retry-after: {seconds}\r\n"));
        }
        let [high, low] = request_id;
        put(
            wire,
            format_args!("x-request-id: req_{high:016x}{low:016x}\r\n"),
        );
        match framing {
            _ if bodyless && answer.status == 204 => {}
            Framing::Length => put(
                wire,
                format_args!("content-length: {}\r\n", answer.body.len()),
            ),
            Framing::Chunks => wire.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Framing::Close => {}
        }
        if closes {
            wire.extend_from_slice(b"connection: close\r\n");
        }
        wire.extend_from_slice(b"\r\n");
    }

    /// The body's pieces. Each earns the marks whose end it writes.
    fn body(
        &mut self,
        answer: &Answer,
        behaviour: &Behaviour,
        framing: Framing,
        cut: Option<Cut>,
        first: Duration,
    ) {
        let mut marks = answer.marks.iter().peekable();
        let delay = Duration::from_millis(behaviour.chunk_delay_ms);
        let ends = ends(answer, behaviour, cut);
        let complete = cut.is_none();
        let mut start = 0;
        for (index, &end) in ends.iter().enumerate() {
            if framing == Framing::Chunks {
                put(&mut self.wire, format_args!("{:x}\r\n", end - start));
            }
            let at = self.wire.len();
            self.wire.extend_from_slice(&answer.body[start..end]);
            if framing == Framing::Chunks {
                self.wire.extend_from_slice(b"\r\n");
            }
            let last = index + 1 == ends.len();
            if last && complete && framing == Framing::Chunks {
                self.wire.extend_from_slice(b"0\r\n\r\n");
            }
            let piece = self.piece(if index == 0 { first } else { delay });
            piece.completes = last && complete;
            while let Some(mark) = marks.next_if(|mark| mark.end <= end) {
                piece.output += mark.output;
                piece.reasoning += mark.reasoning;
                piece.reports_usage |= mark.reports_usage;
                if let Some(stamp) = mark.stamp_at
                    && stamp >= start
                    && stamp + STAMP_DIGITS <= end
                {
                    piece.stamp_at = Some(at + stamp - start);
                }
            }
            start = end;
        }
        if ends.is_empty() && complete {
            if framing == Framing::Chunks {
                self.wire.extend_from_slice(b"0\r\n\r\n");
            }
            self.piece(first).completes = true;
        }
    }

    /// What changes the finished sequence: extra bytes behind it, dripping from the body on.
    fn afterthoughts(&mut self, behaviour: &Behaviour, body_from: usize) {
        for fault in &behaviour.faults {
            match fault {
                Fault::ExtraBytesAfterBody { text, after_ms } => {
                    self.wire.extend_from_slice(text.as_bytes());
                    self.piece(Duration::from_millis(*after_ms));
                }
                Fault::Drip { bytes, every_ms } => {
                    let body = self.pieces.split_off(body_from);
                    let every = Duration::from_millis(*every_ms);
                    for piece in body {
                        drip(&mut self.pieces, &piece, (*bytes).max(1), every);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Cuts a piece into drops; the last one earns what the piece did.
fn drip(pieces: &mut Vec<Piece>, piece: &Piece, bytes: usize, every: Duration) {
    let mut from = piece.range.start;
    while from < piece.range.end {
        let to = piece.range.end.min(from + bytes);
        let mut drop = Piece {
            range: from..to,
            after: every,
            stamp_at: None,
            ..piece.clone()
        };
        if to < piece.range.end {
            (drop.output, drop.reasoning) = (0, 0);
            (drop.reports_usage, drop.completes) = (false, false);
        }
        pieces.push(drop);
        from = to;
    }
}

fn cut_of(behaviour: &Behaviour) -> Option<(Cut, Ending)> {
    behaviour.faults.iter().find_map(|fault| match fault {
        Fault::Reset(cut) => Some((*cut, Ending::Reset)),
        Fault::Close(cut) => Some((*cut, Ending::Close)),
        Fault::Hang(cut) => Some((*cut, Ending::Hang)),
        _ => None,
    })
}

/// Where the pieces of the body end: at each event, or every so many bytes; up to the cut.
fn ends(answer: &Answer, behaviour: &Behaviour, cut: Option<Cut>) -> Vec<usize> {
    let length = answer.body.len();
    let mut ends: Vec<usize> = match behaviour.chunk_bytes {
        Some(step) => (1..)
            .map(|i| i * step.max(1))
            .take_while(|&end| end < length)
            .collect(),
        None if answer.streamed => answer
            .marks
            .iter()
            .map(|mark| mark.end)
            .filter(|&end| end < length)
            .collect(),
        None => Vec::new(),
    };
    ends.dedup();
    if length > 0 {
        ends.push(length);
    }
    match cut {
        None => {}
        Some(Cut::BeforeHead | Cut::AfterHead) => ends.clear(),
        Some(Cut::AfterChunks(chunks)) => ends.truncate(chunks),
        Some(Cut::AfterBytes(bytes)) => {
            ends.retain(|&end| end < bytes);
            if bytes.min(length) > 0 {
                ends.push(bytes.min(length));
            }
        }
    }
    ends
}

fn put(wire: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    // A `Vec` takes every write.
    drop(wire.write_fmt(arguments));
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Payload Too Large",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        529 => "Overloaded",
        _ => "Status",
    }
}
