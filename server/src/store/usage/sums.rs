//! The sums of usage events: per quarter hour and set of dimensions, with the spread of their times, and per attempt.
//!
//! The one place that says what counts as what, for booking and for rebuilding alike. No I/O.

use std::collections::{BTreeMap, HashMap};

use sea_orm::Value;
use uuid::Uuid;
use weir_dialect::neutral::Usage;

use super::{
    bulk::{Column, Row, Table, maybe, number},
    histogram::{self, Kind},
    quarter_of,
};
use crate::{
    hash::digest_id,
    metering::{Attempt, UsageEvent},
};

/// Rows to add to the tables, each list in the order of its key.
#[derive(Default)]
pub struct Sums {
    pub rollups: Vec<Row>,
    pub histograms: Vec<Row>,
    pub attempts: Vec<Row>,
}

/// What events of one `usage_rollups` row have in common.
#[derive(PartialEq, Eq, Hash)]
struct Dimensions<'a> {
    quarter_ms: i64,
    tenant: Uuid,
    key: Uuid,
    user: Option<Uuid>,
    group: Option<Uuid>,
    model: &'a str,
    channel: Option<Uuid>,
    endpoint: &'a str,
    source: &'static str,
    outcome: &'static str,
    credential: Option<Uuid>,
    error: &'a str,
}

/// What attempts of one `attempt_rollups` row have in common.
#[derive(PartialEq, Eq, Hash)]
struct AttemptDimensions<'a> {
    quarter_ms: i64,
    tenant: Uuid,
    channel: Uuid,
    credential: Option<Uuid>,
    model: &'a str,
}

#[derive(Default)]
struct Figures {
    requests: u64,
    errors: u64,
    estimated: u64,
    usage: Usage,
    cost_nanos: i64,
    charge_nanos: i64,
    times: BTreeMap<(Kind, u16), u64>,
}

#[derive(Default)]
struct AttemptFigures {
    attempts: u64,
    errors: u64,
    usage: Usage,
    cost_nanos: i64,
}

impl Sums {
    /// The sums of some events.
    pub fn of<'a>(events: impl Iterator<Item = &'a UsageEvent>) -> Self {
        let mut rollups: HashMap<Dimensions<'a>, Figures> = HashMap::new();
        let mut attempts: HashMap<AttemptDimensions<'a>, AttemptFigures> = HashMap::new();
        for event in events {
            rollups.entry(Dimensions::of(event)).or_default().add(event);
            for attempt in &event.attempts {
                let dimensions = AttemptDimensions::of(event, attempt);
                attempts.entry(dimensions).or_default().add(attempt);
            }
        }
        let mut rollups: Vec<_> = rollups
            .into_iter()
            .map(|(dimensions, figures)| (dimensions.id(), dimensions, figures))
            .collect();
        rollups.sort_unstable_by_key(|(id, ..)| *id);
        let mut sums = Self::default();
        for (id, dimensions, figures) in &rollups {
            sums.rollups.push(dimensions.row(*id, figures));
            // By kind and bucket, as the map has them.
            sums.histograms
                .extend(figures.times.iter().map(|((kind, bucket), count)| {
                    vec![
                        (*id).into(),
                        (*kind as i64).into(),
                        number((*bucket).into()),
                        number(*count),
                    ]
                }));
        }
        let mut attempts: Vec<_> = attempts
            .into_iter()
            .map(|(dimensions, figures)| (dimensions.id(), dimensions, figures))
            .collect();
        attempts.sort_unstable_by_key(|(id, ..)| *id);
        let rows = attempts.iter();
        sums.attempts
            .extend(rows.map(|(id, dimensions, figures)| dimensions.row(*id, figures)));
        sums
    }
}

impl<'a> Dimensions<'a> {
    fn of(event: &'a UsageEvent) -> Self {
        let last = event.attempts.last();
        Self {
            quarter_ms: quarter_of(event.id.at_ms()),
            tenant: event.tenant.0,
            key: event.key.0,
            user: event.user.map(|id| id.0),
            group: event.group.map(|id| id.0),
            model: &event.model,
            channel: last.map(|attempt| attempt.channel.0),
            endpoint: &event.endpoint,
            source: event.source.as_str(),
            outcome: event.outcome.as_str(),
            credential: last.and_then(|attempt| attempt.credential).map(|id| id.0),
            error: event.error_code.as_deref().unwrap_or_default(),
        }
    }

    fn id(&self) -> Uuid {
        digest_id(&[
            b"usage_rollups",
            &self.quarter_ms.to_be_bytes(),
            self.tenant.as_bytes(),
            self.key.as_bytes(),
            optional(&self.user),
            optional(&self.group),
            self.model.as_bytes(),
            optional(&self.channel),
            self.endpoint.as_bytes(),
            self.source.as_bytes(),
            self.outcome.as_bytes(),
            optional(&self.credential),
            self.error.as_bytes(),
        ])
    }
}

impl Dimensions<'_> {
    /// The row of [`Sums::ROLLUPS`].
    fn row(&self, id: Uuid, figures: &Figures) -> Row {
        let [input, cached, cache_write, output, reasoning] = parts(&figures.usage);
        vec![
            id.into(),
            self.quarter_ms.into(),
            self.tenant.into(),
            self.key.into(),
            maybe(self.user),
            maybe(self.group),
            self.model.into(),
            maybe(self.channel),
            self.endpoint.into(),
            self.source.into(),
            self.outcome.into(),
            maybe(self.credential),
            self.error.into(),
            number(figures.requests),
            number(figures.errors),
            number(figures.estimated),
            input,
            cached,
            cache_write,
            output,
            reasoning,
            figures.cost_nanos.into(),
            figures.charge_nanos.into(),
        ]
    }
}

