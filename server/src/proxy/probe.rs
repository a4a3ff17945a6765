//! Whether a vendor takes a credential: one cheap call that generates nothing, and what came back.
//!
//! Management asks; nobody is billed. The call asks for the vendor's list of models, which each of them gives for nothing.

use std::time::Instant;

use actix_web::http::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use bytes::Bytes;
use serde_json::Value;
use weir_api_types::{channel::Kind, orders::CredentialCheck};
use weir_dialect::openai::read_error;

use super::{
    errand::{self, Errand, Fetched},
    outbound,
    scrub::Pieces,
    upstream::Upstream,
};
use crate::{catalog::Channel, secrets::Secret};

/// Anthropic wants a version with each call.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// Calls the channel's vendor with a secret, once, and waits no longer than the channel does for a first byte.
pub async fn probe(channel: &Channel, secret: &Secret, upstream: &Upstream) -> CredentialCheck {
    let began = Instant::now();
    let asked = ask(channel, secret, upstream).await;
    let took_ms = began.elapsed().as_secs_f64() * 1_000.0;
    let check = asked.unwrap_or_else(|error| CredentialCheck {
        error: Some(error),
        ..CredentialCheck::default()
    });
    CredentialCheck { took_ms, ..check }
}

async fn ask(
    channel: &Channel,
    secret: &Secret,
    upstream: &Upstream,
) -> Result<CredentialCheck, String> {
    let mut headers = HeaderMap::new();
    if channel.kind == Kind::Anthropic {
        headers.insert(
            HeaderName::from_static("anthropic-version"),
            HeaderValue::from_static(ANTHROPIC_VERSION),
        );
    }
    let query = outbound::authenticate(channel, secret, &mut headers, String::new());
    let query =
        query.map_err(|_| "the credential cannot be sent as the channel says".to_owned())?;
    let mut path = format!("{}{}", channel.base.path, models_path(channel));
    if !query.is_empty() {
        let join = if path.contains('?') { '&' } else { '?' };
        path = format!("{path}{join}{query}");
    }
    let errand = Errand {
        base: channel.base.clone(),
        owner: channel.owner,
        is_guarded: channel.is_guarded(),
        method: Method::GET,
        path,
        headers,
        body: Bytes::new(),
        connect_timeout: channel.timeouts.connect.0,
        timeout: channel.timeouts.first_byte.0,
    };
    let fetched = errand::run(errand, upstream).await;
    let Fetched { status, body } = fetched.map_err(|error| format!("the vendor: {error}"))?;
    let shown = match Pieces::of(secret) {
        Some(pieces) => pieces.starred(&body),
        None => body,
    };
    let works = (200..300).contains(&status);
    Ok(CredentialCheck {
        works,
        status: Some(status),
        models: works.then(|| models(&shown)).flatten(),
        error: (!works).then(|| error(status, &shown)),
        took_ms: 0.0,
    })
}

/// Where a kind lists its models, below the channel's base.
fn models_path(channel: &Channel) -> &'static str {
    match channel.kind {
        Kind::Openai | Kind::Custom => "/models",
        Kind::Anthropic => "/v1/models?limit=1000",
        Kind::Gemini => "/v1beta/models?pageSize=1000",
        Kind::Dashscope => "/compatible-mode/v1/models",
        // The newer surface is OpenAI's own; the older wants a version.
        Kind::AzureOpenai if channel.base.path.ends_with("/v1") => "/models",
        Kind::AzureOpenai => "/openai/models?api-version=2024-10-21",
    }
}

/// How many there are in the list.
fn models(body: &[u8]) -> Option<u32> {
    let list: Value = serde_json::from_slice(body).ok()?;
    let models = list.get("data").or_else(|| list.get("models"))?;
    u32::try_from(models.as_array()?.len()).ok()
}

fn error(status: u16, body: &[u8]) -> String {
    let said = read_error(body).map(|error| error.message);
    said.unwrap_or_else(|| format!("the vendor answered {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_any_vendor_are_counted() {
        assert_eq!(models(br#"{"object":"list","data":[{},{}]}"#), Some(2));
        assert_eq!(models(br#"{"models":[{"name":"models/x"}]}"#), Some(1));
        assert_eq!(models(b"<html>"), None);
    }
}
