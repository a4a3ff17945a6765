//! Notices what a caller who takes nothing would hide.
//!
//! actix asks a body for its next piece only once the former has gone out. While a caller does not read, nobody looks at
//! the attempt's deadline, nor at the caller's FIN: its upstream call would be held for as long as the caller likes. So
//! each relay that is under way is looked at twice a second, from outside, and the connection of one that stands still
//! although its caller has left or its time is over is shut: then actix drops the body, and with it the call.

use std::{
    any::Any,
    cell::Cell,
    net::{Shutdown, TcpStream},
    os::fd::AsFd as _,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::{dev::Extensions, rt};
use tokio::time::{Instant, sleep};

/// Half of what is promised for the end of a call whose caller has left.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A caller's connection, seen from beside.
#[derive(Debug, Clone)]
pub struct Peer(Arc<TcpStream>);

impl Peer {
    /// Keeps a handle of a connection that was accepted, for the requests that come over it.
    pub fn note(io: &dyn Any, connection: &mut Extensions) {
        let plain = io.downcast_ref::<rt::net::TcpStream>();
        let tcp = plain.or_else(|| {
            let tls = io.downcast_ref::<TlsStream<rt::net::TcpStream>>()?;
            Some(tls.get_ref().0)
        });
        let handle = tcp.map(|tcp| tcp.as_fd().try_clone_to_owned());
        match handle {
            Some(Ok(handle)) => {
                connection.insert(Self(Arc::new(handle.into())));
            }
            // Out of files, most likely: the listener says so in its own line, twice a second and not for each caller.
            Some(Err(error)) => tracing::debug!(%error, "a caller's connection cannot be watched"),
            None => tracing::warn!("a caller's connection is of no known kind"),
        }
    }

    /// Whether the caller has closed its side. The handle does not block, since the connection does not.
    fn has_left(&self) -> bool {
        matches!(self.0.peek(&mut [0]), Ok(0))
    }

    fn shut(&self) {
        if let Err(error) = self.0.shutdown(Shutdown::Both) {
            tracing::debug!(%error, "a caller's connection had ended already");
        }
    }
}

/// Since when a relay waits for its caller to take what it was given.
#[derive(Debug)]
pub struct Stall {
    since: Rc<Cell<Option<Instant>>>,
    watch: Option<rt::task::JoinHandle<()>>,
}

impl Stall {
    /// Begins to look at a relay, until this is dropped.
    pub fn watched(peer: Option<Peer>, deadline: Instant) -> Self {
        let since = Rc::new(Cell::new(None));
        let watch = peer.map(|peer| rt::spawn(watch(Rc::clone(&since), peer, deadline)));
        Self { since, watch }
    }

    /// The caller wants the next piece.
    pub fn is_asked(&self) {
        self.since.set(None);
    }

    /// The caller was given one.
    pub fn has_given(&self) {
        self.since.set(Some(Instant::now()));
    }
}

/// The handle keeps the connection open: what a caller is to see as its end is not seen before the watch is over.
impl Drop for Stall {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

async fn watch(since: Rc<Cell<Option<Instant>>>, peer: Peer, deadline: Instant) {
    loop {
        sleep(LOOK_EVERY).await;
        let stands = since
            .get()
            .is_some_and(|since| since.elapsed() >= LOOK_EVERY / 2);
        if stands && (peer.has_left() || Instant::now() >= deadline) {
            return peer.shut();
        }
    }
}
