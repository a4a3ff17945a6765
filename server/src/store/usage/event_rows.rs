//! A usage event as its row, and back.

use std::borrow::Cow;

use serde::{Serialize, de::DeserializeOwned};
use weir_dialect::neutral::Usage;
use weir_entity::usage_event;

use super::json_rows::{Column, Hex, Table};
use crate::{
    billing::{Money, Rates},
    metering::{Attempt, UsageEvent},
    store::{Error, Result},
    tenancy::RequestId,
};

/// The most of anything that one request can have: a million dollars, or a quadrillion tokens. What is beyond is
/// nonsense that would overflow the sums; it is cut to this, and logged.
const MOST: i64 = 1_000_000_000_000_000;

pub const TABLE: Table = Table {
    name: "usage_events",
    key: &["id"],
    columns: &[
        ("id", Column::Id),
        ("tenant_id", Column::Id),
        ("key_id", Column::Id),
        ("user_id", Column::Id),
        ("group_id", Column::Id),
        ("end_user", Column::Plain),
        ("client_request_id", Column::Plain),
        ("started_ms", Column::Plain),
        ("source", Column::Plain),
        ("endpoint", Column::Plain),
        ("dialect", Column::Plain),
        ("model", Column::Plain),
        ("upstream_model", Column::Plain),
        ("channel_id", Column::Id),
        ("credential_id", Column::Id),
        ("upstream_request_id", Column::Plain),
        ("outcome", Column::Plain),
        ("status", Column::Plain),
        ("error_code", Column::Plain),
        ("streamed", Column::Plain),
        ("count", Column::Plain),
        ("input_tokens", Column::Plain),
        ("cached_tokens", Column::Plain),
        ("cache_write_tokens", Column::Plain),
        ("output_tokens", Column::Plain),
        ("reasoning_tokens", Column::Plain),
        ("audio_input_tokens", Column::Plain),
        ("audio_output_tokens", Column::Plain),
        ("image_input_tokens", Column::Plain),
        ("image_output_tokens", Column::Plain),
        ("estimated", Column::Plain),
        ("unpriced", Column::Plain),
        ("cost_nanos", Column::Plain),
        ("charge_nanos", Column::Plain),
        ("price", Column::Json),
        ("first_byte_us", Column::Plain),
        ("total_us", Column::Plain),
        ("overhead_us", Column::Plain),
        ("request_bytes", Column::Plain),
        ("response_bytes", Column::Plain),
        ("attempts", Column::Json),
        ("instance", Column::Plain),
    ],
};

/// A row of `usage_events` as it is written.
#[derive(Serialize)]
pub struct Row<'a> {
    id: Hex,
    tenant_id: Hex,
    key_id: Hex,
    user_id: Option<Hex>,
    group_id: Option<Hex>,
    end_user: Option<&'a str>,
    client_request_id: Option<&'a str>,
    started_ms: i64,
    source: &'static str,
    endpoint: &'a str,
    dialect: &'a str,
    model: &'a str,
    upstream_model: Option<&'a str>,
    channel_id: Option<Hex>,
    credential_id: Option<Hex>,
    upstream_request_id: Option<&'a str>,
    outcome: &'static str,
    status: u16,
    error_code: Option<&'a str>,
    streamed: bool,
    count: u32,
    input_tokens: u64,
    cached_tokens: u64,
    cache_write_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    audio_input_tokens: u64,
    audio_output_tokens: u64,
    image_input_tokens: u64,
    image_output_tokens: u64,
    estimated: bool,
    unpriced: bool,
    cost_nanos: i64,
    charge_nanos: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<&'a Rates>,
    first_byte_us: Option<u64>,
    total_us: u64,
    overhead_us: u64,
    request_bytes: u64,
    response_bytes: u64,
    attempts: &'a [Attempt],
    instance: &'a str,
}

/// The row of a [`bookable`] event.
pub fn row(event: &UsageEvent) -> Row<'_> {
    let last = event.attempts.last();
    let usage = &event.usage;
    Row {
        id: Hex(event.id.0),
        tenant_id: Hex(event.tenant.0),
        key_id: Hex(event.key.0),
        user_id: event.user.map(|id| Hex(id.0)),
        group_id: event.group.map(|id| Hex(id.0)),
        end_user: event.end_user.as_deref(),
        client_request_id: event.client_request_id.as_deref(),
        started_ms: event.started_ms,
        source: event.source.as_str(),
        endpoint: &event.endpoint,
        dialect: &event.dialect,
        model: &event.model,
        upstream_model: last.map(|attempt| attempt.upstream_model.as_str()),
        channel_id: last.map(|attempt| Hex(attempt.channel.0)),
        credential_id: last
            .and_then(|attempt| attempt.credential)
            .map(|id| Hex(id.0)),
        upstream_request_id: event.upstream_request_id.as_deref(),
        outcome: event.outcome.as_str(),
        status: event.status,
        error_code: event.error_code.as_deref(),
        streamed: event.streamed,
        count: event.count,
        input_tokens: usage.input,
        cached_tokens: usage.cached_read,
        cache_write_tokens: usage.cached_write,
        output_tokens: usage.output,
        reasoning_tokens: usage.reasoning,
        audio_input_tokens: usage.audio_input,
        audio_output_tokens: usage.audio_output,
        image_input_tokens: usage.image_input,
        image_output_tokens: usage.image_output,
        estimated: event.estimated,
        unpriced: event.unpriced,
        cost_nanos: event.cost.nanos(),
        charge_nanos: event.charge.nanos(),
        price: event.rates.as_ref(),
        first_byte_us: event.first_byte_us,
        total_us: event.total_us,
        overhead_us: event.overhead_us,
        request_bytes: event.request_bytes,
        response_bytes: event.response_bytes,
        attempts: &event.attempts,
        instance: &event.instance,
    }
}

