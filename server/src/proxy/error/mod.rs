//! What can go wrong on the way of a request: whose fault it is, what the caller is told, and the word for metrics.
//!
//! Answered in the caller's dialect, always with the request id and a stable code. [`codes`] is the reference: it
//! is where `docs/errors.md` comes from.

pub mod codes;
mod limited;

use std::{net::IpAddr, time::Duration};

use weir_dialect::openai::{self, quote};

use super::upstream;
pub use limited::Limited;

/// A request that Weir refuses before any upstream.
#[derive(Debug, Clone)]
pub enum Refusal {
    NoKey,
    InvalidKey,
    SeveralKeys,
    KeyDisabled,
    KeyExpired,
    IpNotAllowed(IpAddr),
    ModelNotAllowed(String),
    ModelNotFound(String),
    ChannelNotFound(String),
    NotOnSharedChannel,
    UnknownPath {
        hint: Option<String>,
    },
    MethodNotAllowed,
    /// Too many requests without a valid key from one address.
    TooManyStrangers {
        retry_after: Duration,
    },
    /// The tenant has too many calls under way on this instance.
    TenantBusy,
    /// A limit or budget stands against it.
    Limited(Box<Limited>),
    /// A header that readers would take differently: it stands there twice.
    DoubledHeader(&'static str),
    /// A WebSocket where none is spoken.
    NoWebSocket,
    BadPath,
    MissingModel,
    /// A body, or a field of it, that cannot be read.
    BadBody {
        code: &'static str,
        message: String,
        param: Option<String>,
    },
    EncodedBody,
    TooLarge {
        limit_bytes: u64,
    },
    SlowBody,
    BrokenBody,
    SpoolFull,
    /// A bug: the handler panicked. What it said is in the log alone.
    Panicked,
    NoHealthyUpstream(String),
    /// A hard budget applies, and the upstream goes on beyond the output that was reserved.
    BeyondBound,
    /// The instance stops, and the time of calls under way is over.
    Stopping,
}

/// A call that reached for an upstream and got no answer to relay.
#[derive(Debug, Clone)]
pub enum Failure {
    Connect,
    Timeout,
    Broken,
    BadAnswer(String),
    /// The upstream refused Weir's own credential.
    Credential,
    /// A second `model` in a multipart body, found while it was sent on.
    Request(Refusal),
}

/// Everything that ends a request without an upstream's answer.
#[derive(Debug, Clone)]
pub enum Error {
    Refusal(Refusal),
    Failure(Failure),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl From<openai::Error> for Refusal {
    fn from(error: openai::Error) -> Self {
        Self::BadBody {
            code: error.code(),
            message: error.to_string(),
            param: error.param().map(str::to_owned),
        }
    }
}

impl Refusal {
    pub fn status(&self) -> u16 {
        match self {
            Self::SeveralKeys
            | Self::BadPath
            | Self::MissingModel
            | Self::DoubledHeader(_)
            | Self::NoWebSocket
            | Self::BadBody { .. }
            | Self::BrokenBody => 400,
            Self::NoKey | Self::InvalidKey | Self::KeyDisabled | Self::KeyExpired => 401,
            Self::IpNotAllowed(_) | Self::ModelNotAllowed(_) => 403,
            Self::ModelNotFound(_)
            | Self::ChannelNotFound(_)
            | Self::NotOnSharedChannel
            | Self::UnknownPath { .. } => 404,
            Self::MethodNotAllowed => 405,
            Self::SlowBody => 408,
            Self::TooLarge { .. } => 413,
            Self::EncodedBody => 415,
            Self::TooManyStrangers { .. } | Self::TenantBusy => 429,
            Self::Limited(limited) => limited.status(),
            Self::Panicked => 500,
            Self::BeyondBound => 502,
            Self::SpoolFull | Self::NoHealthyUpstream(_) | Self::Stopping => 503,
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::NoKey | Self::InvalidKey => "invalid_api_key",
            Self::SeveralKeys => "several_api_keys",
            Self::KeyDisabled => "key_disabled",
            Self::KeyExpired => "key_expired",
            Self::IpNotAllowed(_) => "ip_not_allowed",
            Self::ModelNotAllowed(_) => "model_not_allowed",
            Self::ModelNotFound(_) => "model_not_found",
            Self::ChannelNotFound(_) => "channel_not_found",
            Self::NotOnSharedChannel => "not_on_shared_channel",
            Self::UnknownPath { .. } => "unknown_path",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooManyStrangers { .. } | Self::TenantBusy => "rate_limit_exceeded",
            Self::Limited(limited) => limited.code(),
            Self::DoubledHeader(_) => "invalid_header",
            Self::NoWebSocket => "websocket_not_supported",
            Self::BadPath => "invalid_path",
            Self::MissingModel => "missing_model",
            Self::BadBody { code, .. } => code,
            Self::EncodedBody => "encoded_body",
            Self::TooLarge { .. } => "request_too_large",
            Self::SlowBody => "request_timeout",
            Self::BrokenBody => "broken_body",
            Self::Panicked => "internal_error",
            Self::SpoolFull => "spool_full",
            Self::NoHealthyUpstream(_) => "no_healthy_upstream",
            Self::BeyondBound => "output_bound_exceeded",
            Self::Stopping => "overloaded",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::NoKey => "No API key was sent. Send your Weir proxy key as `Authorization: Bearer wk-...`.".to_owned(),
            Self::InvalidKey => "The API key is not known here. Check that it is a Weir proxy key, copied whole.".to_owned(),
            Self::SeveralKeys => "The request carries two different API keys. Send only one.".to_owned(),
            Self::KeyDisabled => "This key is disabled, or its owner or tenant is. Ask your tenant's admin.".to_owned(),
            Self::KeyExpired => "This key has expired. Make a new one.".to_owned(),
            Self::IpNotAllowed(address) => format!("This key may not be used from {address}. Ask your tenant's admin."),
            Self::ModelNotAllowed(model) => format!("This key may not use the model {}. Ask your tenant's admin.", quote(model)),
            Self::ModelNotFound(model) => {
                format!("The model {} does not exist or is not granted to you. GET /v1/models lists yours.", quote(model))
            }
            Self::ChannelNotFound(channel) => format!("The channel {} does not exist or is not granted to you.", quote(channel)),
            Self::NotOnSharedChannel => {
                "The vendor keeps what this path sends, and this channel is shared between tenants. \
                 It needs a channel dedicated to your tenant."
                    .to_owned()
            }
            Self::UnknownPath { hint: Some(hint) } => format!("There is no such path. Did you mean {hint}?"),
            Self::UnknownPath { hint: None } => "There is no such path. GET /docs lists them.".to_owned(),
            Self::MethodNotAllowed => "This path does not take this method.".to_owned(),
            Self::TooManyStrangers { .. } => {
                "Too many requests without a valid key came from your address. Check the key, and wait before you try again.".to_owned()
            }
            Self::Limited(limited) => limited.message(),
            Self::TenantBusy => {
                "Your tenant has too many requests under way on this instance. Wait for some of them to end.".to_owned()
            }
            Self::DoubledHeader(name) => format!("Send the header '{name}' once only."),
            Self::NoWebSocket => "No WebSocket is spoken here. Send a plain request.".to_owned(),
            Self::BadPath => "The path holds a dot segment, an empty segment, a backslash, a control character or a broken \
                              escape."
                .to_owned(),
            Self::MissingModel => "You must provide a `model`. GET /v1/models lists yours.".to_owned(),
            Self::BadBody { message, .. } => message.clone(),
            Self::EncodedBody => "Send the body without content-encoding.".to_owned(),
            Self::TooLarge { limit_bytes } => format!("The body is larger than the {limit_bytes} bytes that are taken here."),
            Self::SlowBody => "The body came too slowly.".to_owned(),
            Self::BrokenBody => "The body ended before its announced end.".to_owned(),
            Self::Panicked => "Weir failed on this request. Report the request id to its operator.".to_owned(),
            Self::SpoolFull => "Usage cannot be recorded now, so calls are refused. Try again later.".to_owned(),
            Self::NoHealthyUpstream(why) => format!("No upstream can take this call now: {why}. Try again later."),
            Self::BeyondBound => {
                "The upstream went on beyond the output that a hard budget had room for, and was cut off. Tell the operator."
                    .to_owned()
            }
            Self::Stopping => "This instance is stopping and could not wait for the call's end. Try again.".to_owned(),
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Self::BadBody { param, .. } => param.as_deref(),
            Self::MissingModel | Self::ModelNotFound(_) | Self::ModelNotAllowed(_) => Some("model"),
            Self::DoubledHeader(name) => Some(name),
            _ => None,
        }
    }
}

impl Failure {
    pub fn status(&self) -> u16 {
        match self {
            Self::Connect | Self::Broken | Self::BadAnswer(_) | Self::Credential => 502,
            Self::Timeout => 504,
            Self::Request(refusal) => refusal.status(),
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::Connect | Self::Broken | Self::BadAnswer(_) | Self::Credential => {
                "upstream_error"
            }
            Self::Timeout => "upstream_timeout",
            Self::Request(refusal) => refusal.code(),
        }
    }

