//! Answers to callers: the headers that every one of them carries, and errors in their dialect.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
};

use super::{error::Error, headers};
use crate::tenancy::RequestId;

/// Weir's headers that a browser's script may read.
const EXPOSED: &str = "x-request-id, x-client-request-id, x-weir-upstream-request-id, x-weir-channel, x-weir-model, \
                       x-weir-attempts, x-weir-cost, x-weir-cache, x-weir-dropped, x-weir-adjusted, retry-after, \
                       retry-after-ms, x-should-retry";

/// What every answer of the data plane carries.
#[derive(Debug, Clone)]
pub struct Common {
    pub id: RequestId,
    /// The caller's own label, echoed.
    pub client_request_id: Option<String>,
}

impl Common {
    pub fn of(id: RequestId, caller_headers: &HeaderMap) -> Self {
        Self {
            id,
            client_request_id: headers::client_request_id(caller_headers).map(str::to_owned),
        }
    }

    /// An answer with these headers and no body yet.
    pub fn start(&self, status: u16) -> HttpResponseBuilder {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut response = HttpResponse::build(status);
        self.apply(&mut response);
        response
    }

    /// Sets these headers, whatever an upstream sent under their names.
    pub fn apply(&self, response: &mut HttpResponseBuilder) {
        response
            .insert_header(("x-request-id", self.id.to_string()))
            // No upstream's page may run on the portal's origin.
            .insert_header((
                header::CONTENT_SECURITY_POLICY,
                "sandbox; default-src 'none'",
            ))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
            .insert_header((header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED));
        if let Some(label) = &self.client_request_id {
            response.insert_header(("x-client-request-id", label.as_str()));
        }
    }

    /// An error in OpenAI's dialect.
    pub fn error(&self, error: &Error) -> HttpResponse {
        let mut response = self.start(error.status());
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

/// Says which channel and model served a caller.
pub fn name_route(
    response: &mut HttpResponseBuilder,
    channel: &str,
    model: Option<&str>,
    attempts: usize,
) {
    let mut insert = |name: &'static str, value: &str| {
        // A model's name may hold what a header may not; the body has it anyhow.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.insert_header((HeaderName::from_static(name), value));
        }
    };
    insert("x-weir-channel", channel);
    insert("x-weir-attempts", &attempts.to_string());
    if let Some(model) = model {
        insert("x-weir-model", model);
    }
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
