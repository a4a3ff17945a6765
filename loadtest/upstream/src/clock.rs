//! One clock for bill and stamps: monotonic, but counted from the Unix epoch.
//!
//! The offset is taken once, at start. So two readings never go backwards, and a load generator in
//! another process can still compare them with its own wall clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock anchored to the wall clock at its making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    start_unix_ns: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: Instant::now(),
            start_unix_ns: since.as_nanos() as u64,
        }
    }

    /// Nanoseconds since the Unix epoch.
    pub(crate) fn now_ns(&self) -> u64 {
        self.start_unix_ns + self.start.elapsed().as_nanos() as u64
    }

    /// Seconds since the Unix epoch, for `created` fields.
    pub(crate) fn now_s(&self) -> u64 {
        self.now_ns() / 1_000_000_000
    }

    /// The `Instant` of a reading of this clock.
    pub(crate) fn instant(&self, unix_ns: u64) -> Instant {
        self.start + Duration::from_nanos(unix_ns.saturating_sub(self.start_unix_ns))
    }

    /// When the clock was made; distinguishes the ids of two vendors.
    pub(crate) fn start_ns(&self) -> u64 {
        self.start_unix_ns
    }
}
