//! One file of the spool: a header, then records.
//!
//! Header: `weirspl1`, the origin (16 random bytes, new whenever a spool is opened), the serial (u64), a tag. Record: a
//! marker, the payload's length (u32), the payload (a usage event in JSON), a tag over origin, serial, the record's
//! offset and the payload. Numbers are little endian. So a record counts only in the very place it was written to. The
//! marker holds bytes that no JSON contains, which lets the reader find the next record behind a damaged one.

use std::{
    fs::File,
    io::{self, Write as _},
    sync::Arc,
    time::Instant,
};

use memchr::memmem;

use crate::metering::{
    UsageEvent,
    directory::Directory,
    mac::{MacKey, TAG_BYTES},
};

/// The largest event in JSON, in bytes; all its texts are bounded, so a true one is about 1 KiB.
pub(super) const MAX_EVENT_BYTES: usize = 256 << 10;

/// The largest file that is read, in bytes; Weir itself closes a segment long before.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;

const MAGIC: &[u8; 8] = b"weirspl1";
const ORIGIN_BYTES: usize = 16;
/// Magic, origin and serial.
const HEADER_TEXT_BYTES: usize = MAGIC.len() + ORIGIN_BYTES + 8;
pub(super) const HEADER_BYTES: usize = HEADER_TEXT_BYTES + TAG_BYTES;
const MARKER: [u8; 4] = [0xFF, b'W', b'E', 0xFE];
const PAYLOAD_AT: usize = MARKER.len() + 4;

/// What tells one opening of a spool from every other.
pub(super) type Origin = [u8; ORIGIN_BYTES];

/// A record without its tag, which depends on the place it gets.
pub(super) struct Record(Vec<u8>);

impl Record {
    /// Writes the event down. `None`: it is beyond [`MAX_EVENT_BYTES`], or has no JSON.
    pub(super) fn of(event: &UsageEvent) -> Option<Self> {
        let mut bytes = Vec::with_capacity(1536);
        bytes.extend_from_slice(&MARKER);
        bytes.extend_from_slice(&[0; 4]);
        serde_json::to_writer(&mut bytes, event).ok()?;
        let length = bytes.len() - PAYLOAD_AT;
        if length > MAX_EVENT_BYTES {
            return None;
        }
        bytes[MARKER.len()..PAYLOAD_AT].copy_from_slice(&(length as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; TAG_BYTES]);
        Some(Self(bytes))
    }

    /// Bytes that it takes in a segment.
    pub(super) fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

/// The segment that is being written.
pub(super) struct Writer {
    pub serial: u64,
    pub file: Arc<File>,
    pub bytes: u64,
    pub events: u64,
    /// Whether something was written that is not synced.
    pub dirty: bool,
    /// When its first record came.
    pub first: Option<Instant>,
    /// Its events, for as long as all of them are remembered.
    pub kept: Vec<Arc<UsageEvent>>,
    key: MacKey,
}

impl Writer {
    /// Makes the file of a segment and writes its header.
    pub(super) fn create(
        directory: &Directory,
        key: &MacKey,
        origin: &Origin,
        serial: u64,
    ) -> io::Result<Self> {
        let name = name(serial);
        let file = directory.create(&name)?;
        let header = header(key, origin, serial);
        if let Err(error) = (&file).write_all(&header) {
            // Without a header it is of no use; an empty file left behind is recognised as such.
            directory.remove(&name).ok();
            return Err(error);
        }
        Ok(Self {
            serial,
            file: Arc::new(file),
            bytes: header.len() as u64,
            events: 0,
            dirty: true,
            first: None,
            kept: Vec::new(),
            key: records_key(key, origin, serial),
        })
    }

