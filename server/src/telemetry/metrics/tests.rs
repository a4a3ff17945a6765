use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::telemetry::generated;

fn request<'a>(provider: Option<&'a str>, model: Option<&'a str>, status: u16) -> Request<'a> {
    Request {
        provider,
        model,
        status,
        total: Duration::from_millis(900),
        first_byte: Some(Duration::from_millis(120)),
        overhead: Some(Duration::from_micros(80)),
        tokens: &[
            (TokenType::Input, 12),
            (TokenType::Output, 34),
            (TokenType::Reasoning, 0),
        ],
        estimated: false,
        unpriced: false,
    }
}

/// Every sample by its series, read as the format says: a name, labels with escapes, a number.
fn samples(registry: &Registry) -> BTreeMap<String, f64> {
    let text = registry.render().expect("text");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            assert!(is_series(series), "{line}");
            (series.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// `name` or `name{label="value",…}`, with every quote inside a value escaped.
fn is_series(text: &str) -> bool {
    let Some((name, labels)) = text.split_once('{') else {
        return text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    };
    let Some(labels) = labels.strip_suffix('}') else {
        return false;
    };
    let (mut quoted, mut escaped) = (false, false);
    for character in labels.chars() {
        match (quoted, escaped, character) {
            (true, true, '\\' | '"' | 'n') => escaped = false,
            (true, true, _) => return false,
            (true, false, '\\') => escaped = true,
            (_, false, '"') => quoted = !quoted,
            _ => {}
        }
    }
    !quoted && !name.is_empty()
}

#[test]
fn a_request_is_counted_under_the_names_of_the_design() {
    let registry = Registry::new(10).expect("metrics");
    let under_way = registry.in_flight();
    assert_eq!(samples(&registry)["gateway_requests_in_flight"], 1.0);
    drop(under_way);
    registry.request(&request(Some("openai"), Some("gpt-4o-mini"), 200));
    registry.request(&Request {
        estimated: true,
        unpriced: true,
        ..request(Some("openai"), Some("gpt-4o-mini"), 200)
    });
    registry.request(&Request {
        first_byte: None,
        overhead: None,
        tokens: &[],
        ..request(None, None, 404)
    });
    registry.request(&request(Some("openai"), Some("gpt-4o-mini"), 418));
    registry.request(&request(Some("openai"), Some("gpt-4o-mini"), 999));
    registry.attempt("openai", "ok");
    registry.attempt("openai", "connect");
    registry.refusal("model_not_found");
    registry.unidentified("invalid_api_key");
    registry.set_spool(3, 4096);
    registry.set_catalog_lag(Duration::from_millis(250));
    registry.set_store(Store::Database, true);
    registry.set_store(Store::Redis, false);
    registry.set_channels([("openai", true), ("gone", false)]);
    registry.set_channels([("openai", true)]);
    let found = samples(&registry);
    for (series, value) in [
        (
            "gateway_requests_total{model=\"gpt-4o-mini\",provider=\"openai\",status=\"200\"}",
            2.0,
        ),
        (
            "gateway_requests_total{model=\"gpt-4o-mini\",provider=\"openai\",status=\"4xx\"}",
            1.0,
        ),
        (
            "gateway_requests_total{model=\"gpt-4o-mini\",provider=\"openai\",status=\"other\"}",
            1.0,
        ),
        (
            "gateway_requests_total{model=\"other\",provider=\"none\",status=\"404\"}",
            1.0,
        ),
        (
            "gateway_request_duration_seconds_count{model=\"gpt-4o-mini\",provider=\"openai\"}",
            4.0,
        ),
        (
            "gateway_first_byte_seconds_count{model=\"gpt-4o-mini\",provider=\"openai\"}",
            4.0,
        ),
        (
            "gateway_tokens_used_total{model=\"gpt-4o-mini\",provider=\"openai\",type=\"input\"}",
            48.0,
        ),
        (
            "gateway_tokens_used_total{model=\"gpt-4o-mini\",provider=\"openai\",type=\"output\"}",
            136.0,
        ),
        ("gateway_overhead_seconds_count", 4.0),
        ("gateway_requests_in_flight", 0.0),
        ("gateway_estimated_total", 1.0),
        ("gateway_unpriced_total", 1.0),
        (
            "gateway_attempts_total{provider=\"openai\",reason=\"connect\"}",
            1.0,
        ),
        ("gateway_refusals_total{code=\"model_not_found\"}", 1.0),
        (
            "gateway_unidentified_total{reason=\"invalid_api_key\"}",
            1.0,
        ),
        ("gateway_spool_events", 3.0),
        ("gateway_spool_bytes", 4096.0),
        ("gateway_catalog_lag_seconds", 0.25),
        ("gateway_store_up{store=\"redis\"}", 0.0),
        ("gateway_channel_up{provider=\"openai\"}", 1.0),
    ] {
        assert_eq!(found.get(series), Some(&value), "{series}");
    }
    assert!(
        !found
            .keys()
            .any(|series| series.contains("gone\"") && series.contains("channel_up"))
    );
    assert!(!found.keys().any(|series| series.contains("reasoning")));
    #[cfg(target_os = "linux")]
    assert!(found["process_resident_memory_bytes"] > 0.0);
}

/// Threats: D6.
#[test]
fn a_million_models_leave_the_series_under_their_cap() {
    let registry = Registry::new(50).expect("metrics");
    for number in 0..1_000_000 {
        registry.request(&request(
            Some("openai"),
            Some(&format!("model-{number}")),
            200,
        ));
    }
    registry.request(&request(Some("openai"), None, 200));
    let found = samples(&registry);
    let of = |name: &str| {
        found
            .keys()
            .filter(|series| series.starts_with(name))
            .count()
    };
    assert_eq!(of("gateway_requests_total{"), 51);
    assert_eq!(of("gateway_request_duration_seconds_count{"), 51);
    let other =
        &found["gateway_requests_total{model=\"other\",provider=\"openai\",status=\"200\"}"];
    assert_eq!(*other, 1_000_000.0 - 50.0 + 1.0);
}

#[test]
fn channels_and_statuses_are_bounded_too() {
    let registry = Registry::new(10).expect("metrics");
    for number in 0..10_000 {
        let name = format!("channel-{number}");
        registry.attempt(&name, "ok");
        registry.request(&request(Some(&name), Some("gpt"), (number % 1000) as u16));
    }
    registry.set_channels((0..10_000).map(|_| ("openai", true)));
    registry.request(&request(None, None, 401));
    let found = samples(&registry);
    let of = |name: &str| {
        found
            .keys()
            .filter(|series| series.starts_with(name))
            .count()
    };
    assert!(
        of("gateway_attempts_total{") <= 201,
        "{}",
        of("gateway_attempts_total{")
    );
    assert!(of("gateway_request_duration_seconds_count{") <= 213);
    let statuses: std::collections::BTreeSet<&str> = found
        .keys()
        .filter_map(|series| {
            series
                .strip_prefix("gateway_requests_total{")?
                .split("status=")
                .nth(1)
        })
        .collect();
    assert!(statuses.len() <= 33, "{statuses:?}");
    assert!(
        found.contains_key(
            "gateway_requests_total{model=\"other\",provider=\"none\",status=\"401\"}"
        )
    );
}

#[test]
fn odd_names_stay_inside_their_quotes() {
    let registry = Registry::new(10).expect("metrics");
    for name in ["a\"b", "a\nb", "a\\", "a\"} 1\nforged 2", "张三", "{}"] {
        registry.request(&request(Some("openai"), Some(name), 200));
    }
    let found = samples(&registry);
    let counted = found
        .keys()
        .filter(|series| series.starts_with("gateway_requests_total{"))
        .count();
    assert_eq!(counted, 6);
    assert!(!found.keys().any(|series| series.starts_with("forged")));
}

#[test]
fn threads_that_come_at_once_count_together() {
    let registry = Arc::new(Registry::new(10).expect("metrics"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for number in 0..100 {
                    registry.request(&request(Some("openai"), Some(&format!("m{number}")), 200));
                }
            });
        }
    });
    let found = samples(&registry);
    let total: f64 = found
        .iter()
        .filter(|(series, _)| series.starts_with("gateway_requests_total{"))
        .map(|(_, value)| value)
        .sum();
    assert_eq!(total, 800.0);
}

#[test]
fn the_page_of_metrics_is_current() {
    generated::assert_current("docs/metrics.md", &markdown());
}
