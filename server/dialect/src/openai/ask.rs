//! What a request asks: the fields that the gateway acts on, and where they lie in the body.
//!
//! The whole body is validated in the same pass, so that what is acted on is what the vendor will read: a field
//! that is doubled at its level, or written in another letter case, is refused (one reader takes the first, the
//! next the last, a third ignores case). All other members are carried untouched and may be anything.
//!
//! Deliberately absent: whether the values suit a model, and the text of the prompt. Edits are in `edit.rs`.

use bytes::Bytes;

use crate::json::{self, Kind, Member, Reader, Span};
use crate::neutral::{self, BadModel};

use super::error::quote;
use super::input::{self, Input};

/// The longest label (`user`, `session_id`, `user_id`) that is taken, in bytes.
const MAX_LABEL_BYTES: usize = 256;

/// The members acted on at the top of every request. `messages`, `prompt` and `input` are measured.
const FIELDS: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
    "user",
    "messages",
    "prompt",
    "input",
];

/// The same, where the gateway keeps sessions.
const SESSION_FIELDS: &[&str] = &["session_id", "user_id"];

/// Which path the request came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
    /// Images, audio, moderations, rerank: relayed for their model.
    Relayed,
    /// `/api/v1/chat/completions`: `session_id` and `user_id` are the gateway's.
    SessionChat,
    /// `/api/v1/embeddings`: the same.
    SessionEmbeddings,
}

impl Endpoint {
    fn has_sessions(self) -> bool {
        matches!(self, Self::SessionChat | Self::SessionEmbeddings)
    }
}

/// Why a request is refused: always a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON.
    #[error("The body is not valid JSON: {0}.")]
    Json(#[from] json::Error),
    /// JSON, but no object.
    #[error("The body must be a JSON object.")]
    NotAnObject,
    /// A field stands twice at its level.
    #[error("'{field}' is given more than once.")]
    Doubled {
        /// Its name.
        field: &'static str,
    },
    /// A field is written in another letter case.
    #[error("{found} must be written '{field}'.")]
    OtherCase {
        /// Its name.
        field: &'static str,
        /// As it was written, quoted.
        found: String,
    },
    /// A field's value is of the wrong type or out of range.
    #[error("'{field}' must be {expected}.")]
    Value {
        /// Its name.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The model's name is not acceptable.
    #[error("'model' {0}.")]
    Model(BadModel),
}

impl Error {
    /// The stable code: `invalid_json` where readers of the body could disagree, else `invalid_value`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Json(_) | Self::NotAnObject | Self::Doubled { .. } | Self::OtherCase { .. } => {
                "invalid_json"
            }
            Self::Value { .. } | Self::Model(_) => "invalid_value",
        }
    }

    /// The field at fault.
    #[must_use]
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::Json(_) | Self::NotAnObject => None,
            Self::Doubled { field } | Self::OtherCase { field, .. } | Self::Value { field, .. } => {
                Some(field)
            }
            Self::Model(_) => Some("model"),
        }
    }
}

/// A request, read. Counts are 1 to 2^32 − 1 and written as plain digits; `null` is the same as absent, but for `model`.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The model asked for; absent where the caller leaves the choice to the gateway.
    pub model: Option<String>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the caller itself asked for a usage chunk.
    pub include_usage: bool,
    /// The old output bound, per choice.
    pub max_tokens: Option<u32>,
    /// The newer output bound, per choice.
    pub max_completion_tokens: Option<u32>,
    /// A bound of another dialect that some vendors take. Others ignore it, so [`Ask::output_bound`] does not count on it.
    pub max_output_tokens: Option<u32>,
    /// Choices to answer with.
    pub n: Option<u32>,
    /// Choices to generate, of which the best `n` are answered (Completions).
    pub best_of: Option<u32>,
    /// The caller's own end-user label, up to 256 bytes; a longer one is passed on but not taken.
    pub user: Option<String>,
    /// The session to continue, on paths that have sessions.
    pub session_id: Option<String>,
    /// The end-user label, on paths that have sessions.
    pub user_id: Option<String>,
    /// How much there is to read for the model.
    pub input: Input,
    pub(super) body: Bytes,
    pub(super) places: Places,
}

