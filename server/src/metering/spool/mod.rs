//! The spool: usage events on local disk until a durable transaction has booked them.
//!
//! Requests append (`append`: one short write, no sync); a thread of the spool's own syncs and closes segments;
//! `jobs::write_usage` waits for closed ones, reads, books and deletes them. Whatever a start finds from before is
//! closed and waits likewise. Damage is skipped and counted, never a stop, and never deleted: such a file ends in
//! `set-aside/`. Booking twice is harmless, because events are booked by id; so nothing here remembers what was booked.

mod config;
mod segment;
mod segments;
mod syncer;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    UsageEvent,
    directory::{self, Directory},
    mac::MacKey,
};
use segment::Record;
use segments::Segments;
use syncer::Syncer;

pub use config::{Config, OnFull};
pub use segment::Events;

/// Usage events on local disk. Any thread may append.
pub struct Spool {
    segments: Arc<Segments>,
    syncer: Syncer,
}

/// A spool, and the segments that were there before: those of a crash, or not yet booked at the last stop.
pub struct Opened {
    pub spool: Spool,
    pub segments: Vec<ClosedSegment>,
}

/// A segment that nothing is appended to any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedSegment {
    pub serial: u64,
    pub bytes: u64,
    /// Records in it; of a segment from before the start, by a look at their lengths.
    pub events: u64,
}

/// What metrics and health say of the spool. The counters begin at the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Events that wait to be booked.
    pub pending_events: u64,
    /// Bytes of all segments.
    pub pending_bytes: u64,
    pub closed_segments: u64,
    /// Whether the last append found no room.
    pub full: bool,
    /// Files that were not this process's own, or damaged, and were moved away or left untouched.
    pub set_aside: u64,
    /// Records that were damaged, forged or of another place.
    pub skipped: u64,
    /// Segments that ended within a record.
    pub torn: u64,
    /// Times that the disk did not take what was to be synced.
    pub sync_failures: u64,
}

/// Why the spool cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No room: the disk, a quota of the system, or `max_bytes`. Booking makes room.
    #[error("the spool is full")]
    Full,
    #[error(
        "the usage event does not fit into a record of {} bytes",
        segment::MAX_EVENT_BYTES
    )]
    TooLarge,
    #[error("{key} {reason}")]
    Setting {
        key: &'static str,
        reason: &'static str,
    },
    #[error("{} holds no usage events that this installation wrote", path.display())]
    NotASegment { path: PathBuf },
    #[error(transparent)]
    Directory(#[from] directory::Error),
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl Spool {
    /// Opens a directory for this process alone, and finds what waits in it. Fails if another process has it.
    pub fn open(directory: &Path, key: &[u8; 32], config: Config) -> Result<Opened, Error> {
        config.check()?;
        let owned = Directory::open(directory)?;
        let segments = Arc::new(Segments::find(
            owned,
            MacKey::new(key).bound(b"spool"),
            config,
        )?);
        let syncer = Syncer::start(Arc::clone(&segments)).map_err(|source| Error::Io {
            doing: "start the thread that syncs",
            path: directory.to_owned(),
            source,
        })?;
        let spool = Self { segments, syncer };
        let segments = spool.closed_segments();
        Ok(Opened { spool, segments })
    }

    /// Adds an event; it survives the process at once, and a power cut after the next sync. Fails with
    /// [`Error::Full`] where there is no room, and then the event is not in the spool.
    pub fn append(&self, event: &UsageEvent) -> Result<(), Error> {
        let record = Record::of(event).ok_or(Error::TooLarge)?;
        self.segments.append(record, None)
    }

    /// As [`Spool::append`], and remembers the event for [`Spool::remembered`], within bounds.
    pub fn append_shared(&self, event: &Arc<UsageEvent>) -> Result<(), Error> {
        let record = Record::of(event).ok_or(Error::TooLarge)?;
        self.segments.append(record, Some(event))
    }

    /// Whether a new call may begin: there is room for its event, and for those of the calls under way.
    pub fn has_room(&self) -> bool {
        self.segments.has_room()
    }

    /// Whether a quarter of what it may take is taken, or the disk took no more: booking is not to wait any longer.
    pub fn is_filling(&self) -> bool {
        self.segments.is_filling()
    }

    /// Closes the current segment, if there is anything in it.
    pub fn seal(&self) {
        self.segments.close(|_| true);
    }

    /// Syncs all that was appended so far. Blocks for as long as the disk takes.
    pub fn sync(&self) -> Result<(), Error> {
        self.segments.sync()
    }

    /// Waits until a segment is closed; returns at once if one was since the last wait. For one waiter.
    pub async fn segment_closed(&self) {
        self.segments.closed.notified().await;
    }

    /// The segments that wait to be booked, oldest first.
    pub fn closed_segments(&self) -> Vec<ClosedSegment> {
        self.segments.closed_segments()
    }

    /// The events of a closed segment whose file need not be read, since this process has just written it. Given once:
    /// whoever fails with them reads the file.
    pub fn remembered(&self, segment: &ClosedSegment) -> Option<Vec<Arc<UsageEvent>>> {
        self.segments.take_kept(segment)
    }

    /// Reads a closed segment whole. A file that cannot be trusted or has vanished reads as empty and waits no more; it
    /// is counted as set aside. Fails if the disk does.
    pub fn read(&self, segment: &ClosedSegment) -> Result<Events, Error> {
        self.segments.read(segment)
    }

    /// Deletes a segment, after all of it has been booked. One that was found damaged is set aside instead.
    pub fn delete(&self, segment: &ClosedSegment) -> Result<(), Error> {
        self.segments.delete(segment)
    }

    /// Events that wait to be booked.
    pub fn pending_events(&self) -> u64 {
        self.figures().pending_events
    }

    /// Bytes of all segments.
    pub fn pending_bytes(&self) -> u64 {
        self.figures().pending_bytes
    }

    pub fn figures(&self) -> Figures {
        self.segments.figures()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.syncer.stop();
        self.segments.remove_empty();
    }
}

/// Reads a segment from anywhere, for `weir usage replay`. `key` is that of the installation that wrote it. Fails if the
/// file cannot be read or its header is not by that key; damage inside is counted, as in [`Spool::read`].
pub fn read_file(path: &Path, key: &[u8; 32]) -> Result<Events, Error> {
    let failed = |source| Error::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    };
    let not_a_segment = || Error::NotASegment {
        path: path.to_owned(),
    };
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(not_a_segment());
    }
    let bytes = segments::read_whole(&File::open(path).map_err(failed)?)
        .map_err(failed)?
        .ok_or_else(not_a_segment)?;
    read_bytes(&bytes, key).ok_or_else(not_a_segment)
}

/// Reads a segment's bytes; `None`: their header is not by the installation that has the key.
pub fn read_bytes(bytes: &[u8], key: &[u8; 32]) -> Option<Events> {
    segment::read(bytes, &MacKey::new(key).bound(b"spool")).ok()
}
