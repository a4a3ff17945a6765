//! Which segments there are, and what becomes of each.
//!
//! A segment is current, then closed, then gone: deleted once it was booked, or set aside if it was found damaged. The
//! state is under one lock, which requests hold for one short write. Files are made, synced, read and deleted without
//! it, but for the rare segment that a request itself must begin.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    ClosedSegment, Config, Error, Events, Figures,
    segment::{self, Origin, Record, Writer},
};
use crate::metering::{
    UsageEvent,
    directory::{Directory, Rejected},
    mac::MacKey,
};

/// Closed segments from which on age closes no further one.
const MANY_WAITING: usize = 64;

/// Events that are remembered until they are booked; what comes on top is read back from its file. Some 2 MB: more would
/// push what the calls themselves need out of the processor's caches (20,000 cost each call 7 us where it came to them).
const MOST_KEPT: usize = 1_000;

/// The segments of a spool: the one that is written, and those that wait.
pub(super) struct Segments {
    directory: Directory,
    key: MacKey,
    origin: Origin,
    pub(super) config: Config,
    state: Mutex<State>,
    /// Serials are never used twice, whoever asks for one.
    next_serial: AtomicU64,
    /// Told whenever a segment is closed.
    pub(super) closed: Notify,
    /// Whether the last append found no room.
    full: AtomicBool,
    set_aside: AtomicU64,
    skipped: AtomicU64,
    torn: AtomicU64,
    sync_failures: AtomicU64,
}

#[derive(Default)]
struct State {
    current: Option<Writer>,
    closed: BTreeMap<u64, Closed>,
    /// Files that were closed since the last sync.
    unsynced: Vec<Arc<File>>,
    /// Bytes and events of all segments, the current one included.
    bytes: u64,
    events: u64,
    /// Of these, so many are remembered.
    kept: usize,
}

struct Closed {
    segment: ClosedSegment,
    /// All of its events, or none.
    kept: Vec<Arc<UsageEvent>>,
    read: bool,
    /// Whether reading found damage: a person should see the file before it is gone.
    flawed: bool,
}

impl Segments {
    /// Takes over a directory and the segments of former processes in it; a bad one is counted and never a stop.
    pub(super) fn find(directory: Directory, key: MacKey, config: Config) -> Result<Self, Error> {
        let segments = Self {
            directory,
            key,
            origin: rand::random(),
            config,
            state: Mutex::default(),
            next_serial: AtomicU64::new(1),
            closed: Notify::new(),
            full: AtomicBool::new(false),
            set_aside: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            torn: AtomicU64::new(0),
            sync_failures: AtomicU64::new(0),
        };
        segments.find_former()?;
        Ok(segments)
    }

    pub(super) fn has_room(&self) -> bool {
        !self.full.load(Relaxed) && self.state.lock().bytes < self.config.refuse_at_bytes()
    }

    pub(super) fn is_filling(&self) -> bool {
        self.full.load(Relaxed) || self.state.lock().bytes >= self.config.max_bytes / 4
    }

    pub(super) fn closed_segments(&self) -> Vec<ClosedSegment> {
        let state = self.state.lock();
        let closed = state.closed.values();
        closed.map(|closed| closed.segment.clone()).collect()
    }

    pub(super) fn figures(&self) -> Figures {
        let state = self.state.lock();
        Figures {
            pending_events: state.events,
            pending_bytes: state.bytes,
            closed_segments: state.closed.len() as u64,
            full: self.full.load(Relaxed),
            set_aside: self.set_aside.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            torn: self.torn.load(Relaxed),
            sync_failures: self.sync_failures.load(Relaxed),
        }
    }

    /// Leaves no empty file behind, at the end.
    pub(super) fn remove_empty(&self) {
        let mut state = self.state.lock();
        if let Some(empty) = state.current.take_if(|writer| writer.events == 0) {
            self.remove_quietly(empty.serial);
        }
    }

    /// Appends a record. Its event is remembered if it is given.
    pub(super) fn append(
        &self,
        record: Record,
        event: Option<&Arc<UsageEvent>>,
    ) -> Result<(), Error> {
        let appended = self.append_to_current(record, event);
        let full = matches!(appended, Err(Error::Full));
        if self.full.load(Relaxed) != full {
            self.full.store(full, Relaxed);
        }
        appended
    }

