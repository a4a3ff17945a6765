//! Tells the accounts of budgets what was spent before they began to count.
//!
//! An account is asked about after everything that had ended before it is booked. The books are read at one moment; what
//! they have by then of calls that the account counted itself is taken off again, so nothing counts twice.

use std::{sync::Arc, time::Duration};

use tokio::time;
use tokio_util::sync::CancellationToken;

use super::Backoff;
use crate::{
    catalog,
    limits::{Account, Limits, Window},
    metering::Recorder,
    store::{self, Stores, usage},
};

/// Longest wait for what has ended to be booked.
const PATIENCE: Duration = Duration::from_secs(10);

/// The job, and what it works with.
pub struct FillBudgets {
    pub limits: Arc<Limits>,
    pub current: Arc<catalog::Current>,
    pub stores: Stores,
    /// Holds the spool.
    pub recorder: Recorder,
}

/// Why accounts are not filled yet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("usage waits to be booked")]
    Unbooked,
}

impl FillBudgets {
    /// Fills the accounts of all budgets there are: before the process is ready, when nothing is under way.
    pub async fn fill_all(&self) -> Result<(), Error> {
        self.limits.expect_budgets(&self.current.load());
        let waiting = self.limits.unfilled();
        self.fill(&waiting).await
    }

    /// Fills new accounts as they come, until told to stop: with a new budget, or a window that nobody saw begin.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut changes = self.current.subscribe();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let catalog = self.current.load();
                    // What is spent there while no budget looks, nobody counts: it is asked for anew.
                    self.limits.look_at_budgets(&catalog);
                    self.limits.expect_budgets(&catalog);
                }
                () = self.limits.some_unfilled() => {}
            }
            let mut failing = false;
            loop {
                let waiting = self.limits.unfilled();
                if waiting.is_empty() {
                    break;
                }
                let filled = tokio::select! {
                    () = shutdown.cancelled() => return,
                    filled = self.fill_after_booking(&waiting) => filled,
                };
                let Err(error) = filled else {
                    backoff.reset();
                    continue;
                };
                self.limits.put_back(waiting);
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "what budgets have spent cannot be read; hard ones wait for it");
                }
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = time::sleep(backoff.grow()) => {}
                }
            }
        }
    }

    /// Fills accounts once everything that ended before now is booked.
    async fn fill_after_booking(&self, waiting: &[(Account, Window)]) -> Result<(), Error> {
        let booked = time::timeout(
            PATIENCE,
            super::write_usage::flushed_and_booked(&self.recorder),
        );
        if !booked.await.unwrap_or(false) {
            return Err(Error::Unbooked);
        }
        self.fill(waiting).await
    }

    async fn fill(&self, waiting: &[(Account, Window)]) -> Result<(), Error> {
        if waiting.is_empty() {
            return Ok(());
        }
        let snapshot = self.stores.usage.begin_snapshot().await?;
        for (account, window) in waiting {
            // The first statement fixes what the snapshot shows; only then is asked what has been counted meanwhile.
            let booked = usage::spent(&snapshot, *account, *window).await?;
            let counted = self.limits.settled(*account, *window);
            let twice = usage::spent_by_calls(&snapshot, *account, &counted).await?;
            self.limits
                .fill(*account, *window, booked.saturating_sub(twice));
        }
        snapshot.rollback().await.map_err(store::Error::from)?;
        Ok(())
    }
}
