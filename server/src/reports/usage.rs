//! What `weir usage` shows: sums by any dimensions and by hours, days or months of any time zone.
//!
//! Sums are kept per quarter hour, and every zone's offset is a multiple of that; so local hours, days and months are
//! put together here from quarters, each labelled by what the zone's clock showed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
};

use jiff::{Timestamp, Zoned, tz::TimeZone};
use uuid::Uuid;
use weir_api_types::usage::{Dimension, Grain, Percentiles, UsageDetails, UsageQuery, UsageRow};

use super::{
    Error,
    question::{bad, ids_called, moment, zone},
};
use crate::{
    billing::Money,
    store::{
        Scope, Stores,
        names::{self, Named},
        usage::{
            QUARTER_MS,
            ask::{self, Figures, Filter, Line, Part, Question, Times},
            histogram::{self, Kind},
            quarter_of,
        },
    },
};

/// Answers a question, as far as the scope allows: rows by time, the dearest first.
pub async fn usage(
    stores: &Stores,
    scope: Scope,
    query: &UsageQuery,
    now_ms: i64,
) -> Result<Vec<UsageRow>, Error> {
    let of_credentials = query.by.contains(&Dimension::Credential) || query.credential.is_some();
    if of_credentials && scope != Scope::Platform {
        return Err(bad("by", "credentials are told apart for operators alone"));
    }
    let zone = zone(&query.time_zone, stores, scope).await?;
    let to_ms = match &query.to {
        Some(text) => moment("to", text, &zone)?,
        None => now_ms,
    };
    let from_ms = match &query.from {
        Some(text) => moment("from", text, &zone)?,
        None => to_ms - 30 * 24 * 3_600_000,
    };
    if from_ms >= to_ms {
        return Err(bad("from", "must be before to"));
    }
    let question = Question {
        scope,
        by: query.by.clone(),
        by_quarter: query.grain.is_some(),
        span: quarter_of(from_ms)..quarter_of(to_ms + QUARTER_MS - 1),
        filters: filters(stores, scope, query).await?,
    };
    let mut lines = ask::ask(&stores.usage, &question).await?;
    // What a vendor bills is the operators' own business.
    let tells_attempts = scope == Scope::Platform && query.tells_attempts();
    if tells_attempts {
        lines.extend(ask::attempts(&stores.usage, &question).await?);
    }
    if lines.len() > ask::MAX_LINES {
        return Err(Error::TooMuch);
    }
    let spans = Spans::of(&question, query.grain, &zone, &lines);
    let times = match query.details {
        true => ask::times(&stores.usage, &question, &spans.spans).await?,
        false => Vec::new(),
    };
    if times.len() > ask::MAX_LINES {
        return Err(Error::TooMuch);
    }
    let names = names_of(stores, &query.by, &lines).await?;
    Ok(rows(query, &spans, lines, times, &names, tells_attempts))
}

/// What channels answered in a span of time, with details, by their ids.
pub async fn by_channel(
    stores: &Stores,
    scope: Scope,
    span: Range<i64>,
) -> Result<HashMap<Uuid, UsageRow>, Error> {
    let query = UsageQuery {
        by: vec![Dimension::Channel],
        details: true,
        ..UsageQuery::default()
    };
    let question = Question {
        scope,
        by: query.by.clone(),
        by_quarter: false,
        span: quarter_of(span.start)..quarter_of(span.end + QUARTER_MS - 1),
        filters: Vec::new(),
    };
    let lines = ask::ask(&stores.usage, &question).await?;
    let spans = Spans::of(&question, None, &TimeZone::UTC, &lines);
    let times = ask::times(&stores.usage, &question, &spans.spans).await?;
    // What has no name is called by its id.
    let rows = rows(&query, &spans, lines, times, &HashMap::new(), false);
    let by_id = |row: UsageRow| Some((row.channel.as_ref()?.parse().ok()?, row));
    Ok(rows.into_iter().filter_map(by_id).collect())
}

