//! The caller's body: bounded in bytes and time, held whole where it can be, streamed where it is a file.
//!
//! What is held can be sent again; what is streamed cannot. A multipart body is read until its `model` part, 1 MiB in
//! memory and the rest in a temporary file, and streamed on from there; the reader keeps looking, since a second `model`
//! further on would be what some vendors read.

use std::{io, time::Duration};

use actix_web::{
    http::header::{self, HeaderMap, HeaderValue},
    web,
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, future, stream};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
    time::{Instant, timeout_at},
};
use weir_dialect::multipart::{self, Multipart};

use super::{
    Config,
    answer::joined,
    error::Refusal,
    upstream::{BoxError, BoxStream},
};

/// Part of a multipart body that is kept in memory while its model is looked for.
const MEMORY_BYTES: usize = 1024 * 1024;
/// Pieces in which a temporary file is read back.
const PIECE_BYTES: usize = 64 * 1024;

/// What a body may be, and how much of it Weir reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// JSON, whatever the content type says: many vendors do not look at it either.
    Json,
    /// A form where the content type says so, else JSON.
    JsonOrForm,
    /// Anything, on a channel that tenants share: a form is read for its model, and so is all that says or looks as if it
    /// were JSON.
    Shared,
    /// Anything, on a channel of the caller's own tenant: read where it says that it is JSON.
    Dedicated,
}

/// A caller's body.
pub enum Body {
    /// To be read as JSON.
    Json(Bytes),
    /// None of Weir's business.
    Opaque(Bytes),
    /// A multipart form, held whole, with the place of its model.
    Form {
        bytes: Bytes,
        model: Option<multipart::Model>,
    },
    /// Sent on as it comes.
    Stream(Box<Streamed>),
}

/// A body that is sent on while it arrives.
pub struct Streamed {
    /// What was announced, if anything was.
    pub length: Option<u64>,
    /// The name in the `model` part, and where it stands.
    pub model: Option<multipart::Model>,
    /// Already read.
    head: Vec<Bytes>,
    /// Already read and too large for memory; comes after `head`.
    spilled: Option<File>,
    rest: Rest,
}

/// What of a body is still on its way, with the bounds that hold for it.
struct Rest {
    payload: web::Payload,
    reader: Option<Multipart>,
    read_bytes: u64,
    limit_bytes: u64,
    idle: Duration,
    deadline: Instant,
}

/// Reads a body as far as it must be read before it can be sent on.
pub async fn read(
    shape: Shape,
    headers: &HeaderMap,
    payload: web::Payload,
    config: &Config,
) -> Result<Body, Refusal> {
    let encoding = only(headers, "content-encoding")?;
    if encoding.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Refusal::EncodedBody);
    }
    let content_type = only(headers, "content-type")?
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let is_multipart = content_type
        .trim_start()
        .to_ascii_lowercase()
        .starts_with("multipart/form-data");
    let is_json = match shape {
        Shape::Json => true,
        Shape::JsonOrForm => !is_multipart,
        Shape::Shared | Shape::Dedicated => !is_multipart && says_json(content_type),
    };
    let mut rest = Rest {
        payload,
        reader: None,
        read_bytes: 0,
        limit_bytes: config.upload_bytes.0,
        idle: config.body_idle_timeout.0,
        deadline: Instant::now() + config.body_timeout.0,
    };
    if is_json {
        rest.limit_bytes = config.body_bytes.0;
    }
    rest.check(length)?;
    match shape {
        _ if is_json => whole(Vec::new(), length, rest).await.map(Body::Json),
        // Boxed: what is rare shall not make the future of every call larger.
        Shape::JsonOrForm | Shape::Shared if is_multipart => {
            Box::pin(multipart(content_type, length, rest)).await
        }
        _ => Box::pin(whole_or_streamed(shape, length, rest, config.body_bytes.0)).await,
    }
}

/// The header's value, if it stands there once. Of two, each reader takes another.
fn only<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Refusal::DoubledHeader(name)),
        (only, None) => Ok(only),
    }
}

