//! Tries the candidates in turn, until an upstream gives an answer that is worth relaying.
//!
//! attempt -> retry on the same channel -> fallback to the next, only as long as nothing has gone to the caller. Each
//! attempt is on the account before it leaves. A body that can be sent only once has one attempt.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::http::{
    Method,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};
use weir_api_types::channel::{Kind, RetryOn};
use weir_dialect::openai::{Ask, Edits};

use super::{
    Shared,
    account::Account,
    endpoint::Endpoint,
    error::{Error, Failure, Refusal},
    headers, ingress, path, scrub,
    upstream::{self, Answer, Upstream},
};
use crate::{
    catalog::Channel,
    metering::Outcome,
    routing::{
        Candidate,
        health::{Lease, NoCredential},
    },
    secrets::Secret,
    tenancy::CredentialId,
};

/// Most attempts of one request, over all channels.
const MAX_ATTEMPTS: usize = 8;
/// Most of an upstream's error body that is read.
const ERROR_BYTES: usize = 1024 * 1024;

/// A request as it is to be sent on, whatever the channel.
pub struct Outbound {
    pub endpoint: Endpoint,
    pub method: Method,
    /// The path below a channel's base, or below the vendor's root under `/proxy/`.
    pub path: String,
    /// Without the caller's key; empty if there is none.
    pub query: String,
    pub caller_headers: HeaderMap,
    pub body: OutBody,
    /// The body as far as it was read; `None` where it is not JSON.
    pub ask: Option<Ask>,
}

/// The body of a request as it is to be sent on.
pub enum OutBody {
    Whole(Bytes),
    Form {
        bytes: Bytes,
        model: Option<weir_dialect::multipart::Model>,
    },
    /// Taken by the only attempt.
    Stream(Option<Box<ingress::Streamed>>),
}

/// An answer to relay.
pub struct Answered {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: AnswerBody,
    pub candidate: Candidate,
    /// Whether the usage chunk is there only because Weir asked for it.
    pub asked_usage: bool,
    /// When the attempt's time is over.
    pub deadline: Instant,
}

/// The body of an answer.
pub enum AnswerBody {
    /// Gathered whole.
    Whole(Bytes),
    /// Still arriving; what has been read of it comes first.
    Rest {
        read: Vec<Bytes>,
        answer: Box<Answer>,
    },
}

/// What became of one attempt.
enum Tried {
    Answered(Box<Answered>),
    /// Another attempt may do better.
    Failed {
        error: Failed,
        retry: bool,
        another_credential: bool,
    },
}

/// What the caller is told if no attempt does better.
enum Failed {
    Nothing(Failure),
    /// The upstream's own error, to be relayed.
    Answer(Box<Answered>),
}

/// Calls upstream until there is something to relay.
pub async fn first_success(
    candidates: &[Candidate],
    outbound: &mut Outbound,
    shared: &Shared,
    upstream: &Upstream,
    account: &mut Account,
) -> Result<Answered, Error> {
    let mut last: Option<Failed> = None;
    for candidate in candidates {
        let mut refused: Vec<CredentialId> = Vec::new();
        let mut tries = 0;
        while tries < usize::from(candidate.channel.retry.attempts.max(1))
            && account.attempts() < MAX_ATTEMPTS
        {
            let lease = match shared.health.lease(&candidate.channel, &refused, now_ms()) {
                Ok(lease) => Some(lease),
                Err(NoCredential::NoneNeeded) => None,
                Err(NoCredential::NoneUsable) => break,
            };
            let credential = lease.as_ref().map(|lease| lease.credential.id);
            match attempt(candidate, lease, outbound, shared, upstream, account).await {
                Tried::Answered(answered) => return Ok(*answered),
                Tried::Failed {
                    error,
                    retry,
                    another_credential,
                } => {
                    let may_repeat = !matches!(outbound.body, OutBody::Stream(_));
                    last = Some(error);
                    if !may_repeat || !(retry || another_credential) {
                        return conclude(last);
                    }
                    // A refused credential costs no try: the channel itself has not failed.
                    tries += usize::from(!another_credential);
                    refused.extend(credential.filter(|_| another_credential));
                }
            }
        }
    }
    conclude(last)
}

