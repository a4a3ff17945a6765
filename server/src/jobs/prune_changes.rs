//! Deletes what is too old: changes of the catalog for a delta, sessions that are over, failed sign-ins.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Fleet, repeat_leading};
use crate::{
    clock::now_ms,
    store::{self, Stores, catalog, sign_in_failures::FORGOTTEN_MS},
};

const PERIOD: Duration = Duration::from_secs(3_600);

/// Prunes every hour, where this instance leads.
pub async fn run(stores: Stores, fleet: Arc<Fleet>, shutdown: CancellationToken) {
    repeat_leading("prune_changes", PERIOD, &fleet, &shutdown, || {
        prune(stores.clone())
    })
    .await;
}

async fn prune(stores: Stores) -> store::Result<()> {
    let pruned = catalog::prune(&stores.config).await?;
    if pruned > 0 {
        tracing::info!(pruned, "old changes of the catalog were deleted");
    }
    let (db, now_ms) = (&stores.config.write, now_ms());
    let sessions = store::sessions::prune(db, now_ms).await?;
    if sessions > 0 {
        tracing::info!(sessions, "sessions that were over were deleted");
    }
    store::sign_in_failures::prune(db, now_ms - FORGOTTEN_MS).await?;
    Ok(())
}
