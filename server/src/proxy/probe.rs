//! Whether a vendor takes a credential: one cheap call that generates nothing, and what came back.
//!
//! Management asks; nobody is billed. The call asks for the vendor's list of models, which each of them gives for nothing.

use std::{cell::Cell, rc::Rc, time::Instant};

use actix_web::http::{
    Method,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use bytes::BytesMut;
use serde_json::Value;
use weir_api_types::{channel::Kind, orders::CredentialCheck};
use weir_dialect::openai::read_error;

use super::{
    answer, outbound,
    scrub::Pieces,
    upstream::{self, Upstream},
};
use crate::{catalog::Channel, secrets::Secret};

/// A list of models is hardly larger. What is beyond is not read.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
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
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    let host = HeaderValue::from_str(&channel.base.host_header());
    let host = host.map_err(|_| "the channel's host cannot be sent".to_owned())?;
    headers.insert(header::HOST, host);
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
    let call = upstream::Call {
        base: &channel.base,
        owner: channel.owner,
        is_guarded: channel.is_guarded(),
        method: Method::GET,
        path: &path,
        headers,
        connect_timeout: channel.timeouts.connect.0,
        head_timeout: channel.timeouts.first_byte.0,
        reached: Rc::new(Cell::new(false)),
    };
    let sent = upstream.send(call, upstream::Body::Whole(bytes::Bytes::new()));
    // What a tenant's address leads to is nobody's to map: there is one word for all that goes wrong (threats.md, S1).
    let failed = |error: upstream::Error| match channel.is_guarded() {
        true => "the vendor cannot be reached".to_owned(),
        false => error.to_string(),
    };
    let mut answer = sent.await.map_err(failed)?;
    let status = answer.status().as_u16();
    let until = tokio::time::Instant::now() + channel.timeouts.first_byte.0;
    let mut body = BytesMut::new();
    while let Ok(Some(piece)) = answer::next(&mut answer, until).await {
        body.extend_from_slice(&piece);
        if body.len() > MAX_BODY_BYTES {
            break;
        }
    }
    let shown = match Pieces::of(secret) {
        Some(pieces) => pieces.starred(&body),
        None => body.freeze(),
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