fn conclude(last: Option<Failed>) -> Result<Answered, Error> {
    match last {
        Some(Failed::Answer(answered)) => Ok(*answered),
        Some(Failed::Nothing(failure)) => Err(Error::Failure(failure)),
        None => Err(Refusal::NoHealthyUpstream(
            "its credentials rest, or were refused by the vendor".to_owned(),
        )
        .into()),
    }
}

async fn attempt(
    candidate: &Candidate,
    lease: Option<Lease>,
    outbound: &mut Outbound,
    shared: &Shared,
    upstream: &Upstream,
    account: &mut Account,
) -> Tried {
    let channel = &candidate.channel;
    let secret = lease
        .as_ref()
        .and_then(|lease| lease.credential.secret.clone());
    let streamed = outbound.ask.as_ref().is_some_and(|ask| ask.stream);
    let asked_usage = asks_usage(outbound, channel);
    let input = outbound
        .ask
        .as_ref()
        .map(|ask| ask.input)
        .unwrap_or_default();
    let bound = outbound.ask.as_ref().and_then(Ask::output_bound);
    let traceparent = account.begin_attempt(candidate, lease, input, bound);
    let call = match call(candidate, secret.as_ref(), outbound, traceparent) {
        Ok(prepared) => prepared,
        Err(failure) => return failed(account, None, failure, false, false),
    };
    let deadline = Instant::now() + channel.timeouts.total.0;
    let head_timeout = if streamed {
        channel.timeouts.first_byte.0.min(channel.timeouts.total.0)
    } else {
        channel.timeouts.total.0
    };
    let call = upstream::Call {
        base: &channel.base,
        owner: channel.owner,
        method: outbound.method.clone(),
        path: &call.path,
        headers: call.headers,
        connect_timeout: channel.timeouts.connect.0,
        head_timeout,
    };
    let stopped = Rc::new(RefCell::new(None));
    let body = body(outbound, candidate, asked_usage, &stopped);
    let answer = match upstream.send(&call, body).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(channel = %channel.name, %error, "an attempt failed");
            let failure = stopped
                .take()
                .map_or_else(|| Failure::from(&error), Failure::Request);
            return broken(account, channel, failure);
        }
    };
    let status = answer.status().as_u16();
    judge_credential(account, shared, &answer, status, outbound.endpoint);
    match status {
        401 | 403 if secret.is_some() => failed(
            account,
            Some(status),
            Failure::Credential,
            retries(channel, status),
            true,
        ),
        200..=399 => gather(candidate, answer, shared, account, asked_usage, deadline).await,
        _ => error_answer(candidate, answer, account, secret.as_ref(), deadline).await,
    }
}

/// Whether Weir itself asks a streamed call for usage, since the caller did not.
fn asks_usage(outbound: &Outbound, channel: &Channel) -> bool {
    let asks = outbound
        .ask
        .as_ref()
        .is_some_and(|ask| ask.stream && !ask.include_usage);
    asks && outbound.endpoint.finishes() && channel.settings.ask_usage
}

/// Path and headers of a call.
struct Prepared {
    path: String,
    headers: HeaderMap,
}

