//! How the jobs are, for `/health` and the metrics: plain figures that anyone may read at any time.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;

use crate::clock::now_ms;

/// Figures of the jobs; the counters begin at the start.
#[derive(Debug, Default)]
pub struct Health {
    /// Whether the configuration could be read at the last try; false before the first.
    pub store_up: AtomicBool,
    /// Whether the last try to book usage failed.
    usage_store_down: AtomicBool,
    /// When the picture was last known to be the present one, Unix milliseconds; 0 before the first.
    looked_ms: AtomicI64,
    /// Entries that the last full load, and deltas since, left out because a row cannot be read.
    pub broken_entries: AtomicU64,
    /// Pictures that were put in place.
    pub catalog_swaps: AtomicU64,
    /// Events that were booked.
    pub booked_events: AtomicU64,
    /// Events that had been booked before: after a crash, and at a replay.
    pub duplicate_events: AtomicU64,
    /// Events that no table takes: a person should look at `unbookable.jsonl`.
    pub unbookable_events: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Health {
    /// For how long nobody has known whether the picture is the present one; `None` before the first.
    pub fn catalog_lag(&self) -> Option<Duration> {
        match self.looked_ms.load(Relaxed) {
            0 => None,
            looked_ms => Some(Duration::from_millis(
                now_ms().saturating_sub(looked_ms).max(0) as u64,
            )),
        }
    }

    /// Whether usage could be booked at the last try.
    pub fn usage_store_up(&self) -> bool {
        !self.usage_store_down.load(Relaxed)
    }

    /// What a store said when it last failed; `None` while both are well.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    pub(super) fn looked(&self) {
        self.looked_ms.store(now_ms(), Relaxed);
        self.store_up.store(true, Relaxed);
        if self.usage_store_up() {
            *self.last_error.lock() = None;
        }
    }

    pub(super) fn look_failed(&self, error: &str) {
        self.store_up.store(false, Relaxed);
        *self.last_error.lock() = Some(error.to_owned());
    }

    pub(super) fn booked(&self, inserted: usize, duplicates: usize) {
        self.booked_events.fetch_add(inserted as u64, Relaxed);
        self.duplicate_events.fetch_add(duplicates as u64, Relaxed);
        self.usage_store_down.store(false, Relaxed);
        if self.store_up.load(Relaxed) {
            *self.last_error.lock() = None;
        }
    }

    pub(super) fn booking_failed(&self, error: &str) {
        self.usage_store_down.store(true, Relaxed);
        *self.last_error.lock() = Some(error.to_owned());
    }
}
