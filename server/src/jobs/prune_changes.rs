//! Deletes changes of the catalog that are too old for a delta.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Fleet, repeat_leading};
use crate::store::{self, Stores, catalog};

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
    Ok(())
}
