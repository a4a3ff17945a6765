//! Who waits for what is to be booked: booking gives way to calls, but not while somebody waits for it.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

/// How many wait.
#[derive(Default)]
pub struct Awaited {
    count: AtomicUsize,
    came: Notify,
}

/// That one of them waits, until it is dropped.
pub struct Waiting<'a>(&'a Awaited);

impl Awaited {
    pub fn wait(&self) -> Waiting<'_> {
        self.count.fetch_add(1, Relaxed);
        self.came.notify_one();
        Waiting(self)
    }

    pub fn has_some(&self) -> bool {
        self.count.load(Relaxed) > 0
    }

    /// Waits until one more comes.
    pub async fn one_more(&self) {
        self.came.notified().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Relaxed);
    }
}
