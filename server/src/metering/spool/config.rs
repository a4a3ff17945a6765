//! The settings of the spool and of the recorder before it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_api_types::span::Span;

use super::{Error, segment};

/// How usage events are kept until they are booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often what was written is synced to the disk: what a power cut may cost. A crash of the process costs nothing.
    pub sync_every: Span,
    /// Bytes at which a segment is closed and the next one begun.
    pub segment_bytes: u64,
    /// The age at which a segment that is not empty is closed, so that its events can be booked and the file deleted.
    /// While 64 wait already, only `segment_bytes` closes one.
    pub segment_age: Span,
    /// The most bytes that all segments together may take. The last eighth, at most 16 MiB, is kept for calls that are
    /// under way: new ones are refused before.
    pub max_bytes: u64,
    /// What becomes of new calls while the spool, or its disk, is full.
    pub on_full: OnFull,
    /// Under `on_full = "go_on"`: events held in memory at which new calls are refused all the same.
    pub held_events: usize,
}

/// What becomes of new calls while the spool is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// They get 503 `spool_full`.
    #[default]
    Refuse,
    /// They are served. Their events wait in memory for room: a crash then leaves what the in-flight record tells.
    GoOn,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sync_every: Span(Duration::from_millis(100)),
            segment_bytes: 16 << 20,
            segment_age: Span(Duration::from_secs(1)),
            max_bytes: 4 << 30,
            on_full: OnFull::Refuse,
            held_events: 100_000,
        }
    }
}

impl Config {
    /// Says which setting cannot be, by its key.
    pub fn check(&self) -> Result<(), Error> {
        let bad = |key, reason| Err(Error::Setting { key, reason });
        if self.sync_every.0.is_zero() {
            return bad("sync_every", "must be at least 1ms");
        }
        if self.segment_age.0.is_zero() {
            return bad("segment_age", "must be at least 1ms");
        }
        if self.segment_bytes > segment::MAX_FILE_BYTES {
            return bad("segment_bytes", "must be at most 1 GiB");
        }
        if self.max_bytes < segment::MAX_EVENT_BYTES as u64 {
            return bad("max_bytes", "must be at least 256 KiB");
        }
        Ok(())
    }

    /// Bytes of the spool from which on new calls are refused.
    pub(super) fn refuse_at_bytes(&self) -> u64 {
        self.max_bytes - (self.max_bytes / 8).min(16 << 20)
    }
}
