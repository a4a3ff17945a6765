//! The present picture, and word of its changes.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::{Catalog, Version};

/// Holds the present picture. Reading takes no lock; whoever must act on a change subscribes.
#[derive(Debug)]
pub struct Current {
    catalog: ArcSwap<Catalog>,
    version: watch::Sender<Version>,
}

impl Default for Current {
    fn default() -> Self {
        Self {
            catalog: ArcSwap::default(),
            version: watch::Sender::new(Version::default()),
        }
    }
}

impl Current {
    /// The present picture, for as long as the caller holds it.
    pub fn load(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// The present picture for a short look.
    pub fn peek(&self) -> Guard<Arc<Catalog>> {
        self.catalog.load()
    }

    /// Puts the next picture in place and tells those who wait.
    pub fn swap(&self, next: Catalog) {
        let version = next.version();
        self.catalog.store(Arc::new(next));
        self.version.send_replace(version);
    }

    /// Wakes its holder at each change.
    pub fn subscribe(&self) -> watch::Receiver<Version> {
        self.version.subscribe()
    }
}
