//! One connection's socket, which is read while it is written.
//!
//! That is the point of it: a client that leaves during an answer, a delay or a hang is noticed
//! when its FIN or RST arrives, not at the next write. What is read meanwhile waits in `inbox` for
//! the next request.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// More unread bytes than this are left in the kernel while an answer is written.
const AHEAD: usize = 1 << 20;

/// The client's side of the connection is closed, by FIN, RST or error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left;

/// A byte stream over TCP.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// The TCP connection underneath.
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

#[cfg(feature = "tls")]
impl Socket for tokio_rustls::server::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A socket and what has been read from it but not used.
#[derive(Debug)]
pub(crate) struct Link<S> {
    socket: S,
    pub(crate) inbox: BytesMut,
}

impl<S: Socket> Link<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self {
            socket,
            inbox: BytesMut::with_capacity(8 << 10),
        }
    }

    /// Reads more into the inbox.
    pub(crate) async fn read(&mut self) -> Result<(), Left> {
        self.inbox.reserve(4 << 10);
        match self.socket.read_buf(&mut self.inbox).await {
            Ok(0) | Err(_) => Err(Left),
            Ok(_) => Ok(()),
        }
    }

    /// Writes all of it, unless the client leaves.
    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> Result<(), Left> {
        poll_fn(|context| {
            self.poll_left(context)?;
            while !bytes.is_empty() {
                match Pin::new(&mut self.socket).poll_write(context, bytes) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Left)),
                    Poll::Ready(Ok(written)) => bytes = &bytes[written..],
                    Poll::Pending => return Poll::Pending,
                }
            }
            Pin::new(&mut self.socket)
                .poll_flush(context)
                .map_err(|_| Left)
        })
        .await
    }

    /// Waits, unless the client leaves.
    pub(crate) async fn wait(&mut self, duration: Duration) -> Result<(), Left> {
        match tokio::time::timeout(duration, self.until_left()).await {
            Ok(left) => Err(left),
            Err(_) => Ok(()),
        }
    }

    /// Waits until the client leaves.
    pub(crate) async fn until_left(&mut self) -> Left {
        poll_fn(|context| match self.poll_left(context) {
            Err(left) => Poll::Ready(left),
            Ok(()) => Poll::Pending,
        })
        .await
    }

    /// Ends with a FIN after all that was written.
    pub(crate) async fn close(mut self) {
        drop(self.socket.shutdown().await);
    }

    /// Ends with a RST.
    pub(crate) fn reset(self) {
        // The socket closes when it is dropped; without time to linger that is a reset.
        drop(self.socket.tcp().set_zero_linger());
    }

    /// Reads what there is, without waiting.
    fn poll_left(&mut self, context: &mut Context<'_>) -> Result<(), Left> {
        while self.inbox.len() < AHEAD {
            let mut space = [0; 4 << 10];
            let mut space = ReadBuf::new(&mut space);
            match Pin::new(&mut self.socket).poll_read(context, &mut space) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if !space.filled().is_empty() => {
                    self.inbox.extend_from_slice(space.filled());
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(_) => return Err(Left),
            }
        }
        Ok(())
    }
}
