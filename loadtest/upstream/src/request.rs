//! Reads requests off a connection: heads with `httparse`, bodies by length or in chunks.
//!
//! A body is gathered whole, since the answer depends on it; above [`BODY_LIMIT`] it is refused.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};

use crate::link::{Left, Link, Socket};

const HEAD_LIMIT: usize = 64 << 10;
const HEADERS: usize = 128;
const BODY_LIMIT: usize = 256 << 20;

/// The head of a request.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Empty unless asked for.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) raw: Bytes,
    pub(crate) credential: Option<String>,
    pub(crate) content_type: Option<String>,
    /// Whether the client wants the connection closed afterwards.
    pub(crate) close: bool,
    /// Before HTTP/1.1: no chunks towards this client.
    pub(crate) http10: bool,
    /// Whether the client waits for leave to send its body.
    pub(crate) expects_continue: bool,
    length: Length,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
}

/// Why there is no request.
#[derive(Debug)]
pub(crate) enum NoRequest {
    /// The client has gone.
    Left(Left),
    /// What came is not HTTP/1.1, or more than is taken: status and reason.
    Bad(u16, &'static str),
}

impl From<Left> for NoRequest {
    fn from(left: Left) -> Self {
        Self::Left(left)
    }
}

/// Reads a head; `keep_headers` says whether each header is wanted or just what the server needs.
pub(crate) async fn head<S: Socket>(
    link: &mut Link<S>,
    keep_headers: bool,
) -> Result<Head, NoRequest> {
    let mut seen = 0;
    loop {
        // Parsed again only when an empty line may have come, so a dripped head costs no square.
        let from = usize::saturating_sub(seen, 3);
        let ended = memchr::memmem::find(&link.inbox[from..], b"\n\r\n").is_some()
            || memchr::memmem::find(&link.inbox[from..], b"\n\n").is_some();
        if ended && let Some((mut head, length)) = parse(&link.inbox, keep_headers)? {
            head.raw = link.inbox.split_to(length).freeze();
            return Ok(head);
        }
        if link.inbox.len() > HEAD_LIMIT {
            return Err(NoRequest::Bad(431, "request head too large"));
        }
        seen = link.inbox.len();
        link.read().await?;
    }
}

fn parse(bytes: &[u8], keep_headers: bool) -> Result<Option<(Head, usize)>, NoRequest> {
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request
        .parse_with_uninit_headers(bytes, &mut slots)
        .map_err(|_| NoRequest::Bad(400, "malformed request head"))?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let path = request.path.unwrap_or("/");
    let http10 = request.version == Some(0);
    let mut head = Head {
        method: request.method.unwrap_or("GET").to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        raw: Bytes::new(),
        credential: None,
        content_type: None,
        close: http10,
        http10,
        expects_continue: false,
        length: Length::Known(0),
    };
    for header in request.headers.iter() {
        let value = || String::from_utf8_lossy(header.value);
        if keep_headers {
            head.headers
                .push((header.name.to_owned(), value().into_owned()));
        }
        head.note(header.name, &value())?;
    }
    if head.credential.is_none()
        && let Some((_, query)) = path.split_once('?')
    {
        let key = query.split('&').find_map(|pair| pair.strip_prefix("key="));
        head.credential = key.map(str::to_owned);
    }
    Ok(Some((head, length)))
}

impl Head {
    /// Takes from a header what the server needs of it.
    fn note(&mut self, name: &str, value: &str) -> Result<(), NoRequest> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("authorization") {
            let bearer = value
                .get(..7)
                .is_some_and(|s| s.eq_ignore_ascii_case("bearer "));
            self.credential = Some(if bearer { value[7..].trim() } else { value }.to_owned());
        } else if is("x-api-key") || is("api-key") || is("x-goog-api-key") {
            self.credential = Some(value.to_owned());
        } else if is("content-type") {
            self.content_type = Some(value.to_owned());
        } else if is("content-length") {
            let length = value.trim().parse();
            let length = length.map_err(|_| NoRequest::Bad(400, "malformed content-length"))?;
            if self.length != Length::Chunked {
                self.length = Length::Known(length);
            }
        } else if is("transfer-encoding") {
            if !value.trim().eq_ignore_ascii_case("chunked") {
                return Err(NoRequest::Bad(501, "unknown transfer coding"));
            }
            self.length = Length::Chunked;
        } else if is("connection") {
            if value.to_ascii_lowercase().contains("close") {
                self.close = true;
            } else if value.to_ascii_lowercase().contains("keep-alive") {
                self.close = false;
            }
        } else if is("expect") {
            self.expects_continue = value.eq_ignore_ascii_case("100-continue");
        }
        Ok(())
    }

