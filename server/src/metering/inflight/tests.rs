//! What a slot tells after its process is gone.

use std::{fs, os::unix::fs::FileExt as _};

use tempfile::TempDir;
use weir_dialect::neutral::Usage;

use super::{extent::SLOT_BYTES, *};
use crate::{
    metering::{Attempt, Outcome, sample},
    tenancy::RequestId,
};

const KEY: [u8; 32] = sample::KEY;

fn open(directory: &TempDir) -> (Table, Found) {
    Table::open(directory.path(), &KEY, 16).expect("opened")
}

/// What another process would find now, had this one been killed.
fn after_a_kill(directory: &TempDir) -> (TempDir, Found) {
    let copy = TempDir::new().expect("a directory");
    for entry in fs::read_dir(directory.path()).expect("listed") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
    }
    let (_, found) = open(&copy);
    (copy, found)
}

fn running() -> Attempt {
    Attempt {
        usage: Usage {
            input: 77,
            ..Usage::default()
        },
        took_us: 0,
        status: None,
        ..sample::attempt()
    }
}

#[test]
fn a_killed_call_is_told_with_all_its_attempts() {
    let directory = TempDir::new().expect("a directory");
    let (table, found) = open(&directory);
    assert!(found.interrupted.is_empty());
    let event = sample::event();
    let mut slot = table.take(&Start::from(&event)).expect("a slot");
    let first = Attempt {
        failure: Some("first_byte_timeout".to_owned()),
        ..sample::attempt()
    };
    slot.attempt(&running());
    slot.attempt_over(&first);
    let second = running();
    slot.attempt(&second);
    slot.relayed(5_000, 401);

    let (_copy, found) = after_a_kill(&directory);
    assert_eq!(found.interrupted.len(), 1);
    let told = &found.interrupted[0].event;
    assert_eq!(
        (told.id, told.tenant, told.key, told.user, told.group),
        (event.id, event.tenant, event.key, event.user, event.group)
    );
    assert_eq!(told.model, event.model);
    assert_eq!(told.client_request_id, event.client_request_id);
    assert_eq!(told.end_user, None);
    assert_eq!(told.instance, event.instance);
    assert_eq!((told.outcome, told.estimated), (Outcome::Interrupted, true));
    assert_eq!((told.status, told.response_bytes), (200, 5_000));
    assert_eq!(told.attempts.len(), 2);
    assert_eq!(told.attempts[0], first);
    assert_eq!(told.attempts[1].channel, second.channel);
    assert_eq!((told.usage.input, told.usage.output), (77, 101));
    assert_eq!(told.attempts[1].usage, told.usage);
}

#[test]
fn reported_usage_counts_and_only_later_text_is_estimated() {
    let directory = TempDir::new().expect("a directory");
    let (table, _) = open(&directory);
    let mut slot = table.take(&Start::from(&sample::event())).expect("a slot");
    slot.attempt(&running());
    for (text_bytes, output) in [(0, 1), (400, 90), (800, 180)] {
        slot.relayed(text_bytes * 5, text_bytes);
        slot.usage(&Usage {
            output,
            ..sample::usage()
        });
    }
    slot.relayed(5_000, 805);
    let told = slot.tell().expect("a whole slot");
    assert_eq!((told.usage.input, told.usage.cached_read), (1_000, 400));
    assert_eq!(told.usage.output, 182);
    // A further attempt starts from nothing.
    slot.attempt_over(&sample::attempt());
    slot.attempt(&running());
    slot.relayed(5_000, 0);
    let told = slot.tell().expect("a whole slot");
    assert_eq!(
        (told.attempts[1].usage.input, told.attempts[1].usage.output),
        (77, 0)
    );
    assert_eq!(
        told.usage,
        sample::usage(),
        "of the last that generated anything"
    );
}

#[test]
fn a_freed_slot_tells_nothing_and_its_next_call_nothing_of_the_last() {
    let directory = TempDir::new().expect("a directory");
    let (table, _) = open(&directory);
    let mut slot = table.take(&Start::from(&sample::event())).expect("a slot");
    slot.attempt(&sample::attempt());
    slot.usage(&sample::usage());
    table.free(slot);
    assert!(after_a_kill(&directory).1.interrupted.is_empty());
    let next = sample::event();
    let slot = table.take(&Start::from(&next)).expect("a slot");
    let told = slot.tell().expect("a whole slot");
    assert_eq!((told.id, told.usage), (next.id, Usage::default()));
    assert!(told.attempts.is_empty());
    assert_eq!(told.status, 500);
}

#[test]
fn slots_are_found_until_they_are_freed_and_then_no_more() {
    let directory = TempDir::new().expect("a directory");
    {
        let (table, _) = open(&directory);
        let _slot = table.take(&Start::from(&sample::event())).expect("a slot");
    }
    let (table, found) = open(&directory);
    drop(found);
    drop(table);
    let (table, mut found) = open(&directory);
    let interrupted = found.interrupted.pop().expect("still there");
    table.free(interrupted.slot);
    drop(table);
    assert!(open(&directory).1.interrupted.is_empty());
}