fn call(
    candidate: &Candidate,
    secret: Option<&Secret>,
    outbound: &Outbound,
    traceparent: Option<String>,
) -> Result<Prepared, Failure> {
    let channel = &candidate.channel;
    let bad = |what: &str| Failure::BadAnswer(format!("the channel's {what} cannot be sent"));
    let root = if outbound.endpoint == Endpoint::Proxy {
        channel.base.root_path()
    } else {
        &channel.base.path
    };
    let mut path = format!("{root}{}", outbound.path);
    let mut query = outbound.query.clone();
    let mut headers = match outbound.endpoint {
        Endpoint::Proxy => {
            let is_dedicated = channel.owner.is_some();
            headers::for_proxy(
                &outbound.caller_headers,
                channel.settings.allow_beta,
                is_dedicated,
            )
        }
        _ => headers::for_inference(&outbound.caller_headers, channel.settings.allow_beta),
    };
    // A compressed answer would hide its usage from the observer.
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    headers.insert(
        header::HOST,
        HeaderValue::from_str(&channel.base.host_header()).map_err(|_| bad("host"))?,
    );
    if let Some(traceparent) = traceparent.and_then(|value| HeaderValue::from_str(&value).ok()) {
        headers.insert(HeaderName::from_static("traceparent"), traceparent);
    }
    if let Some(state) = outbound.caller_headers.get("tracestate") {
        headers.insert(HeaderName::from_static("tracestate"), state.clone());
    }
    // The credential comes last, and only to the channel's own origin: there is no other that this call could go to.
    if let Some(secret) = secret {
        match auth(channel, secret) {
            Auth::Header(name, value) => {
                let name =
                    HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("auth header"))?;
                let mut value = HeaderValue::from_str(&value).map_err(|_| bad("credential"))?;
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            Auth::Query(name, value) => {
                // Of two, some vendors take the first.
                query = path::without(&query, &name).0;
                let separator = if query.is_empty() { "" } else { "&" };
                query = format!(
                    "{query}{separator}{}={}",
                    percent_encoded(&name),
                    percent_encoded(&value)
                );
            }
        }
    }
    if !query.is_empty() {
        path = format!("{path}?{query}");
    }
    Ok(Prepared { path, headers })
}

enum Auth {
    Header(String, String),
    Query(String, String),
}