    fn append_to_current(
        &self,
        record: Record,
        event: Option<&Arc<UsageEvent>>,
    ) -> Result<(), Error> {
        let size_bytes = record.size_bytes();
        let mut state = self.state.lock();
        let state = &mut *state;
        let header_bytes = match &state.current {
            Some(_) => 0,
            None => segment::HEADER_BYTES as u64,
        };
        if state.bytes + header_bytes + size_bytes > self.config.max_bytes {
            return Err(Error::Full);
        }
        let writer = match &mut state.current {
            Some(writer) => writer,
            None => {
                let writer = self.create_segment()?;
                state.bytes += writer.bytes;
                state.current.insert(writer)
            }
        };
        let appended = writer.append(record);
        let ended = appended.is_err() || writer.bytes >= self.config.segment_bytes;
        if appended.is_ok() {
            state.bytes += size_bytes;
            state.events += 1;
            match event {
                Some(event)
                    if state.kept < MOST_KEPT && writer.kept.len() as u64 + 1 == writer.events =>
                {
                    writer.kept.push(Arc::clone(event));
                    state.kept += 1;
                }
                // With one missing the file is read anyhow.
                _ => state.kept -= std::mem::take(&mut writer.kept).len(),
            }
        }
        if ended {
            self.close_current(state);
        }
        appended.map_err(|error| self.failed("append to", error))
    }

    fn create_segment(&self) -> Result<Writer, Error> {
        let serial = self.next_serial.fetch_add(1, Relaxed);
        Writer::create(&self.directory, &self.key, &self.origin, serial)
            .map_err(|error| self.failed("make a segment in", error))
    }

    /// Closes the current segment if it has reached its age. While many wait already, as in an outage of the database,
    /// only size closes one: a day of it should not leave a file for every second.
    pub(super) fn close_if_old(&self) {
        if self.state.lock().closed.len() < MANY_WAITING {
            let age = self.config.segment_age.0;
            self.close(|writer| writer.first.is_some_and(|first| first.elapsed() >= age));
        }
    }

    /// Closes the current segment if it holds events and `wanted` says so; puts a new one in its place, made before
    /// the lock is taken, so that no request waits for it.
    pub(super) fn close(&self, wanted: impl Fn(&Writer) -> bool) {
        let ripe = |state: &State| {
            let current = state.current.as_ref();
            current.is_some_and(|writer| writer.events > 0 && wanted(writer))
        };
        if !ripe(&self.state.lock()) {
            return;
        }
        let next = self.create_segment().ok();
        let mut state = self.state.lock();
        if ripe(&state) {
            self.close_current(&mut state);
            state.bytes += next.as_ref().map_or(0, |next| next.bytes);
            state.current = next;
        } else if let Some(next) = next {
            self.remove_quietly(next.serial);
        }
    }

    fn close_current(&self, state: &mut State) {
        let Some(writer) = state.current.take() else {
            return;
        };
        if writer.events == 0 {
            state.bytes -= writer.bytes;
            self.remove_quietly(writer.serial);
            return;
        }
        if writer.dirty {
            state.unsynced.push(Arc::clone(&writer.file));
        }
        let segment = ClosedSegment {
            serial: writer.serial,
            bytes: writer.bytes,
            events: writer.events,
        };
        let closed = Closed {
            kept: writer.kept,
            ..Closed::new(segment)
        };
        state.closed.insert(writer.serial, closed);
        self.closed.notify_one();
    }

    /// The events of a closed segment, if they are remembered: once.
    pub(super) fn take_kept(&self, segment: &ClosedSegment) -> Option<Vec<Arc<UsageEvent>>> {
        let mut state = self.state.lock();
        let kept = std::mem::take(&mut state.closed.get_mut(&segment.serial)?.kept);
        state.kept -= kept.len();
        Some(kept).filter(|kept| !kept.is_empty())
    }

    pub(super) fn sync(&self) -> Result<(), Error> {
        let files = {
            let mut state = self.state.lock();
            let mut files = std::mem::take(&mut state.unsynced);
            if let Some(writer) = state.current.as_mut().filter(|writer| writer.dirty) {
                writer.dirty = false;
                files.push(Arc::clone(&writer.file));
            }
            files
        };
        if files.is_empty() {
            return Ok(());
        }
        let synced = files.iter().map(|file| file.sync_data());
        // One that fails is no reason to leave the others.
        let failed = synced
            .chain([self.directory.sync()])
            .filter_map(Result::err);
        match failed.last() {
            None => Ok(()),
            Some(error) => {
                self.sync_failures.fetch_add(1, Relaxed);
                Err(self.failed("sync", error))
            }
        }
    }

