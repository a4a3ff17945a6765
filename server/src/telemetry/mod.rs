//! What Weir tells about itself: log lines, the access log, metrics, traces and the picture of its health.
//!
//! `app` calls [`start`] once, keeps the [`Guard`] and hands [`span::Tracer`] and [`metrics::Registry`] to whoever
//! reports. Nothing here knows a request's way, a store or the catalog: callers pass plain values. No prompt, answer,
//! query or credential comes in, so that none can go out.

pub mod access_log;
pub mod escape;
pub mod flood;
#[cfg(test)]
pub(crate) mod generated;
pub mod health;
pub mod logs;
pub mod machine;
pub mod metrics;
pub mod repeated;
pub mod span;
#[cfg(test)]
mod threats;
mod traceparent;
mod traces;

use std::time::Duration;

use serde::Deserialize;

pub use logs::{LogFormat, Logs, check_filter, log_panics};
pub use repeated::Repeated;
pub use span::{RequestSpan, Tracer};

/// How much is told: `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Share of requests that are traced.
    pub trace_sample: f64,
    /// Pairs of channel and model with series of their own in each metric.
    pub max_series: usize,
}

/// Why telemetry does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("setting `log`: {0}")]
    Filter(String),
    #[error("traces over OTLP: {0}")]
    Traces(String),
}

/// Keeps telemetry going.
#[derive(Debug)]
pub struct Guard {
    traces: Option<traces::Traces>,
    tracer: Tracer,
}

/// Starts the log and, if the environment names an OTLP endpoint, traces. A process has one log: where one is set up
/// already, as in a test that starts several servers, it stays.
pub fn start(logs: &Logs, config: &Config, instance: &str) -> Result<Guard, Error> {
    logs::install(logs)?;
    let traces = traces::from_environment(instance)?;
    let tracer = match &traces {
        Some(traces) => Tracer::new(traces.provider(), config.trace_sample),
        None => Tracer::off(),
    };
    Ok(Guard { traces, tracer })
}

impl Guard {
    /// Starts the spans of requests; cheap to clone.
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Sends what is left and stops. It blocks for at most the given time, so it belongs after the last worker's end.
    pub fn shutdown(self, at_most: Duration) {
        if let Some(traces) = self.traces {
            traces.shutdown(at_most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_servers_may_start_in_one_process() {
        let logs = logs::tests::settings("warn", LogFormat::Text);
        let config = Config {
            trace_sample: 1.0,
            max_series: 10,
        };
        for _ in 0..2 {
            start(&logs, &config, "here")
                .expect("started")
                .shutdown(Duration::from_secs(1));
        }
        let bad = logs::tests::settings("weir=loud", LogFormat::Text);
        assert!(matches!(
            start(&bad, &config, "here"),
            Err(Error::Filter(_))
        ));
    }
}