/// The event as the tables can hold it: nothing beyond what they count to, and no zero bytes, which PostgreSQL's text
/// cannot have. Nearly always it is the event itself.
pub fn bookable(event: &UsageEvent) -> Cow<'_, UsageEvent> {
    let mut fitted = event.clone();
    fit(&mut fitted);
    if fitted == *event {
        return Cow::Borrowed(event);
    }
    tracing::error!(id = %event.id, "a usage event holds what no request can have; it is booked cut to size");
    Cow::Owned(fitted)
}

fn fit(event: &mut UsageEvent) {
    event.status = event.status.min(999);
    event.count = event.count.clamp(1, i32::MAX as u32);
    event.started_ms = event.started_ms.max(0);
    for amount in [
        &mut event.total_us,
        &mut event.overhead_us,
        &mut event.request_bytes,
        &mut event.response_bytes,
    ] {
        fit_amount(amount);
    }
    event.first_byte_us.iter_mut().for_each(fit_amount);
    fit_usage(&mut event.usage);
    fit_money(&mut event.cost);
    fit_money(&mut event.charge);
    for text in [
        &mut event.endpoint,
        &mut event.dialect,
        &mut event.model,
        &mut event.instance,
    ] {
        fit_text(text);
    }
    for text in [
        &mut event.error_code,
        &mut event.client_request_id,
        &mut event.upstream_request_id,
        &mut event.end_user,
    ] {
        text.iter_mut().for_each(fit_text);
    }
    for attempt in &mut event.attempts {
        fit_usage(&mut attempt.usage);
        fit_money(&mut attempt.cost);
        fit_text(&mut attempt.upstream_model);
        attempt.failure.iter_mut().for_each(fit_text);
    }
}

fn fit_usage(usage: &mut Usage) {
    for tokens in [
        &mut usage.input,
        &mut usage.cached_read,
        &mut usage.cached_write,
        &mut usage.output,
        &mut usage.reasoning,
        &mut usage.audio_input,
        &mut usage.audio_output,
        &mut usage.image_input,
        &mut usage.image_output,
    ] {
        fit_amount(tokens);
    }
}

fn fit_amount(amount: &mut u64) {
    *amount = (*amount).min(MOST as u64);
}

fn fit_money(money: &mut Money) {
    *money = Money::from_nanos(money.nanos().clamp(0, MOST));
}

fn fit_text(text: &mut String) {
    if text.contains('\0') {
        *text = text.replace('\0', "\u{FFFD}");
    }
}

/// The event that a row was written from.
pub fn event(row: usage_event::Model) -> Result<UsageEvent> {
    Ok(UsageEvent {
        id: RequestId(row.id),
        tenant: row.tenant_id.into(),
        key: row.key_id.into(),
        user: row.user_id.map(Into::into),
        group: row.group_id.map(Into::into),
        started_ms: row.started_ms,
        endpoint: row.endpoint,
        dialect: row.dialect,
        model: row.model,
        source: read("source", row.source.into())?,
        outcome: read("outcome", row.outcome.into())?,
        status: row.status.try_into().map_err(|_| negative("status"))?,
        error_code: row.error_code,
        streamed: row.streamed,
        count: row.count.try_into().map_err(|_| negative("count"))?,
        usage: Usage {
            input: amount(row.input_tokens)?,
            cached_read: amount(row.cached_tokens)?,
            cached_write: amount(row.cache_write_tokens)?,
            output: amount(row.output_tokens)?,
            reasoning: amount(row.reasoning_tokens)?,
            audio_input: amount(row.audio_input_tokens)?,
            audio_output: amount(row.audio_output_tokens)?,
            image_input: amount(row.image_input_tokens)?,
            image_output: amount(row.image_output_tokens)?,
        },
        estimated: row.estimated,
        unpriced: row.unpriced,
        cost: Money::from_nanos(row.cost_nanos),
        charge: Money::from_nanos(row.charge_nanos),
        rates: row.price.map(|price| read("price", price)).transpose()?,
        first_byte_us: row.first_byte_us.map(amount).transpose()?,
        total_us: amount(row.total_us)?,
        overhead_us: amount(row.overhead_us.unwrap_or(0))?,
        request_bytes: amount(row.request_bytes)?,
        response_bytes: amount(row.response_bytes)?,
        client_request_id: row.client_request_id,
        upstream_request_id: row.upstream_request_id,
        end_user: row.end_user,
        attempts: read("attempts", row.attempts)?,
        instance: row.instance,
    })
}

fn read<T: DeserializeOwned>(column: &str, value: serde_json::Value) -> Result<T> {
    serde_json::from_value(value)
        .map_err(|error| Error::other(format!("usage_events.{column}: {error}")))
}

fn amount(value: i64) -> Result<u64> {
    value.try_into().map_err(|_| negative("amount"))
}

fn negative(column: &str) -> Error {
    Error::other(format!("usage_events: a negative {column}"))
}
