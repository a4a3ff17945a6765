//! Sums of usage, asked by people: which dimensions, which span of time, whose.
//!
//! The one place where a question meets the tenant's wall: [`Scope`] becomes part of the statement here, whatever else
//! the question says.

use std::ops::Range;

use sea_orm::{ConnectionTrait as _, QueryResult, Statement, Value};
use uuid::Uuid;
use weir_api_types::usage::Dimension;

use super::histogram::Kind;
use crate::store::{Database, Result, Scope};

/// Most lines that one question may have for an answer.
pub const MAX_LINES: usize = 200_000;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub scope: Scope,
    pub by: Vec<Dimension>,
    /// Whether each quarter hour has lines of its own.
    pub by_quarter: bool,
    /// Unix milliseconds; quarter hours that begin within.
    pub span: Range<i64>,
    pub filters: Vec<(Dimension, Filter)>,
}

/// What a dimension must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    AnyOf(Vec<Uuid>),
    Word(String),
}

/// The value of a dimension in a line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    Id(Option<Uuid>),
    Word(String),
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// As asked: 0 if not by quarter.
    pub quarter_ms: i64,
    /// One for each dimension asked, in order.
    pub parts: Vec<Part>,
    pub figures: Figures,
}

/// The sums of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub requests: i64,
    pub errors: i64,
    pub input_tokens: i64,
    pub cached_tokens: i64,
    pub output_tokens: i64,
    pub charge_nanos: i64,
    pub estimated_requests: i64,
    pub cache_write_tokens: i64,
    pub reasoning_tokens: i64,
    /// Attempts at a channel, and what its vendor bills for them; of [`attempts`] alone.
    pub attempts: i64,
    pub attempts_cost_nanos: i64,
}

impl Figures {
    /// Adds another line's sums.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.charge_nanos = self.charge_nanos.saturating_add(other.charge_nanos);
        self.estimated_requests = self
            .estimated_requests
            .saturating_add(other.estimated_requests);
        self.cache_write_tokens = self
            .cache_write_tokens
            .saturating_add(other.cache_write_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
        self.attempts = self.attempts.saturating_add(other.attempts);
        self.attempts_cost_nanos = self
            .attempts_cost_nanos
            .saturating_add(other.attempts_cost_nanos);
    }
}

/// Answers a question. More than [`MAX_LINES`] lines mean that there would be more.
pub async fn ask(db: &Database, question: &Question) -> Result<Vec<Line>> {
    read(db, question, "usage_rollups", &SUMS, |sums| Figures {
        requests: sums[0],
        errors: sums[1],
        input_tokens: sums[2],
        cached_tokens: sums[3],
        output_tokens: sums[4],
        charge_nanos: sums[5],
        estimated_requests: sums[6],
        cache_write_tokens: sums[7],
        reasoning_tokens: sums[8],
        ..Figures::default()
    })
    .await
}

/// The same of attempts, which know tenants, models, channels and credentials alone.
pub async fn attempts(db: &Database, question: &Question) -> Result<Vec<Line>> {
    let sums = ["attempts", "cost_nanos"];
    read(db, question, "attempt_rollups", &sums, |sums| Figures {
        attempts: sums[0],
        attempts_cost_nanos: sums[1],
        ..Figures::default()
    })
    .await
}

async fn read<const N: usize>(
    db: &Database,
    question: &Question,
    table: &str,
    sums: &[&str; N],
    figures: impl Fn([i64; N]) -> Figures,
) -> Result<Vec<Line>> {
    let (sql, values) = statement(question, table, sums);
    let statement = Statement::from_sql_and_values(db.backend(), sql, values);
    let rows = db.read.query_all_raw(statement).await?;
    let mut lines = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut found = [0; N];
        for (value, sum) in found.iter_mut().zip(sums) {
            *value = row.try_get("", sum)?;
        }
        lines.push(line(row, question, figures(found))?);
    }
    Ok(lines)
}

/// How many requests took about so long.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// Which of the spans asked for they are in.
    pub span: usize,
    /// As those of a [`Line`].
    pub parts: Vec<Part>,
    pub kind: Kind,
    pub bucket: u16,
    pub count: u64,
}

