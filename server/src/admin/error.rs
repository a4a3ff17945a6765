//! What can go wrong in the management API, as RFC 9457 problem documents.
//!
//! A code is listed once, with its status and title. What a caller cannot help is a bland 500, logged whole under the
//! request id. The id is put in by [`super::guard`], which alone knows it.

use std::{fmt, future::Future};

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use weir_api_types::problem::{FieldError, Problem};

use crate::{reports, resources, store};

/// Most fields that one answer names.
const MAX_ERRORS: usize = 100;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// Every code there is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All of them, as they are listed.
            #[cfg(test)]
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word for programs, the status and the title.
            pub(super) fn parts(self) -> (&'static str, StatusCode, &'static str) {
                match self {
                    $(Self::$name => ($code, StatusCode::$status, $title),)*
                }
            }
        }
    };
}

codes! {
    InvalidJson = "invalid_json", BAD_REQUEST, "The body is not valid JSON";
    InvalidQuery = "invalid_query", BAD_REQUEST, "The query has something that this path does not know";
    /// One answer for no token and a wrong one.
    Unauthorized = "unauthorized", UNAUTHORIZED, "A valid token is needed";
    /// One answer for a wrong password, for nobody's address and for somebody who is switched off.
    SignInFailed = "sign_in_failed", UNAUTHORIZED, "Address, password or code is wrong";
    /// The password was right.
    SecondFactorNeeded = "second_factor_needed", UNAUTHORIZED, "A code of the second factor is needed";
    SessionOver = "session_over", UNAUTHORIZED, "The session is over";
    /// It was used, is too old, was withdrawn, or went with whoever made it.
    LinkOver = "link_over", GONE, "The link works no longer";
    /// An identity provider's word makes nobody out of somebody who is known.
    LinkNeeded = "link_needed", CONFLICT, "The account has to be linked to the provider first";
    ProviderFailed = "identity_provider_failed", BAD_GATEWAY, "The identity provider cannot be used";
    Insecure = "insecure_connection", FORBIDDEN, "Sign-in works over https alone";
    Forbidden = "forbidden", FORBIDDEN, "This is not allowed to you";
    /// The session is too old for what may do much harm.
    ProofNeeded = "proof_needed", FORBIDDEN, "Show once more who you are";
    NotFound = "not_found", NOT_FOUND, "There is nothing here";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "This path does not take this method";
    BodyTimeout = "body_timeout", REQUEST_TIMEOUT, "The body did not arrive";
    NameTaken = "name_taken", CONFLICT, "Something else has this name";
    /// There is no mail server.
    NoMail = "no_mail", CONFLICT, "This installation sends no mail";
    /// An Idempotency-Key that stands for something else, or for what is not over.
    KeyUsed = "idempotency_key_used", CONFLICT, "This Idempotency-Key was used before";
    /// A tenant always has somebody who can do everything in it.
    LastOwner = "last_owner", CONFLICT, "A tenant keeps at least one owner";
    InUse = "in_use", CONFLICT, "Something else needs it";
    /// Somebody else changed it since the caller looked.
    Changed = "changed_meanwhile", PRECONDITION_FAILED, "It is not as it was when you looked";
    TooLarge = "request_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body's content type is not taken here";
    /// The name in `Host` is not one of this installation's.
    Misdirected = "misdirected", MISDIRECTED_REQUEST, "This is not the host you asked for";
    TooManyTries = "too_many_tries", TOO_MANY_REQUESTS, "Wait before the next try";
    RateLimited = "rate_limit_exceeded", TOO_MANY_REQUESTS, "Too many calls of this kind";
    InvalidFields = "invalid_fields", UNPROCESSABLE_ENTITY, "Some fields are refused";
    Internal = "internal_error", INTERNAL_SERVER_ERROR, "Something went wrong on our side";
    MailFailed = "mail_failed", BAD_GATEWAY, "The mail could not be sent";
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Too much is under way";
    /// It is not Weir's own to change.
    SetOutside = "set_outside", CONFLICT, "It is set from outside";
    /// Until operators switch back.
    ReadOnly = "read_only", SERVICE_UNAVAILABLE, "Nothing can be changed now";
    Unavailable = "store_unavailable", SERVICE_UNAVAILABLE, "The database is unavailable";
}

/// An answer that is no success.
#[derive(Debug)]
pub struct ApiError {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    /// Milliseconds until it is worth another try.
    wait_ms: Option<i64>,
}