/// Where what an edit may touch lies.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// Just inside the opening brace.
    pub inside: usize,
    /// How many members the body has.
    pub members: usize,
    pub model: Option<Span>,
    pub max_tokens: Option<Span>,
    pub max_completion_tokens: Option<Span>,
    pub stream_options: Option<Options>,
    /// The session members, in order.
    pub labels: Vec<Label>,
}

/// Where `stream_options` lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub value: Span,
    /// Members in it; none if it is `null`.
    pub members: Option<usize>,
    pub include_usage: Option<Span>,
}

/// A member that can be taken out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    /// Which member of the body it is.
    pub index: usize,
    /// From its key to its value's end.
    pub span: Span,
    /// The comma before it.
    pub comma: Option<usize>,
}

impl Ask {
    /// Reads and validates a whole body.
    pub fn read(body: &Bytes, endpoint: Endpoint) -> Result<Self, Error> {
        let mut ask = Self {
            model: None,
            stream: false,
            include_usage: false,
            max_tokens: None,
            max_completion_tokens: None,
            max_output_tokens: None,
            n: None,
            best_of: None,
            user: None,
            session_id: None,
            user_id: None,
            input: Input::default(),
            body: body.clone(),
            places: Places::default(),
        };
        let mut reader = Reader::new(body)?;
        if reader.kind()? != Kind::Object {
            reader.skip()?;
            reader.end()?;
            return Err(Error::NotAnObject);
        }
        let mut names = Names::new(FIELDS);
        let mut session_names = Names::new(if endpoint.has_sessions() {
            SESSION_FIELDS
        } else {
            &[]
        });
        let span = reader.object(|reader, member| {
            let key = member.key.decode()?;
            match names.meet(&key)? {
                Some(field) => ask.field(reader, field)?,
                None => match session_names.meet(&key)? {
                    Some(field) => ask.label(reader, field, member)?,
                    None => reader.skip()?,
                },
            }
            ask.places.members += 1;
            Ok::<_, Error>(())
        })?;
        reader.end()?;
        ask.places.inside = span.start + 1;
        ask.input.text_bytes = (body.len() as u64).saturating_sub(ask.input.media_bytes);
        Ok(ask)
    }

    /// The most tokens the answer can have, if the caller bounded it: per choice, times choices, times prompts.
    ///
    /// Where both bounds are given the larger counts, since vendors differ in which they obey.
    #[must_use]
    pub fn output_bound(&self) -> Option<u64> {
        let bound = self.max_tokens.max(self.max_completion_tokens)?;
        Some(u64::from(bound).saturating_mul(self.choices()))
    }

    /// How many completions will be generated: the larger of `n` and `best_of`, for each prompt.
    #[must_use]
    pub fn choices(&self) -> u64 {
        let per_prompt = self.n.max(self.best_of).unwrap_or(1);
        u64::from(per_prompt).saturating_mul(u64::from(self.input.prompts.max(1)))
    }

