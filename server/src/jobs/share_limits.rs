//! Keeps what limits count in Redis true: settles calls in batches, holds concurrency slots, and looks for a Redis that was
//! away.

use std::{sync::Arc, time::Duration};

use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use super::Fleet;
use crate::limits::Shared;

/// How long settlements gather.
const GATHER: Duration = Duration::from_millis(10);
/// How often Redis is looked for while it is away.
const PROBE: Duration = Duration::from_millis(250);
/// How often is looked whether Redis has lost what it counted.
const LOOK: Duration = Duration::from_millis(100);
/// How often slots are said to be held.
const HOLD: Duration = Duration::from_secs(4);

/// Runs until told to stop, and then settles what is there.
pub async fn run(shared: Arc<Shared>, fleet: Arc<Fleet>, shutdown: CancellationToken) {
    shared.connect().await;
    let mut hold_at = Instant::now() + HOLD;
    let mut look_at = Instant::now();
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = shared.due(), if shared.is_asked() => time::sleep(GATHER).await,
            () = time::sleep(if shared.is_asked() { LOOK } else { PROBE }) => {}
        }
        shared.share_among(fleet.living());
        if shared.is_asked() {
            if Instant::now() >= look_at {
                look_at = Instant::now() + LOOK;
                shared.restock_if_lost().await;
            }
            shared.flush().await;
            if Instant::now() >= hold_at {
                hold_at = Instant::now() + HOLD;
                shared.hold_slots().await;
            }
        } else {
            shared.probe().await;
        }
    }
    shared.flush().await;
}
