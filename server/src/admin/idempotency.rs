//! `Idempotency-Key`: a `POST` that comes again with the key that it had is answered as it was, and not done again.
//!
//! A key belongs to its caller, tenant and route; with another body it is refused (threats.md, B10). What an answer shows once, such
//! as a new key's value, is not kept: the answer to the second request goes without it. A request that failed is
//! forgotten, so that it can be tried again; so is one whose answer has a cookie.

use actix_web::{
    Error, HttpMessage as _, HttpResponse,
    body::{EitherBody, MessageBody, to_bytes},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::{StatusCode, header},
    middleware::Next,
    web,
};
use bytes::Bytes;
use serde_json::Value;
use uuid::Uuid;

use super::{
    State, body,
    error::{ApiError, Code},
};
use crate::{
    access::{Caller, Reach, Subject},
    clock::now_ms,
    hash::digest_id,
    store::idempotency::{self, Known},
};

pub const HEADER: &str = "idempotency-key";
/// Longest key.
const MAX_KEY_BYTES: usize = 255;
/// What answers show once, wherever it stands in them but in a template.
const SHOWN_ONCE: [&str; 6] = ["value", "url", "uri", "secret", "codes", "access_token"];
/// How a channel sends its credential: a template, without it.
const TEMPLATE: &str = "auth";

type Answered<B> = Result<ServiceResponse<EitherBody<B>>, Error>;

/// Passes a request on, unless it came before.
pub async fn once<B: MessageBody + 'static>(
    caller: &Caller,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Answered<B> {
    let noted = note(caller, &mut request).await;
    let (id, known) = match noted {
        Ok(noted) => noted,
        Err(error) => return refused(request, error),
    };
    let Some(state) = request.app_data::<web::Data<State>>().cloned() else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    match known {
        Known::New => {}
        Known::Done { status, answer } => return Ok(again(request, status, answer)),
        Known::OtherBody => {
            let detail = "This Idempotency-Key came with another body before.";
            return refused(request, ApiError::new(Code::KeyUsed, detail));
        }
        Known::UnderWay => {
            let detail = "The same request is under way, or broke off: look what became of it, or take another key.";
            return refused(request, ApiError::new(Code::KeyUsed, detail));
        }
    }
    let answered = match next.call(request).await {
        Ok(answered) => answered,
        Err(error) => {
            forget(&state, id).await;
            return Err(error);
        }
    };
    // Half of an answer with a cookie is the cookie, which is its browser's alone.
    let is_kept =
        answered.status().is_success() && !answered.headers().contains_key(header::SET_COOKIE);
    if !is_kept {
        forget(&state, id).await;
        return Ok(answered.map_into_left_body());
    }
    let (request, response) = answered.into_parts();
    let (response, body) = response.into_parts();
    let bytes = to_bytes(body).await.map_err(|error| error.into())?;
    let status = response.status().as_u16();
    let kept = idempotency::done(&state.stores.config.write, id, status, without(&bytes)).await;
    if let Err(error) = kept {
        tracing::error!(%error, "an answer cannot be kept for its Idempotency-Key");
    }
    let response = response.set_body(bytes);
    let answered = ServiceResponse::new(request, response.map_into_boxed_body());
    Ok(answered.map_into_right_body())
}

/// Notes the request under its key, with its body, which it keeps.
async fn note(caller: &Caller, request: &mut ServiceRequest) -> Result<(Uuid, Known), ApiError> {
    let bad = |detail: &str| ApiError::new(Code::InvalidQuery, detail);
    let mut keys = request.headers().get_all(HEADER);
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) => key.as_bytes().to_vec(),
        _ => return Err(bad("Idempotency-Key stands there once.")),
    };
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(bad("Idempotency-Key has 1 to 255 bytes."));
    }
    let bytes = body::gather(request.take_payload(), body::MAX_DOCUMENT_BYTES).await?;
    let bytes = Bytes::from(bytes);
    request.set_payload(Payload::from(bytes.clone()));
    let state = request.app_data::<web::Data<State>>();
    let state = state.ok_or_else(|| ApiError::not_found("path"))?;
    let path = request.uri().to_string();
    let id = digest_id(&[&subject(caller), &reach(caller), path.as_bytes(), &key]);
    let body = digest_id(&[&bytes]);
    let known = idempotency::begin(&state.stores.config.write, id, body, now_ms()).await?;
    Ok((id, known))
}

/// Who calls, as bytes that nobody else has.
pub fn subject(caller: &Caller) -> Vec<u8> {
    match &caller.subject {
        Subject::AdminToken => b"admin_token".to_vec(),
        Subject::ServiceToken { id, .. } => id.as_bytes().to_vec(),
        Subject::User { id, .. } => id.0.as_bytes().to_vec(),
    }
}

fn reach(caller: &Caller) -> Vec<u8> {
    match caller.reach {
        Reach::Platform => Vec::new(),
        Reach::Tenant(tenant) => tenant.0.as_bytes().to_vec(),
    }
}

async fn forget(state: &State, id: Uuid) {
    if let Err(error) = idempotency::forget(&state.stores.config.write, id).await {
        tracing::error!(%error, "an Idempotency-Key cannot be forgotten");
    }
}

/// An answer without what it shows once; None where it is no JSON, or nothing.
fn without(bytes: &[u8]) -> Option<String> {
    let mut answer: Value = serde_json::from_slice(bytes).ok()?;
    strip(&mut answer);
    Some(answer.to_string())
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !SHOWN_ONCE.contains(&name.as_str()));
            let others = fields.iter_mut().filter(|(name, _)| *name != TEMPLATE);
            others.for_each(|(_, value)| strip(value));
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

fn again<B>(
    request: ServiceRequest,
    status: u16,
    answer: Option<String>,
) -> ServiceResponse<EitherBody<B>> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    response.insert_header(("idempotency-replayed", "true"));
    let response = match answer {
        Some(answer) => response
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .body(answer),
        None => response.finish(),
    };
    let (request, _) = request.into_parts();
    ServiceResponse::new(request, response).map_into_right_body()
}

fn refused<B>(request: ServiceRequest, error: ApiError) -> Answered<B> {
    let (request, _) = request.into_parts();
    Ok(ServiceResponse::from_err(error, request).map_into_right_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_once_is_not_kept() {
        let answer = br#"{"id": 1, "value": "wk-secret", "generated": [{"name": "a", "value": "wk-other"}], "pool": {"hint": "wk-..."}, "auth": {"value": "Token {secret}"}}"#;
        let kept = without(answer).expect("JSON");
        assert!(
            !kept.contains("wk-secret") && !kept.contains("wk-other"),
            "{kept}"
        );
        assert!(kept.contains("wk-...") && kept.contains("\"name\":\"a\""));
        assert!(kept.contains("Token {secret}"), "{kept}");
    }
}
