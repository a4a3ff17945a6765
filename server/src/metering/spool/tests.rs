//! Every way that a spool's files can be wrong, and that none costs more than what it hits.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::LazyLock,
    time::Duration,
};

use proptest::prelude::*;
use tempfile::TempDir;
use weir_api_types::span::Span;

use super::*;
use crate::{
    metering::sample::{self, KEY},
    tenancy::RequestId,
};

/// Nothing is closed but by `seal` or by its size.
fn quiet() -> Config {
    Config {
        sync_every: Span(Duration::from_millis(5)),
        segment_age: Span(Duration::from_secs(3600)),
        ..Config::default()
    }
}

fn open(directory: &TempDir) -> Spool {
    Spool::open(directory.path(), &KEY, quiet())
        .expect("opened")
        .spool
}

fn fill(spool: &Spool, count: usize) -> Vec<UsageEvent> {
    let events: Vec<_> = (0..count).map(|_| sample::event()).collect();
    for event in &events {
        spool.append(event).expect("appended");
    }
    events
}

fn read_all(spool: &Spool) -> Vec<UsageEvent> {
    let segments = spool.closed_segments();
    let read = segments.iter().map(|segment| spool.read(segment));
    read.flat_map(|events| events.expect("read").events)
        .collect()
}

fn path(directory: &TempDir, serial: u64) -> PathBuf {
    directory.path().join(segment::name(serial))
}

/// The bytes of a segment of so many events, and the events.
fn segment_of(count: usize) -> (Vec<u8>, Vec<UsageEvent>) {
    let directory = TempDir::new().expect("a directory");
    let spool = open(&directory);
    let events = fill(&spool, count);
    spool.seal();
    let bytes = fs::read(path(&directory, 1)).expect("a segment");
    (bytes, events)
}

fn key() -> MacKey {
    MacKey::new(&KEY).bound(b"spool")
}

fn ids(events: &[UsageEvent]) -> Vec<RequestId> {
    events.iter().map(|event| event.id).collect()
}

#[test]
fn what_is_appended_is_read_and_then_deleted() {
    let directory = TempDir::new().expect("a directory");
    let spool = open(&directory);
    let events = fill(&spool, 3);
    assert!(spool.closed_segments().is_empty());
    assert_eq!(spool.pending_events(), 3);
    spool.seal();
    spool.seal();
    let segments = spool.closed_segments();
    assert_eq!((segments.len(), segments[0].events), (1, 3));
    assert_eq!(read_all(&spool), events);
    let mode = fs::metadata(path(&directory, 1))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    spool.delete(&segments[0]).expect("deleted");
    spool
        .delete(&segments[0])
        .expect("deleting twice is harmless");
    assert_eq!(spool.pending_events(), 0);
    assert!(!path(&directory, 1).exists());
}

