//! Deletes changes of the catalog that are too old for a delta.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::repeat;
use crate::store::{self, Stores, catalog};

const PERIOD: Duration = Duration::from_secs(3_600);

/// Prunes every hour. Any number of instances may do it at once.
pub async fn run(stores: Stores, shutdown: CancellationToken) {
    repeat("prune_changes", PERIOD, &shutdown, || prune(stores.clone())).await;
}

async fn prune(stores: Stores) -> store::Result<()> {
    let pruned = catalog::prune(&stores.config).await?;
    if pruned > 0 {
        tracing::info!(pruned, "old changes of the catalog were deleted");
    }
    Ok(())
}
