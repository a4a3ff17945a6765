//! The in-flight record: one slot of a mapped file for every call that is under way.
//!
//! A slot is taken before a call's first attempt leaves, kept current by plain stores, and freed once the call's event
//! is in the spool. It outlives the process: a start finds the slots of calls that a crash cut and makes `interrupted`
//! events of them, with tokens estimated from what had been relayed. Prices are not in a slot; whoever books such an
//! event computes its cost. Files ("extents") are added when slots run out, and never shrink.

mod code;
mod extent;
mod slot;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::Path,
    sync::{Arc, atomic::Ordering::Acquire},
};

use parking_lot::Mutex;

use super::{
    UsageEvent,
    directory::{self, Directory, Rejected},
    mac::MacKey,
};
use extent::Extent;
use slot::{STATE, TAKEN};

pub use slot::{Slot, Start};

/// Slots of one extent, of 4 KiB each.
pub const SLOTS: usize = 4096;

const ENDING: &str = ".inflight";

/// All slots of this process.
pub struct Table {
    directory: Directory,
    key: MacKey,
    slots_per_extent: usize,
    /// The last freed is taken first: its page is warm.
    free: Mutex<Vec<(Arc<Extent>, usize)>>,
    /// The number of the next extent. The lock is held while one is made, so that a rush makes one and not many.
    next_extent: Mutex<u32>,
}

/// A call that a former process left under way.
pub struct Interrupted {
    /// What is known of it: all but its prices.
    pub event: UsageEvent,
    pub(super) slot: Slot,
}

/// What the files of former processes held.
#[derive(Default)]
pub struct Found {
    pub interrupted: Vec<Interrupted>,
    /// Taken slots that cannot be read, as a power cut may leave them; they were freed.
    pub damaged: u64,
    /// Files that were not this process's own.
    pub set_aside: u64,
}

/// Why there is no slot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Directory(#[from] directory::Error),
    #[error("cannot make room for calls in flight: {0}")]
    Io(#[from] io::Error),
}

impl Table {
    /// Opens a directory for this process alone and finds the calls that were cut. `slots_per_extent` is [`SLOTS`],
    /// except in tests.
    pub fn open(
        directory: &Path,
        key: &[u8; 32],
        slots_per_extent: usize,
    ) -> Result<(Self, Found), Error> {
        let table = Self {
            directory: Directory::open(directory)?,
            key: MacKey::new(key).bound(b"slots"),
            slots_per_extent,
            free: Mutex::default(),
            next_extent: Mutex::new(0),
        };
        let mut found = Found::default();
        for name in table.directory.names(ENDING)? {
            table.find(&name, &mut found)?;
        }
        table.grow_if_low()?;
        Ok((table, found))
    }

    /// Takes a slot. Fails only if an extent is needed and the disk has no room for it.
    pub fn take(&self, start: &Start<'_>) -> Result<Slot, Error> {
        loop {
            let free = self.free.lock().pop();
            if let Some((extent, index)) = free {
                return Ok(Slot::take(extent, index, &self.key, start));
            }
            self.grow(0)?;
        }
    }

    /// Frees a slot whose event is in the spool.
    pub fn free(&self, slot: Slot) {
        slot.clear();
        self.free.lock().push((slot.extent, slot.index));
    }

    /// Adds an extent when fewer than a quarter of one is free: called now and then beside the requests, so that none
    /// of them waits for a file to be made.
    pub fn grow_if_low(&self) -> Result<(), Error> {
        self.grow(self.slots_per_extent / 4)
    }

    /// Slots that calls can take without another extent.
    pub fn free_slots(&self) -> usize {
        self.free.lock().len()
    }

    fn grow(&self, enough: usize) -> Result<(), Error> {
        let mut next = self.next_extent.lock();
        if self.free.lock().len() > enough {
            return Ok(());
        }
        let name = format!("{:010}{ENDING}", *next);
        let mut file = self.directory.create(&name)?;
        let extent = match Extent::map(*next, &mut file, self.slots_per_extent) {
            Ok(extent) => Arc::new(extent),
            Err(error) => {
                self.directory.remove(&name)?;
                return Err(error.into());
            }
        };
        *next += 1;
        self.directory.sync()?;
        let slots = (0..extent.slots()).rev();
        let slots = slots.map(|index| (Arc::clone(&extent), index));
        self.free.lock().extend(slots);
        Ok(())
    }

    /// Takes over the file of a former process.
    fn find(&self, name: &str, found: &mut Found) -> Result<(), Error> {
        let digits = name.strip_suffix(ENDING).unwrap_or_default();
        let number = digits
            .parse()
            .ok()
            .filter(|number: &u32| *number < u32::MAX / 2 && format!("{number:010}") == digits);
        let (Some(number), Ok(mut file)) = (number, self.directory.open_file(name, true)) else {
            found.set_aside += 1;
            self.set_aside(name);
            return Ok(());
        };
        let extent = Arc::new(Extent::map(number, &mut file, self.slots_per_extent)?);
        {
            let mut next = self.next_extent.lock();
            *next = (*next).max(number + 1);
        }
        for index in (0..extent.slots()).rev() {
            let state = &extent.slot(index)[STATE];
            if state.load(Acquire) == TAKEN
                && let Some((slot, event)) = Slot::find(&extent, index, &self.key)
            {
                found.interrupted.push(Interrupted { event, slot });
                continue;
            }
            if state.swap(0, Acquire) != 0 {
                found.damaged += 1;
                tracing::error!(name, index, "in-flight record: a slot is damaged");
            }
            self.free.lock().push((Arc::clone(&extent), index));
        }
        Ok(())
    }

    fn set_aside(&self, name: &str) {
        match self.directory.set_aside(name) {
            Ok(()) => tracing::error!(name, "in-flight record: {}; set aside", Rejected::Untrusted),
            Err(error) => tracing::error!(name, %error, "in-flight record: a file is left alone"),
        }
    }
}