/// How the times of requests are spread, apart for each of the spans, which do not overlap. More than [`MAX_LINES`] mean that
/// there would be more.
pub async fn times(db: &Database, question: &Question, spans: &[Range<i64>]) -> Result<Vec<Times>> {
    if spans.is_empty() {
        return Ok(Vec::new());
    }
    let (wheres, values) = conditions(question);
    let groups: String = question
        .by
        .iter()
        .map(|by| format!("{}, ", column(*by)))
        .collect();
    let spans = spans.iter().enumerate();
    let spans: Vec<String> = spans
        .map(|(at, span)| format!("({at}, {}, {})", span.start, span.end))
        .collect();
    let sql = format!(
        "WITH spans(span, first_ms, past_ms) AS (VALUES {})
         SELECT {groups}span, kind, bucket, CAST(SUM(count) AS bigint) AS count
         FROM spans
         JOIN usage_rollups ON quarter_ms >= first_ms AND quarter_ms < past_ms
         JOIN usage_histograms ON rollup_id = id
         WHERE {wheres} GROUP BY {groups}span, kind, bucket LIMIT {}",
        spans.join(", "),
        MAX_LINES + 1
    );
    let statement = Statement::from_sql_and_values(db.backend(), sql, values);
    let rows = db.read.query_all_raw(statement).await?;
    let times = rows.iter().map(|row| {
        let span: i32 = row.try_get("", "span")?;
        let kind: i16 = row.try_get("", "kind")?;
        let bucket: i16 = row.try_get("", "bucket")?;
        let count: i64 = row.try_get("", "count")?;
        Ok(Times {
            span: usize::try_from(span).unwrap_or(0),
            parts: parts(row, question)?,
            kind: match kind {
                0 => Kind::Total,
                _ => Kind::FirstByte,
            },
            bucket: u16::try_from(bucket).unwrap_or(0),
            count: u64::try_from(count).unwrap_or(0),
        })
    });
    times.collect()
}

/// What a row must be for a question, and the values that stand in it.
fn conditions(question: &Question) -> (String, Vec<Value>) {
    let mut values: Vec<Value> = vec![question.span.start.into(), question.span.end.into()];
    let mut wheres = vec!["quarter_ms >= $1 AND quarter_ms < $2".to_owned()];
    let mut bound = |value: Value| {
        values.push(value);
        format!("${}", values.len())
    };
    if let Scope::Tenant(tenant) = question.scope {
        wheres.push(format!("tenant_id = {}", bound(tenant.0.into())));
    }
    for (dimension, filter) in &question.filters {
        let column = column(*dimension);
        wheres.push(match filter {
            Filter::Word(word) => format!("{column} = {}", bound(word.as_str().into())),
            Filter::AnyOf(ids) if ids.is_empty() => "1 = 0".to_owned(),
            Filter::AnyOf(ids) => {
                let ids: Vec<String> = ids.iter().map(|id| bound((*id).into())).collect();
                format!("{column} IN ({})", ids.join(", "))
            }
        });
    }
    (wheres.join(" AND "), values)
}

fn statement(question: &Question, table: &str, sums: &[&str]) -> (String, Vec<Value>) {
    let (wheres, values) = conditions(question);
    let mut groups: Vec<&str> = question.by.iter().map(|by| column(*by)).collect();
    if question.by_quarter {
        groups.push("quarter_ms");
    }
    let sums: Vec<String> = sums
        .iter()
        .map(|sum| format!("CAST(COALESCE(SUM({sum}), 0) AS bigint) AS {sum}"))
        .collect();
    let selected = [groups.join(", "), sums.join(", ")];
    let selected: Vec<&str> = selected
        .iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    let group_by = match groups.as_slice() {
        [] => String::new(),
        groups => format!(" GROUP BY {}", groups.join(", ")),
    };
    let sql = format!(
        "SELECT {} FROM {table} WHERE {wheres}{group_by} LIMIT {}",
        selected.join(", "),
        MAX_LINES + 1
    );
    (sql, values)
}

const SUMS: [&str; 9] = [
    "requests",
    "errors",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "charge_nanos",
    "estimated_requests",
    "cache_write_tokens",
    "reasoning_tokens",
];

fn column(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Tenant => "tenant_id",
        Dimension::Key => "key_id",
        Dimension::User => "user_id",
        Dimension::Group => "group_id",
        Dimension::Model => "model",
        Dimension::Channel => "channel_id",
        Dimension::Credential => "credential_id",
        Dimension::Endpoint => "endpoint",
        Dimension::Source => "source",
        Dimension::Outcome => "outcome",
        Dimension::Error => "error_code",
    }
}

fn line(row: &QueryResult, question: &Question, figures: Figures) -> Result<Line> {
    let quarter_ms = match question.by_quarter {
        true => row.try_get("", "quarter_ms")?,
        false => 0,
    };
    Ok(Line {
        quarter_ms,
        parts: parts(row, question)?,
        figures,
    })
}

fn parts(row: &QueryResult, question: &Question) -> Result<Vec<Part>> {
    let part = |dimension: &Dimension| {
        let column = column(*dimension);
        Ok(if column.ends_with("_id") {
            Part::Id(row.try_get("", column)?)
        } else {
            Part::Word(row.try_get("", column)?)
        })
    };
    question.by.iter().map(part).collect()
}
