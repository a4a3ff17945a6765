//! No event is lost: not by a drop, a panic, a full spool, a stop or a kill.

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use weir_api_types::span::Span;

use super::*;
use crate::{
    billing::Money,
    metering::sample::{self, KEY},
    tenancy::{KeyId, RequestId},
};

fn config() -> Config {
    Config {
        segment_age: Span(Duration::from_secs(3600)),
        ..Config::default()
    }
}

/// A nano-dollar per output token.
fn settler() -> Settler {
    Arc::new(|_| {})
}

fn pricer() -> Pricer {
    Arc::new(|event| event.charge = Money::from_nanos(event.usage.output as i64))
}

fn open_with(directory: &Path, config: Config) -> (Recorder, Recovered) {
    Recorder::open_with(directory, &KEY, config, "weir-0", (pricer(), settler()), 64)
        .expect("opened")
}

fn open(directory: &TempDir) -> (Recorder, Recovered) {
    open_with(directory.path(), config())
}

fn flush(recorder: &Recorder) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(recorder.flush())
}

fn booked(recorder: &Recorder) -> Vec<UsageEvent> {
    let spool = recorder.spool();
    let segments = spool.closed_segments();
    let read = segments.iter().map(|segment| spool.read(segment));
    read.flat_map(|events| events.expect("read").events)
        .collect()
}

fn refusal(key: KeyId) -> UsageEvent {
    UsageEvent {
        key,
        outcome: Outcome::Refused,
        error_code: Some("key_disabled".to_owned()),
        ..sample::event()
    }
}

#[test]
fn a_finished_call_is_in_the_spool_and_off_the_record() {
    let directory = TempDir::new().expect("a directory");
    let (recorder, _) = open(&directory);
    let event = sample::event();
    let mut flight = recorder.begin(&Start::from(&event)).expect("a flight");
    flight.attempt(&event.attempts[0]);
    flight.relayed(10, 10);
    assert_eq!(recorder.pending().in_flight, 1);
    flight.finish(event.clone()).expect("finished");
    assert_eq!(recorder.pending().in_flight, 0);
    flush(&recorder).expect("flushed");
    assert_eq!(booked(&recorder), [event]);
}

#[test]
fn a_dropped_flight_is_an_interrupted_event() {
    let directory = TempDir::new().expect("a directory");
    let (recorder, _) = open(&directory);
    let event = sample::event();
    let mut flight = recorder.begin(&Start::from(&event)).expect("a flight");
    flight.attempt(&event.attempts[0]);
    flight.relayed(100, 40);
    drop(flight);
    flush(&recorder).expect("flushed");
    let booked = booked(&recorder);
    assert_eq!(
        (booked[0].id, booked[0].outcome),
        (event.id, Outcome::Interrupted)
    );
    assert_eq!(booked[0].charge, Money::from_nanos(250 + 10));
    assert_eq!(recorder.pending().in_flight, 0);
}

#[test]
fn a_draft_is_counted_priced_and_told() {
    let directory = TempDir::new().expect("a directory");
    let (recorder, _) = open(&directory);
    let mut event = sample::event();
    // What could not be read as text.
    event.attempts[0].usage.output = 3;
    let flight = recorder.begin(&Start::from(&event)).expect("a flight");
    let (told, hear) = mpsc::channel();
    let draft = Draft {
        event,
        text: "Hello, world!".to_owned(),
        attempt: 0,
        tokenizer: None,
        model: None,
        done: Box::new(move |event| told.send(event.clone()).expect("heard")),
    };
    recorder.settle_later(flight, draft);
    flush(&recorder).expect("flushed");
    let event = hear.recv().expect("told");
    assert_eq!(
        (event.usage.output, event.charge),
        (3 + 4, Money::from_nanos(7))
    );
    assert!(event.estimated && event.attempts[0].estimated);
    assert_eq!(booked(&recorder), [event]);
}