fn auth(channel: &Channel, secret: &Secret) -> Auth {
    let filled = |template: &str| template.replace("{secret}", secret.expose());
    match (&channel.auth.query, &channel.auth.header) {
        (Some(query), _) => Auth::Query(query.name.clone(), filled(&query.value)),
        (None, Some(name)) => Auth::Header(
            name.clone(),
            filled(channel.auth.value.as_deref().unwrap_or("{secret}")),
        ),
        (None, None) => match channel.kind {
            Kind::Openai | Kind::Dashscope | Kind::Custom => {
                Auth::Header("authorization".to_owned(), filled("Bearer {secret}"))
            }
            Kind::Anthropic => Auth::Header("x-api-key".to_owned(), filled("{secret}")),
            Kind::Gemini => Auth::Header("x-goog-api-key".to_owned(), filled("{secret}")),
            Kind::AzureOpenai => Auth::Header("api-key".to_owned(), filled("{secret}")),
        },
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// The body for a candidate: the caller's own bytes, but for what the route and the account need changed.
fn body(
    outbound: &mut Outbound,
    candidate: &Candidate,
    asked_usage: bool,
    stopped: &Rc<RefCell<Option<Refusal>>>,
) -> upstream::Body {
    let model = candidate.upstream_model.as_deref();
    let drop_labels = outbound.endpoint.has_labels();
    match (&mut outbound.body, &outbound.ask) {
        (OutBody::Whole(_), Some(ask)) => {
            let model = model.filter(|model| ask.model.as_deref() != Some(*model));
            upstream::Body::Whole(ask.edited(&Edits {
                model,
                include_usage: asked_usage,
                drop_labels,
                ..Edits::default()
            }))
        }
        (OutBody::Whole(bytes), None) => upstream::Body::Whole(bytes.clone()),
        (
            OutBody::Form {
                bytes,
                model: place,
            },
            _,
        ) => {
            let renamed = place
                .as_ref()
                .zip(model)
                .filter(|(place, model)| place.name != *model);
            upstream::Body::Whole(renamed.map_or_else(
                || bytes.clone(),
                |(place, model)| ingress::with_model(bytes, place, model),
            ))
        }
        (OutBody::Stream(streamed), _) => match streamed.take() {
            Some(streamed) => {
                let stopped = Rc::clone(stopped);
                let (length, body) = streamed
                    .into_upstream(model, move |refusal| *stopped.borrow_mut() = Some(refusal));
                upstream::Body::Stream { length, body }
            }
            None => upstream::Body::Whole(Bytes::new()),
        },
    }
}

/// Tells the pool what the vendor thinks of the credential. Under `/proxy/` a 403 may be about the path.
fn judge_credential(
    account: &Account,
    shared: &Shared,
    answer: &Answer,
    status: u16,
    endpoint: Endpoint,
) {
    let Some(lease) = account.lease() else { return };
    let id = lease.credential.id;
    match status {
        401 => shared.health.refused(id, status, now_ms()),
        403 if endpoint != Endpoint::Proxy => shared.health.refused(id, status, now_ms()),
        429 => shared
            .health
            .rest(id, retry_after_ms(answer.headers()), now_ms()),
        200..=299 => shared.health.accepted(lease),
        _ => {}
    }
}

/// What the vendor asks for, in milliseconds.
fn retry_after_ms(headers: &HeaderMap) -> Option<i64> {
    let number = |name: &str| {
        headers
            .get(name)?
            .to_str()
            .ok()?
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
    };
    let ms = number("retry-after-ms")
        .or_else(|| number("retry-after").map(|seconds| seconds * 1000.0))?;
    Some(ms.clamp(0.0, 1e12) as i64)
}

fn retries(channel: &Channel, status: u16) -> bool {
    let class = (status / 100) as u8;
    channel.retry.on.contains(&RetryOn::Status(status))
        || channel.retry.on.contains(&RetryOn::Class(class))
}

/// An attempt without an answer's head.
fn broken(account: &mut Account, channel: &Channel, failure: Failure) -> Tried {
    let on = |cause| channel.retry.on.contains(&cause);
    let (retry, reached) = match &failure {
        Failure::Connect => (on(RetryOn::Connect), false),
        Failure::Broken => (on(RetryOn::Connect), true),
        Failure::Timeout => (on(RetryOn::Timeout), true),
        Failure::BadAnswer(_) => (on(RetryOn::Class(5)), true),
        Failure::Credential | Failure::Request(_) => (false, false),
    };
    account.end_attempt(None, failure.reason(), reached);
    Tried::Failed {
        error: Failed::Nothing(failure),
        retry,
        another_credential: false,
    }
}

fn failed(
    account: &mut Account,
    status: Option<u16>,
    failure: Failure,
    retry: bool,
    another_credential: bool,
) -> Tried {
    account.end_attempt(status, failure.reason(), false);
    Tried::Failed {
        error: Failed::Nothing(failure),
        retry,
        another_credential,
    }
}

/// Takes an answer over. A JSON answer that is not streamed is gathered, up to a bound: so it can be priced in a header,
/// and one that is cut can be retried.
async fn gather(
    candidate: &Candidate,
    mut answer: Answer,
    shared: &Shared,
    account: &mut Account,
    asked_usage: bool,
    deadline: Instant,
) -> Tried {
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    let id = headers
        .get("x-request-id")
        .and_then(|id| id.to_str().ok())
        .map(str::to_owned);
    let kind = content_type(&headers);
    account.answered(status, id, kind == "text/event-stream");
    let limit = shared.config.gathered_bytes.0;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let gathers = kind == "application/json" && announced.is_none_or(|length| length <= limit);
    let mut read = Vec::new();
    let mut bytes = 0;
    while gathers && bytes <= limit {
        match next(&mut answer, &candidate.channel, deadline).await {
            Ok(Some(piece)) => {
                bytes += piece.len() as u64;
                read.push(piece);
            }
            Ok(None) => {
                let body = AnswerBody::Whole(joined(read));
                let candidate = candidate.clone();
                return Tried::Answered(Box::new(Answered {
                    status,
                    headers,
                    body,
                    candidate,
                    asked_usage,
                    deadline,
                }));
            }
            Err(failure) => {
                for piece in &read {
                    account.observe(piece);
                }
                return broken(account, &candidate.channel, failure);
            }
        }
    }
    let body = AnswerBody::Rest {
        read,
        answer: Box::new(answer),
    };
    Tried::Answered(Box::new(Answered {
        status,
        headers,
        body,
        candidate: candidate.clone(),
        asked_usage,
        deadline,
    }))
}

/// The upstream's own error: relayed if nothing does better, without a piece of the credential. A page that is no JSON
/// is not relayed: its status is.
async fn error_answer(
    candidate: &Candidate,
    mut answer: Answer,
    account: &mut Account,
    secret: Option<&Secret>,
    deadline: Instant,
) -> Tried {
    let status = answer.status().as_u16();
    let mut headers = answer.headers().clone();
    let id = headers
        .get("x-request-id")
        .and_then(|id| id.to_str().ok())
        .map(str::to_owned);
    let mut body = BytesMut::new();
    while body.len() <= ERROR_BYTES {
        match next(&mut answer, &candidate.channel, deadline).await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => break,
            Err(failure) => return broken(account, &candidate.channel, failure),
        }
    }
    let retry = retries(&candidate.channel, status);
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
    let body = match (is_json, secret) {
        (true, Some(secret)) => scrub::without_secret(&body, secret),
        (true, None) => body.freeze(),
        (false, _) => {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            headers.remove(header::CONTENT_ENCODING);
            let message = format!("The upstream answered {status}.");
            let id = account.id().to_string();
            let failure = weir_dialect::openai::Failure {
                status,
                code: "upstream_error",
                message: &message,
                param: None,
                request_id: &id,
            };
            failure.body().into()
        }
    };
    if retry {
        account.end_attempt(Some(status), reason(status), false);
    } else {
        account.answered(status, id, false);
    }
    let body = AnswerBody::Whole(body);
    let answered = Answered {
        status,
        headers,
        body,
        candidate: candidate.clone(),
        asked_usage: false,
        deadline,
    };
    if retry {
        Tried::Failed {
            error: Failed::Answer(Box::new(answered)),
            retry,
            another_credential: false,
        }
    } else {
        Tried::Answered(Box::new(answered))
    }
}

/// The next piece of an answer within the channel's times.
pub async fn next(
    answer: &mut Answer,
    channel: &Channel,
    deadline: Instant,
) -> Result<Option<Bytes>, Failure> {
    let idle = Instant::now() + channel.timeouts.idle.0;
    match timeout_at(idle.min(deadline), answer.next()).await {
        Ok(Some(Ok(piece))) => Ok(Some(piece)),
        Ok(Some(Err(error))) => {
            tracing::debug!(channel = %channel.name, %error, "an answer broke off");
            Err(Failure::Broken)
        }
        Ok(None) => Ok(None),
        Err(_) => Err(Failure::Timeout),
    }
}

/// How an answer's status is booked.
pub fn outcome(status: u16) -> Outcome {
    match status {
        401 | 403 | 429 | 500.. => Outcome::UpstreamError,
        400..=499 => Outcome::ClientError,
        _ => Outcome::Ok,
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        429 => "429",
        500.. => "5xx",
        _ => "4xx",
    }
}

/// The media type, in lower case and without parameters.
pub fn content_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

fn joined(pieces: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(pieces) {
        Ok([piece]) => piece,
        Err(pieces) => pieces.concat().into(),
    }
}

/// Unix milliseconds.
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    since.as_millis() as i64
}
