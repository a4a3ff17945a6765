//! The access log: one line for each request, when it has ended.
//!
//! A line says who called what, what it cost and how long it took. It has no place for a secret, a query or a body:
//! `endpoint` is the path's shape and not the path (threats.md, A11). The setting `access_log` switches it on and off.

use std::{fmt::Display, net::IpAddr, time::Duration};

use super::escape::cut;

/// The target of the lines, for filters and for whoever reads them.
pub const TARGET: &str = "access";

/// Longest text of a field: names are shorter, a model that nobody knows may not be.
const FIELD_BYTES: usize = 256;

/// What one line says. What is `None` is left out.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    /// Weir's own id of the request.
    pub id: &'a dyn Display,
    /// The tenant's name; `None` for a caller that was not identified.
    pub tenant: Option<&'a str>,
    /// The proxy key's name, never its value.
    pub key: Option<&'a str>,
    pub method: &'a str,
    /// The path's shape, such as `/v1/chat/completions`.
    pub endpoint: &'a str,
    pub model: Option<&'a str>,
    /// The channel that answered, or was tried last.
    pub channel: Option<&'a str>,
    pub status: u16,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    /// What the tenant owes, in USD.
    pub charge: Option<&'a dyn Display>,
    pub first_byte: Option<Duration>,
    pub total: Duration,
    /// What Weir itself spent.
    pub overhead: Option<Duration>,
    pub attempts: u32,
    /// How it ended: the outcome's word.
    pub outcome: &'a str,
    /// Weir's code of the refusal or failure.
    pub code: Option<&'a str>,
    pub client: IpAddr,
}

/// Whether lines are written at all; asks a cached flag, nothing more.
pub fn is_on() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::INFO)
}

/// Writes a line.
pub fn write(line: &Line<'_>) {
    if !is_on() {
        return;
    }
    let short = |text: &'_ str| cut(text, FIELD_BYTES).into_owned();
    tracing::info!(
        target: TARGET,
        id = %line.id,
        tenant = line.tenant.map(short),
        key = line.key.map(short),
        method = short(line.method),
        endpoint = short(line.endpoint),
        model = line.model.map(short),
        channel = line.channel.map(short),
        status = line.status,
        input_tokens = line.input_tokens,
        output_tokens = line.output_tokens,
        charge_usd = line.charge.map(tracing::field::display),
        first_byte_ms = line.first_byte.map(millis),
        total_ms = millis(line.total),
        overhead_us = line.overhead.map(|overhead| overhead.as_micros() as u64),
        attempts = line.attempts,
        outcome = line.outcome,
        code = line.code,
        client = %line.client,
    );
}

fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{
        LogFormat, Logs,
        logs::tests::{logged, settings},
    };

    fn line() -> Line<'static> {
        Line {
            id: &"0197",
            tenant: Some("acme"),
            key: Some("zhang laptop"),
            method: "POST",
            endpoint: "/v1/chat/completions",
            model: Some("gpt-4o-mini"),
            channel: Some("openai"),
            status: 200,
            input_tokens: Some(12),
            output_tokens: Some(34),
            charge: Some(&"0.000022200"),
            first_byte: Some(Duration::from_micros(120_500)),
            total: Duration::from_millis(900),
            overhead: Some(Duration::from_micros(85)),
            attempts: 1,
            outcome: "ok",
            code: None,
            client: IpAddr::from([203, 0, 113, 9]),
        }
    }

    #[test]
    fn a_line_says_what_an_operator_asks() {
        let text = logged(&settings("warn", LogFormat::Json), || write(&line()));
        let written: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let expected = serde_json::json!({
            "timestamp": written["timestamp"], "level": "INFO", "target": "access", "id": "0197", "tenant": "acme",
            "key": "zhang laptop", "method": "POST", "endpoint": "/v1/chat/completions", "model": "gpt-4o-mini",
            "channel": "openai", "status": 200, "input_tokens": 12, "output_tokens": 34, "charge_usd": "0.000022200",
            "first_byte_ms": 120.5, "total_ms": 900.0, "overhead_us": 85, "attempts": 1, "outcome": "ok",
            "client": "203.0.113.9",
        });
        assert_eq!(written, expected);
        let text = logged(&settings("info", LogFormat::Text), || write(&line()));
        assert!(
            text.contains(" access: id=0197 tenant=\"acme\" key=\"zhang laptop\" method=\"POST\""),
            "{text}"
        );
    }

    #[test]
    fn a_model_cannot_fill_or_forge_the_log() {
        let model = "\n\u{1b}]0;x".repeat(10_000);
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(&settings("info", format), || {
                write(&Line {
                    model: Some(&model),
                    ..line()
                });
            });
            assert_eq!(text.lines().count(), 1);
            assert!(text.len() < 3_000, "{} bytes", text.len());
        }
    }

    #[test]
    fn nothing_is_written_when_it_is_off() {
        let off = Logs {
            access: false,
            ..settings("trace", LogFormat::Text)
        };
        let text = logged(&off, || {
            assert!(!is_on());
            write(&line());
        });
        assert_eq!(text, "");
    }
}