    /// The word for metrics and attempts: finer than the code, still of a bounded set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::BadAnswer(_) => "bad_answer",
            Self::Credential => "credential",
            Self::Request(_) => "request",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Connect => "The upstream cannot be reached. Try again.".to_owned(),
            Self::Timeout => {
                "The upstream did not answer in time. Try again, or ask for less.".to_owned()
            }
            Self::Broken => {
                "The upstream broke off before its answer was complete. Try again.".to_owned()
            }
            Self::BadAnswer(what) => {
                format!("The upstream's answer cannot be relayed: {what}. Tell the operator.")
            }
            Self::Credential => {
                "The upstream refused the gateway's own credential. Tell the operator.".to_owned()
            }
            Self::Request(refusal) => refusal.message(),
        }
    }
}

impl Error {
    pub fn status(&self) -> u16 {
        match self {
            Self::Refusal(refusal) => refusal.status(),
            Self::Failure(failure) => failure.status(),
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::Refusal(refusal) => refusal.code(),
            Self::Failure(failure) => failure.code(),
        }
    }

    /// What a limit or budget says, where one stands against the call.
    pub fn limited(&self) -> Option<&Limited> {
        match self {
            Self::Refusal(Refusal::Limited(limited)) => Some(limited),
            _ => None,
        }
    }

