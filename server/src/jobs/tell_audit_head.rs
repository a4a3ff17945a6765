//! Tells the audit log's head to Weir's own log: whoever can write the database can cut the audit log's end, but not what was collected
//! elsewhere by then (threats.md, D7).

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{Fleet, repeat_leading};
use crate::store::{self, Stores};

const PERIOD: Duration = Duration::from_secs(600);

/// Tells it every ten minutes in which it has changed, where this instance leads.
pub async fn run(stores: Stores, fleet: Arc<Fleet>, shutdown: CancellationToken) {
    let told = Arc::new(AtomicI64::new(0));
    repeat_leading("tell_audit_head", PERIOD, &fleet, &shutdown, || {
        tell(stores.clone(), Arc::clone(&told))
    })
    .await;
}

async fn tell(stores: Stores, told: Arc<AtomicI64>) -> store::Result<()> {
    let (seq, hash) = store::audit::last(&stores.config.read).await?;
    if told.swap(seq, Relaxed) != seq {
        tracing::info!(seq, hash, "the audit log's head");
    }
    Ok(())
}