#[test]
fn a_panic_while_settling_loses_nothing() {
    let directory = TempDir::new().expect("a directory");
    let (recorder, _) = open(&directory);
    let event = sample::event();
    let flight = recorder.begin(&Start::from(&event)).expect("a flight");
    let draft = Draft {
        event,
        text: String::new(),
        attempt: 0,
        tokenizer: None,
        model: None,
        done: Box::new(|_| panic!("a planted panic")),
    };
    recorder.settle_later(flight, draft);
    flush(&recorder).expect("flushed");
    assert_eq!(booked(&recorder).len(), 1);
}

#[test]
fn events_that_find_no_room_wait_and_are_written_when_there_is() {
    let directory = TempDir::new().expect("a directory");
    let small = Config {
        max_bytes: 300 << 10,
        segment_bytes: 64 << 10,
        ..config()
    };
    let (recorder, _) = open_with(directory.path(), small);
    let calls: Vec<_> = (0..400).map(|_| sample::event()).collect();
    let flights: Vec<_> = calls
        .iter()
        .map(|event| recorder.begin(&Start::from(event)).expect("a flight"))
        .collect();
    let mut held = 0;
    for (flight, event) in flights.into_iter().zip(&calls) {
        held += u64::from(flight.finish(event.clone()).is_err());
    }
    assert!(held > 0);
    assert!(matches!(
        recorder.begin(&Start::from(&calls[0])),
        Err(Error::Full)
    ));
    assert!(matches!(flush(&recorder), Err(Error::Full)));
    let figures = recorder.pending();
    assert_eq!(
        (figures.held, figures.in_flight),
        (held, held),
        "their slots stand for them"
    );
    let mut ids = HashSet::new();
    while ids.len() < calls.len() {
        for segment in recorder.spool().closed_segments() {
            let events = recorder.spool().read(&segment).expect("read").events;
            assert!(
                events.iter().all(|event| ids.insert(event.id)),
                "none twice"
            );
            recorder.spool().delete(&segment).expect("deleted");
        }
        flush(&recorder).ok();
    }
    assert_eq!(recorder.pending().in_flight, 0);
    recorder.begin(&Start::from(&calls[0])).expect("room again");
}

#[test]
fn a_full_spool_can_be_told_to_let_calls_go_on() {
    let directory = TempDir::new().expect("a directory");
    let small = Config {
        max_bytes: 256 << 10,
        on_full: OnFull::GoOn,
        held_events: 3,
        ..config()
    };
    let (recorder, _) = open_with(directory.path(), small);
    while recorder.record(sample::event()).is_ok() {}
    let call = || {
        let event = sample::event();
        let flight = recorder.begin(&Start::from(&event))?;
        flight.finish(event).ok();
        Ok::<_, Error>(())
    };
    call().expect("goes on");
    call().expect("goes on");
    assert!(matches!(call(), Err(Error::Full)), "memory is bounded too");
}

#[test]
fn refusals_add_up_over_flush_and_stop() {
    let directory = TempDir::new().expect("a directory");
    let (recorder, _) = open(&directory);
    let key = KeyId::random();
    let now_ms = now_ms();
    for n in 0..500 {
        recorder
            .record_at(refusal(key), now_ms + 2 * n)
            .expect("recorded");
        if n == 250 {
            flush(&recorder).expect("flushed");
        }
    }
    drop(recorder);
    let (recorder, recovered) = open(&directory);
    assert!(!recovered.segments.is_empty());
    let events = booked(&recorder);
    assert!(events.len() < 60, "{}", events.len());
    assert_eq!(events.iter().map(|event| event.count).sum::<u32>(), 500);
}