    /// Appends one record. After a failure the writer is to be given up: the file may end within the record.
    pub(super) fn append(&mut self, mut record: Record) -> io::Result<()> {
        let end = record.0.len() - TAG_BYTES;
        let tag = self
            .key
            .tag(&[&self.bytes.to_le_bytes(), &record.0[PAYLOAD_AT..end]]);
        record.0[end..].copy_from_slice(&tag);
        if let Err(error) = (&*self.file).write_all(&record.0) {
            // Cut back where that is possible, so that reading finds no torn tail.
            self.file.set_len(self.bytes).ok();
            return Err(error);
        }
        self.bytes += record.size_bytes();
        self.events += 1;
        self.dirty = true;
        self.first.get_or_insert_with(Instant::now);
        Ok(())
    }
}

/// What a segment holds.
#[derive(Debug, Default, PartialEq)]
pub struct Events {
    pub events: Vec<UsageEvent>,
    /// Records that are damaged, forged, or of another place.
    pub skipped: u64,
    /// Whether it ends within a record, as a crash leaves it.
    pub torn: bool,
}

/// The file has no header that this installation wrote.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadHeader;

/// The file name of a segment.
pub(super) fn name(serial: u64) -> String {
    format!("{serial:020}{ENDING}")
}

/// How the names of segments end.
pub(super) const ENDING: &str = ".segment";

/// The serial in a segment's file name. One so large that serials would run out behind it was not given by Weir.
pub(super) fn serial(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(ENDING)?;
    let serial = digits.parse().ok()?;
    (self::name(serial) == name && serial < u64::MAX / 2).then_some(serial)
}

/// About how many records there are, by their lengths alone: nothing is verified.
pub(super) fn count(bytes: &[u8]) -> u64 {
    let mut at = HEADER_BYTES;
    let mut records = 0;
    while let Some(frame) = frame(bytes, at) {
        records += 1;
        at = frame.end;
    }
    records
}

/// Reads a whole segment. Damage costs the records that it hits and no others; a file that ends within its header is
/// as good as empty.
pub(super) fn read(bytes: &[u8], key: &MacKey) -> Result<Events, BadHeader> {
    let mut found = Events::default();
    let Some(header) = bytes.get(..HEADER_BYTES) else {
        found.torn = true;
        return Ok(found);
    };
    let (text, tag) = header.split_at(HEADER_TEXT_BYTES);
    if !text.starts_with(MAGIC) || !headers_key(key).verifies(&[text], tag) {
        let blank = bytes.iter().all(|byte| *byte == 0);
        found.torn = true;
        return if blank { Ok(found) } else { Err(BadHeader) };
    }
    let key = key.bound(b"record").bound(&text[MAGIC.len()..]);
    let mut at = HEADER_BYTES;
    // A file made to waste time names lengths that overlap: true damage never verifies more than there is.
    let mut wasted = 0;
    while at < bytes.len() && wasted <= bytes.len() {
        let frame = frame(bytes, at);
        if let Some(frame) = &frame {
            if key.verifies(&[&(at as u64).to_le_bytes(), frame.payload], frame.tag) {
                match serde_json::from_slice(frame.payload) {
                    Ok(event) => found.events.push(event),
                    Err(_) => found.skipped += 1,
                }
                at = frame.end;
                continue;
            }
            wasted += frame.payload.len();
            if frame.end == bytes.len() || bytes[frame.end..].starts_with(&MARKER) {
                found.skipped += 1;
                at = frame.end;
                continue;
            }
        }
        match memmem::find(&bytes[at + 1..], &MARKER) {
            Some(distance) => {
                found.skipped += 1;
                at += 1 + distance;
            }
            None => {
                found.torn = true;
                return Ok(found);
            }
        }
    }
    if at < bytes.len() {
        found.skipped += 1;
    }
    Ok(found)
}

struct Frame<'a> {
    payload: &'a [u8],
    tag: &'a [u8],
    end: usize,
}

/// The record at an offset, if there is the whole of one.
fn frame(bytes: &[u8], at: usize) -> Option<Frame<'_>> {
    let rest = bytes.get(at..)?.strip_prefix(&MARKER)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_EVENT_BYTES {
        return None;
    }
    let payload = rest.get(..length)?;
    let tag = rest.get(length..length + TAG_BYTES)?;
    Some(Frame {
        payload,
        tag,
        end: at + PAYLOAD_AT + length + TAG_BYTES,
    })
}

fn header(key: &MacKey, origin: &Origin, serial: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (text, tag) = header.split_at_mut(HEADER_TEXT_BYTES);
    text[..MAGIC.len()].copy_from_slice(MAGIC);
    text[MAGIC.len()..MAGIC.len() + ORIGIN_BYTES].copy_from_slice(origin);
    text[MAGIC.len() + ORIGIN_BYTES..].copy_from_slice(&serial.to_le_bytes());
    tag.copy_from_slice(&headers_key(key).tag(&[text]));
    header
}

fn headers_key(key: &MacKey) -> MacKey {
    key.bound(b"header")
}

fn records_key(key: &MacKey, origin: &Origin, serial: u64) -> MacKey {
    key.bound(b"record")
        .bound(origin)
        .bound(&serial.to_le_bytes())
}
