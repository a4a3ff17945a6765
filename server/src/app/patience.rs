//! A deadline for every request head of a connection: actix times the first alone, and a second that drips would hold
//! its connection for ever (threats.md, H4).
//!
//! [`Patient`] stands between the socket and actix's HTTP/1 service. [`count`], around the application, tells it when a
//! request is being answered: then whatever arrives is a body, or waits its turn, and the body's own deadlines hold.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    Error,
    body::{BodySize, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    web::Bytes,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    proxy::Peer,
    telemetry::metrics::{InFlight, Registry},
};

/// How long a caller may take between requests.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From a head's first byte to its last.
    pub head: Duration,
    /// Until the first byte comes; actix keeps this one too, but only while it holds nothing of a next head.
    pub idle: Duration,
}

/// Requests of one connection.
#[derive(Debug, Clone, Default)]
pub struct Requests(Rc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Ever begun.
    begun: Cell<u64>,
    /// Of these, not yet answered whole.
    open: Cell<u64>,
}

/// A request that is being answered.
#[derive(Debug)]
struct Open(Requests);

impl Requests {
    fn open(&self) -> Open {
        let Counts { begun, open } = &*self.0;
        begun.set(begun.get() + 1);
        open.set(open.get() + 1);
        Open(self.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let open = &self.0.0.open;
        open.set(open.get() - 1);
    }
}

/// Counts a request until its answer's body is done.
pub async fn count<B: MessageBody + 'static>(
    request: ServiceRequest,
    answer: impl AsyncFnOnce(ServiceRequest) -> Result<ServiceResponse<B>, Error>,
) -> Result<ServiceResponse<Counted<B>>, Error> {
    let open = request
        .request()
        .conn_data::<Requests>()
        .map(Requests::open);
    let answered = answer(request).await?;
    Ok(answered.map_body(|_, body| Counted {
        body: Box::pin(body),
        _open: open,
    }))
}

/// The body of an answer.
pub struct Counted<B> {
    body: Pin<Box<B>>,
    _open: Option<Open>,
}

impl<B: MessageBody> MessageBody for Counted<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.body.as_mut().poll_next(cx)
    }
}

/// A connection whose caller does not have for ever.
pub struct Patient<S> {
    inner: S,
    deadlines: Deadlines,
    requests: Requests,
    /// How many requests had begun when the deadline was set.
    seen: u64,
    deadline: Option<Instant>,
    /// Whether the deadline is that of a head.
    in_head: bool,
    /// Set once and moved only when it comes too early or would come too late: deadlines come and go with each request.
    timer: Option<Pin<Box<Sleep>>>,
    metrics: Arc<Registry>,
    peer: Peer,
    _counted: InFlight,
}

impl<S> Patient<S> {
    pub fn new(inner: S, deadlines: Deadlines, metrics: &Arc<Registry>) -> Self {
        Self {
            inner,
            deadlines,
            requests: Requests::default(),
            seen: 0,
            deadline: None,
            in_head: false,
            timer: None,
            metrics: Arc::clone(metrics),
            peer: Peer::default(),
            _counted: metrics.connection(),
        }
    }

    /// For the extensions of the connection, where the relay of an answer finds it.
    pub fn peer(&self) -> Peer {
        self.peer.clone()
    }

    /// For the extensions of the connection, where [`count`] finds it.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    fn forget(&mut self) {
        (self.deadline, self.in_head) = (None, false);
    }

    fn allow(&mut self, after: Duration) -> Instant {
        *self.deadline.insert(Instant::now() + after)
    }

    /// Ready when the caller's time is over.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let begun = self.requests.0.begun.get();
        if begun != self.seen {
            self.seen = begun;
            self.forget();
        }
        // The first head is actix's to time, and it answers 408.
        if begun == 0 || self.requests.0.open.get() > 0 {
            self.forget();
            return Poll::Pending;
        }
        let deadline = match self.deadline {
            Some(deadline) => deadline,
            None => self.allow(self.deadlines.idle + self.deadlines.head),
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() == deadline {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline);
        timer.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_over(cx).is_ready() {
            if self.in_head {
                self.metrics.bad_head("slow");
            }
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if self.deadline.is_some() && !self.in_head && buffer.filled().len() > before {
            self.in_head = true;
            let head = self.deadlines.head;
            self.allow(head);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: 'static> Patient<S> {
    /// What came of writing, unless the caller takes nothing and the connection is to end.
    fn unless_over<T>(
        &self,
        written: Poll<io::Result<T>>,
        cx: &Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_pending() && self.peer.is_to_end(&self.inner, cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        written
    }
}

impl<S: AsyncWrite + Unpin + 'static> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        let written = ready!(self.unless_over(written, cx))?;
        // Before the first request has begun nobody but actix answers.
        if self.requests.0.begun.get() == 0 && bytes.starts_with(b"HTTP/1.1 408") {
            self.metrics.bad_head("slow");
        }
        // What is left of an answer is still on its way: idleness begins after it.
        if !self.in_head {
            self.deadline = None;
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.unless_over(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        let written = ready!(self.unless_over(written, cx))?;
        if !self.in_head {
            self.deadline = None;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
