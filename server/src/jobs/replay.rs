//! Books a segment from elsewhere: `weir usage replay FILE`, for a spool whose machine is gone.

use std::{collections::HashSet, path::Path};

use anyhow::Context as _;

use super::write_usage::{EVENTS_PER_BOOKING, book};
use crate::{
    catalog::Catalog,
    limits::{Account, Shared, Window, claim},
    metering::{UsageEvent, spool},
    secrets::Sealer,
    store::Stores,
};

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

/// Books all events of a segment that this installation wrote, each once. The file is left as it is. `found` is told what the file has
/// before anything is booked, and may prevent it. Also returns the events.
pub async fn replay(
    stores: &Stores,
    sealer: &Sealer,
    file: &Path,
    found: impl AsyncFnOnce(usize) -> anyhow::Result<()>,
) -> anyhow::Result<(Replayed, Vec<UsageEvent>)> {
    let read = read(sealer, file)?;
    found(read.events.len()).await?;
    let mut replayed = Replayed {
        skipped: read.skipped,
        torn: read.torn,
        ..Replayed::default()
    };
    for chunk in read.events.chunks(EVENTS_PER_BOOKING) {
        let booked = book(stores, chunk).await?;
        replayed.inserted += booked.inserted;
        replayed.duplicates += booked.duplicates;
    }
    Ok((replayed, read.events))
}

/// Under whichever master key it was written.
fn read(sealer: &Sealer, file: &Path) -> Result<spool::Events, spool::Error> {
    let keys = sealer.key_ids();
    let mut keys = keys.iter().filter_map(|id| sealer.spool_key(id));
    let not_ours = || spool::Error::NotASegment {
        path: file.to_owned(),
    };
    let mut found = Err(not_ours());
    while let (Err(spool::Error::NotASegment { .. }), Some(key)) = (&found, keys.next()) {
        found = spool::read_file(file, &key);
    }
    found
}

/// Sees that running instances count the events for their budgets: what Redis knows of these is built anew when it is next
/// needed. Done twice, it does no harm.
pub async fn recount(
    shared: &Shared,
    catalog: &Catalog,
    events: &[UsageEvent],
) -> anyhow::Result<()> {
    let mut places: HashSet<(Account, Window)> = HashSet::new();
    for event in events {
        for scope in claim::scopes_of(event) {
            let watched = claim::watched(catalog, scope, event.id.at_ms());
            places.extend(
                watched
                    .iter()
                    .map(|watched| (Account::of(watched.budget), watched.window)),
            );
        }
    }
    for place in places {
        let lost = shared.lose(place, None).await;
        lost.context("the events are booked, but Redis could not be told that budgets have to count them: replay the file again")?;
    }
    Ok(())
}
