//! What an attempt gave: an answer to relay, the upstream's own error, or nothing.
//!
//! `forward` asks for attempts, `relay` passes on what comes of them. Here an answer is gathered where that is bounded, so
//! that one that is cut can be retried, and an upstream's error is made fit to be shown.

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};
use weir_api_types::channel::RetryOn;

use super::{
    Shared,
    account::Account,
    error::{Failure, Refusal},
    header_name,
    scrub::Pieces,
    upstream::Answer,
};
use crate::{catalog::Channel, metering::Outcome, routing::Candidate};

/// Most of an upstream's error body that is read.
const ERROR_BYTES: usize = 1024 * 1024;
pub const EVENT_STREAM: &str = "text/event-stream";
const JSON: &str = "application/json";

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

/// An answer whose head is there: without what would name the credential.
pub struct Arrived {
    status: u16,
    headers: HeaderMap,
    /// The media type, in lower case and without parameters.
    kind: String,
    /// The upstream packed the body, unasked: nothing can be read in it and nothing put into it.
    is_packed: bool,
    answer: Answer,
}

impl Arrived {
    pub fn new(answer: Answer, pieces: Option<&Pieces<'_>>) -> Self {
        let mut headers = answer.headers().clone();
        if let Some(pieces) = pieces {
            pieces.drop_from(&mut headers);
        }
        Self {
            status: answer.status().as_u16(),
            kind: content_type(&headers),
            is_packed: is_packed(&headers),
            headers,
            answer,
        }
    }

    /// The upstream's own id of it.
    fn request_id(&self) -> Option<String> {
        let id = self.headers.get(header_name::X_REQUEST_ID)?;
        id.to_str().ok().map(str::to_owned)
    }

    /// A page is no answer to an inference call, whatever its status: something else than the vendor has spoken.
    fn is_page(&self) -> bool {
        matches!(self.kind.as_str(), "text/html" | "application/xhtml+xml")
    }
}

/// What became of one attempt.
pub enum Tried {
    Answered(Box<Answered>),
    /// Another attempt may do better.
    Failed {
        error: Failed,
        retry: bool,
        another_credential: bool,
    },
}

/// What the caller is told if no attempt does better.
pub enum Failed {
    Nothing(Failure),
    /// No attempt was made: what stood against it.
    Refused(Refusal),
    /// The upstream's own error, to be relayed.
    Answer(Box<Answered>),
}

pub fn retries(channel: &Channel, status: u16) -> bool {
    let class = (status / 100) as u8;
    channel.retry.on.contains(&RetryOn::Status(status))
        || channel.retry.on.contains(&RetryOn::Class(class))
}

/// An attempt without an answer's head.
pub fn broken(account: &mut Account, channel: &Channel, failure: Failure) -> Tried {
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

pub fn failed(
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
pub async fn gather(
    candidate: &Candidate,
    mut arrived: Arrived,
    shared: &Shared,
    account: &mut Account,
    asked_usage: bool,
    deadline: Instant,
) -> Tried {
    let channel = &candidate.channel;
    let reads = account.endpoint().needs_model();
    if reads && arrived.is_page() {
        let failure = Failure::BadAnswer("it is a page".to_owned());
        return broken(account, channel, failure);
    }
    // What is packed cannot be read: it is counted by its bytes.
    let kind = if arrived.is_packed {
        JSON
    } else {
        arrived.kind.as_str()
    };
    account.answered(arrived.status, arrived.request_id(), kind);
    let limit = shared.config.gathered_bytes.0;
    let announced = arrived
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let gathers =
        arrived.kind == "application/json" && announced.is_none_or(|length| length <= limit);
    let mut read = Vec::new();
    let mut bytes = 0;
    let mut whole = false;
    while gathers && !whole && bytes <= limit {
        match next(&mut arrived.answer, until(channel, deadline)).await {
            Ok(Some(piece)) => {
                bytes += piece.len() as u64;
                read.push(piece);
            }
            Ok(None) => whole = true,
            Err(failure) => {
                for piece in &read {
                    account.observe(piece);
                }
                return broken(account, channel, failure);
            }
        }
    }
    let body = if whole {
        let body = joined(read);
        // A body can end too early though its framing is right: the vendor itself was cut off from what it relays.
        if reads && arrived.status == 200 && !arrived.is_packed && !is_json(&body) {
            account.observe(&body);
            return broken(account, channel, Failure::Broken);
        }
        AnswerBody::Whole(body)
    } else {
        AnswerBody::Rest {
            read,
            answer: Box::new(arrived.answer),
        }
    };
    Tried::Answered(Box::new(Answered {
        status: arrived.status,
        headers: arrived.headers,
        body,
        candidate: candidate.clone(),
        asked_usage,
        deadline,
    }))
}

/// The upstream's own error: relayed if nothing does better, without a piece of the credential. A page that is no JSON
/// is not relayed: its status is.
pub async fn error_answer(
    candidate: &Candidate,
    mut arrived: Arrived,
    account: &mut Account,
    pieces: Option<&Pieces<'_>>,
    deadline: Instant,
) -> Tried {
    let (status, id) = (arrived.status, arrived.request_id());
    let mut body = BytesMut::new();
    while body.len() <= ERROR_BYTES {
        match next(&mut arrived.answer, until(&candidate.channel, deadline)).await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => break,
            Err(failure) => return broken(account, &candidate.channel, failure),
        }
    }
    let retry = retries(&candidate.channel, status);
    let mut headers = arrived.headers;
    let body = match (is_json(&body), pieces) {
        (true, Some(pieces)) => pieces.starred(&body),
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
        account.answered(status, id, JSON);
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

/// When the next piece of an answer must be there, if it is waited for from now on.
fn until(channel: &Channel, deadline: Instant) -> Instant {
    deadline.min(Instant::now() + channel.timeouts.idle.0)
}

/// The next piece of an answer, if it comes in time.
pub async fn next(answer: &mut Answer, until: Instant) -> Result<Option<Bytes>, Failure> {
    match timeout_at(until, answer.next()).await {
        Ok(Some(Ok(piece))) => Ok(Some(piece)),
        Ok(Some(Err(error))) => {
            tracing::debug!(%error, "an answer broke off");
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

/// Whether the body is an event stream that can be read and added to.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    content_type(headers) == EVENT_STREAM && !is_packed(headers)
}

fn is_packed(headers: &HeaderMap) -> bool {
    let coding = headers.get(header::CONTENT_ENCODING);
    coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

/// One buffer of several pieces; a single one is not copied.
pub(super) fn joined(pieces: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(pieces) {
        Ok([piece]) => piece,
        Err(pieces) => pieces.concat().into(),
    }
}
