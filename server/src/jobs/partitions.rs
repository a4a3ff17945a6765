//! Makes the months of `usage_events` before they are needed. On SQLite there is nothing to make.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Fleet, repeat_leading};
use crate::{
    clock::now_ms,
    store::{self, Stores, usage::partitions},
};

const PERIOD: Duration = Duration::from_secs(24 * 3_600);
const MONTHS_AHEAD: u8 = 2;

/// Makes months every day, where this instance leads.
pub async fn run(stores: Stores, fleet: Arc<Fleet>, shutdown: CancellationToken) {
    repeat_leading("partitions", PERIOD, &fleet, &shutdown, || {
        make(stores.clone())
    })
    .await;
}

async fn make(stores: Stores) -> store::Result<()> {
    let made = partitions::make_ahead(&stores.usage, now_ms(), MONTHS_AHEAD).await?;
    if made > 0 {
        tracing::info!(made, "months of usage events were made");
    }
    Ok(())
}
