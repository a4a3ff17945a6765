//! What one call upstream and the connection under it tell each other.
//!
//! awc hands a request to a pooled or a new connection without saying which. The call is polled inside a task-local
//! scope, and so are the connector and the connection it uses: that is where they leave their notes.

use std::{cell::Cell, rc::Rc, time::Duration};

tokio::task_local! {
    static CURRENT: Rc<Exchange>;
}

/// Notes of one call.
#[derive(Debug)]
pub struct Exchange {
    /// How long a new connection may take, TLS included.
    pub connect_timeout: Duration,
    /// Set when the request goes out.
    reached: Rc<Cell<bool>>,
    connected: Cell<bool>,
    answered: Cell<bool>,
}

impl Exchange {
    pub fn new(connect_timeout: Duration, reached: &Rc<Cell<bool>>) -> Rc<Self> {
        Rc::new(Self {
            connect_timeout,
            reached: Rc::clone(reached),
            connected: Cell::new(false),
            answered: Cell::new(false),
        })
    }

    /// Runs the call with its notes at hand.
    pub async fn during<F: Future>(self: &Rc<Self>, call: F) -> F::Output {
        CURRENT.scope(Rc::clone(self), call).await
    }

    /// Whether the call went over a connection that had served another one before.
    pub fn reused(&self) -> bool {
        !self.connected.get()
    }

    /// Whether any byte of an answer arrived.
    pub fn answered(&self) -> bool {
        self.answered.get()
    }
}

/// How long the present call lets a new connection take.
pub fn connect_timeout() -> Option<Duration> {
    CURRENT.try_with(|exchange| exchange.connect_timeout).ok()
}

/// The present call got a new connection.
pub fn note_connected() {
    note(|exchange| exchange.connected.set(true));
}

/// The present call's request goes out.
pub fn note_request() {
    note(|exchange| exchange.reached.set(true));
}

/// The present call got a byte of an answer.
pub fn note_answer() {
    note(|exchange| exchange.answered.set(true));
}

/// Outside of a call, such as while a body is read, there is nobody to tell.
fn note(tell: impl FnOnce(&Exchange)) {
    if CURRENT.try_with(|exchange| tell(exchange)).is_err() {
        tracing::trace!("outside of a call");
    }
}
