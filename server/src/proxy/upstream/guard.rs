//! The connection under awc: sees every byte, swallows interim answers, and lets a connection go back to the pool only
//! after a fully framed exchange with nothing unread.
//!
//! awc asks an idle connection for bytes before it takes it from the pool, and drops it if there are any, an end or an
//! error: that is how a tainted one is kept from the next caller.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    exchange,
    framing::{self, Body, Head},
};

/// Room for one read.
const READ_BYTES: usize = 16 * 1024;

thread_local! {
    /// What all connections of a thread read into. Each keeps what has come and not what may come: thousands of open streams
    /// wait at any time, and one reads.
    static ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A connection that keeps count of its exchanges.
#[derive(Debug)]
pub struct Guard<S> {
    inner: S,
    phase: Phase,
    /// Bytes read and not yet looked at.
    unread: BytesMut,
    /// Bytes of the present answer to hand to awc.
    ready: BytesMut,
}

#[derive(Debug)]
enum Phase {
    /// Between exchanges: any byte now is one that nobody asked for.
    Idle,
    /// A request is under way, its answer's head is not complete.
    Head {
        to_head_request: bool,
    },
    Body(Body),
    /// Never to be used again.
    Tainted,
}

impl<S> Guard<S> {
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            phase: Phase::Idle,
            unread: BytesMut::new(),
            ready: BytesMut::new(),
        }
    }

    /// The connection below.
    pub fn wire(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncRead + Unpin> Guard<S> {
    /// Reads what is there into `unread`. The number of bytes; 0 is the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ROOM.with_borrow_mut(|room| {
            let mut read = ReadBuf::new(room);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
            self.unread.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    /// Between exchanges: pending is good, everything else ends the connection.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut byte = [0; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        let ended = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer));
        self.phase = Phase::Tainted;
        match ended {
            Ok(()) if buffer.filled().is_empty() => Poll::Ready(Ok(())),
            Ok(()) => Poll::Ready(Err(tainted())),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Moves what belongs to the present answer from `unread` to `ready`.
    fn advance(&mut self) -> io::Result<()> {
        loop {
            match &mut self.phase {
                Phase::Head { to_head_request } => {
                    match framing::head(&self.unread, *to_head_request).map_err(refused)? {
                        Head::Partial => return Ok(()),
                        Head::Interim(bytes) => self.unread.advance(bytes),
                        Head::Final {
                            bytes,
                            body,
                            false_length,
                        } => {
                            if let Some(value) = false_length {
                                self.unread[value].fill(b'0');
                            }
                            self.ready.unsplit(self.unread.split_to(bytes));
                            if body == Body::UntilClose {
                                // awc reads a body until the close only for HTTP/1.0: so it is told that version.
                                self.ready[..8].copy_from_slice(b"HTTP/1.0");
                            }
                            self.phase = if body.is_empty() {
                                self.after_exchange()
                            } else {
                                Phase::Body(body)
                            };
                        }
                    }
                }
                Phase::Body(body) => {
                    let (taken, complete) = match body.take(&self.unread) {
                        // The head is good: it is handed over first.
                        Err(_) if !self.ready.is_empty() => return Ok(()),
                        taken => taken.map_err(refused)?,
                    };
                    self.ready.unsplit(self.unread.split_to(taken));
                    if complete {
                        self.phase = self.after_exchange();
                    }
                    return Ok(());
                }
                Phase::Idle | Phase::Tainted => return Ok(()),
            }
        }
    }

    /// An answer is complete: what follows it at once belongs to nobody.
    fn after_exchange(&self) -> Phase {
        if self.unread.is_empty() {
            Phase::Idle
        } else {
            Phase::Tainted
        }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // What came together with an earlier piece may be waiting: bytes that break the framing.
            if !self.unread.is_empty()
                && let Err(error) = self.advance()
            {
                self.phase = Phase::Tainted;
                return Poll::Ready(Err(error));
            }
            if !self.ready.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let filled = ready!(self.poll_fill(cx))?;
            if filled == 0 {
                let ended_by_close = matches!(self.phase, Phase::Body(Body::UntilClose));
                self.phase = Phase::Tainted;
                return Poll::Ready(if ended_by_close {
                    Ok(())
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                });
            }
            exchange::note_answer();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ready.is_empty() {
            match this.phase {
                Phase::Idle => return this.poll_idle(cx),
                Phase::Tainted => return Poll::Ready(Err(tainted())),
                Phase::Head { .. } | Phase::Body(_) => ready!(this.poll_answer(cx))?,
            }
        }
        let bytes = this.ready.len().min(buffer.remaining());
        buffer.put_slice(&this.ready[..bytes]);
        this.ready.advance(bytes);
        if this.ready.is_empty() && this.unread.is_empty() {
            // A connection that waits holds no buffer: there may be many thousands.
            (this.ready, this.unread) = (BytesMut::new(), BytesMut::new());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guard<S> {
    /// Called before the first byte of a request is written.
    fn begin(&mut self, cx: &mut Context<'_>, request: &[u8]) -> io::Result<()> {
        if let Poll::Ready(ended) = self.poll_idle(cx) {
            return Err(ended.err().unwrap_or_else(tainted));
        }
        exchange::note_request();
        self.phase = Phase::Head {
            to_head_request: request.starts_with(b"HEAD "),
        };
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.phase {
            Phase::Tainted => return Poll::Ready(Err(tainted())),
            Phase::Idle if !bytes.is_empty() => this.begin(cx, bytes)?,
            Phase::Idle | Phase::Head { .. } | Phase::Body(_) => {}
        }
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

fn tainted() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        "the connection had bytes that no request asked for",
    )
}

fn refused(error: framing::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn pair() -> (Guard<DuplexStream>, DuplexStream) {
        let (ours, upstream) = duplex(64 * 1024);
        (Guard::new(ours), upstream)
    }

    async fn exchange(
        guard: &mut Guard<DuplexStream>,
        upstream: &mut DuplexStream,
        answer: &[u8],
    ) -> Vec<u8> {
        guard
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("written");
        upstream.write_all(answer).await.expect("answered");
        let mut read = vec![0; 4096];
        let bytes = guard.read(&mut read).await.expect("read");
        read.truncate(bytes);
        read
    }

    fn is_reusable(guard: &mut Guard<DuplexStream>) -> bool {
        let mut byte = [0; 2];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        Pin::new(guard).poll_read(&mut cx, &mut buffer).is_pending()
    }

    #[tokio::test]
    async fn interim_answers_are_swallowed() {
        let (mut guard, mut upstream) = pair();
        let answer = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 204 No\r\n\r\n";
        assert_eq!(
            exchange(&mut guard, &mut upstream, answer).await,
            b"HTTP/1.1 204 No\r\n\r\n"
        );
        assert!(is_reusable(&mut guard));
    }

    #[tokio::test]
    async fn what_arrives_at_once_is_read_at_once() {
        let (mut guard, mut upstream) = pair();
        for size in [0xbb8, 0x100, 0xc00] {
            let answer = format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n{}\r\n0\r\n\r\n",
                "x".repeat(size)
            );
            let read = exchange(&mut guard, &mut upstream, answer.as_bytes()).await;
            assert_eq!(read.len(), answer.len());
            assert!(is_reusable(&mut guard));
            assert_eq!(guard.unread.capacity() + guard.ready.capacity(), 0);
        }
    }

    #[tokio::test]
    async fn bytes_after_an_answer_end_the_connection() {
        let (mut guard, mut upstream) = pair();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret";
        assert!(
            exchange(&mut guard, &mut upstream, answer)
                .await
                .ends_with(b"ok")
        );
        assert!(!is_reusable(&mut guard));
        assert!(guard.write_all(b"GET / HTTP/1.1\r\n\r\n").await.is_err());
    }

    #[tokio::test]
    async fn an_answer_while_idle_ends_the_connection() {
        let (mut guard, mut upstream) = pair();
        exchange(
            &mut guard,
            &mut upstream,
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
        assert!(is_reusable(&mut guard));
        upstream
            .write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            .await
            .expect("written");
        assert!(guard.write_all(b"GET / HTTP/1.1\r\n\r\n").await.is_err());
    }

    #[tokio::test]
    async fn an_answer_cut_short_is_an_error_and_one_ended_by_close_is_not() {
        for (head, whole) in [
            ("content-length: 5\r\n", false),
            ("transfer-encoding: chunked\r\n", false),
            ("", true),
        ] {
            let (mut guard, mut upstream) = pair();
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n2\r\n");
            let read = exchange(&mut guard, &mut upstream, answer.as_bytes()).await;
            assert_eq!(read.starts_with(b"HTTP/1.0"), whole);
            drop(upstream);
            let mut rest = Vec::new();
            assert_eq!(guard.read_to_end(&mut rest).await.is_ok(), whole, "{head}");
            assert!(!is_reusable(&mut guard));
        }
    }

    #[tokio::test]
    async fn what_came_before_a_broken_chunk_is_handed_over() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for good in ["", "2\r\nok\r\n", "2\r\no"] {
            let (mut guard, mut upstream) = pair();
            let answer = format!("{head}{good}\u{1}\u{1}\r\n");
            let read = exchange(&mut guard, &mut upstream, answer.as_bytes()).await;
            let good = format!("{head}{good}");
            assert!(read.starts_with(good.as_bytes()), "{good}");
            let mut rest = Vec::new();
            let error = guard.read_to_end(&mut rest).await.expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{good}");
            assert!(!is_reusable(&mut guard));
        }
    }

    #[tokio::test]
    async fn a_length_that_is_about_no_body_is_not_waited_for() {
        let (mut guard, mut upstream) = pair();
        let answer = b"HTTP/1.1 304 Not Modified\r\ncontent-length: 512\r\n\r\n";
        let read = exchange(&mut guard, &mut upstream, answer).await;
        assert_eq!(
            read,
            b"HTTP/1.1 304 Not Modified\r\ncontent-length: 000\r\n\r\n"
        );
        assert!(is_reusable(&mut guard));
    }
}