impl ApiError {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            wait_ms: None,
        }
    }

    /// A field whose value something else has.
    pub fn taken(field: &str, detail: impl Into<String>) -> Self {
        Self {
            errors: vec![FieldError::new(field, "is taken")],
            ..Self::new(Code::NameTaken, detail)
        }
    }

    /// Too early.
    pub fn wait(wait_ms: i64, detail: &str) -> Self {
        let seconds = (wait_ms + 999) / 1_000;
        Self {
            wait_ms: Some(wait_ms),
            ..Self::new(
                Code::TooManyTries,
                format!("{detail} The next one is looked at in {seconds} s."),
            )
        }
    }

    /// Too often.
    pub fn too_often(wait: std::time::Duration) -> Self {
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Self {
            wait_ms: Some(wait_ms),
            ..Self::new(
                Code::RateLimited,
                "Each caller may use each route so often; wait.",
            )
        }
    }

    /// Nothing here, or nothing that the caller may know of.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}."))
    }

    /// Fields that are refused, all of them at once.
    pub fn fields(mut errors: Vec<FieldError>) -> Self {
        let count = errors.len();
        errors.truncate(MAX_ERRORS);
        let detail = match errors.as_slice() {
            [only] => only.to_string(),
            _ => format!("{count} fields are refused; see errors."),
        };
        Self {
            code: Code::InvalidFields,
            detail,
            errors,
            wait_ms: None,
        }
    }

    /// One field that is refused.
    pub fn field(path: &str, message: impl fmt::Display) -> Self {
        Self::fields(vec![FieldError::new(path, message)])
    }

    pub fn code(&self) -> Code {
        self.code
    }

    /// Ours to mend: the log has it whole, the caller has the request id.
    fn internal(error: &dyn fmt::Display) -> Self {
        tracing::error!(%error, "a management request failed");
        Self::logged()
    }

    /// The same, where the log has it already.
    pub(super) fn logged() -> Self {
        Self::new(
            Code::Internal,
            "The log has the reason under this request id.",
        )
    }

    /// The answer, once the request's id is known.
    pub fn respond(&self, request_id: &str) -> HttpResponse {
        let (code, status, title) = self.code.parts();
        let problem = Problem {
            r#type: format!("urn:weir:error:{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            code: code.to_owned(),
            request_id: request_id.to_owned(),
            errors: self.errors.clone(),
        };
        let mut response = HttpResponse::build(status);
        if let Some(wait_ms) = self.wait_ms {
            let seconds = (wait_ms + 999) / 1_000;
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if self.code == Code::Unauthorized {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        response
            .insert_header((header::CONTENT_TYPE, "application/problem+json"))
            .body(serde_json::to_string(&problem).unwrap_or_default())
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, ..) = self.code.parts();
        write!(formatter, "{code}: {}", self.detail)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        let (_, status, _) = self.code.parts();
        status
    }

    /// Without an id: the guard replaces it.
    fn error_response(&self) -> HttpResponse {
        self.respond("")
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NotFound => Self::not_found("thing"),
            store::Error::Taken { what } => {
                // The column, with what it is about before it.
                let field = what.rsplit(' ').next().unwrap_or_default().to_owned();
                Self::taken(&field, format!("The {what} is taken."))
            }
            store::Error::Unavailable(_) => {
                tracing::warn!(%error, "a management request found no database");
                Self::new(Code::Unavailable, "Try again in a moment.")
            }
            store::Error::Other(_) => Self::internal(&error),
        }
    }
}

impl From<resources::Error> for ApiError {
    fn from(error: resources::Error) -> Self {
        match error {
            resources::Error::Refused(errors) => Self::fields(errors),
            resources::Error::Store(error) => error.into(),
            resources::Error::Broken(_) => Self::internal(&error),
        }
    }
}

impl From<reports::Error> for ApiError {
    fn from(error: reports::Error) -> Self {
        match error {
            reports::Error::BadQuery { field, ref reason } => Self::field(field, reason),
            reports::Error::TooMuch => Self::new(Code::InvalidQuery, error.to_string()),
            reports::Error::Store(error) => error.into(),
        }
    }
}

/// The answer on a path that is not there.
pub fn not_found() -> impl Future<Output = Result<HttpResponse, ApiError>> {
    std::future::ready(Err(ApiError::not_found("path")))
}

/// The answer to a method that a path does not take.
pub fn method_not_allowed(
    request: HttpRequest,
) -> impl Future<Output = Result<HttpResponse, ApiError>> {
    let method: String = request.method().as_str().chars().take(16).collect();
    let detail = format!("{method} is not taken here.");
    std::future::ready(Err(ApiError::new(Code::MethodNotAllowed, detail)))
}
