//! Writes what budgets told: a row, once over all instances, and with it a log line and a metric.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time};
use tokio_util::sync::CancellationToken;

use super::Backoff;
use crate::{
    catalog,
    clock::now_ms,
    limits::{self, Alert, Happened},
    store::{Stores, alerts},
    telemetry::metrics,
};

/// Writes until told to stop, and then what is there already. While the database is away, alerts wait.
pub async fn run(
    stores: Stores,
    mut noticed: mpsc::UnboundedReceiver<Alert>,
    metrics: Arc<metrics::Registry>,
    current: Arc<catalog::Current>,
    shutdown: CancellationToken,
) {
    loop {
        let alert = tokio::select! {
            biased;
            alert = noticed.recv() => alert,
            () = shutdown.cancelled() => noticed.try_recv().ok(),
        };
        let Some(alert) = alert else { return };
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut failing = false;
        loop {
            match alerts::write(&stores.usage, &alert, now_ms()).await {
                Ok(written) => {
                    if written {
                        tell(&alert, &metrics, &current);
                    }
                    break;
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, budget = %alert.budget, "an alert cannot be written; it waits");
                    }
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = time::sleep(backoff.grow()) => {}
                    }
                }
            }
        }
    }
}

fn tell(alert: &Alert, metrics: &metrics::Registry, current: &catalog::Current) {
    let catalog = current.peek();
    let tenant = alert.tenant.and_then(|tenant| catalog.tenant(tenant));
    let tenant = tenant.map_or("", |tenant| &tenant.name);
    let (spent, amount) = (
        alert.spending.words(alert.spent),
        alert.spending.words(alert.amount),
    );
    let scope = alert.scope.word();
    let name = limits::name_of(&catalog, alert.scope);
    match alert.what {
        Happened::Crossed(percent) => {
            metrics.budget_alert("crossed");
            tracing::warn!(tenant, scope, name, percent, spent, amount, budget = %alert.budget, "a budget has reached a threshold");
        }
        Happened::Refused => {
            metrics.budget_alert("refused");
            tracing::warn!(tenant, scope, name, spent, amount, budget = %alert.budget, "a hard budget refused a call");
        }
    }
}
