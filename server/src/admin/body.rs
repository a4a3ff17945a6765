//! Bodies of management requests: bounded, of a stated type, and without fields that nobody knows.

use std::time::Duration;

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload, error::PayloadError};
use futures_util::{StreamExt as _, future::LocalBoxFuture};
use serde::de::DeserializeOwned;
use weir_api_types::problem::FieldError;

use super::error::{ApiError, Code};
use crate::strict::Strict;

/// Largest order.
const MAX_ORDER_BYTES: usize = 64 * 1024;
/// Largest configuration file.
pub(super) const MAX_DOCUMENT_BYTES: usize = 8 * 1024 * 1024;
/// Most characters that an answer repeats of what was sent.
const MAX_QUOTED: usize = 64;
/// A body that is not there by then is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// An order in JSON. Unknown fields are refused by its type.
pub struct Order<T>(pub T);

/// A configuration file, YAML or JSON.
pub struct Document(pub String);

impl<T: DeserializeOwned + 'static> FromRequest for Order<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let kind = request.content_type().to_ascii_lowercase();
        let payload = payload.take();
        Box::pin(async move {
            require(&kind, &["application/json"])?;
            let bytes = gather(payload, MAX_ORDER_BYTES).await?;
            order(&bytes).map(Self)
        })
    }
}

impl FromRequest for Document {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let kind = request.content_type().to_ascii_lowercase();
        let payload = payload.take();
        Box::pin(async move {
            let kinds = [
                "application/yaml",
                "application/x-yaml",
                "text/yaml",
                "application/json",
            ];
            require(&kind, &kinds)?;
            let bytes = gather(payload, MAX_DOCUMENT_BYTES).await?;
            let text = String::from_utf8(bytes);
            text.map(Self)
                .map_err(|_| ApiError::field("", "the document is not UTF-8"))
        })
    }
}

/// A form or plain text that another site makes a browser send never gets as far as being read.
fn require(kind: &str, kinds: &[&str]) -> Result<(), ApiError> {
    if kinds.contains(&kind) {
        return Ok(());
    }
    let detail = format!("Send the body as {}.", kinds.join(" or "));
    Err(ApiError::new(Code::UnsupportedMediaType, detail))
}

pub(super) async fn gather(mut payload: Payload, most: usize) -> Result<Vec<u8>, ApiError> {
    let gathered = async {
        let mut bytes = Vec::new();
        while let Some(piece) = payload.next().await {
            let piece = piece.map_err(|error| broken(&error))?;
            if bytes.len() + piece.len() > most {
                let detail = format!("At most {most} bytes are taken here.");
                return Err(ApiError::new(Code::TooLarge, detail));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    };
    match tokio::time::timeout(BODY_TIMEOUT, gathered).await {
        Ok(gathered) => gathered,
        Err(_) => Err(ApiError::new(Code::BodyTimeout, "Send it again, whole.")),
    }
}

fn broken(error: &PayloadError) -> ApiError {
    ApiError::new(Code::InvalidJson, format!("The body broke off: {error}."))
}

/// A field that cannot be what it is; of what was sent an answer repeats a little.
pub(super) fn refused(path: &str, cause: &serde_json::Error) -> ApiError {
    let message: String = quoting(&cause.to_string()).chars().take(400).collect();
    let steps = path.trim_matches('.').split('.').map(short);
    let path: Vec<String> = steps.collect();
    let path: String = path.join(".").chars().take(200).collect();
    ApiError::fields(vec![FieldError::new(path, message)])
}

/// What serde says, of which what it quotes first is the caller's.
fn quoting(message: &str) -> String {
    let is_mark = |c: char| c == '`' || c == '"';
    let Some(begin) = message.find(is_mark) else {
        return message.to_owned();
    };
    let (before, quoted) = message.split_at(begin + 1);
    // Behind it serde says what it would have taken; the caller may say so, too, but not last.
    let own = [", expected", ", there are no"].into_iter();
    let own = own.filter_map(|words| quoted.rfind(words)).max();
    let end = own.unwrap_or(quoted.len());
    let end = quoted[..end].rfind(is_mark).unwrap_or(end);
    let (quoted, behind) = quoted.split_at(end);
    format!("{before}{}{behind}", short(quoted))
}

/// No more of what was sent than tells it (threats.md, H10).
fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn order<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(Strict(&mut source)).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        if cause.is_data() {
            refused(&path, &cause)
        } else {
            ApiError::new(Code::InvalidJson, format!("{cause}."))
        }
    })?;
    let end = source.end();
    end.map_err(|error| ApiError::new(Code::InvalidJson, format!("{error}.")))?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threats: H10.
    #[test]
    fn an_answer_repeats_no_more_of_what_was_sent_than_tells_it() {
        let long = "ü".repeat(1_000);
        let tricky = format!("`, expected `{long}");
        for sent in [&long, &tricky] {
            for message in [
                format!("unknown field `{sent}`, expected one of `name`, `tenant`"),
                format!("invalid type: string \"{sent}\", expected u64"),
                format!("unknown variant `{sent}`, there are no variants"),
            ] {
                let said = quoting(&message);
                let repeated = said.chars().filter(|c| *c == 'ü').count();
                assert!((1..=MAX_QUOTED).contains(&repeated), "{said}");
                let end = message
                    .rsplit_once(sent.as_str())
                    .map_or("", |(_, end)| end);
                assert!(said.ends_with(end), "{said}");
            }
        }
        for short in [
            "missing field `name`",
            "invalid value: integer `-1`, expected u64",
            "EOF",
        ] {
            assert_eq!(quoting(short), short);
        }
    }
}
