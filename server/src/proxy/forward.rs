//! Tries the candidates in turn, until an upstream gives an answer that is worth relaying.
//!
//! attempt -> retry on the same channel -> fallback to the next, only as long as nothing has gone to the caller. Each
//! attempt is on the account before it leaves. A body that can be sent only once has one attempt.

use std::{cell::RefCell, rc::Rc, time::SystemTime};

use actix_web::http::header::HeaderMap;
use tokio::time::Instant;

use super::{
    Shared,
    account::Account,
    admit::{self, Asking},
    answer::{self, Answered, Arrived, Failed, Tried, broken, failed},
    endpoint::Endpoint,
    error::{Error, Failure, Refusal},
    outbound::{self, OutBody, Outbound},
    scrub::Pieces,
    upstream::{self, Answer, Upstream},
};
use crate::{
    clock::now_ms,
    limits::AttemptPermit,
    routing::{
        Candidate,
        health::{Lease, NoCredential},
    },
    tenancy::CredentialId,
};

/// Most attempts of one request, over all channels.
const MAX_ATTEMPTS: usize = 8;

/// Calls upstream until there is something to relay.
pub async fn first_success(
    candidates: &[Candidate],
    outbound: &mut Outbound,
    asking: &Asking,
    shared: &Shared,
    upstream: &Upstream,
    account: &mut Account,
) -> Result<Answered, Error> {
    let mut last: Option<Failed> = None;
    for (at, candidate) in candidates.iter().enumerate() {
        let is_last = at + 1 == candidates.len();
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
            let admitted = admit::attempt(shared, asking, account, candidate, is_last).await;
            let permit = match admitted {
                Ok(permit) => permit,
                Err(refusal) => {
                    // What the upstream itself said of an earlier attempt says more.
                    last.get_or_insert(Failed::Refused(refusal));
                    break;
                }
            };
            let held = (lease, permit);
            let credential = held.0.as_ref().map(|lease| lease.credential.id);
            match attempt(candidate, held, outbound, shared, upstream, account).await {
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
        Some(Failed::Refused(refusal)) => Err(refusal.into()),
        None => Err(Refusal::NoHealthyUpstream(
            "its credentials rest, or were refused by the vendor".to_owned(),
        )
        .into()),
    }
}

async fn attempt(
    candidate: &Candidate,
    (lease, permit): (Option<Lease>, AttemptPermit),
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
    let asked_usage = outbound::asks_usage(outbound, channel);
    let input = outbound
        .ask
        .as_ref()
        .map(|ask| ask.input)
        .unwrap_or_default();
    let bound = outbound.output_bound();
    let traceparent = account.begin_attempt(candidate, lease, permit, input, bound);
    let call = match outbound::call(candidate, secret.as_ref(), outbound, traceparent) {
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
        is_guarded: channel.is_guarded(),
        method: outbound.method.clone(),
        path: &call.path,
        headers: call.headers,
        connect_timeout: channel.timeouts.connect.0,
        head_timeout,
        reached: account.reached(),
    };
    let stopped = Rc::new(RefCell::new(None));
    let body = outbound::body(outbound, candidate, asked_usage, &stopped);
    let answer = match upstream.send(call, body).await {
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
    let pieces = secret.as_ref().and_then(Pieces::of);
    let arrived = Arrived::new(answer, pieces.as_ref());
    match status {
        401 | 403 if secret.is_some() && is_about_credential(status, outbound.endpoint) => failed(
            account,
            Some(status),
            Failure::Credential,
            answer::retries(channel, status),
            true,
        ),
        300..=399 if outbound.endpoint != Endpoint::Proxy => {
            let what = "it redirects; is the channel's base_url right?";
            broken(account, channel, Failure::BadAnswer(what.to_owned()))
        }
        200..=399 => {
            answer::gather(candidate, arrived, shared, account, asked_usage, deadline).await
        }
        _ => answer::error_answer(candidate, arrived, account, pieces.as_ref(), deadline).await,
    }
}

/// Whether a 401 or 403 speaks of Weir's credential. Under `/proxy/` a 403 may be about the path.
fn is_about_credential(status: u16, endpoint: Endpoint) -> bool {
    status == 401 || endpoint != Endpoint::Proxy
}

/// Tells the pool what the vendor thinks of the credential.
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
        401 | 403 if is_about_credential(status, endpoint) => {
            shared.health.refused(id, status, now_ms());
        }
        429 => {
            let now_ms = now_ms();
            let rest_ms = retry_after_ms(answer.headers(), now_ms);
            shared.health.rest(id, rest_ms, now_ms);
        }
        200..=299 => shared.health.accepted(lease),
        _ => {}
    }
}

/// What the vendor asks for, in milliseconds: a number, or a date as RFC 9110, section 10.2.3 allows.
fn retry_after_ms(headers: &HeaderMap, now_ms: i64) -> Option<i64> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| {
        let number = text(name)?.parse::<f64>().ok();
        number.filter(|number| number.is_finite())
    };
    if let Some(ms) =
        number("retry-after-ms").or_else(|| number("retry-after").map(|seconds| seconds * 1000.0))
    {
        return Some(ms.clamp(0.0, 1e12) as i64);
    }
    let date = httpdate::parse_http_date(text("retry-after")?).ok()?;
    let since = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let date_ms = i64::try_from(since.as_millis()).ok()?;
    Some(date_ms.saturating_sub(now_ms).max(0))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_rest_is_read_from_numbers_and_dates() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now_ms = 784_111_777_000;
        for (name, value, expected) in [
            ("retry-after-ms", "250", Some(250)),
            ("retry-after", "7", Some(7_000)),
            ("retry-after", "0.5", Some(500)),
            ("retry-after", "-3", Some(0)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:50 GMT", Some(13_000)),
            (
                "retry-after",
                "Sunday, 06-Nov-94 08:49:50 GMT",
                Some(13_000),
            ),
            ("retry-after", "Sun Nov  6 08:49:50 1994", Some(13_000)),
            ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("retry-after", "inf", None),
            ("retry-after", "soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
            assert_eq!(retry_after_ms(&headers, now_ms), expected, "{value}");
        }
        assert_eq!(retry_after_ms(&HeaderMap::new(), now_ms), None);
    }
}
