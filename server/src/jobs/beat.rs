//! Says that this instance lives, learns how many do, and takes the lead where nobody has it.
//!
//! What only one instance needs to do asks [`Fleet::leads`] first. It may happen that two lead for a moment, when one was
//! silent for too long: so all of it may be done twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::mpsc, time};
use tokio_util::sync::CancellationToken;

use crate::{
    catalog,
    store::{self, Stores, instances, instances::Me},
};

const PERIOD: Duration = Duration::from_secs(2);
const TASK: &str = "jobs";

/// What this instance knows of the others.
#[derive(Debug)]
pub struct Fleet {
    living: AtomicU32,
    leads: AtomicBool,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            living: AtomicU32::new(1),
            leads: AtomicBool::new(false),
        }
    }
}

impl Fleet {
    /// How many instances lived when that was last known, this one included.
    pub fn living(&self) -> u32 {
        self.living.load(Relaxed)
    }

    /// Whether this instance does what only one does.
    pub fn leads(&self) -> bool {
        self.leads.load(Relaxed)
    }
}

/// The job, and what it works with.
pub struct Beat {
    pub stores: Stores,
    pub current: Arc<catalog::Current>,
    pub me: Me,
    pub fleet: Arc<Fleet>,
}

impl Beat {
    /// One word: that this instance lives, and whether it leads.
    pub async fn beat(&self) -> store::Result<()> {
        let version = self.current.peek().version().number;
        let living = instances::beat(&self.stores.config, &self.me, version).await?;
        self.fleet.living.store(living, Relaxed);
        let leads = instances::lead(&self.stores.config, TASK, &self.me).await?;
        if self.fleet.leads.swap(leads, Relaxed) != leads {
            tracing::info!(leads, living, "who leads has changed");
        }
        Ok(())
    }

    /// Beats until told to stop, and then says so, once all that keep the other end of `last` have ended: until then others have
    /// to reckon with this instance.
    pub async fn run(self, shutdown: CancellationToken, mut last: mpsc::Receiver<()>) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = time::sleep(PERIOD) => {}
            }
            match self.beat().await {
                Ok(()) => failing = false,
                // Nobody can say who leads: another one may by now.
                Err(error) => {
                    self.fleet.leads.store(false, Relaxed);
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "this instance cannot say that it lives");
                    }
                }
            }
        }
        // Nothing is ever sent.
        last.recv().await;
        if let Err(error) = instances::leave(&self.stores.config, self.me.id).await {
            tracing::warn!(%error, "this instance could not say that it ends; the others will notice");
        }
    }
}