    /// When it is worth trying again, where it is.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refusal(Refusal::TooManyStrangers { retry_after }) => Some(*retry_after),
            Self::Refusal(Refusal::Limited(limited)) => limited.retry_after(),
            Self::Refusal(Refusal::TenantBusy) => Some(Duration::from_secs(1)),
            _ if self.status() == 503 => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// The body in the caller's dialect.
    pub fn body(&self, request_id: &str) -> Vec<u8> {
        self.with_failure(request_id, |failure| failure.body())
    }

    /// The event that ends a stream whose head has gone out.
    pub fn event(&self, request_id: &str) -> Vec<u8> {
        self.with_failure(request_id, |failure| failure.event())
    }

    fn with_failure(
        &self,
        request_id: &str,
        write: impl FnOnce(openai::Failure<'_>) -> Vec<u8>,
    ) -> Vec<u8> {
        let (message, param) = match self {
            Self::Refusal(refusal) => (refusal.message(), refusal.param()),
            Self::Failure(Failure::Request(refusal)) => (refusal.message(), refusal.param()),
            Self::Failure(failure) => (failure.message(), None),
        };
        write(openai::Failure {
            status: self.status(),
            code: self.code(),
            message: &message,
            param,
            request_id,
        })
    }
}

impl From<&upstream::Error> for Failure {
    fn from(error: &upstream::Error) -> Self {
        match error {
            upstream::Error::Connect(_) | upstream::Error::ConnectTimeout => Self::Connect,
            upstream::Error::HeadTimeout => Self::Timeout,
            upstream::Error::Broken(_) => Self::Broken,
            upstream::Error::BadAnswer(what) => Self::BadAnswer(what.clone()),
            upstream::Error::RequestBody(_) => Self::Request(Refusal::BrokenBody),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::generated::assert_current;

    #[test]
    fn the_page_of_error_codes_is_current() {
        assert_current("docs/errors.md", &codes::markdown());
    }

    #[test]
    fn every_refusal_and_failure_is_in_the_reference() {
        let refusals = [
            Refusal::NoKey,
            Refusal::InvalidKey,
            Refusal::SeveralKeys,
            Refusal::KeyDisabled,
            Refusal::KeyExpired,
            Refusal::IpNotAllowed(IpAddr::from([127, 0, 0, 1])),
            Refusal::ModelNotAllowed(String::new()),
            Refusal::ModelNotFound(String::new()),
            Refusal::ChannelNotFound(String::new()),
            Refusal::NotOnSharedChannel,
            Refusal::UnknownPath { hint: None },
            Refusal::MethodNotAllowed,
            Refusal::TooManyStrangers {
                retry_after: Duration::from_secs(1),
            },
            Refusal::DoubledHeader("content-type"),
            Refusal::NoWebSocket,
            Refusal::BadPath,
            Refusal::MissingModel,
            Refusal::EncodedBody,
            Refusal::TooLarge { limit_bytes: 1 },
            Refusal::SlowBody,
            Refusal::BrokenBody,
            Refusal::Panicked,
            Refusal::SpoolFull,
            Refusal::NoHealthyUpstream(String::new()),
            Refusal::TenantBusy,
            Refusal::BeyondBound,
            Refusal::Stopping,
        ];
        let failures = [
            Failure::Connect,
            Failure::Timeout,
            Failure::Broken,
            Failure::BadAnswer(String::new()),
            Failure::Credential,
        ];
        let all = refusals
            .into_iter()
            .map(Error::Refusal)
            .chain(failures.into_iter().map(Error::Failure));
        for error in all {
            let listed = codes::CODES
                .iter()
                .any(|(status, code, _)| (*status, *code) == (error.status(), error.code()));
            assert!(
                listed,
                "{error:?} answers {} {}",
                error.status(),
                error.code()
            );
            let body: serde_json::Value =
                serde_json::from_slice(&error.body("id-1")).expect("JSON");
            assert_eq!(
                (&body["error"]["code"], &body["error"]["request_id"]),
                (&error.code().into(), &"id-1".into())
            );
        }
    }
}