#[test]
fn segments_close_by_age_and_by_size_and_the_waiter_is_told() {
    let directory = TempDir::new().expect("a directory");
    let config = Config {
        segment_age: Span(Duration::from_millis(10)),
        segment_bytes: 4_000,
        ..quiet()
    };
    let spool = Spool::open(directory.path(), &KEY, config)
        .expect("opened")
        .spool;
    fill(&spool, 1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(spool.segment_closed());
    assert_eq!(spool.closed_segments().len(), 1);
    fill(&spool, 20);
    assert!(spool.closed_segments().len() >= 4);
}

#[test]
fn a_long_outage_leaves_few_files() {
    let directory = TempDir::new().expect("a directory");
    let config = Config {
        segment_age: Span(Duration::from_millis(1)),
        sync_every: Span(Duration::from_secs(3600)),
        ..quiet()
    };
    let spool = Spool::open(directory.path(), &KEY, config)
        .expect("opened")
        .spool;
    for _ in 0..64 {
        fill(&spool, 1);
        spool.seal();
    }
    fill(&spool, 1);
    std::thread::sleep(Duration::from_millis(2));
    spool.segments.close_if_old();
    assert_eq!(spool.closed_segments().len(), 64);
    spool.delete(&spool.closed_segments()[0]).expect("deleted");
    spool.segments.close_if_old();
    assert_eq!(spool.closed_segments().len(), 64);
    assert_eq!(spool.pending_events(), 64);
}

#[test]
fn a_kill_leaves_all_that_was_appended_and_a_stop_no_empty_file() {
    let directory = TempDir::new().expect("a directory");
    let copy = TempDir::new().expect("a directory");
    let spool = open(&directory);
    let events = fill(&spool, 5);
    // What the disk holds at this moment, the lock aside.
    fs::copy(path(&directory, 1), path(&copy, 1)).expect("copied");
    let opened = Spool::open(copy.path(), &KEY, quiet()).expect("opened");
    assert_eq!((opened.segments.len(), opened.segments[0].events), (1, 5));
    assert_eq!(read_all(&opened.spool), events);
    assert_eq!(
        read_all(&opened.spool),
        events,
        "reading twice gives the same"
    );
    // Serials go on behind those found.
    fill(&opened.spool, 1);
    opened.spool.seal();
    assert_eq!(opened.spool.closed_segments()[1].serial, 2);
    drop(opened);
    let names = fs::read_dir(copy.path()).expect("listed").count();
    assert_eq!(names, 3, "two segments and the lock");
}

#[test]
fn a_second_owner_is_refused() {
    let directory = TempDir::new().expect("a directory");
    let spool = open(&directory);
    let second = Spool::open(directory.path(), &KEY, quiet())
        .err()
        .expect("refused");
    assert!(matches!(
        second,
        Error::Directory(directory::Error::Locked { .. })
    ));
    drop(spool);
    open(&directory);
}

/// Threats: R4.
#[test]
fn a_tail_torn_at_any_byte_costs_the_last_record_only() {
    let (bytes, events) = segment_of(3);
    let lengths: Vec<_> = events
        .iter()
        .map(|event| Record::of(event).expect("a record").size_bytes() as usize)
        .collect();
    let last = bytes.len() - lengths[2];
    for end in last + 1..bytes.len() {
        let found = segment::read(&bytes[..end], &key()).expect("a header");
        assert_eq!(found.events, events[..2], "cut at {end}");
        assert_eq!((found.skipped, found.torn), (0, true), "cut at {end}");
    }
    let whole = segment::read(&bytes[..last], &key()).expect("a header");
    assert_eq!((whole.events.len(), whole.torn), (2, false));
    for end in 0..segment::HEADER_BYTES {
        let found = segment::read(&bytes[..end], &key()).expect("as good as empty");
        assert!(found.events.is_empty() && found.torn);
    }
    let zeros = [&bytes[..last], &[0; 500]].concat();
    let found = segment::read(&zeros, &key()).expect("a header");
    assert_eq!(
        (found.events.len(), found.skipped, found.torn),
        (2, 0, true)
    );
}

#[test]
fn a_flipped_bit_costs_its_own_record_only() {
    let (bytes, events) = segment_of(3);
    let sizes = events
        .iter()
        .map(|event| Record::of(event).expect("a record").size_bytes());
    let first = segment::HEADER_BYTES;
    let second = first + sizes.clone().next().expect("one") as usize;
    let third = second + sizes.clone().nth(1).expect("two") as usize;
    for at in second..third {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let found = segment::read(&flipped, &key()).expect("a header");
        assert_eq!(
            ids(&found.events),
            [events[0].id, events[2].id],
            "flipped at {at}"
        );
        assert_eq!((found.skipped, found.torn), (1, false), "flipped at {at}");
    }
    for at in 0..first {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert_eq!(segment::read(&flipped, &key()), Err(segment::BadHeader));
    }
}

/// Threats: R4.
#[test]
fn a_record_counts_only_where_it_was_written() {
    let (bytes, events) = segment_of(2);
    let (other, _) = segment_of(1);
    let first = segment::HEADER_BYTES;
    let size = Record::of(&events[0]).expect("a record").size_bytes() as usize;
    let record = &bytes[first..first + size];
    let doubled = [&bytes, record].concat();
    let copied = [&other, record].concat();
    for (bytes, true_ones) in [(doubled, 2), (copied, 1)] {
        let found = segment::read(&bytes, &key()).expect("a header");
        assert_eq!((found.events.len(), found.skipped), (true_ones, 1));
    }
    let moved = [&other[..first], record].concat();
    let found = segment::read(&moved, &key()).expect("a header");
    assert_eq!(
        (found.events.len(), found.skipped),
        (0, 1),
        "the same place of another file"
    );
}

/// Threats: R4.
#[test]
fn an_edited_cost_is_not_booked_and_the_file_is_kept() {
    let directory = TempDir::new().expect("a directory");
    let spool = open(&directory);
    let events = fill(&spool, 2);
    spool.seal();
    let text = fs::read(path(&directory, 1)).expect("a segment");
    let at = memchr::memmem::find(&text, b"123000").expect("a cost");
    let edited = [&text[..at], b"000001", &text[at + 6..]].concat();
    fs::write(path(&directory, 1), edited).expect("written");
    assert_eq!(ids(&read_all(&spool)), ids(&events[1..]));
    read_all(&spool);
    let segment = &spool.closed_segments()[0];
    spool.delete(segment).expect("deleted");
    let figures = spool.figures();
    assert_eq!(
        (
            figures.skipped,
            figures.set_aside,
            figures.pending_bytes < 100
        ),
        (1, 1, true)
    );
    let aside = directory.path().join("set-aside");
    assert_eq!(fs::read_dir(aside).expect("a directory").count(), 1);
}

/// Threats: R4.
#[test]
fn files_that_are_not_ours_are_set_aside_and_never_a_stop() {
    let (bytes, events) = segment_of(1);
    let directory = TempDir::new().expect("a directory");
    let elsewhere = TempDir::new().expect("a directory");
    let target = elsewhere.path().join("target");
    fs::write(&target, &bytes).expect("written");
    symlink(&target, path(&directory, 1)).expect("linked");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path(&directory, 2),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("a FIFO");
    fs::write(path(&directory, 3), &bytes).expect("written");
    fs::set_permissions(path(&directory, 3), fs::Permissions::from_mode(0o666)).expect("mode");
    fs::create_dir(path(&directory, 4)).expect("a directory");
    fs::write(directory.path().join("1.segment"), &bytes).expect("written");
    let mut bad = 5;
    if rustix::process::geteuid().is_root() {
        fs::write(path(&directory, 5), &bytes).expect("written");
        std::os::unix::fs::chown(path(&directory, 5), Some(65_534), None).expect("owner");
        bad += 1;
    }
    let well = path(&directory, 6);
    fs::write(&well, &bytes).expect("written");
    fs::set_permissions(&well, fs::Permissions::from_mode(0o600)).expect("mode");
    let spool = open(&directory);
    assert_eq!(spool.figures().set_aside, bad);
    assert_eq!(ids(&read_all(&spool)), ids(&events));
    assert!(target.exists(), "a link's target is not touched");
}

#[test]
fn a_file_that_is_no_segment_waits_no_more_once_it_was_read() {
    let directory = TempDir::new().expect("a directory");
    for (serial, bytes) in [(1, "x".repeat(300)), (2, "weir".to_owned())] {
        fs::write(path(&directory, serial), bytes).expect("written");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(path(&directory, serial), mode).expect("mode");
    }
    let spool = open(&directory);
    assert!(read_all(&spool).is_empty());
    assert_eq!(
        (spool.closed_segments().len(), spool.figures().set_aside),
        (1, 1)
    );
    assert_eq!(spool.figures().torn, 1);
}

/// Threats: R4.
#[test]
fn a_link_in_the_way_of_the_next_segment_is_set_aside() {
    let directory = TempDir::new().expect("a directory");
    let spool = open(&directory);
    let victim = directory.path().join("victim");
    fs::write(&victim, "precious").expect("written");
    symlink(&victim, path(&directory, 1)).expect("linked");
    let events = fill(&spool, 1);
    spool.seal();
    assert_eq!(read_all(&spool), events);
    assert_eq!(fs::read_to_string(victim).expect("read"), "precious");
}

/// Threats: R4.
#[test]
fn a_full_spool_says_so_and_recovers_when_a_segment_is_booked() {
    let directory = TempDir::new().expect("a directory");
    let config = Config {
        max_bytes: 300 << 10,
        segment_bytes: 64 << 10,
        ..quiet()
    };
    let spool = Spool::open(directory.path(), &KEY, config)
        .expect("opened")
        .spool;
    let mut appended = 0;
    let mut refused_early = false;
    while spool.append(&sample::event()).is_ok() {
        appended += 1;
        refused_early |= !spool.has_room();
    }
    assert!(
        refused_early,
        "new calls are refused while those under way still end"
    );
    assert!(matches!(spool.append(&sample::event()), Err(Error::Full)));
    assert!(spool.figures().full && spool.pending_bytes() <= 300 << 10);
    let segment = &spool.closed_segments()[0];
    let events = spool.read(segment).expect("read").events.len();
    spool.delete(segment).expect("deleted");
    assert!(!spool.figures().full && spool.has_room());
    fill(&spool, 1);
    assert_eq!(spool.pending_events(), (appended - events + 1) as u64);
}

#[test]
fn eight_threads_lose_nothing() {
    let directory = TempDir::new().expect("a directory");
    let config = Config {
        segment_bytes: 20_000,
        segment_age: Span(Duration::from_millis(1)),
        sync_every: Span(Duration::from_millis(1)),
        ..quiet()
    };
    let spool = Spool::open(directory.path(), &KEY, config)
        .expect("opened")
        .spool;
    let mut appended: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| ids(&fill(&spool, 200))))
            .collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        joined.flatten().collect()
    });
    spool.seal();
    let mut read = ids(&read_all(&spool));
    appended.sort();
    read.sort();
    assert_eq!(read, appended);
    for segment in spool.closed_segments() {
        spool.delete(&segment).expect("deleted");
    }
    assert_eq!(spool.pending_events(), 0);
    assert!(spool.pending_bytes() <= segment::HEADER_BYTES as u64);
}