    /// Path without the query.
    pub(crate) fn route(&self) -> &str {
        self.path.split(['?', '#']).next().unwrap_or("/")
    }
}

/// Reads the body that belongs to a head.
pub(crate) async fn body<S: Socket>(link: &mut Link<S>, head: &Head) -> Result<Bytes, NoRequest> {
    let awaited = match head.length {
        Length::Known(0) => return Ok(Bytes::new()),
        Length::Known(length) if length > BODY_LIMIT => {
            return Err(NoRequest::Bad(413, "request body too large"));
        }
        Length::Known(length) => link.inbox.len() < length,
        Length::Chunked => link.inbox.is_empty(),
    };
    if head.expects_continue && awaited {
        link.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    match head.length {
        Length::Known(length) => {
            let missing = length.saturating_sub(link.inbox.len());
            link.inbox.reserve(missing);
            while link.inbox.len() < length {
                link.read().await?;
            }
            Ok(link.inbox.split_to(length).freeze())
        }
        Length::Chunked => chunked(link).await,
    }
}

async fn chunked<S: Socket>(link: &mut Link<S>) -> Result<Bytes, NoRequest> {
    let mut body = BytesMut::new();
    loop {
        let line = line(link).await?;
        let digits = line.split(|&b| b == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(digits).ok();
        let size = size.and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok());
        let size = size.ok_or(NoRequest::Bad(400, "malformed chunk size"))?;
        if size > BODY_LIMIT - body.len() {
            return Err(NoRequest::Bad(413, "request body too large"));
        }
        if size == 0 {
            // Trailers, read and dropped.
            while !self::line(link).await?.is_empty() {}
            return Ok(body.freeze());
        }
        while link.inbox.len() < size + 2 {
            link.read().await?;
        }
        body.extend_from_slice(&link.inbox[..size]);
        if link.inbox[size..size + 2] != *b"\r\n" {
            return Err(NoRequest::Bad(400, "chunk longer than its size"));
        }
        link.inbox.advance(size + 2);
    }
}

/// A line without its CRLF.
async fn line<S: Socket>(link: &mut Link<S>) -> Result<Bytes, NoRequest> {
    loop {
        if let Some(at) = memchr::memchr(b'\n', &link.inbox) {
            let mut line = link.inbox.split_to(at + 1).freeze();
            line.truncate(at - usize::from(at > 0 && line[at - 1] == b'\r'));
            return Ok(line);
        }
        if link.inbox.len() > HEAD_LIMIT {
            return Err(NoRequest::Bad(400, "line too long"));
        }
        link.read().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_read_with_what_the_server_needs() {
        let bytes = b"POST /v1/x?key=abc HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\nrest";
        let (head, length) = parse(bytes, true).unwrap().unwrap();
        assert_eq!((head.route(), length), ("/v1/x", bytes.len() - 4));
        assert_eq!(head.credential.as_deref(), Some("abc"));
        assert!(head.close);
        assert_eq!(head.headers[0], ("Host".into(), "h".into()));
        let bearer = b"GET / HTTP/1.1\r\nauthorization: bearer  sk-1\r\n\r\n";
        let (head, _) = parse(bearer, false).unwrap().unwrap();
        assert_eq!(head.credential.as_deref(), Some("sk-1"));
        assert!(head.headers.is_empty());
    }
}