    /// The body as it came.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    fn field(&mut self, reader: &mut Reader<'_>, field: &'static str) -> Result<(), Error> {
        match field {
            "model" => {
                let (name, span) = string(reader, field, "a string")?;
                neutral::check_model(&name).map_err(Error::Model)?;
                self.model = Some(name);
                self.places.model = Some(span);
            }
            "stream" => self.stream = boolean(reader, field)?.0.unwrap_or_default(),
            "stream_options" => self.stream_options(reader)?,
            "max_tokens" => {
                let (bound, span) = count(reader, field)?;
                self.max_tokens = bound;
                self.places.max_tokens = Some(span);
            }
            "max_completion_tokens" => {
                let (bound, span) = count(reader, field)?;
                self.max_completion_tokens = bound;
                self.places.max_completion_tokens = Some(span);
            }
            "max_output_tokens" => self.max_output_tokens = count(reader, field)?.0,
            "n" => self.n = count(reader, field)?.0,
            "best_of" => self.best_of = count(reader, field)?.0,
            "user" if reader.kind()? == Kind::Null => reader.skip()?,
            "user" => {
                let (label, _) = string(reader, field, "a string")?;
                self.user = Some(label).filter(|label| is_label(label));
            }
            "messages" => input::messages(reader, &mut self.input)?,
            "prompt" => input::prompts(reader, &mut self.input)?,
            _ => reader.skip()?,
        }
        Ok(())
    }

    fn stream_options(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let field = "stream_options";
        let mut options = Options {
            value: Span::at(0),
            members: None,
            include_usage: None,
        };
        match reader.kind()? {
            Kind::Null => options.value = reader.value()?,
            Kind::Object => {
                let mut names = Names::new(&["include_usage"]);
                let mut members = 0;
                options.value = reader.object(|reader, member| {
                    members += 1;
                    match names.meet(&member.key.decode()?)? {
                        Some(_) => {
                            let (value, span) = boolean(reader, "stream_options.include_usage")?;
                            self.include_usage = value.unwrap_or_default();
                            options.include_usage = Some(span);
                        }
                        None => reader.skip()?,
                    }
                    Ok::<_, Error>(())
                })?;
                options.members = Some(members);
            }
            _ => {
                return Err(Error::Value {
                    field,
                    expected: "an object",
                });
            }
        }
        self.places.stream_options = Some(options);
        Ok(())
    }

    fn label(
        &mut self,
        reader: &mut Reader<'_>,
        field: &'static str,
        member: Member<'_>,
    ) -> Result<(), Error> {
        let expected = "a string of 1 to 256 bytes without control characters";
        let (label, end) = if reader.kind()? == Kind::Null {
            (None, reader.value()?.end)
        } else {
            let (label, span) = string(reader, field, expected)?;
            if !is_label(&label) {
                return Err(Error::Value { field, expected });
            }
            (Some(label), span.end)
        };
        let span = Span {
            start: member.key.span.start,
            end,
        };
        self.places.labels.push(Label {
            index: self.places.members,
            span,
            comma: member.comma,
        });
        if field == "session_id" {
            self.session_id = label;
        } else {
            self.user_id = label;
        }
        Ok(())
    }
}

/// The names that are acted on at one level, and which of them have come.
struct Names {
    known: &'static [&'static str],
    seen: u32,
}

impl Names {
    fn new(known: &'static [&'static str]) -> Self {
        Self { known, seen: 0 }
    }

    fn meet(&mut self, key: &str) -> Result<Option<&'static str>, Error> {
        for (index, field) in self.known.iter().copied().enumerate() {
            if !neutral::same_but_for_case(key, field) {
                continue;
            }
            if key != field {
                return Err(Error::OtherCase {
                    field,
                    found: quote(key),
                });
            }
            if self.seen & 1 << index != 0 {
                return Err(Error::Doubled { field });
            }
            self.seen |= 1 << index;
            return Ok(Some(field));
        }
        Ok(None)
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_LABEL_BYTES && !neutral::has_control(text)
}

fn string(
    reader: &mut Reader<'_>,
    field: &'static str,
    expected: &'static str,
) -> Result<(String, Span), Error> {
    if reader.kind()? != Kind::String {
        return Err(Error::Value { field, expected });
    }
    let string = reader.string()?;
    Ok((string.decode()?.into_owned(), string.span))
}

fn boolean(reader: &mut Reader<'_>, field: &'static str) -> Result<(Option<bool>, Span), Error> {
    let kind = reader.kind()?;
    let start = reader.position();
    let value = match kind {
        Kind::Null => reader.skip().map(|()| None)?,
        Kind::Bool => Some(reader.boolean()?),
        _ => {
            return Err(Error::Value {
                field,
                expected: "true or false",
            });
        }
    };
    Ok((
        value,
        Span {
            start,
            end: reader.position(),
        },
    ))
}

/// A whole number from 1 to 2^32 − 1 in plain digits: no sign, fraction or exponent, which readers round differently.
fn count(reader: &mut Reader<'_>, field: &'static str) -> Result<(Option<u32>, Span), Error> {
    let kind = reader.kind()?;
    let start = reader.position();
    let value = match kind {
        Kind::Null => reader.skip().map(|()| None)?,
        Kind::Number => reader
            .number()?
            .parse()
            .ok()
            .filter(|&count| count > 0)
            .map(Some)
            .ok_or(refused(field))?,
        _ => return Err(refused(field)),
    };
    Ok((
        value,
        Span {
            start,
            end: reader.position(),
        },
    ))
}

fn refused(field: &'static str) -> Error {
    Error::Value {
        field,
        expected: "a whole number from 1 to 4294967295",
    }
}