#[test]
fn many_calls_get_further_extents() {
    let directory = TempDir::new().expect("a directory");
    let (table, _) = open(&directory);
    let slots: Vec<_> = (0..40)
        .map(|_| table.take(&Start::from(&sample::event())).expect("a slot"))
        .collect();
    assert_eq!(table.free_slots(), 8);
    let (_copy, found) = after_a_kill(&directory);
    let ids: std::collections::HashSet<_> = found
        .interrupted
        .iter()
        .map(|found| found.event.id)
        .collect();
    assert_eq!(ids.len(), 40);
    slots.into_iter().for_each(|slot| table.free(slot));
    assert_eq!(table.free_slots(), 48);
}

#[test]
fn a_damaged_slot_is_counted_and_freed() {
    let directory = TempDir::new().expect("a directory");
    {
        let (table, _) = open(&directory);
        for _ in 0..3 {
            table.take(&Start::from(&sample::event())).expect("a slot");
        }
    }
    let path = directory.path().join(format!("{:010}{ENDING}", 0));
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("opened");
    // One byte of the first slot's start; the second slot's state.
    file.write_all_at(b"!", 330).expect("written");
    file.write_all_at(b"!", SLOT_BYTES as u64).expect("written");
    drop(file);
    let (table, found) = open(&directory);
    assert_eq!((found.interrupted.len(), found.damaged), (1, 2));
    assert_eq!(table.free_slots(), 15);
}

/// Threats: R4.
#[test]
fn a_slot_of_another_place_or_key_is_not_believed() {
    let directory = TempDir::new().expect("a directory");
    {
        let (table, _) = open(&directory);
        table.take(&Start::from(&sample::event())).expect("a slot");
    }
    let path = directory.path().join(format!("{:010}{ENDING}", 0));
    let bytes = fs::read(&path).expect("read");
    let copied = [
        &bytes[..SLOT_BYTES],
        &bytes[..SLOT_BYTES],
        &bytes[SLOT_BYTES * 2..],
    ]
    .concat();
    fs::write(&path, copied).expect("written");
    let (table, found) = open(&directory);
    assert_eq!((found.interrupted.len(), found.damaged), (1, 1));
    drop((table, found));
    let (_, found) = Table::open(directory.path(), &[9; 32], 16).expect("opened");
    assert_eq!((found.interrupted.len(), found.damaged), (0, 1));
}

#[test]
fn an_area_written_by_halves_is_as_if_it_were_not() {
    let directory = TempDir::new().expect("a directory");
    let (table, _) = open(&directory);
    let mut slot = table.take(&Start::from(&sample::event())).expect("a slot");
    slot.attempt(&running());
    slot.attempt_over(&sample::attempt());
    let words = slot.extent.slot(slot.index);
    let (attempts, end) = (160, 192);
    // The second attempt area: the end of the first attempt.
    words[end + 3].store(0, std::sync::atomic::Ordering::Relaxed);
    let told = slot.tell().expect("a whole slot");
    assert_eq!(told.attempts.len(), 1);
    assert_eq!(told.attempts[0].failure.as_deref(), Some("interrupted"));
    words[attempts + 3].store(0, std::sync::atomic::Ordering::Relaxed);
    assert!(slot.tell().expect("a whole slot").attempts.is_empty());
}

#[test]
fn the_longest_texts_fit_and_more_attempts_than_areas_do_no_harm() {
    let directory = TempDir::new().expect("a directory");
    let (table, _) = open(&directory);
    let long = "é".repeat(400);
    let event = sample::event();
    let start = Start {
        endpoint: &long,
        dialect: &long,
        model: &long,
        instance: &long,
        client_request_id: Some(&long),
        end_user: Some(&long),
        ..Start::from(&event)
    };
    let mut slot = table.take(&start).expect("a slot");
    for _ in 0..20 {
        slot.attempt(&Attempt {
            upstream_model: long.clone(),
            failure: Some(long.clone()),
            ..running()
        });
    }
    slot.usage(&sample::usage());
    let told = slot.tell().expect("a whole slot");
    assert_eq!((told.model.len(), told.dialect.len()), (256, 24));
    assert_eq!(told.attempts.len(), 11);
    assert_eq!(told.usage, sample::usage());
}

#[test]
fn files_that_are_not_ours_are_set_aside() {
    let directory = TempDir::new().expect("a directory");
    let victim = directory.path().join("victim");
    fs::write(&victim, "precious").expect("written");
    let name = directory.path().join(format!("{:010}{ENDING}", 0));
    std::os::unix::fs::symlink(&victim, name).expect("linked");
    fs::write(directory.path().join(format!("7{ENDING}")), "x").expect("written");
    let (table, found) = open(&directory);
    assert_eq!((found.set_aside, table.free_slots()), (2, 16));
    assert_eq!(fs::read_to_string(victim).expect("read"), "precious");
}

#[test]
fn a_file_cut_short_is_made_whole() {
    let directory = TempDir::new().expect("a directory");
    let id: RequestId = {
        let (table, _) = open(&directory);
        let event = sample::event();
        table.take(&Start::from(&event)).expect("a slot");
        event.id
    };
    let path = directory.path().join(format!("{:010}{ENDING}", 0));
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("opened");
    file.set_len(SLOT_BYTES as u64 + 7).expect("cut");
    let (table, found) = open(&directory);
    assert_eq!(found.interrupted[0].event.id, id);
    assert_eq!(table.free_slots(), 15);
}