#[test]
fn a_file_from_elsewhere_is_read_by_its_mac() {
    let (bytes, events) = segment_of(2);
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("copy");
    fs::write(&file, bytes).expect("written");
    assert_eq!(read_file(&file, &KEY).expect("read").events, events);
    assert!(matches!(
        read_file(&file, &[8; 32]),
        Err(Error::NotASegment { .. })
    ));
    assert!(matches!(
        read_file(directory.path(), &KEY),
        Err(Error::NotASegment { .. })
    ));
    assert!(matches!(
        read_file(&directory.path().join("none"), &KEY),
        Err(Error::Io { .. })
    ));
}

#[test]
fn settings_that_cannot_be_are_named() {
    let config: Config = serde_json::from_str(r#"{"sync_every":"0ms"}"#).expect("read");
    assert!(matches!(
        config.check(),
        Err(Error::Setting {
            key: "sync_every",
            ..
        })
    ));
    assert!(serde_json::from_str::<Config>(r#"{"sync":"1s"}"#).is_err());
    assert!(Config::default().check().is_ok());
}

#[test]
fn a_file_made_to_waste_time_is_given_up() {
    let (bytes, _) = segment_of(1);
    let frame = [&[0xFF, b'W', b'E', 0xFE][..], &(200_000u32).to_le_bytes()].concat();
    let hostile = [&bytes[..], &frame.repeat(200_000)].concat();
    let found = segment::read(&hostile, &key()).expect("a header");
    assert_eq!(found.events.len(), 1);
    assert!(found.skipped > 0);
}

/// Written once: each would be synced.
static WRITTEN: LazyLock<(Vec<u8>, Vec<UsageEvent>)> = LazyLock::new(|| segment_of(2));

proptest! {
    /// Threats: H12.
    #[test]
    fn reading_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let read = segment::read(&bytes, &key());
        prop_assert!(read.map_or(true, |found| found.events.is_empty()));
    }

    /// Threats: H12.
    #[test]
    fn no_change_makes_an_event_that_was_not_written(
        cut in any::<prop::sample::Index>(),
        insert in prop::collection::vec(any::<u8>(), 0..40),
        remove in 0usize..40,
    ) {
        let (bytes, events) = &*WRITTEN;
        let at = segment::HEADER_BYTES + cut.index(bytes.len() - segment::HEADER_BYTES);
        let after = (at + remove).min(bytes.len());
        let changed = [&bytes[..at], &insert, &bytes[after..]].concat();
        let found = segment::read(&changed, &key()).expect("a header");
        prop_assert!(found.events.iter().all(|event| events.contains(event)));
    }
}
