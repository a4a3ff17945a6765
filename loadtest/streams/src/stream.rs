//! One connection, and the streams it reads.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tally::Tally;

/// What stands before a stamp: see weir-upstream's `answer/chat.rs`.
const MARK: &[u8] = b" t=";
/// Nanoseconds since 1970, until the year 2286.
const STAMP_DIGITS: usize = 19;
/// What a mark, its stamp or an end may reach over from one read into the next.
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

    /// Sends the request, reads its stream and notes each stamped chunk. Whether the connection can carry another.
    ///
    /// # Errors
    ///
    /// The answer is not a stream of status 200, breaks off, or has another number of stamped chunks.
    pub(crate) async fn stream(
        &mut self,
        request: &[u8],
        chunks: u64,
        tally: &RefCell<Tally>,
    ) -> anyhow::Result<bool> {
        self.bytes.clear();
        let asked = Instant::now();
        self.socket.write_all(request).await.context("asking")?;
        let chunked = self.head().await?;
        let (mut seen, mut done) = (0, false);
        loop {
            let now = unix_ns();
            for sent in self.stamps() {
                let mut tally = tally.borrow_mut();
                if seen == 0 {
                    tally.first_byte.push(micros(asked.elapsed().as_nanos()));
                }
                seen += 1;
                tally
                    .chunk
                    .push(micros(u128::from(now.saturating_sub(sent))));
            }
            done |= memmem::find(&self.bytes, b"[DONE]").is_some();
            if done && chunked && self.bytes.ends_with(b"0\r\n\r\n") {
                break;
            }
            let old = self.bytes.len().saturating_sub(TAIL);
            self.bytes.drain(..old);
            if self.socket.read_buf(&mut self.bytes).await? == 0 {
                ensure!(done && !chunked, "the stream broke off");
                break;
            }
        }
        ensure!(seen == chunks, "{seen} chunks instead of {chunks}");
        tally.borrow_mut().whole += 1;
        Ok(chunked)
    }

    /// Reads the answer's head and leaves what follows it. Whether the body is chunked.
    async fn head(&mut self) -> anyhow::Result<bool> {
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
            ensure!(
                memmem::find(&head, b"content-type: text/event-stream").is_some(),
                "the answer is no stream"
            );
            self.bytes.drain(..end + 4);
            return Ok(memmem::find(&head, b"transfer-encoding: chunked").is_some());
        }
    }

    /// The stamps of all chunks that are here whole, which are taken out of the way.
    fn stamps(&mut self) -> Vec<u64> {
        let (mut found, mut read) = (Vec::new(), 0);
        while let Some(at) = memmem::find(&self.bytes[read..], MARK) {
            let from = read + at + MARK.len();
            let Some(digits) = self.bytes.get(from..from + STAMP_DIGITS) else {
                break;
            };
            if let Some(stamp) = std::str::from_utf8(digits)
                .ok()
                .and_then(|text| text.parse().ok())
            {
                found.push(stamp);
            }
            read = from;
        }
        self.bytes.drain(..read);
        found
    }
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
