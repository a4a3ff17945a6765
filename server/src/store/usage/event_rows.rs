//! A usage event as its row, and back.

use std::borrow::Cow;

use sea_orm::Value;
use serde::{Serialize, de::DeserializeOwned};
use weir_dialect::neutral::Usage;
use weir_entity::usage_event;

use super::bulk::{Column, Row, Table, maybe, number};
use crate::{
    billing::Money,
    metering::UsageEvent,
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
        Column::id("id"),
        Column::id("tenant_id"),
        Column::id("key_id"),
        Column::id("user_id").or_empty(),
        Column::id("group_id").or_empty(),
        Column::text("end_user").or_empty(),
        Column::text("client_request_id").or_empty(),
        Column::amount("started_ms"),
        Column::text("source"),
        Column::text("endpoint"),
        Column::text("dialect"),
        Column::text("model"),
        Column::text("upstream_model").or_empty(),
        Column::id("channel_id").or_empty(),
        Column::id("credential_id").or_empty(),
        Column::text("upstream_request_id").or_empty(),
        Column::text("outcome"),
        Column::amount("status"),
        Column::text("error_code").or_empty(),
        Column::truth("streamed"),
        Column::amount("count"),
        Column::amount("input_tokens"),
        Column::amount("cached_tokens"),
        Column::amount("cache_write_tokens"),
        Column::amount("output_tokens"),
        Column::amount("reasoning_tokens"),
        Column::amount("audio_input_tokens"),
        Column::amount("audio_output_tokens"),
        Column::amount("image_input_tokens"),
        Column::amount("image_output_tokens"),
        Column::truth("estimated"),
        Column::truth("unpriced"),
        Column::amount("cost_nanos"),
        Column::amount("charge_nanos"),
        Column::json("price").or_empty(),
        Column::amount("first_byte_us").or_empty(),
        Column::amount("total_us"),
        Column::amount("overhead_us"),
        Column::amount("request_bytes"),
        Column::amount("response_bytes"),
        Column::json("attempts"),
        Column::text("instance"),
    ],
};

/// The row of a [`bookable`] event.
pub fn row(event: &UsageEvent) -> Result<Row> {
    let last = event.attempts.last();
    let usage = &event.usage;
    let text = |text: &Option<String>| maybe(text.clone());
    Ok(vec![
        event.id.0.into(),
        event.tenant.0.into(),
        event.key.0.into(),
        maybe(event.user.map(|id| id.0)),
        maybe(event.group.map(|id| id.0)),
        text(&event.end_user),
        text(&event.client_request_id),
        event.started_ms.into(),
        event.source.as_str().into(),
        event.endpoint.as_str().into(),
        event.dialect.as_str().into(),
        event.model.as_str().into(),
        maybe(last.map(|attempt| attempt.upstream_model.as_str())),
        maybe(last.map(|attempt| attempt.channel.0)),
        maybe(last.and_then(|attempt| attempt.credential).map(|id| id.0)),
        text(&event.upstream_request_id),
        event.outcome.as_str().into(),
        number(event.status.into()),
        text(&event.error_code),
        event.streamed.into(),
        number(event.count.into()),
        number(usage.input),
        number(usage.cached_read),
        number(usage.cached_write),
        number(usage.output),
        number(usage.reasoning),
        number(usage.audio_input),
        number(usage.audio_output),
        number(usage.image_input),
        number(usage.image_output),
        event.estimated.into(),
        event.unpriced.into(),
        event.cost.nanos().into(),
        event.charge.nanos().into(),
        maybe(event.rates.as_ref().map(written).transpose()?),
        event.first_byte_us.map_or(Value::BigInt(None), number),
        number(event.total_us),
        number(event.overhead_us),
        number(event.request_bytes),
        number(event.response_bytes),
        written(&event.attempts)?.into(),
        event.instance.as_str().into(),
    ])
}

fn written(document: &impl Serialize) -> Result<String> {
    serde_json::to_string(document)
        .map_err(|error| Error::other(format!("a usage event's document: {error}")))
}

/// The event as the tables can hold it: nothing beyond what they count to, and no zero bytes, which PostgreSQL's text
/// cannot have. Nearly always it is the event itself.
pub fn bookable(event: &UsageEvent) -> Cow<'_, UsageEvent> {
    if fits(event) {
        return Cow::Borrowed(event);
    }
    let mut fitted = event.clone();
    fit(&mut fitted);
    tracing::error!(id = %event.id, "a usage event holds what no request can have; it is booked cut to size");
    Cow::Owned(fitted)
}

/// Whether [`fit`] would leave it as it is: a copy of each event, to compare with, costs more than to look.
fn fits(event: &UsageEvent) -> bool {
    let attempts = || event.attempts.iter();
    let usages = attempts().map(|attempt| &attempt.usage);
    let tokens = usages.chain([&event.usage]).flat_map(|usage| {
        [
            usage.input,
            usage.cached_read,
            usage.cached_write,
            usage.output,
            usage.reasoning,
            usage.audio_input,
            usage.audio_output,
            usage.image_input,
            usage.image_output,
        ]
    });
    let amounts = [
        event.total_us,
        event.overhead_us,
        event.request_bytes,
        event.response_bytes,
    ];
    let mut amounts = tokens.chain(amounts).chain(event.first_byte_us);
    let money = attempts().map(|attempt| attempt.cost);
    let mut money = money.chain([event.cost, event.charge]);
    let texts = [
        Some(&event.endpoint),
        Some(&event.dialect),
        Some(&event.model),
        Some(&event.instance),
        event.error_code.as_ref(),
        event.client_request_id.as_ref(),
        event.upstream_request_id.as_ref(),
        event.end_user.as_ref(),
    ];
    let models = attempts().map(|attempt| Some(&attempt.upstream_model));
    let failures = attempts().map(|attempt| attempt.failure.as_ref());
    let mut texts = texts.into_iter().chain(models).chain(failures).flatten();
    event.status <= 999
        && (1..=i32::MAX as u32).contains(&event.count)
        && event.started_ms >= 0
        && amounts.all(|amount| amount <= MOST as u64)
        && money.all(|money| (0..=MOST).contains(&money.nanos()))
        && !texts.any(|text| text.contains('\0'))
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
