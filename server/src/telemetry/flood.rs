//! A log that nobody can fill: warnings that an outsider or a fault repeats without end are a few lines and a count
//! (threats.md, D5).
//!
//! What is counted is told every ten seconds, and once more at the end.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use super::Repeated;

/// How often what was left out is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Of each place in the code, libraries' too: the process has one log.
static WARNINGS: LazyLock<Repeated> = LazyLock::new(|| Repeated::new(20, TOLD_EVERY));

/// Lets through what is below a warning, and of warnings and errors 20 lines of each place in ten seconds.
pub(super) struct Bounded;

impl<S: Subscriber> Filter<S> for Bounded {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        *metadata.level() > Level::WARN
            || WARNINGS.admit(metadata.target(), metadata.callsite(), Instant::now())
    }
}

/// Tells how many lines were left out, until told to stop: of warnings, and of what `others` bound.
pub async fn tell(others: Vec<Arc<Repeated>>, shutdown: CancellationToken) {
    loop {
        let ends = tokio::select! {
            () = shutdown.cancelled() => true,
            () = tokio::time::sleep(TOLD_EVERY) => false,
        };
        let all = others.iter().map(Arc::as_ref).chain([&*WARNINGS]);
        for (of, lines) in all.flat_map(|one| one.left_out(Instant::now())) {
            tracing::info!(of, lines, "lines were left out of the log");
        }
        if ends {
            return;
        }
    }
}
