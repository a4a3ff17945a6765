//! Keeps what was said in calls of tenants who want it: masked and sealed, behind the calls themselves.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::{sync::mpsc, time};
use tokio_util::sync::CancellationToken;

use super::Backoff;
use crate::{
    bodies::{Capture, Part, mask, said},
    secrets::{Place, Sealer, Secret},
    store::{
        Stores,
        usage::bodies::{self, Kept, Tools},
    },
    telemetry::metrics,
};

/// Calls that are written at once.
const BATCH: usize = 32;
const DAY_MS: i64 = 24 * 3_600_000;

/// Keeps until told to stop, and then what is there already. While the database is away, bodies wait, as many as there is room for.
pub async fn run(
    stores: Stores,
    sealer: Arc<Sealer>,
    mut captured: mpsc::UnboundedReceiver<Capture>,
    metrics: Arc<metrics::Registry>,
    shutdown: CancellationToken,
) {
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        let count = tokio::select! {
            biased;
            count = captured.recv_many(&mut batch, BATCH) => count,
            () = shutdown.cancelled() => {
                while let (true, Ok(capture)) = (batch.len() < BATCH, captured.try_recv()) {
                    batch.push(capture);
                }
                batch.len()
            }
        };
        if count == 0 {
            return;
        }
        let keeper = Arc::clone(&sealer);
        let made = tokio::task::spawn_blocking(move || {
            let made: Vec<Option<Kept>> = batch.iter().map(|one| kept(one, &keeper)).collect();
            made
        });
        let made = match made.await {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(%error, "bodies could not be read");
                vec![None; count]
            }
        };
        let kept: Vec<Kept> = made.into_iter().flatten().collect();
        metrics.kept_bodies("lost", count - kept.len());
        if kept.is_empty() {
            continue;
        }
        let done = write(&stores, &kept, &shutdown).await;
        metrics.kept_bodies("kept", done.written);
        metrics.kept_bodies("lost", done.lost);
    }
}

/// What became of some calls' bodies. What was forgotten meanwhile is neither.
#[derive(Default)]
struct Done {
    written: usize,
    /// The instance stops while the database is away, or it is there and takes some of them never.
    lost: usize,
}

async fn write(stores: &Stores, kept: &[Kept], shutdown: &CancellationToken) -> Done {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut failing = false;
    loop {
        match bodies::keep(&stores.usage, kept).await {
            Ok(written) => return Done { written, lost: 0 },
            Err(error) if stores.usage.write.ping().await.is_ok() => {
                tracing::warn!(%error, "bodies are kept one by one, as some of them cannot be");
                return one_by_one(stores, kept).await;
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "what was said in calls cannot be kept; it waits");
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return Done { written: 0, lost: kept.len() },
            () = time::sleep(backoff.grow()) => {}
        }
    }
}

async fn one_by_one(stores: &Stores, kept: &[Kept]) -> Done {
    let mut done = Done::default();
    for one in kept {
        match bodies::keep(&stores.usage, std::slice::from_ref(one)).await {
            Ok(one) => done.written += one,
            Err(error) => {
                done.lost += 1;
                tracing::error!(%error, request = %one.id, "what was said in a call cannot be kept");
            }
        }
    }
    done
}

/// Where the bodies of a call are sealed.
pub fn place(id: uuid::Uuid, tenant: uuid::Uuid) -> Place {
    Place {
        table: "kept_bodies",
        column: "sealed",
        row: id,
        tenant: Some(tenant),
    }
}

fn kept(capture: &Capture, sealer: &Sealer) -> Option<Kept> {
    let mut request = said::read(&capture.request, false);
    let mut response = said::read(&capture.response, capture.is_stream);
    let tools = Tools {
        offered: said::offered(&request),
        called: said::called(&response),
    };
    mask::value(&mut request);
    mask::value(&mut response);
    let body = |part: &Part, content| json!({"content": content, "bytes": part.length, "is_cut": part.is_cut()});
    let both = json!({
        "request": body(&capture.request, request),
        "response": body(&capture.response, response),
    });
    let place = place(capture.id.0, capture.tenant.0);
    let sealed = sealer.seal(&Secret::new(both.to_string()), place);
    if let Err(error) = &sealed {
        tracing::error!(%error, "what was said in a call cannot be sealed");
    }
    Some(Kept {
        id: capture.id,
        tenant: capture.tenant,
        expires_ms: capture.id.at_ms() + i64::from(capture.days) * DAY_MS,
        tools,
        sealed: sealed.ok()?,
    })
}