    fn find_former(&self) -> Result<(), Error> {
        let listed = self.directory.names(segment::ENDING);
        let mut state = self.state.lock();
        for name in listed.map_err(|error| self.failed("list", error))? {
            let Some(serial) = segment::serial(&name) else {
                self.set_aside(&name, "its name is none of a segment");
                continue;
            };
            // Serials go on behind the largest, so that a later start cannot confuse two files.
            self.next_serial.fetch_max(serial + 1, Relaxed);
            let Some(bytes) = self.contents(&name)? else {
                continue;
            };
            let segment = ClosedSegment {
                serial,
                bytes: bytes.len() as u64,
                events: segment::count(&bytes),
            };
            state.bytes += segment.bytes;
            state.events += segment.events;
            state.closed.insert(serial, Closed::new(segment));
            self.closed.notify_one();
        }
        Ok(())
    }

    /// The bytes of a segment's file; one that is not this process's own is set aside and reads as `None`.
    fn contents(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let read = self
            .directory
            .open_file(name, false)
            .and_then(|file| Ok(read_whole(&file)?));
        match read {
            Ok(Some(bytes)) => Ok(Some(bytes)),
            Ok(None) => {
                self.set_aside(name, "it is larger than any segment");
                Ok(None)
            }
            Err(Rejected::Io(error)) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("read a segment of", error))
            }
            Err(rejected) => {
                self.set_aside(name, &rejected.to_string());
                Ok(None)
            }
        }
    }

    pub(super) fn read(&self, segment: &ClosedSegment) -> Result<Events, Error> {
        let name = segment::name(segment.serial);
        let Some(bytes) = self.contents(&name)? else {
            self.forget(segment.serial);
            return Ok(Events::default());
        };
        let Ok(found) = segment::read(&bytes, &self.key) else {
            self.set_aside(&name, "its header is not this installation's");
            self.forget(segment.serial);
            return Ok(Events::default());
        };
        let mut state = self.state.lock();
        if let Some(closed) = state.closed.get_mut(&segment.serial) {
            closed.flawed = found.skipped > 0;
            if !std::mem::replace(&mut closed.read, true) {
                self.skipped.fetch_add(found.skipped, Relaxed);
                self.torn.fetch_add(found.torn.into(), Relaxed);
            }
        }
        Ok(found)
    }

    pub(super) fn delete(&self, segment: &ClosedSegment) -> Result<(), Error> {
        let name = segment::name(segment.serial);
        let flawed = match self.state.lock().closed.get(&segment.serial) {
            Some(closed) => closed.flawed,
            None => return Ok(()),
        };
        if flawed {
            self.set_aside(&name, "it has damaged records");
        } else {
            let removed = self.directory.remove(&name);
            removed.map_err(|error| self.failed("delete a segment of", error))?;
        }
        self.forget(segment.serial);
        Ok(())
    }

    fn forget(&self, serial: u64) {
        let mut state = self.state.lock();
        if let Some(closed) = state.closed.remove(&serial) {
            state.bytes -= closed.segment.bytes;
            state.events -= closed.segment.events;
            state.kept -= closed.kept.len();
            self.full.store(false, Relaxed);
        }
    }

    fn set_aside(&self, name: &str, reason: &str) {
        self.set_aside.fetch_add(1, Relaxed);
        match self.directory.set_aside(name) {
            Ok(()) => tracing::error!(name, reason, "spool: a segment was set aside"),
            Err(error) => tracing::error!(name, reason, %error, "spool: a segment is left alone"),
        }
    }

    /// Removes a segment without events. Should that fail, the next start finds it empty.
    fn remove_quietly(&self, serial: u64) {
        if let Err(error) = self.directory.remove(&segment::name(serial)) {
            tracing::warn!(serial, %error, "spool: an empty segment stays behind");
        }
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full,
            _ => Error::Io {
                doing,
                path: self.directory.path().to_owned(),
                source,
            },
        }
    }
}

impl Closed {
    fn new(segment: ClosedSegment) -> Self {
        Self {
            segment,
            kept: Vec::new(),
            read: false,
            flawed: false,
        }
    }
}

/// All bytes of a file; `None` if it is larger than any segment.
pub(super) fn read_whole(file: &File) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(segment::MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= segment::MAX_FILE_BYTES).then_some(bytes))
}