/// When the present day began, in the tenant's time zone, or in UTC.
pub async fn today(stores: &Stores, scope: Scope, now_ms: i64) -> Result<i64, Error> {
    let zone = zone(&None, stores, scope).await?;
    let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let today = now.to_zoned(zone).start_of_day();
    Ok(today.map_or(now_ms, |midnight| midnight.timestamp().as_millisecond()))
}

/// Spans of time that are told apart, each by its label; without a grain there is one, without a label.
struct Spans {
    labels: Vec<Option<String>>,
    spans: Vec<Range<i64>>,
    /// Which one a quarter hour is in.
    of: HashMap<i64, usize>,
}

impl Spans {
    /// Those that the lines are in, by the zone's clock.
    fn of(question: &Question, grain: Option<Grain>, zone: &TimeZone, lines: &[Line]) -> Self {
        let Some(grain) = grain else {
            return Self {
                labels: vec![None],
                spans: vec![question.span.clone()],
                of: HashMap::from([(0, 0)]),
            };
        };
        let quarters = lines.iter().map(|line| line.quarter_ms);
        let quarters: BTreeSet<i64> = quarters.collect();
        let (mut labels, mut spans, mut of) =
            (Vec::new(), Vec::<Range<i64>>::new(), HashMap::new());
        for quarter_ms in quarters {
            let label = Some(label_of(quarter_ms, grain, zone));
            // The quarters of one label follow each other.
            if labels.last() == Some(&label) {
                if let Some(last) = spans.last_mut() {
                    last.end = quarter_ms + QUARTER_MS;
                }
            } else {
                labels.push(label);
                spans.push(quarter_ms..quarter_ms + QUARTER_MS);
            }
            of.insert(quarter_ms, spans.len() - 1);
        }
        Self { labels, spans, of }
    }
}

/// What one row tells of: which span, and which part of each dimension.
type Place = (usize, Vec<Part>);

/// Lines put together by the zone's clock and named.
fn rows(
    query: &UsageQuery,
    spans: &Spans,
    lines: Vec<Line>,
    times: Vec<Times>,
    names: &HashMap<Uuid, String>,
    tells_attempts: bool,
) -> Vec<UsageRow> {
    let mut sums: HashMap<Place, Figures> = HashMap::new();
    for line in lines {
        let span = spans.of.get(&line.quarter_ms).copied().unwrap_or(0);
        let sum = sums.entry((span, line.parts)).or_default();
        sum.add(&line.figures);
    }
    let mut spreads: HashMap<Place, Spread> = HashMap::new();
    for times in times {
        let spread = spreads.entry((times.span, times.parts)).or_default();
        spread
            .entry((times.kind, times.bucket))
            .or_insert(times.count);
    }
    let mut rows = Vec::with_capacity(sums.len());
    for (place, figures) in sums {
        let mut row = of_figures(&figures, tells_attempts);
        if query.details {
            row.details = Some(details(&figures, spreads.get(&place)));
        }
        let (span, parts) = place;
        let parts: Vec<String> = parts.into_iter().map(|part| name_of(part, names)).collect();
        row.time = spans.labels.get(span).cloned().flatten();
        for (dimension, part) in query.by.iter().zip(&parts) {
            *row.field(*dimension) = Some(part.clone());
        }
        rows.push(((span, Reverse(figures.charge_nanos), parts), row));
    }
    rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    rows.into_iter().map(|(_, row)| row).collect()
}

/// How many requests took about so long, of each kind of time.
type Spread = BTreeMap<(Kind, u16), u64>;

