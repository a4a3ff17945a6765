//! Where one HTTP/1.1 answer ends and the next may begin, read from the bytes alone (RFC 9112, sections 6 and 7).
//!
//! awc takes a 1xx for the final answer, a body without a length for an empty one and an early end for a regular one,
//! and gives the connection back to its pool each time: the next caller reads somebody else's answer (threats.md, U1).
//! So the connection itself keeps count here. No I/O; `guard` feeds it.

use std::ops::Range;

/// Largest head of an answer, in bytes.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Most header fields in an answer: awc's own parser stops at 96.
const MAX_HEADERS: usize = 96;
/// Longest line of a chunk's size, extensions included.
const MAX_CHUNK_LINE: usize = 4096;
/// Most bytes of trailers.
const MAX_TRAILERS: usize = 16 * 1024;

/// Why an answer cannot be relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the upstream's answer has a malformed head")]
    BadHead,
    #[error("the upstream's answer has too large a head")]
    LargeHead,
    #[error("the upstream's answer has an ambiguous length")]
    AmbiguousLength,
    #[error("the upstream changed the protocol without being asked")]
    UnaskedUpgrade,
    #[error("the upstream's answer has a malformed chunk")]
    BadChunk,
}

/// What a head says about the rest of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// Not all of it is there yet.
    Partial,
    /// An interim answer of so many bytes, to be swallowed.
    Interim(usize),
    /// The final answer's head.
    Final {
        /// Bytes of the head.
        bytes: usize,
        body: Body,
        /// Where a length stands that is about no body: awc would wait for it.
        false_length: Option<Range<usize>>,
    },
}

/// How the end of a body is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// So many bytes are left.
    Length(u64),
    Chunked(Chunks),
    /// It ends with the connection.
    UntilClose,
}

/// Reads the head at the start of `bytes`, as the answer to a request with or without the method HEAD.
pub fn head(bytes: &[u8], to_head_request: bool) -> Result<Head, Error> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut fields);
    let length = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD_BYTES => {
            return Err(Error::LargeHead);
        }
        Ok(httparse::Status::Partial) => return Ok(Head::Partial),
        Err(httparse::Error::TooManyHeaders) => return Err(Error::LargeHead),
        Err(_) => return Err(Error::BadHead),
    };
    match answer.code {
        Some(101) => Err(Error::UnaskedUpgrade),
        Some(100..=199) => Ok(Head::Interim(length)),
        Some(status @ 200..=599) => {
            let has_no_body = matches!(status, 204 | 304);
            let body = if to_head_request || has_no_body {
                Body::Length(0)
            } else {
                body(answer.version == Some(1), answer.headers)?
            };
            let false_length = if has_no_body {
                length_at(bytes, answer.headers)
            } else {
                None
            };
            Ok(Head::Final {
                bytes: length,
                body,
                false_length,
            })
        }
        _ => Err(Error::BadHead),
    }
}

fn body(is_http_11: bool, fields: &[httparse::Header<'_>]) -> Result<Body, Error> {
    let values = |name: &str| {
        let mut found = fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value);
        match (found.next(), found.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(Error::AmbiguousLength),
        }
    };
    match (values("transfer-encoding")?, values("content-length")?) {
        (Some(_), Some(_)) => Err(Error::AmbiguousLength),
        (Some(encoding), None)
            if is_http_11 && encoding.trim_ascii().eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(Body::Chunked(Chunks::default()))
        }
        (Some(_), None) => Err(Error::AmbiguousLength),
        (None, Some(length)) => decimal(length)
            .map(Body::Length)
            .ok_or(Error::AmbiguousLength),
        (None, None) => Ok(Body::UntilClose),
    }
}

/// Where the value of the first `content-length` stands.
fn length_at(bytes: &[u8], fields: &[httparse::Header<'_>]) -> Option<Range<usize>> {
    let field = fields
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))?;
    let start = (field.value.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
    Some(start..start + field.value.len())
}

