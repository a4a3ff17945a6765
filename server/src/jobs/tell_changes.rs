//! Tells the other instances over Redis that this one changed the configuration.

use tokio_util::sync::CancellationToken;

use crate::{redis::Redis, store::Stores};

/// Publishes after every commit, from this call on. A message that is lost is made up for by the others' polling.
pub fn run(
    stores: &Stores,
    redis: Redis,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let mut committed = stores.committed();
    async move {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = committed.changed() => if changed.is_err() { return },
            }
            if let Err(error) = redis.publish_changed().await {
                tracing::warn!(%error, "other instances were not told of a change; they find it by polling");
            }
        }
    }
}