#[test]
fn the_last_second_of_refusals_is_written_by_itself() {
    let directory = TempDir::new().expect("a directory");
    let (recorder, _) = open(&directory);
    let key = KeyId::random();
    for _ in 0..20 {
        // A second that has ended long ago.
        recorder.record_at(refusal(key), 0).expect("recorded");
    }
    for _ in 0..300 {
        if recorder.spool().pending_events() == 11 {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{:?}", recorder.pending());
}

#[test]
fn a_stop_writes_what_was_dropped_just_before() {
    let directory = TempDir::new().expect("a directory");
    let (recorder, _) = open(&directory);
    for _ in 0..20 {
        recorder
            .begin(&Start::from(&sample::event()))
            .expect("a flight");
    }
    drop(recorder);
    let (recorder, recovered) = open(&directory);
    assert!(recovered.interrupted.is_empty());
    assert_eq!(booked(&recorder).len(), 20);
}

#[test]
fn answers_teach_the_correction() {
    let directory = TempDir::new().expect("a directory");
    let (recorder, _) = open(&directory);
    let model = ModelId::random();
    assert!(recorder.corrections().wants(model, 1_000));
    recorder.learn(model, None, "word ".repeat(100), 200);
    flush(&recorder).expect("flushed");
    assert!(recorder.corrections().corrected(Some(model), 1_000) > 1_100);
}

const CHILD: &str = "WEIR_TEST_RECORDER_DIRECTORY";
const FINISHED: usize = 300;
const CUT: usize = 100;

/// The process that `a_killed_process_leaves_every_call_once` kills: the same test, told by its environment.
fn be_killed(directory: &str) {
    let (recorder, _) = open_with(Path::new(directory), config());
    let mut under_way = Vec::new();
    for n in 0..FINISHED + CUT {
        let event = sample::event();
        let mut flight = recorder.begin(&Start::from(&event)).expect("a flight");
        flight.attempt(&event.attempts[0]);
        flight.relayed(100, 40);
        if n % 4 == 3 {
            println!("cut {}", event.id);
            under_way.push(flight);
        } else {
            let id = event.id;
            flight.finish(event).expect("finished");
            println!("finished {id}");
        }
    }
    println!("ready");
    loop {
        thread::park();
    }
}

#[test]
fn a_killed_process_leaves_every_call_once() {
    if let Ok(directory) = std::env::var(CHILD) {
        return be_killed(&directory);
    }
    let directory = TempDir::new().expect("a directory");
    let name = concat!(module_path!(), "::a_killed_process_leaves_every_call_once");
    let name = name.split_once("::").expect("a crate").1;
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let (mut finished, mut cut) = (HashSet::new(), HashSet::new());
    let output = child.stdout.take().expect("its output");
    for line in BufReader::new(output).lines() {
        let line = line.expect("a line");
        let id = |text: &str| RequestId(text.parse().expect("an id"));
        if let Some((_, text)) = line.split_once("finished ") {
            finished.insert(id(text));
        } else if let Some((_, text)) = line.split_once("cut ") {
            cut.insert(id(text));
        } else if line.ends_with("ready") {
            break;
        }
    }
    let second = Recorder::open(
        directory.path(),
        &KEY,
        config(),
        "weir-0",
        pricer(),
        settler(),
    );
    assert!(
        matches!(second, Err(Error::Spool(spool::Error::Directory(_)))),
        "owned by the child"
    );
    child.kill().expect("killed");
    child.wait().expect("waited for");
    assert_eq!((finished.len(), cut.len()), (FINISHED, CUT));

    let (recorder, recovered) = open(&directory);
    let interrupted = recovered.interrupted.iter().map(|found| found.event.id);
    assert_eq!(interrupted.collect::<HashSet<_>>(), cut);
    recorder
        .settle_interrupted(recovered.interrupted)
        .expect("settled");
    flush(&recorder).expect("flushed");
    let events = booked(&recorder);
    assert_eq!(events.len(), FINISHED + CUT);
    for event in events {
        let was_cut = event.outcome == Outcome::Interrupted;
        let expected = if was_cut { &mut cut } else { &mut finished };
        assert!(expected.remove(&event.id), "once: {}", event.id);
        assert!(!was_cut || event.charge == Money::from_nanos(260));
    }
    drop(recorder);
    assert!(open(&directory).1.interrupted.is_empty(), "recovered once");
}
