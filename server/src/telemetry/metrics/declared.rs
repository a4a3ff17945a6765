//! Every metric, declared once: its name, kind, labels and meaning. `docs/metrics.md` is made from this list.

use std::{collections::BTreeSet, fmt::Write as _};

use parking_lot::Mutex;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, core::Collector,
};

use super::series::Series;

/// From a cached answer to the longest reasoning.
const LATENCY: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 1800.0,
];
/// Weir's own time: tens of microseconds when all is well.
const OVERHEAD: &[f64] = &[
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0,
];

/// What is said of a metric where it is declared.
struct Declared {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    buckets: &'static [f64],
}

/// A kind of metric that can be made from its declaration.
trait Family: Collector + Clone + Sized + 'static {
    const KIND: &'static str;
    fn new(declared: &Declared) -> prometheus::Result<Self>;
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ident = $name:literal [$($label:literal),*] $($buckets:ident)?;)*) => {
        /// The metrics themselves.
        #[derive(Debug)]
        pub(super) struct Families {
            $($(#[doc = $help])+ pub(super) $field: $kind,)*
        }

        impl Families {
            fn new(registry: &prometheus::Registry) -> prometheus::Result<Self> {
                let families = Self { $($field: Family::new(&declared::$field())?,)* };
                $(registry.register(Box::new(families.$field.clone()))?;)*
                Ok(families)
            }
        }

        /// One function for each metric, since a help of several lines has to be joined.
        mod declared {
            use super::*;
            $(pub(super) fn $field() -> Declared {
                Declared {
                    name: $name,
                    help: concat!($($help),+).trim_start(),
                    labels: &[$($label),*],
                    buckets: metrics!(@buckets $($buckets)?),
                }
            })*
        }

        /// Every metric with its kind.
        fn all() -> Vec<(&'static str, Declared)> {
            vec![$((<$kind as Family>::KIND, declared::$field()),)*]
        }
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
}

metrics! {
    /// Requests that have ended, by the status that the caller got; a status that is not usual is its class, such as `4xx`.
    requests: IntCounterVec = "gateway_requests_total" ["provider", "model", "status"];
    /// Seconds from a request's head to its end.
    request_duration: HistogramVec = "gateway_request_duration_seconds" ["provider", "model"] LATENCY;
    /// Seconds from a request's head to the first byte of the answer's body.
    first_byte: HistogramVec = "gateway_first_byte_seconds" ["provider", "model"] LATENCY;
    /// Tokens that requests were charged for, each in one type only.
    tokens_used: IntCounterVec = "gateway_tokens_used_total" ["provider", "model", "type"];
    /// Requests under way.
    requests_in_flight: IntGauge = "gateway_requests_in_flight" [];
    /// Connections of callers that are open.
    connections: IntGauge = "gateway_connections" [];
    /// Attempts at channels, by how they ended: `ok`, or the word for what went wrong.
    attempts: IntCounterVec = "gateway_attempts_total" ["provider", "reason"];
    /// Requests of known keys that Weir refused, by the code that the caller got.
    refusals: IntCounterVec = "gateway_refusals_total" ["code"];
    /// Requests that a limit or budget refused, by the thing it stands on and what it counts (`requests`, `tokens`,
    /// `concurrent`, `budget`).
    limit_refusals: IntCounterVec = "gateway_limit_refusals_total" ["scope", "metric"];
    /// Alerts of budgets that this instance wrote: a threshold was reached (`crossed`), or a hard one refused a call for the
    /// first time in its period (`refused`).
    budget_alerts: IntCounterVec = "gateway_budget_alerts_total" ["kind"];
    /// Calls whose bodies a tenant wants kept: `kept`, or `lost` where the database was away too long.
    kept_bodies: IntCounterVec = "gateway_kept_bodies_total" ["result"];
    /// Requests of callers that were not identified.
    unidentified: IntCounterVec = "gateway_unidentified_total" ["reason"];
    /// Connections that were ended because of what came over them, below any handler: `malformed` (a bare 400), `too_large`
    /// (431) or `slow` (408; without an answer on a connection that had been served before).
    bad_heads: IntCounterVec = "gateway_bad_heads_total" ["reason"];
    /// Seconds that Weir itself spent on a request before the upstream call was under way.
    overhead: Histogram = "gateway_overhead_seconds" [] OVERHEAD;
    /// Requests whose tokens Weir counted itself, in whole or in part, because the upstream did not report them.
    estimated: IntCounter = "gateway_estimated_total" [];
    /// Requests of models without a price.
    unpriced: IntCounter = "gateway_unpriced_total" [];
    /// Whether a channel could serve now: 1 or 0.
    channel_up: IntGaugeVec = "gateway_channel_up" ["provider"];
    /// Usage events in the spool that the database has not booked.
    spool_events: IntGauge = "gateway_spool_events" [];
    /// Bytes that the spool takes on disk.
    spool_bytes: IntGauge = "gateway_spool_bytes" [];
    /// What a person should look at, by what it is: events that wait in memory (`held`) or that no table takes
    /// (`unbookable`, `unwritable`), damaged or strange files and records of the spool (`set_aside`, `skipped`, `torn`,
    /// `damaged_slots`), disks that did not sync (`sync_failures`), rows that cannot be read (`broken_entries`). All 0 is
    /// well.
    attention: IntGaugeVec = "gateway_attention" ["what"];
    /// Seconds since this instance last knew that its catalog was the newest.
    catalog_lag: Gauge = "gateway_catalog_lag_seconds" [];
    /// Whether a store answers, `database` or `redis`: 1 or 0; one that is not used has no series.
    store_up: IntGaugeVec = "gateway_store_up" ["store"];
}

/// All metrics of one app.
#[derive(Debug)]
pub struct Registry {
    pub(super) registry: prometheus::Registry,
    pub(super) families: Families,
    pub(super) series: Series,
    /// Channels that `gateway_channel_up` shows.
    pub(super) channels: Mutex<BTreeSet<String>>,
}

impl Registry {
    /// Registers every metric; at most so many pairs of channel and model get series of their own.
    pub fn new(max_series: usize) -> prometheus::Result<Self> {
        let registry = prometheus::Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let families = Families::new(&registry)?;
        Ok(Self {
            registry,
            families,
            series: Series::new(max_series),
            channels: Mutex::default(),
        })
    }
}

/// `docs/metrics.md`.
pub fn markdown() -> String {
    let mut page = String::from(PREFACE);
    for (kind, declared) in all() {
        let labels: Vec<String> = declared
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let Declared { name, help, .. } = declared;
        let _ = writeln!(
            page,
            "| `{name}` | {kind} | {} | {help} |",
            labels.join(", ")
        );
    }
    page.push_str(
        "| `process_*` | | | The process's CPU, memory, threads, open files and start (Linux). |\n",
    );
    page
}

const PREFACE: &str = "\
# Metrics

Made from `server/src/telemetry/metrics/declared.rs` by `WEIR_UPDATE_DOCS=1 cargo test -p weir --lib the_page_of`; do not
edit.

`/metrics` answers in Prometheus' text format. `provider` is the channel's name, `none` where a request reached no
channel; `model` is the public model's name. Label values are bounded: what the catalog does not know, and what comes
after `telemetry.max_series` pairs of channel and model, is `other`.

| metric | kind | labels | |
| --- | --- | --- | --- |
";

macro_rules! families {
    ($($kind:ident $word:literal $declared:ident => $made:expr;)*) => {$(
        impl Family for $kind {
            const KIND: &'static str = $word;
            fn new($declared: &Declared) -> prometheus::Result<Self> {
                $made
            }
        }
    )*};
}

families! {
    IntCounter "counter" declared => IntCounter::new(declared.name, declared.help);
    IntCounterVec "counter" declared => IntCounterVec::new(Opts::new(declared.name, declared.help), declared.labels);
    IntGauge "gauge" declared => IntGauge::new(declared.name, declared.help);
    IntGaugeVec "gauge" declared => IntGaugeVec::new(Opts::new(declared.name, declared.help), declared.labels);
    Gauge "gauge" declared => Gauge::new(declared.name, declared.help);
    Histogram "histogram" declared => Histogram::with_opts(histogram(declared));
    HistogramVec "histogram" declared => HistogramVec::new(histogram(declared), declared.labels);
}

fn histogram(declared: &Declared) -> HistogramOpts {
    HistogramOpts::new(declared.name, declared.help).buckets(declared.buckets.to_vec())
}
