//! Names of headers that calls carry and that `http` has no constants for: made once, not read anew for every call.

use actix_web::http::header::HeaderName;

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub const X_CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");
pub const X_RATELIMIT_LIMIT_REQUESTS: HeaderName =
    HeaderName::from_static("x-ratelimit-limit-requests");
pub const X_RATELIMIT_LIMIT_TOKENS: HeaderName =
    HeaderName::from_static("x-ratelimit-limit-tokens");
pub const X_RATELIMIT_REMAINING_REQUESTS: HeaderName =
    HeaderName::from_static("x-ratelimit-remaining-requests");
pub const X_RATELIMIT_REMAINING_TOKENS: HeaderName =
    HeaderName::from_static("x-ratelimit-remaining-tokens");
pub const X_RATELIMIT_RESET_REQUESTS: HeaderName =
    HeaderName::from_static("x-ratelimit-reset-requests");
pub const X_RATELIMIT_RESET_TOKENS: HeaderName =
    HeaderName::from_static("x-ratelimit-reset-tokens");
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const X_WEIR_ADJUSTED: HeaderName = HeaderName::from_static("x-weir-adjusted");
pub const X_WEIR_ATTEMPTS: HeaderName = HeaderName::from_static("x-weir-attempts");
pub const X_WEIR_CHANNEL: HeaderName = HeaderName::from_static("x-weir-channel");
pub const X_WEIR_COST: HeaderName = HeaderName::from_static("x-weir-cost");
pub const X_WEIR_MODEL: HeaderName = HeaderName::from_static("x-weir-model");
pub const X_WEIR_UPSTREAM_REQUEST_ID: HeaderName =
    HeaderName::from_static("x-weir-upstream-request-id");
