//! What `weir usage` shows: sums by any dimensions and by hours, days or months of any time zone.
//!
//! Sums are kept per quarter hour, and every zone's offset is a multiple of that; so local hours, days and months are
//! put together here from quarters, each labelled by what the zone's clock showed.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
};

use jiff::{Timestamp, Zoned, civil::Date, tz::TimeZone};
use uuid::Uuid;
use weir_api_types::usage::{Dimension, Grain, UsageQuery, UsageRow};

use crate::{
    billing::Money,
    store::{
        self, Scope, Stores,
        names::{self, Named},
        usage::{
            QUARTER_MS,
            ask::{self, Figures, Filter, Line, Part, Question},
            quarter_of,
        },
    },
};

/// Things of one name that a filter may mean.
const MAX_MEANINGS: usize = 1_000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{field} {reason}")]
    BadQuery { field: &'static str, reason: String },
    #[error(
        "the answer would have more than {} rows: ask for fewer dimensions or less time",
        ask::MAX_LINES
    )]
    TooMuch,
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Answers a question, as far as the scope allows: rows by time, the dearest first.
pub async fn usage(
    stores: &Stores,
    scope: Scope,
    query: &UsageQuery,
    now_ms: i64,
) -> Result<Vec<UsageRow>, Error> {
    let zone = zone(stores, scope, query).await?;
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
    let names = names_of(stores, &query.by, &lines).await?;
    Ok(rows(query, &zone, lines, &names, tells_attempts))
}

/// Lines put together by the zone's clock and named.
fn rows(
    query: &UsageQuery,
    zone: &TimeZone,
    lines: Vec<Line>,
    names: &HashMap<Uuid, String>,
    tells_attempts: bool,
) -> Vec<UsageRow> {
    let mut labels: HashMap<i64, Option<String>> = HashMap::new();
    // The first quarter of each label, for the order.
    let mut begins: HashMap<Option<String>, i64> = HashMap::new();
    let mut sums: HashMap<(Option<String>, Vec<Part>), Figures> = HashMap::new();
    for line in lines {
        let label = labels.entry(line.quarter_ms).or_insert_with(|| {
            query
                .grain
                .map(|grain| label_of(line.quarter_ms, grain, zone))
        });
        let begin = begins.entry(label.clone()).or_insert(line.quarter_ms);
        *begin = line.quarter_ms.min(*begin);
        let sum = sums.entry((label.clone(), line.parts)).or_default();
        sum.add(&line.figures);
    }
    let mut rows = Vec::with_capacity(sums.len());
    for ((label, parts), figures) in sums {
        let begin = begins.get(&label).copied().unwrap_or(0);
        let parts: Vec<String> = parts.into_iter().map(|part| name_of(part, names)).collect();
        let mut row = of_figures(&figures, tells_attempts);
        row.time = label;
        for (dimension, part) in query.by.iter().zip(&parts) {
            *row.field(*dimension) = Some(part.clone());
        }
        rows.push(((begin, Reverse(figures.charge_nanos), parts), row));
    }
    rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    rows.into_iter().map(|(_, row)| row).collect()
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

async fn zone(stores: &Stores, scope: Scope, query: &UsageQuery) -> Result<TimeZone, Error> {
    let name = match (&query.time_zone, scope) {
        (Some(name), _) => Some(name.clone()),
        (None, Scope::Tenant(tenant)) => names::time_zone(&stores.config.read, tenant).await?,
        (None, Scope::Platform) => None,
    };
    match name.as_deref() {
        None | Some("UTC") => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name)
            .map_err(|_| bad("time_zone", "is not an IANA name such as Asia/Shanghai")),
    }
}

/// A moment in RFC 3339, or the first one of a date.
fn moment(field: &'static str, text: &str, zone: &TimeZone) -> Result<i64, Error> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment.as_millisecond());
    }
    let date: Option<Date> = (text.len() == 10).then(|| text.parse().ok()).flatten();
    let start = date.and_then(|date| date.to_zoned(zone.clone()).ok());
    start
        .map(|start| start.timestamp().as_millisecond())
        .ok_or_else(|| {
            bad(
                field,
                "is neither a date such as 2026-01-31 nor a moment such as 2026-01-31T14:00:00Z",
            )
        })
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
                let mut ids = names::meaning(&stores.config.read, scope, kind, text).await?;
                ids.extend(text.parse::<Uuid>().ok());
                if ids.len() > MAX_MEANINGS {
                    let field = dimension.as_str();
                    return Err(bad(field, "means too many: add a tenant, or give an id"));
                }
                Filter::AnyOf(ids)
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
        Dimension::Model | Dimension::Endpoint | Dimension::Source | Dimension::Outcome => None,
    }
}

fn bad(field: &'static str, reason: impl Into<String>) -> Error {
    Error::BadQuery {
        field,
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests;
