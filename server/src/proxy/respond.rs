//! Answers to callers: the headers that every one of them carries, and errors in their dialect.

use std::time::Duration;

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
};

use super::{
    error::{Error, Limited},
    header_name, headers,
};
use crate::{limits::Tightest, tenancy::RequestId};

/// Weir's headers that a browser's script may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, x-client-request-id, x-weir-upstream-request-id, x-weir-channel, x-weir-model, \
     x-weir-attempts, x-weir-cost, x-weir-cache, x-weir-dropped, x-weir-adjusted, \
     x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
     x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, retry-after, \
     retry-after-ms, x-should-retry",
);
/// No upstream's page may run on the portal's origin.
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");

/// What every answer of the data plane carries.
#[derive(Debug, Clone)]
pub struct Common {
    pub id: RequestId,
    /// The caller's own label, echoed.
    pub client_request_id: Option<String>,
    /// What the limits that counted the call have left.
    pub left: Tightest,
    /// What Weir itself set in the request.
    pub adjusted: Option<String>,
}

impl Common {
    pub fn of(id: RequestId, caller_headers: &HeaderMap) -> Self {
        Self {
            id,
            client_request_id: headers::client_request_id(caller_headers).map(str::to_owned),
            left: Tightest::default(),
            adjusted: None,
        }
    }

    /// An answer with these headers and no body yet.
    pub fn start(&self, status: u16) -> HttpResponseBuilder {
        let mut response = bare(status);
        self.apply(&mut response);
        response
    }

    /// Sets these headers, whatever an upstream sent under their names.
    pub fn apply(&self, response: &mut HttpResponseBuilder) {
        response
            .insert_header((header_name::X_REQUEST_ID, self.id.to_string()))
            .insert_header((header::CONTENT_SECURITY_POLICY, SANDBOX))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, NOSNIFF))
            .insert_header((header::REFERRER_POLICY, NO_REFERRER))
            .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN))
            .insert_header((header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED));
        if let Some(label) = &self.client_request_id {
            response.insert_header((header_name::X_CLIENT_REQUEST_ID, label.as_str()));
        }
        if let Some(adjusted) = &self.adjusted {
            response.insert_header((header_name::X_WEIR_ADJUSTED, adjusted.as_str()));
        }
        if let Some(requests) = self.left.requests {
            response
                .insert_header((header_name::X_RATELIMIT_LIMIT_REQUESTS, requests.limit))
                .insert_header((
                    header_name::X_RATELIMIT_REMAINING_REQUESTS,
                    requests.remaining,
                ))
                .insert_header((
                    header_name::X_RATELIMIT_RESET_REQUESTS,
                    span(requests.reset),
                ));
        }
        if let Some(tokens) = self.left.tokens {
            response
                .insert_header((header_name::X_RATELIMIT_LIMIT_TOKENS, tokens.limit))
                .insert_header((header_name::X_RATELIMIT_REMAINING_TOKENS, tokens.remaining))
                .insert_header((header_name::X_RATELIMIT_RESET_TOKENS, span(tokens.reset)));
        }
    }

    /// An error in OpenAI's dialect.
    pub fn error(&self, error: &Error) -> HttpResponse {
        let limited = error.limited();
        let with_quota = limited.and_then(Limited::quota).map(|left| Self {
            left,
            ..self.clone()
        });
        let mut response = with_quota.as_ref().unwrap_or(self).start(error.status());
        if limited.is_some_and(Limited::is_final) {
            response.insert_header(("x-should-retry", "false"));
        }
        if let Some(after) = error.retry_after() {
            // Rounded up: a caller that comes a moment early is refused once more.
            let seconds = after.as_millis().div_ceil(1000).max(1);
            response
                .insert_header((header::RETRY_AFTER, seconds.to_string()))
                .insert_header(("retry-after-ms", after.as_millis().to_string()))
                .insert_header(("x-should-retry", "true"));
        }
        if error.status() == 401 {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        response
            .content_type("application/json")
            .body(error.body(&self.id.to_string()))
    }
}

/// A length of time as OpenAI writes it in its headers: `250ms`, `1.5s`, `6m0s`, `1h0m0s`.
fn span(length: Duration) -> String {
    // Rounded up: whoever comes back when told finds what was promised.
    let ms = length.as_micros().div_ceil(1000);
    let (seconds, rest) = (ms / 1000, ms % 1000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let second = match rest {
        0 => format!("{}s", seconds % 60),
        rest => format!("{}.{rest:03}s", seconds % 60),
    };
    match (hours, minutes) {
        (0, 0) if seconds == 0 => format!("{rest}ms"),
        (0, 0) => second,
        (0, minutes) => format!("{minutes}m{second}"),
        (hours, minutes) => format!("{hours}h{minutes}m{second}"),
    }
}

/// An answer without any header, to which [`Common::apply`] comes last.
pub fn bare(status: u16) -> HttpResponseBuilder {
    HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY))
}

/// Says which channel and model served a caller.
pub fn name_route(
    response: &mut HttpResponseBuilder,
    channel: &str,
    model: Option<&str>,
    attempts: usize,
) {
    let mut insert = |name: HeaderName, value: &str| {
        // A model's name may hold what a header may not; the body has it anyhow.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.insert_header((name, value));
        }
    };
    insert(header_name::X_WEIR_CHANNEL, channel);
    if let Some(model) = model {
        insert(header_name::X_WEIR_MODEL, model);
    }
    response.insert_header((header_name::X_WEIR_ATTEMPTS, HeaderValue::from(attempts)));
}

/// Answers a browser's preflight, before anybody is identified: the data plane reads no cookies, so any origin may ask.
pub fn preflight(common: &Common, caller_headers: &HeaderMap) -> HttpResponse {
    let asked = caller_headers
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .cloned();
    let mut response = common.start(204);
    response
        .insert_header((
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, HEAD, POST, PUT, PATCH, DELETE",
        ))
        .insert_header((
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            asked.unwrap_or(HeaderValue::from_static("*")),
        ))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "7200"))
        .insert_header((header::VARY, "access-control-request-headers"));
    response.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_the_vendor_does() {
        for (us, text) in [
            (0, "0ms"),
            (1, "1ms"),
            (250_000, "250ms"),
            (1_000_000, "1s"),
            (1_500_000, "1.500s"),
            (360_000_000, "6m0s"),
            (3_600_000_000, "1h0m0s"),
            (86_399_999_001, "24h0m0s"),
        ] {
            assert_eq!(span(Duration::from_micros(us)), text);
        }
    }
}