fn says_json(content_type: &str) -> bool {
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// Whether some reader would take the beginning of a body for a JSON object, in UTF-8 or one of the encodings that
/// lenient ones recognise; `None` while there is nothing but white space.
fn looks_like_json(head: &[Bytes]) -> Option<bool> {
    const MARKS: [&[u8]; 6] = [
        b"\xEF\xBB\xBF",
        b"\xFF\xFE",
        b"\xFE\xFF",
        b"\0{",
        b"\0\0\0{",
        b"{",
    ];
    let mut bytes = head.iter().flatten().copied();
    let first = bytes.find(|byte| !byte.is_ascii_whitespace())?;
    let start: Vec<u8> = std::iter::once(first).chain(bytes.take(3)).collect();
    Some(MARKS.iter().any(|mark| start.starts_with(mark)))
}

/// All of a body, of which some may have been read.
async fn whole(head: Vec<Bytes>, length: Option<u64>, mut rest: Rest) -> Result<Bytes, Refusal> {
    if head.is_empty() {
        let Some(first) = rest.next().await? else {
            return Ok(Bytes::new());
        };
        if length == Some(first.len() as u64) {
            return Ok(first);
        }
        return gathered(&[first], length, rest).await;
    }
    gathered(&head, length, rest).await
}

async fn gathered(head: &[Bytes], length: Option<u64>, mut rest: Rest) -> Result<Bytes, Refusal> {
    let announced = length.unwrap_or(0).min(MEMORY_BYTES as u64) as usize;
    let read = head.iter().map(Bytes::len).sum();
    let mut body = BytesMut::with_capacity(announced.max(read));
    for piece in head {
        body.extend_from_slice(piece);
    }
    while let Some(piece) = rest.next().await? {
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// A small body is held, so that the call can be retried; a larger one is streamed, unless it must be read.
async fn whole_or_streamed(
    shape: Shape,
    length: Option<u64>,
    mut rest: Rest,
    json_bytes: u64,
) -> Result<Body, Refusal> {
    let mut head = Vec::new();
    let mut bytes = 0;
    let mut ended = false;
    while !ended && bytes <= MEMORY_BYTES {
        match rest.next().await? {
            Some(piece) => {
                bytes += piece.len();
                head.push(piece);
            }
            None => ended = true,
        }
    }
    if shape == Shape::Shared && bytes > 0 && looks_like_json(&head) != Some(false) {
        rest.limit_bytes = json_bytes;
        rest.check(length)?;
        return if ended {
            Ok(Body::Json(joined(head)))
        } else {
            whole(head, length, rest).await.map(Body::Json)
        };
    }
    if ended {
        return Ok(Body::Opaque(joined(head)));
    }
    Ok(Body::Stream(Box::new(Streamed {
        length,
        model: None,
        head,
        spilled: None,
        rest,
    })))
}

/// Reads a form until its model is known and memory is used up, or to its end.
async fn multipart(
    content_type: &str,
    length: Option<u64>,
    mut rest: Rest,
) -> Result<Body, Refusal> {
    rest.reader = Some(Multipart::new(content_type).map_err(bad_multipart)?);
    let mut head = Vec::new();
    let mut head_bytes = 0;
    let mut spilled: Option<File> = None;
    let mut ended = false;
    while !ended && (head_bytes <= MEMORY_BYTES || rest.model().is_none()) {
        match rest.next().await? {
            Some(piece) if head_bytes <= MEMORY_BYTES => {
                head_bytes += piece.len();
                head.push(piece);
            }
            Some(piece) => spilled = Some(spill(spilled, &piece).await?),
            None => ended = true,
        }
    }
    let model = rest.model().cloned();
    let spilled = match spilled {
        None if ended => {
            return Ok(Body::Form {
                bytes: joined(head),
                model,
            });
        }
        None => None,
        Some(file) => Some(rewound(file).await?),
    };
    let length = if ended { Some(rest.read_bytes) } else { length };
    Ok(Body::Stream(Box::new(Streamed {
        length,
        model,
        head,
        spilled,
        rest,
    })))
}

async fn spill(file: Option<File>, piece: &[u8]) -> Result<File, Refusal> {
    let mut file = match file {
        Some(file) => file,
        None => File::from_std(tempfile::tempfile().map_err(no_space)?),
    };
    file.write_all(piece).await.map_err(no_space)?;
    Ok(file)
}

async fn rewound(mut file: File) -> Result<File, Refusal> {
    file.flush().await.map_err(no_space)?;
    file.rewind().await.map_err(no_space)?;
    Ok(file)
}

fn no_space(error: io::Error) -> Refusal {
    tracing::error!(%error, "a request's body cannot be kept in a temporary file");
    Refusal::SpoolFull
}

fn bad_multipart(error: multipart::Error) -> Refusal {
    Refusal::BadBody {
        code: error.code(),
        message: error.to_string(),
        param: error.param().map(str::to_owned),
    }
}

impl Rest {
    /// Refuses what is announced, or was read, beyond the bound.
    fn check(&self, announced: Option<u64>) -> Result<(), Refusal> {
        if announced.unwrap_or(0).max(self.read_bytes) > self.limit_bytes {
            return Err(Refusal::TooLarge {
                limit_bytes: self.limit_bytes,
            });
        }
        Ok(())
    }

    fn model(&self) -> Option<&multipart::Model> {
        self.reader.as_ref().and_then(Multipart::model)
    }

    /// The next piece, within every bound; `None` at the regular end.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let until = self.deadline.min(Instant::now() + self.idle);
        let next = timeout_at(until, self.payload.next()).await;
        let Some(piece) = next.map_err(|_| Refusal::SlowBody)? else {
            return match &self.reader {
                Some(reader) => reader.finish().map(|()| None).map_err(bad_multipart),
                None => Ok(None),
            };
        };
        let piece = piece.map_err(|_| Refusal::BrokenBody)?;
        self.read_bytes += piece.len() as u64;
        self.check(None)?;
        if let Some(reader) = &mut self.reader {
            reader.feed(&piece).map_err(bad_multipart)?;
        }
        Ok(Some(piece))
    }
}

/// Why a body stopped while it was sent on; told to the caller once the call upstream has been broken off.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.code())]
pub struct Stopped(pub Refusal);

impl Streamed {
    /// The body for an upstream, with another name in the `model` part where the route's differs. `stopped` is told why,
    /// should the body not reach its end.
    pub fn into_upstream(
        self,
        model: Option<&str>,
        stopped: impl Fn(Refusal) + 'static,
    ) -> (Option<u64>, BoxStream) {
        let edit = self
            .model
            .and_then(|place| Some((place, model?)))
            .filter(|(place, model)| place.name != *model);
        let edit = edit.map(|(place, model)| Splice {
            start: place.start,
            end: place.end,
            with: Bytes::from(model.to_owned()),
        });
        let length = self
            .length
            .map(|length| edit.as_ref().map_or(length, |edit| edit.length(length)));
        let head = stream::iter(self.head.into_iter().map(Ok));
        let rest = stream::try_unfold((self.rest, stopped), |(mut rest, stopped)| async move {
            match rest.next().await {
                Ok(piece) => Ok(piece.map(|piece| (piece, (rest, stopped)))),
                Err(refusal) => {
                    stopped(refusal.clone());
                    Err(BoxError::from(Stopped(refusal)))
                }
            }
        });
        let mut at = 0;
        let body = head
            .chain(read_back(self.spilled))
            .chain(rest)
            .map_ok(move |piece: Bytes| {
                let from = at;
                at += piece.len() as u64;
                match &edit {
                    Some(edit) => edit.applied(from, piece),
                    None => piece,
                }
            });
        // An empty piece would end a chunked body.
        (
            length,
            Box::pin(body.try_filter(|piece| future::ready(!piece.is_empty()))),
        )
    }
}

/// The form's bytes with another name in its model part.
pub fn with_model(bytes: &Bytes, place: &multipart::Model, model: &str) -> Bytes {
    let edit = Splice {
        start: place.start,
        end: place.end,
        with: Bytes::from(model.to_owned()),
    };
    edit.applied(0, bytes.clone())
}

/// Other bytes in place of some, in a body that passes in pieces.
struct Splice {
    start: u64,
    end: u64,
    with: Bytes,
}

impl Splice {
    fn length(&self, length: u64) -> u64 {
        (length + self.with.len() as u64).saturating_sub(self.end - self.start)
    }

    /// What becomes of the piece that begins at `from`.
    fn applied(&self, from: u64, piece: Bytes) -> Bytes {
        let until = from + piece.len() as u64;
        if until <= self.start || from >= self.end {
            return piece;
        }
        let index = |at: u64| usize::try_from(at.clamp(from, until) - from).unwrap_or(piece.len());
        let with: &[u8] = if self.start >= from { &self.with } else { &[] };
        [&piece[..index(self.start)], with, &piece[index(self.end)..]]
            .concat()
            .into()
    }
}

fn read_back(file: Option<File>) -> impl Stream<Item = Result<Bytes, BoxError>> {
    stream::try_unfold(file, |file| async move {
        let Some(mut file) = file else {
            return Ok(None);
        };
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        match file.read_buf(&mut piece).await {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some((piece.freeze(), Some(file)))),
            Err(error) => Err(BoxError::from(error)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lenient_reader_takes_for_json_is_recognised() {
        let looks = |text: &[u8]| looks_like_json(&[Bytes::copy_from_slice(text)]);
        for text in [
            &b"{}"[..],
            b" \r\n\t{",
            b"\xEF\xBB\xBF{",
            b"\xFF\xFE{\0",
            b"\0{",
        ] {
            assert_eq!(looks(text), Some(true), "{text:?}");
        }
        for text in [&b"\xFF\xFB\x90\0"[..], b"RIFF", b"a{", b"\0\0\0\x18ftyp"] {
            assert_eq!(looks(text), Some(false), "{text:?}");
        }
        assert_eq!(looks(b" \n"), None);
        assert_eq!(
            looks_like_json(&[Bytes::from_static(b" "), Bytes::from_static(b"{")]),
            Some(true)
        );
    }

    #[test]
    fn a_model_is_replaced_however_the_body_is_cut() {
        let body = Bytes::from_static(b"before OLD after");
        let edit = Splice {
            start: 7,
            end: 10,
            with: Bytes::from_static(b"newer"),
        };
        for cut in 0..=body.len() {
            let pieces = [
                edit.applied(0, body.slice(..cut)),
                edit.applied(cut as u64, body.slice(cut..)),
            ];
            assert_eq!(pieces.concat(), b"before newer after", "{cut}");
        }
        assert_eq!(edit.length(16), 18);
    }
}
