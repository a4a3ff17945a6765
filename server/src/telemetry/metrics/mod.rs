//! Metrics: what `/metrics` shows.
//!
//! `declared` lists every metric once; this is how they are fed. Series are bounded whatever callers send: a model that
//! the catalog does not know, and whatever comes after [`Config::max_series`](super::Config::max_series) pairs of channel
//! and model, is counted as `other`. The registry belongs to the app; there is no global one.

mod declared;
mod series;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use prometheus::{Encoder as _, TextEncoder};

pub use declared::{Registry, markdown};
pub use series::TokenType;

use series::Label;

/// Where a value stands that is not known, or one too many.
pub const OTHER: &str = "other";

/// The provider of a request that reached no channel.
pub const NONE: &str = "none";

/// What a request of any outcome counts for, told once when it has ended.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Name of the channel that answered or was tried last; `None` if none was.
    pub provider: Option<&'a str>,
    /// The public model's name; `None` if the catalog does not know it.
    pub model: Option<&'a str>,
    pub status: u16,
    pub total: Duration,
    pub first_byte: Option<Duration>,
    /// What Weir itself spent before the upstream call was under way; `None` if there was no such call.
    pub overhead: Option<Duration>,
    pub tokens: &'a [(TokenType, u64)],
    /// Whether Weir counted any of the tokens itself.
    pub estimated: bool,
    /// Whether the model had no price.
    pub unpriced: bool,
}

/// One request under way, until dropped.
#[derive(Debug)]
pub struct InFlight(prometheus::IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A store in `gateway_store_up`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Database,
    Redis,
}

impl Registry {
    /// Counts a request until what it returns is dropped.
    pub fn in_flight(&self) -> InFlight {
        self.families.requests_in_flight.inc();
        InFlight(self.families.requests_in_flight.clone())
    }

    /// Counts a caller's connection until what it returns is dropped.
    pub fn connection(&self) -> InFlight {
        self.families.connections.inc();
        InFlight(self.families.connections.clone())
    }

    /// Connections of callers that are open.
    pub fn connections(&self) -> u64 {
        self.families.connections.get().unsigned_abs()
    }

    /// Requests that are under way.
    pub fn requests_in_flight(&self) -> u64 {
        self.families.requests_in_flight.get().unsigned_abs()
    }

    /// Counts a request that has ended.
    pub fn request(&self, request: &Request<'_>) {
        let provider = request.provider.unwrap_or(NONE);
        let series = self
            .series
            .of(&self.families, provider, request.model.unwrap_or(OTHER));
        series.requests(request.status).inc();
        series.duration.observe(request.total.as_secs_f64());
        if let Some(first_byte) = request.first_byte {
            series.first_byte.observe(first_byte.as_secs_f64());
        }
        for (kind, count) in request.tokens.iter().filter(|(_, count)| *count > 0) {
            series.tokens(*kind).inc_by(*count);
        }
        let families = &self.families;
        if let Some(overhead) = request.overhead {
            families.overhead.observe(overhead.as_secs_f64());
        }
        families.estimated.inc_by(u64::from(request.estimated));
        families.unpriced.inc_by(u64::from(request.unpriced));
    }

    /// Counts an attempt at a channel; the reason is `ok` or a word of a bounded set.
    pub fn attempt(&self, provider: &str, reason: &'static str) {
        let provider = match self.series.provider(&self.families, provider) {
            Label::Own => provider,
            Label::Other => OTHER,
        };
        self.families
            .attempts
            .with_label_values(&[provider, reason])
            .inc();
    }

    /// Counts a refusal of a known key's request, by its code.
    pub fn refusal(&self, code: &'static str) {
        self.families.refusals.with_label_values(&[code]).inc();
    }

    /// Counts a request that a limit or budget refused.
    pub fn limit_refusal(&self, scope: &'static str, metric: &'static str) {
        let labels = [scope, metric];
        self.families
            .limit_refusals
            .with_label_values(&labels)
            .inc();
    }

    /// Counts an alert that was written.
    pub fn budget_alert(&self, kind: &'static str) {
        self.families.budget_alerts.with_label_values(&[kind]).inc();
    }

    /// Counts calls whose bodies were to be kept.
    pub fn kept_bodies(&self, result: &'static str, calls: usize) {
        let counter = self.families.kept_bodies.with_label_values(&[result]);
        counter.inc_by(calls as u64);
    }

    /// Counts a request of a caller that was not identified.
    pub fn unidentified(&self, reason: &'static str) {
        self.families
            .unidentified
            .with_label_values(&[reason])
            .inc();
    }

    /// Counts a connection that ended below any handler.
    pub fn bad_head(&self, reason: &'static str) {
        self.families.bad_heads.with_label_values(&[reason]).inc();
    }

    /// Which channels could serve now; a channel that is not named has no series any more.
    pub fn set_channels<'a>(&self, channels: impl IntoIterator<Item = (&'a str, bool)>) {
        let gauge = &self.families.channel_up;
        let mut named = BTreeSet::new();
        for (name, is_up) in channels {
            if self.series.provider(&self.families, name) == Label::Own {
                gauge.with_label_values(&[name]).set(i64::from(is_up));
                named.insert(name.to_owned());
            }
        }
        // What is gone is removed last, so that a scrape in between misses no channel that is there.
        let mut shown = self.channels.lock();
        for gone in shown.difference(&named) {
            let _ = gauge.remove_label_values(&[gone]);
        }
        *shown = named;
    }

    /// What a person should look at, and how much of it there is.
    pub fn set_attention<'a>(&self, figures: impl IntoIterator<Item = (&'a str, u64)>) {
        for (what, count) in figures {
            let gauge = self.families.attention.with_label_values(&[what]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// How much the spool holds that the database has not booked.
    pub fn set_spool(&self, events: u64, bytes: u64) {
        self.families
            .spool_events
            .set(i64::try_from(events).unwrap_or(i64::MAX));
        self.families
            .spool_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Since when this instance's catalog may be behind.
    pub fn set_catalog_lag(&self, lag: Duration) {
        self.families.catalog_lag.set(lag.as_secs_f64());
    }

    /// Whether a store answers.
    pub fn set_store(&self, store: Store, is_up: bool) {
        let name = match store {
            Store::Database => "database",
            Store::Redis => "redis",
        };
        self.families
            .store_up
            .with_label_values(&[name])
            .set(i64::from(is_up));
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// The content type of [`Registry::render`].
    pub fn content_type() -> String {
        TextEncoder::new().format_type().to_owned()
    }
}