impl<'a> AttemptDimensions<'a> {
    fn of(event: &'a UsageEvent, attempt: &Attempt) -> Self {
        Self {
            quarter_ms: quarter_of(event.id.at_ms()),
            tenant: event.tenant.0,
            channel: attempt.channel.0,
            credential: attempt.credential.map(|id| id.0),
            model: &event.model,
        }
    }

    fn id(&self) -> Uuid {
        digest_id(&[
            b"attempt_rollups",
            &self.quarter_ms.to_be_bytes(),
            self.tenant.as_bytes(),
            self.channel.as_bytes(),
            optional(&self.credential),
            self.model.as_bytes(),
        ])
    }

    /// The row of [`Sums::ATTEMPTS`].
    fn row(&self, id: Uuid, figures: &AttemptFigures) -> Row {
        let [input, cached, cache_write, output, reasoning] = parts(&figures.usage);
        vec![
            id.into(),
            self.quarter_ms.into(),
            self.tenant.into(),
            self.channel.into(),
            maybe(self.credential),
            self.model.into(),
            number(figures.attempts),
            number(figures.errors),
            input,
            cached,
            cache_write,
            output,
            reasoning,
            figures.cost_nanos.into(),
        ]
    }
}

fn optional(id: &Option<Uuid>) -> &[u8] {
    id.as_ref().map_or(&[], |id| id.as_bytes())
}

impl Figures {
    fn add(&mut self, event: &UsageEvent) {
        let count = u64::from(event.count);
        self.requests += count;
        if event.outcome.is_error() {
            self.errors += count;
        }
        if event.estimated {
            self.estimated += count;
        }
        add_usage(&mut self.usage, &event.usage);
        self.cost_nanos = self.cost_nanos.saturating_add(event.cost.nanos());
        self.charge_nanos = self.charge_nanos.saturating_add(event.charge.nanos());
        let first_byte = event.first_byte_us.map(|us| (Kind::FirstByte, us));
        for (kind, us) in [(Kind::Total, event.total_us)]
            .into_iter()
            .chain(first_byte)
        {
            *self.times.entry((kind, histogram::bucket(us))).or_default() += count;
        }
    }
}

impl AttemptFigures {
    fn add(&mut self, attempt: &Attempt) {
        self.attempts += 1;
        self.errors += u64::from(attempt.failure.is_some());
        add_usage(&mut self.usage, &attempt.usage);
        self.cost_nanos = self.cost_nanos.saturating_add(attempt.cost.nanos());
    }
}

/// The cells of the parts that sums keep.
fn parts(usage: &Usage) -> [Value; 5] {
    [
        usage.input,
        usage.cached_read,
        usage.cached_write,
        usage.output,
        usage.reasoning,
    ]
    .map(number)
}

/// The parts that sums keep.
fn add_usage(sum: &mut Usage, usage: &Usage) {
    sum.input = sum.input.saturating_add(usage.input);
    sum.cached_read = sum.cached_read.saturating_add(usage.cached_read);
    sum.cached_write = sum.cached_write.saturating_add(usage.cached_write);
    sum.output = sum.output.saturating_add(usage.output);
    sum.reasoning = sum.reasoning.saturating_add(usage.reasoning);
}

impl Sums {
    pub const ROLLUPS: Table = Table {
        name: "usage_rollups",
        key: &["id"],
        columns: &[
            Column::id("id"),
            Column::amount("quarter_ms"),
            Column::id("tenant_id"),
            Column::id("key_id"),
            Column::id("user_id").or_empty(),
            Column::id("group_id").or_empty(),
            Column::text("model"),
            Column::id("channel_id").or_empty(),
            Column::text("endpoint"),
            Column::text("source"),
            Column::text("outcome"),
            Column::id("credential_id").or_empty(),
            Column::text("error_code"),
            Column::sum("requests"),
            Column::sum("errors"),
            Column::sum("estimated_requests"),
            Column::sum("input_tokens"),
            Column::sum("cached_tokens"),
            Column::sum("cache_write_tokens"),
            Column::sum("output_tokens"),
            Column::sum("reasoning_tokens"),
            Column::sum("cost_nanos"),
            Column::sum("charge_nanos"),
        ],
    };

    pub const HISTOGRAMS: Table = Table {
        name: "usage_histograms",
        key: &["rollup_id", "kind", "bucket"],
        columns: &[
            Column::id("rollup_id"),
            Column::amount("kind"),
            Column::amount("bucket"),
            Column::sum("count"),
        ],
    };

    pub const ATTEMPTS: Table = Table {
        name: "attempt_rollups",
        key: &["id"],
        columns: &[
            Column::id("id"),
            Column::amount("quarter_ms"),
            Column::id("tenant_id"),
            Column::id("channel_id"),
            Column::id("credential_id").or_empty(),
            Column::text("model"),
            Column::sum("attempts"),
            Column::sum("errors"),
            Column::sum("input_tokens"),
            Column::sum("cached_tokens"),
            Column::sum("cache_write_tokens"),
            Column::sum("output_tokens"),
            Column::sum("reasoning_tokens"),
            Column::sum("cost_nanos"),
        ],
    };
}
