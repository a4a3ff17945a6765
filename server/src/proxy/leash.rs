//! Ends an answer that must end although its caller does not take it.
//!
//! A relay that has a reason to end says so in the stream itself; but it is asked for the next piece only when the caller
//! has taken the last, and a caller who stops reading would keep a revoked key's upstream call open for ever. So a task
//! beside the answer waits for the same reason, gives the relay a moment to deliver the error, and then drops it.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_web::rt;
use bytes::Bytes;
use futures_util::Stream;

use super::{ending::Ending, relay::Cut};

/// An answer's body, on a leash.
pub struct Leash<S> {
    held: Rc<RefCell<Held<S>>>,
    holder: rt::task::JoinHandle<()>,
}

struct Held<S> {
    /// Empty once the leash has been drawn.
    body: Option<Pin<Box<S>>>,
    /// Who waits for the next piece: the body that would wake it may be gone.
    waiting: Option<Waker>,
}

impl<S: Stream<Item = Result<Bytes, Cut>> + 'static> Leash<S> {
    /// Holds a body until there is a reason to end it, and `grace` longer. `cut` is told the reason's code before the
    /// body is dropped.
    pub fn put_on(
        body: S,
        ending: Ending,
        grace: Duration,
        cut: Rc<Cell<Option<&'static str>>>,
    ) -> Self {
        let held = Rc::new(RefCell::new(Held {
            body: Some(Box::pin(body)),
            waiting: None,
        }));
        let holder = rt::spawn(hold(Rc::downgrade(&held), ending, grace, cut));
        Self { held, holder }
    }
}

async fn hold<S>(
    held: Weak<RefCell<Held<S>>>,
    mut ending: Ending,
    grace: Duration,
    cut: Rc<Cell<Option<&'static str>>>,
) {
    let refusal = ending.reason().await;
    tokio::time::sleep(grace).await;
    let Some(held) = held.upgrade() else { return };
    cut.set(Some(refusal.code()));
    // Taken out first: what the drop does must not meet a borrowed cell.
    let (body, waiting) = {
        let mut held = held.borrow_mut();
        (held.body.take(), held.waiting.take())
    };
    drop(body);
    if let Some(waiting) = waiting {
        waiting.wake();
    }
}

impl<S: Stream<Item = Result<Bytes, Cut>>> Stream for Leash<S> {
    type Item = Result<Bytes, Cut>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let held = &mut *self.held.borrow_mut();
        let Some(body) = &mut held.body else {
            return Poll::Ready(Some(Err(Cut)));
        };
        let next = body.as_mut().poll_next(context);
        if next.is_pending() {
            match &mut held.waiting {
                Some(waiting) => waiting.clone_from(context.waker()),
                None => held.waiting = Some(context.waker().clone()),
            }
        }
        next
    }
}

impl<S> Drop for Leash<S> {
    fn drop(&mut self) {
        self.holder.abort();
    }
}
