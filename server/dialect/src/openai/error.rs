//! Errors in OpenAI's form: written for a caller, and read from an upstream.
//!
//! Official clients choose their exception by status and show `message`; programs branch on `code`. The type follows
//! from the status as it does at OpenAI.
//!
//! Deliberately absent: which failure gets which status and code, and the removal of credentials from upstream texts.

use serde::Serialize;

use crate::json::{Error, Kind, Reader};
use crate::neutral::{UpstreamError, cut};
use crate::sse;

use super::chunk::string;

/// How much of a caller's input is quoted back, in characters.
const MAX_QUOTED: usize = 64;

/// A failure to tell the caller.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// The HTTP status, also where the failure is told inside a stream.
    pub status: u16,
    /// The stable code.
    pub code: &'a str,
    /// A sentence that says what to do. What the caller sent goes through [`quote`] first.
    pub message: &'a str,
    /// The request's field at fault.
    pub param: Option<&'a str>,
    /// The gateway's id of the request.
    pub request_id: &'a str,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Fields<'a>,
}

#[derive(Serialize)]
struct Fields<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
    request_id: &'a str,
}

impl Failure<'_> {
    /// OpenAI's `type` for it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match (self.status, self.code) {
            (_, "budget_exceeded" | "insufficient_quota") | (402, _) => "insufficient_quota",
            (429, _) => "rate_limit_error",
            (403, _) => "permission_error",
            (500.., _) => "server_error",
            _ => "invalid_request_error", // also 401 and 404, as OpenAI does
        }
    }

    /// The body of an error answer.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let error = Fields {
            message: self.message,
            r#type: self.kind(),
            param: self.param,
            code: self.code,
            request_id: self.request_id,
        };
        // Strings alone cannot fail to serialize.
        serde_json::to_vec(&Body { error }).unwrap_or_default()
    }

    /// The same as the end of a stream that had begun: an event with the error, then `[DONE]`.
    #[must_use]
    pub fn event(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for data in [self.body().as_slice(), b"[DONE]"] {
            // Without a name and an id there is nothing to refuse.
            let _: Result<(), sse::LineBreak> = sse::write(&mut out, None, None, data);
        }
        out
    }
}

/// A caller's own words for use in a message: in quotes, escaped, at most 64 characters.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::from("'");
    let mut characters = text.chars();
    for c in characters.by_ref().take(MAX_QUOTED) {
        quoted.extend(c.escape_debug());
    }
    if characters.next().is_some() {
        quoted.push('…');
    }
    quoted.push('\'');
    quoted
}

/// Reads the body of an upstream's error answer: under `error`, or flat as Mistral writes it. None if it is no such JSON.
#[must_use]
pub fn read_error(body: &[u8]) -> Option<UpstreamError> {
    let mut nested = None;
    let mut reader = Reader::new(body).ok()?;
    let walked = reader.object(|reader, member| {
        if member.key.raw() == "error" {
            nested = read(reader)?;
            return Ok::<_, Error>(());
        }
        reader.skip()
    });
    walked.ok()?;
    nested.or_else(|| read_flat(body))
}

fn read_flat(body: &[u8]) -> Option<UpstreamError> {
    let error = read(&mut Reader::new(body).ok()?).ok()??;
    Some(error).filter(|error| !error.message.is_empty())
}

/// Reads the next value as an error: an object, or a text that is the message. None if it is neither.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Option<UpstreamError>, Error> {
    let mut error = UpstreamError::default();
    match reader.kind()? {
        Kind::String => error.message = bounded(reader, 1_024)?.unwrap_or_default(),
        Kind::Object => {
            reader.object(|reader, member| {
                match member.key.raw() {
                    "message" => error.message = bounded(reader, 1_024)?.unwrap_or_default(),
                    "type" => error.kind = bounded(reader, 64)?,
                    "code" => error.code = bounded(reader, 64)?,
                    _ => reader.skip()?,
                }
                Ok::<_, Error>(())
            })?;
        }
        _ => return reader.skip().map(|()| None),
    }
    Ok(Some(error))
}

fn bounded(reader: &mut Reader<'_>, max: usize) -> Result<Option<String>, Error> {
    let text = match reader.kind()? {
        Kind::Number => Some(reader.number()?.into()),
        _ => string(reader)?,
    };
    Ok(text.map(|text| cut(&text, max).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILURE: Failure<'_> = Failure {
        status: 404,
        code: "model_not_found",
        message: "There is no model 'x\"'.",
        param: Some("model"),
        request_id: "0198-1",
    };

    #[test]
    fn an_error_has_openai_s_shape() {
        let wanted = r#"{"error":{"message":"There is no model 'x\"'.","type":"invalid_request_error","param":"model","code":"model_not_found","request_id":"0198-1"}}"#;
        assert_eq!(String::from_utf8(FAILURE.body()).unwrap(), wanted);
        let event = format!("data: {wanted}\n\ndata: [DONE]\n\n");
        assert_eq!(String::from_utf8(FAILURE.event()).unwrap(), event);
    }

    #[test]
    fn the_type_follows_from_the_status() {
        let kind = |status, code| {
            Failure {
                status,
                code,
                ..FAILURE
            }
            .kind()
        };
        assert_eq!(kind(401, "invalid_api_key"), "invalid_request_error");
        assert_eq!(kind(413, "request_too_large"), "invalid_request_error");
        assert_eq!(kind(403, "model_not_allowed"), "permission_error");
        assert_eq!(kind(429, "rate_limit_exceeded"), "rate_limit_error");
        assert_eq!(kind(429, "budget_reserved"), "rate_limit_error");
        assert_eq!(kind(429, "budget_exceeded"), "insufficient_quota");
        assert_eq!(kind(402, "budget_exceeded"), "insufficient_quota");
        assert_eq!(kind(502, "upstream_error"), "server_error");
    }

    #[test]
    fn a_quote_is_short_and_stays_on_its_line() {
        assert_eq!(
            quote("gpt\n\u{2028}'\"\u{1b}é"),
            r#"'gpt\n\u{2028}\'\"\u{1b}é'"#
        );
        assert_eq!(quote(&"é".repeat(65)), format!("'{}…'", "é".repeat(64)));
    }

    #[test]
    fn an_upstream_s_error_is_read_in_each_of_its_shapes() {
        let read = |text: &str| read_error(text.as_bytes());
        let flat =
            read(r#"{"object":"error","message":"no","type":"invalid","code":"3051"}"#).unwrap();
        assert_eq!(
            (flat.message.as_str(), flat.code.as_deref()),
            ("no", Some("3051"))
        );
        let nested = read(r#"{"error":{"code":400,"message":"no","type":null}}"#).unwrap();
        assert_eq!(
            nested,
            UpstreamError {
                message: "no".to_owned(),
                kind: None,
                code: Some("400".to_owned())
            }
        );
        assert_eq!(
            read(r#"{"error":"no such model"}"#).unwrap().message,
            "no such model"
        );
        assert_eq!(read("<html>"), None);
        assert_eq!(read(r#"{"detail":[]}"#), None);
    }
}
