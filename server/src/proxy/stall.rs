//! Notices what a caller who takes nothing would hide.
//!
//! actix asks a body for its next piece only once the former has gone out. While a caller does not read, nobody looks at
//! the attempt's deadline, nor at the caller's FIN: its upstream call would be held for as long as the caller likes. So
//! each relay that is under way is looked at twice a second, from outside. Of one that stands still the connection's own task
//! is woken, and what stands between it and actix asks [`Peer::is_to_end`]: a connection whose caller has left, or whose time
//! is over, fails; then actix drops the body, and with it the call.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    mem::MaybeUninit,
    rc::Rc,
    task::{Context, Waker},
    time::Duration,
};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::rt::{self, net::TcpStream};
use socket2::SockRef;
use tokio::time::{Instant, sleep};

/// Half of what is promised for the end of a call whose caller has left.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A caller's connection, seen from beside: no file of its own.
#[derive(Debug, Clone, Default)]
pub struct Peer(Rc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    look: Cell<Option<Look>>,
    /// The connection's task, while it waits for the caller to take something.
    waits: RefCell<Option<Waker>>,
}

/// What a connection is woken for.
#[derive(Debug, Clone, Copy)]
enum Look {
    /// To see whether its caller has left.
    Left,
    /// Its time is over.
    Over,
}

impl Peer {
    /// Whether this connection, whose caller takes nothing, is to end. It is woken when that is to be looked at again.
    pub fn is_to_end(&self, io: &dyn Any, cx: &Context<'_>) -> bool {
        self.0.waits.replace(Some(cx.waker().clone()));
        match self.0.look.take() {
            None => false,
            Some(Look::Left) => has_left(io),
            Some(Look::Over) => true,
        }
    }

    fn wake(&self, look: Look) {
        self.0.look.set(Some(look));
        if let Some(waker) = self.0.waits.take() {
            waker.wake();
        }
    }
}

/// Whether the caller has closed its side. Nothing blocks here, since the connection does not.
fn has_left(io: &dyn Any) -> bool {
    let plain = io.downcast_ref::<TcpStream>();
    let tcp = plain.or_else(|| {
        let tls = io.downcast_ref::<TlsStream<TcpStream>>()?;
        Some(tls.get_ref().0)
    });
    let Some(tcp) = tcp else {
        tracing::warn!("a caller's connection is of no known kind");
        return false;
    };
    matches!(SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]), Ok(0))
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
        if stands {
            let is_over = Instant::now() >= deadline;
            peer.wake(if is_over { Look::Over } else { Look::Left });
        }
    }
}
