//! Makes the months of `usage_events` before they are needed. On SQLite there is nothing to make.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::repeat;
use crate::{
    clock::now_ms,
    store::{self, Stores, usage::partitions},
};

const PERIOD: Duration = Duration::from_secs(24 * 3_600);
const MONTHS_AHEAD: u8 = 2;

/// Makes months every day. Any number of instances may do it at once.
pub async fn run(stores: Stores, shutdown: CancellationToken) {
    repeat("partitions", PERIOD, &shutdown, || make(stores.clone())).await;
}

async fn make(stores: Stores) -> store::Result<()> {
    let made = partitions::make_ahead(&stores.usage, now_ms(), MONTHS_AHEAD).await?;
    if made > 0 {
        tracing::info!(made, "months of usage events were made");
    }
    Ok(())
}