fn details(figures: &Figures, spread: Option<&Spread>) -> UsageDetails {
    let percentiles = |kind: Kind| {
        let counts = spread?.iter().filter(|((of, _), _)| *of == kind);
        let counts: BTreeMap<u16, u64> = counts
            .map(|((_, bucket), count)| (*bucket, *count))
            .collect();
        let ms = |q| Some(histogram::quantile(&counts, q)? as f64 / 1_000.0);
        Some(Percentiles {
            p50: ms(0.5)?,
            p95: ms(0.95)?,
            p99: ms(0.99)?,
        })
    };
    let succeeded = (figures.requests - figures.errors) as f64;
    UsageDetails {
        success_rate: (figures.requests > 0).then(|| succeeded / figures.requests as f64),
        estimated_requests: figures.estimated_requests,
        cache_write_tokens: figures.cache_write_tokens,
        reasoning_tokens: figures.reasoning_tokens,
        total_ms: percentiles(Kind::Total),
        first_byte_ms: percentiles(Kind::FirstByte),
    }
}

fn of_figures(figures: &Figures, tells_attempts: bool) -> UsageRow {
    let usd = |nanos| Money::from_nanos(nanos).to_string();
    UsageRow {
        requests: figures.requests,
        errors: figures.errors,
        input_tokens: figures.input_tokens,
        cached_tokens: figures.cached_tokens,
        output_tokens: figures.output_tokens,
        cost_usd: usd(figures.charge_nanos),
        attempts: tells_attempts.then_some(figures.attempts),
        attempts_cost_usd: tells_attempts.then(|| usd(figures.attempts_cost_nanos)),
        ..UsageRow::default()
    }
}

fn name_of(part: Part, names: &HashMap<Uuid, String>) -> String {
    match part {
        Part::Word(word) => word,
        Part::Id(None) => String::new(),
        Part::Id(Some(id)) => names.get(&id).cloned().unwrap_or_else(|| id.to_string()),
    }
}

/// What the zone's clock shows at a moment, as coarsely as asked. An hour carries its offset, so that the hour that a
/// clock shows twice in autumn is two rows.
fn label_of(at_ms: i64, grain: Grain, zone: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let local: Zoned = at.to_zoned(zone.clone());
    let format = match grain {
        Grain::Hour => "%Y-%m-%dT%H:00:00%:z",
        Grain::Day => "%Y-%m-%d",
        Grain::Month => "%Y-%m",
    };
    local.strftime(format).to_string()
}

/// Filters by what people call things: a name or an id.
async fn filters(
    stores: &Stores,
    scope: Scope,
    query: &UsageQuery,
) -> Result<Vec<(Dimension, Filter)>, Error> {
    let mut filters = Vec::new();
    for dimension in Dimension::ALL {
        let Some(text) = query.filter(dimension) else {
            continue;
        };
        let filter = match named(dimension) {
            None => Filter::Word(text.to_owned()),
            Some(kind) => {
                let word = dimension.as_str();
                Filter::AnyOf(ids_called(stores, scope, word, kind, text).await?)
            }
        };
        filters.push((dimension, filter));
    }
    Ok(filters)
}

/// The names of all ids in the lines.
async fn names_of(
    stores: &Stores,
    by: &[Dimension],
    lines: &[Line],
) -> Result<HashMap<Uuid, String>, Error> {
    let mut names = HashMap::new();
    for (at, dimension) in by.iter().enumerate() {
        let Some(kind) = named(*dimension) else {
            continue;
        };
        let ids = lines.iter().filter_map(|line| match line.parts.get(at) {
            Some(Part::Id(id)) => *id,
            _ => None,
        });
        let ids: Vec<Uuid> = ids.collect::<BTreeSet<_>>().into_iter().collect();
        names.extend(names::of(&stores.config.read, kind, &ids).await?);
    }
    Ok(names)
}

fn named(dimension: Dimension) -> Option<Named> {
    match dimension {
        Dimension::Tenant => Some(Named::Tenant),
        Dimension::Key => Some(Named::Key),
        Dimension::User => Some(Named::User),
        Dimension::Group => Some(Named::Group),
        Dimension::Channel => Some(Named::Channel),
        Dimension::Credential => Some(Named::Credential),
        Dimension::Model
        | Dimension::Endpoint
        | Dimension::Source
        | Dimension::Outcome
        | Dimension::Error => None,
    }
}

#[cfg(test)]
mod tests;
