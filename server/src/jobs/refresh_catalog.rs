//! Keeps the picture that requests read the present one.
//!
//! It looks when this process changed something, when another instance says so over Redis, and by the clock. Each of
//! these is only a reason to look: what changed, and whether anything did, the database says. While the database is
//! away the old picture stays.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use serde::Deserialize;
use tokio::{
    sync::Notify,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use weir_api_types::span::Span;

use super::{Backoff, Health};
use crate::{
    catalog::{Current, Version},
    redis::Redis,
    secrets::Sealer,
    store::{self, Stores, catalog},
};

/// Longest wait for the database to answer one look.
const PATIENCE: Duration = Duration::from_secs(15);
/// Hints from outside are followed at most so often, however many come.
const BETWEEN_HINTS: Duration = Duration::from_millis(50);

/// How the catalog is kept up to date.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often to look without being told; at most 5s, which is how late a change may be while Redis is down.
    pub poll_every: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            poll_every: Span(Duration::from_secs(2)),
        }
    }
}

impl Config {
    /// Says what is wrong with a setting.
    pub fn check(&self) -> Result<(), &'static str> {
        let allowed = Duration::from_millis(50)..=Duration::from_secs(5);
        match allowed.contains(&self.poll_every.0) {
            true => Ok(()),
            false => Err("poll_every must be from 50ms to 5s"),
        }
    }
}

/// The job, and what it works with.
pub struct RefreshCatalog {
    pub stores: Stores,
    pub current: Arc<Current>,
    pub sealer: Arc<Sealer>,
    pub redis: Option<Redis>,
    pub health: Arc<Health>,
    pub config: Config,
}

impl RefreshCatalog {
    /// Looks until told to stop. The first picture is in place once `Current` has a version with an epoch.
    pub async fn run(self, shutdown: CancellationToken) {
        let hint = Notify::new();
        let told = async {
            match &self.redis {
                Some(redis) => redis.follow_changes(&hint).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = told => {}
            () = self.keep_looking(&hint) => {}
        }
    }

    /// Looks once. Says whether a new picture was put in place.
    pub async fn look(&self) -> Result<bool, store::Error> {
        let known = self.current.peek().version();
        let reading = if known == Version::default() {
            catalog::load(&self.stores.config, &self.sealer).await?
        } else {
            catalog::changes_since(&self.stores.config, known, &self.sealer).await?
        };
        let changed = reading.delta.full || reading.delta.version != known;
        if changed {
            let broken = reading.broken as u64;
            if reading.delta.full {
                self.health.broken_entries.store(broken, Relaxed);
            } else {
                self.health.broken_entries.fetch_add(broken, Relaxed);
            }
            self.current.swap(self.current.load().after(reading.delta));
            self.health.catalog_swaps.fetch_add(1, Relaxed);
        }
        self.health.looked();
        Ok(changed)
    }

    async fn keep_looking(&self, hint: &Notify) {
        let mut committed = self.stores.committed();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut failing = false;
        loop {
            committed.mark_unchanged();
            let looked = Instant::now();
            let failure = match time::timeout(PATIENCE, self.look()).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("the database does not answer".to_owned()),
            };
            let Some(error) = failure else {
                if std::mem::take(&mut failing) {
                    tracing::info!("the catalog is followed again");
                }
                backoff.reset();
                tokio::select! {
                    _ = committed.changed() => {}
                    () = after(looked + BETWEEN_HINTS, hint) => {}
                    () = time::sleep(self.config.poll_every.0) => {}
                }
                continue;
            };
            self.health.look_failed(&error);
            if !std::mem::replace(&mut failing, true) {
                tracing::error!(error, "the catalog cannot be read; the old picture stays");
            }
            time::sleep(backoff.grow()).await;
        }
    }
}

/// Waits for a hint, and then until a moment: all hints before it are one.
async fn after(moment: Instant, hint: &Notify) {
    hint.notified().await;
    time::sleep_until(moment).await;
}

#[cfg(test)]
mod tests;
