//! What runs beside requests: following the configuration, booking the usage, keeping the tables in order.
//!
//! Every job is an `async fn run` that ends when its token is cancelled. Jobs outlive their stores: a failure is logged
//! once, shown in [`Health`], and tried again until it passes. They run on a runtime of their own, never on the workers
//! that serve requests, and meet these only in `catalog::Current` and in the spool.

pub mod apply_settings;
pub mod beat;
pub mod build_accounts;
pub mod fill_budgets;
pub mod flush_usage;
pub mod health;
pub mod keep_bodies;
pub mod partitions;
pub mod prune;
pub mod refresh_catalog;
pub mod replay;
pub mod share_budgets;
pub mod share_limits;
pub mod tell_audit_head;
pub mod tell_changes;
pub mod write_alerts;
pub mod write_usage;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use beat::{Beat, Fleet};
pub use build_accounts::BuildAccounts;
pub use fill_budgets::FillBudgets;
pub use flush_usage::FlushUsage;
pub use health::Health;
pub use refresh_catalog::RefreshCatalog;
pub use share_budgets::ShareBudgets;
pub use write_usage::WriteUsage;

/// Pauses between tries, doubling from the first to the longest.
struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    fn reset(&mut self) {
        self.next = self.first;
    }

    /// The pause after one more failure.
    fn grow(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }
}

/// How often an instance that does not lead looks whether it does by now.
const LOOK_FOR_LEAD: Duration = Duration::from_secs(5);

/// Does something where this instance leads, at once and then every `period`, as [`repeat`] does.
async fn repeat_leading<E: std::fmt::Display, F: Future<Output = Result<(), E>> + Send>(
    what: &'static str,
    period: Duration,
    fleet: &Fleet,
    shutdown: &CancellationToken,
    mut act: impl FnMut() -> F,
) {
    // After a failure it stays due.
    let due = parking_lot::Mutex::new(tokio::time::Instant::now());
    let pause = period.min(LOOK_FOR_LEAD);
    repeat(what, pause, shutdown, || {
        let now = tokio::time::Instant::now();
        let acts = fleet.leads() && now >= *due.lock();
        let acting = acts.then(&mut act);
        let due = &due;
        async move {
            if let Some(acting) = acting {
                acting.await?;
                *due.lock() = now + period;
            }
            Ok::<(), E>(())
        }
    })
    .await;
}

/// Does something at once and then every `period`; after a failure again within a minute.
async fn repeat<E: std::fmt::Display, F: Future<Output = Result<(), E>> + Send>(
    what: &'static str,
    period: Duration,
    shutdown: &CancellationToken,
    mut act: impl FnMut() -> F,
) {
    let mut failing = false;
    loop {
        let pause = match act().await {
            Ok(()) => {
                failing = false;
                period
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, what, "a job failed; it is tried again every minute");
                }
                period.min(Duration::from_secs(60))
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
