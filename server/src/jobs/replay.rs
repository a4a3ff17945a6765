//! Books a segment from elsewhere: `weir usage replay FILE`, for a spool whose machine is gone.

use std::path::Path;

use super::write_usage::{EVENTS_PER_BOOKING, book};
use crate::{metering::spool, secrets::Sealer, store::Stores};

/// What became of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    pub inserted: usize,
    /// Events that had been booked before.
    pub duplicates: usize,
    /// Records that are damaged or not of this installation.
    pub skipped: u64,
    /// Whether the file ends within a record, as a crash leaves it.
    pub torn: bool,
}

/// Books all events of a segment that this installation wrote, each once. The file is left as it is.
pub async fn replay(stores: &Stores, sealer: &Sealer, file: &Path) -> anyhow::Result<Replayed> {
    let found = spool::read_file(file, sealer.spool_key())?;
    let mut replayed = Replayed {
        skipped: found.skipped,
        torn: found.torn,
        ..Replayed::default()
    };
    for chunk in found.events.chunks(EVENTS_PER_BOOKING) {
        let booked = book(stores, chunk).await?;
        replayed.inserted += booked.inserted;
        replayed.duplicates += booked.duplicates;
    }
    Ok(replayed)
}