/// Digits alone: no sign, no list, no overflow.
fn decimal(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

impl Body {
    /// Takes note of bytes that follow. Returns how many of them belong to this answer and whether it is complete.
    ///
    /// Where fewer were taken although it is not complete, the rest is malformed, and the next call says how: what came
    /// before is good whether or not it arrived together with what is not.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), Error> {
        match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= taken as u64;
                Ok((taken, *left == 0))
            }
            Self::Chunked(chunks) => chunks.take(bytes),
            Self::UntilClose => Ok((bytes.len(), false)),
        }
    }

    /// Whether the answer is complete before any byte of a body.
    pub fn is_empty(&self) -> bool {
        *self == Self::Length(0)
    }
}

/// Follows a chunked body without changing or copying it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunks {
    state: ChunkState,
    /// Bytes of the present line or of all trailers.
    line: usize,
    size: u64,
    digits: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ChunkState {
    #[default]
    Size,
    /// Blanks after a size.
    SizeBlank,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataEnd,
    /// At the start of a line of the trailers.
    TrailerStart,
    Trailer,
    TrailerEnd,
    LastEnd,
    Done,
}

impl Chunks {
    fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), Error> {
        let mut at = 0;
        while at < bytes.len() && self.state != ChunkState::Done {
            if self.state == ChunkState::Data {
                let run = usize::try_from(self.size)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len() - at);
                self.size -= run as u64;
                at += run;
                if self.size == 0 {
                    self.state = ChunkState::DataCr;
                }
                continue;
            }
            match self.step(bytes[at]) {
                Ok(()) => at += 1,
                Err(error) if at == 0 => return Err(error),
                Err(_) => return Ok((at, false)),
            }
        }
        Ok((at, self.state == ChunkState::Done))
    }

    fn step(&mut self, byte: u8) -> Result<(), Error> {
        use ChunkState as S;
        self.line += 1;
        let bound = if matches!(self.state, S::TrailerStart | S::Trailer | S::TrailerEnd) {
            MAX_TRAILERS
        } else {
            MAX_CHUNK_LINE
        };
        if self.line > bound {
            return Err(Error::BadChunk);
        }
        self.state = match (self.state, byte) {
            (S::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16).ok_or(Error::BadChunk)?;
                self.digits += 1;
                if self.digits > 15 {
                    return Err(Error::BadChunk);
                }
                self.size = self.size * 16 + u64::from(digit);
                S::Size
            }
            (S::Size, b'\r') if self.digits > 0 => S::SizeEnd,
            (S::Size | S::SizeBlank, b';') if self.digits > 0 => S::Extension,
            (S::Size | S::SizeBlank, b' ' | b'\t') if self.digits > 0 => S::SizeBlank,
            (S::SizeBlank, b'\r') => S::SizeEnd,
            (S::Extension, b'\r') => S::SizeEnd,
            (S::Extension, b'\n') => return Err(Error::BadChunk),
            (S::Extension, _) => S::Extension,
            (S::SizeEnd, b'\n') => {
                self.line = 0;
                self.digits = 0;
                if self.size == 0 {
                    S::TrailerStart
                } else {
                    S::Data
                }
            }
            (S::DataCr, b'\r') => S::DataEnd,
            (S::DataEnd, b'\n') => {
                self.line = 0;
                S::Size
            }
            (S::TrailerStart, b'\r') => S::LastEnd,
            (S::TrailerStart | S::Trailer, byte) if byte != b'\r' && byte != b'\n' => S::Trailer,
            (S::Trailer, b'\r') => S::TrailerEnd,
            (S::TrailerEnd, b'\n') => S::TrailerStart,
            (S::LastEnd, b'\n') => S::Done,
            _ => return Err(Error::BadChunk),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(head_text: &str) -> Result<Head, Error> {
        head(head_text.as_bytes(), false)
    }

    fn body_of(fields: &str) -> Result<Body, Error> {
        match read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"))? {
            Head::Final { body, .. } => Ok(body),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn interim_answers_are_told_from_final_ones() {
        assert_eq!(
            read("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200"),
            Ok(Head::Interim(37))
        );
        assert_eq!(read("HTTP/1.1 100 Continue\r\n\r\n"), Ok(Head::Interim(25)));
        assert_eq!(
            read("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
            Err(Error::UnaskedUpgrade)
        );
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-le"), Ok(Head::Partial));
        assert_eq!(read("HTTP/1.1 099 Odd\r\n\r\n"), Err(Error::BadHead));
        assert_eq!(read("SSH-2.0-OpenSSH\r\n\r\n"), Err(Error::BadHead));
    }

    #[test]
    fn a_length_is_unambiguous_or_refused() {
        assert_eq!(body_of("content-length: 5\r\n"), Ok(Body::Length(5)));
        assert_eq!(body_of(""), Ok(Body::UntilClose));
        assert!(matches!(
            body_of("transfer-encoding: Chunked\r\n"),
            Ok(Body::Chunked(_))
        ));
        for fields in [
            "content-length: 5\r\ncontent-length: 5\r\n",
            "content-length: 5, 5\r\n",
            "content-length: +5\r\n",
            "content-length: 0x5\r\n",
            "content-length: -1\r\n",
            "content-length:\r\n",
            "content-length: 99999999999999999999\r\n",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: identity\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        ] {
            assert_eq!(body_of(fields), Err(Error::AmbiguousLength), "{fields}");
        }
        assert_eq!(
            read("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
            Err(Error::AmbiguousLength)
        );
    }

    #[test]
    fn answers_without_a_body_have_none_whatever_they_declare() {
        let to_head = head(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", true);
        assert_eq!(
            to_head,
            Ok(Head::Final {
                bytes: 38,
                body: Body::Length(0),
                false_length: None
            })
        );
        assert!(matches!(
            read("HTTP/1.1 204 No Content\r\n\r\n"),
            Ok(Head::Final {
                body: Body::Length(0),
                ..
            })
        ));
    }

    #[test]
    fn bounds_hold() {
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(MAX_HEAD_BYTES));
        assert_eq!(read(&endless), Err(Error::LargeHead));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(97));
        assert_eq!(read(&many), Err(Error::LargeHead));
        let line = format!("5;{}", "x".repeat(5000));
        assert_eq!(refused_after(line.as_bytes()), Some(MAX_CHUNK_LINE));
    }

    #[test]
    fn a_chunked_body_ends_where_it_ends() {
        let text =
            b"5 \r\nhello\r\n0A ;name=value\r\n0123456789\r\n0\r\ntrailer: x\r\n\r\nHTTP/1.1 200 OK";
        let end = text.len() - "HTTP/1.1 200 OK".len();
        assert_eq!(Chunks::default().take(text), Ok((end, true)));
        for cut in 0..end {
            let mut chunks = Chunks::default();
            assert_eq!(chunks.take(&text[..cut]), Ok((cut, false)));
            assert_eq!(chunks.take(&text[cut..]), Ok((end - cut, true)));
        }
    }

    /// After how many bytes a chunked body is refused.
    fn refused_after(text: &[u8]) -> Option<usize> {
        let mut chunks = Chunks::default();
        let (taken, complete) = chunks.take(text).unwrap_or((0, false));
        let rest = text.get(taken..).filter(|rest| !rest.is_empty())?;
        (!complete && chunks.take(rest) == Err(Error::BadChunk)).then_some(taken)
    }

    #[test]
    fn malformed_chunks_are_refused_and_what_came_before_is_good() {
        for (text, good) in [
            ("\r\n", 0),
            ("g\r\n", 0),
            ("5\nhello", 1),
            ("5\r\nhelloX", 8),
            ("5;a\nb", 3),
            ("5 x\r\nhello", 2),
            ("-1\r\n", 0),
            ("FFFFFFFFFFFFFFFFF\r\n", 15),
            ("0\r\nx\ny", 4),
        ] {
            assert_eq!(refused_after(text.as_bytes()), Some(good), "{text:?}");
        }
    }

    proptest! {
        /// Threats: H12.
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = head(&bytes, false);
            let _ = Chunks::default().take(&bytes);
        }

        #[test]
        fn any_chunking_is_followed(sizes in proptest::collection::vec(1usize..70, 0..8), rest in any::<Vec<u8>>()) {
            let mut text = Vec::new();
            for size in &sizes {
                text.extend(format!("{size:X}\r\n").bytes());
                text.extend(std::iter::repeat_n(b'\n', *size));
                text.extend(b"\r\n");
            }
            text.extend(b"0\r\n\r\n");
            let end = text.len();
            text.extend(rest);
            prop_assert_eq!(Chunks::default().take(&text), Ok((end, true)));
        }
    }
}
