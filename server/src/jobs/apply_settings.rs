//! Puts run-time settings in force that are not read where they are needed: what is logged, and what is traced.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use weir_api_types::settings::RuntimeSettings;

use crate::{
    catalog::Current,
    telemetry::{Logs, Tracer, logs},
};

/// Follows the catalog until told to stop. `own` are this instance's own settings, for what is not set for all.
pub async fn run(
    current: Arc<Current>,
    own: Logs,
    own_sample: f64,
    tracer: Tracer,
    shutdown: CancellationToken,
) {
    let mut versions = current.subscribe();
    let mut known = RuntimeSettings::default();
    loop {
        let settings = current.load().settings().clone();
        if *settings != known {
            apply(&settings, &own, own_sample, &tracer);
            known = (*settings).clone();
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = versions.changed() => if changed.is_err() { return },
        }
    }
}

fn apply(settings: &RuntimeSettings, own: &Logs, own_sample: f64, tracer: &Tracer) {
    let logs = Logs {
        filter: settings.log.clone().unwrap_or_else(|| own.filter.clone()),
        ..own.clone()
    };
    if let Err(error) = logs::change(&logs) {
        tracing::error!(%error, "what is logged cannot be changed");
    }
    tracer.set_sample(settings.trace_sample.unwrap_or(own_sample));
}
