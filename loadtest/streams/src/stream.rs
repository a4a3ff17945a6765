//! One connection, and the streams it reads.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::chunked::Chunked;
use crate::tally::Tally;

/// What stands before a stamp: see weir-upstream's `answer/chat.rs`.
const MARK: &[u8] = b" t=";
/// Nanoseconds since 1970, until the year 2286.
const STAMP_DIGITS: usize = 19;
/// What a mark or the end of the stream may reach over from one read into the next.
const TAIL: usize = 64;

/// A connection that carries one stream after another.
pub(crate) struct Reader {
    socket: TcpStream,
    bytes: Vec<u8>,
}

impl Reader {
    /// Connects.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await.context("connecting")?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            bytes: Vec::with_capacity(8 * 1024),
        })
    }

    /// Sends the request, reads its stream and notes each stamped chunk. The connection can carry another then.
    ///
    /// # Errors
    ///
    /// The answer is not a chunked stream of status 200, breaks off, or has another number of stamped chunks.
    pub(crate) async fn stream(
        &mut self,
        request: &[u8],
        chunks: u64,
        tally: &RefCell<Tally>,
    ) -> anyhow::Result<()> {
        self.bytes.clear();
        let asked = Instant::now();
        self.socket.write_all(request).await.context("asking")?;
        self.head().await?;
        let (mut framing, mut body) = (Chunked::default(), Vec::new());
        let (mut seen, mut done, mut ended) = (0, false, false);
        loop {
            let now = unix_ns();
            ended |= framing.feed(&self.bytes, &mut body)?;
            self.bytes.clear();
            for sent in stamps(&mut body) {
                let mut tally = tally.borrow_mut();
                if seen == 0 {
                    tally.first_byte.push(micros(asked.elapsed().as_nanos()));
                }
                seen += 1;
                tally
                    .chunk
                    .push(micros(u128::from(now.saturating_sub(sent))));
            }
            done |= memmem::find(&body, b"[DONE]").is_some();
            if ended {
                break;
            }
            let old = body.len().saturating_sub(TAIL);
            body.drain(..old);
            let read = self.socket.read_buf(&mut self.bytes).await?;
            ensure!(read > 0, "the stream broke off");
        }
        ensure!(done, "the stream has no end marker");
        ensure!(seen == chunks, "{seen} chunks instead of {chunks}");
        tally.borrow_mut().whole += 1;
        Ok(())
    }

    /// Reads the answer's head and leaves what follows it.
    async fn head(&mut self) -> anyhow::Result<()> {
        loop {
            ensure!(
                self.socket.read_buf(&mut self.bytes).await? > 0,
                "closed without an answer"
            );
            let Some(end) = memmem::find(&self.bytes, b"\r\n\r\n") else {
                continue;
            };
            if !self.bytes.starts_with(b"HTTP/1.1 200 ") {
                bail!("{}", String::from_utf8_lossy(&self.bytes));
            }
            let head = self.bytes[..end].to_ascii_lowercase();
            let has = |line: &[u8]| memmem::find(&head, line).is_some();
            ensure!(
                has(b"content-type: text/event-stream") && has(b"transfer-encoding: chunked"),
                "the answer is no stream"
            );
            self.bytes.drain(..end + 4);
            return Ok(());
        }
    }
}

/// The stamps of all chunks that are there whole, which are taken out of the way.
fn stamps(body: &mut Vec<u8>) -> Vec<u64> {
    let (mut found, mut read) = (Vec::new(), 0);
    while let Some(at) = memmem::find(&body[read..], MARK) {
        let from = read + at + MARK.len();
        let Some(digits) = body.get(from..from + STAMP_DIGITS) else {
            break;
        };
        let stamp = std::str::from_utf8(digits)
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        found.extend(stamp);
        read = from;
    }
    body.drain(..read);
    found
}

/// The wall clock, as weir-upstream stamps it.
fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

fn micros(nanos: u128) -> u32 {
    u32::try_from(nanos / 1000).unwrap_or(u32::MAX)
}
