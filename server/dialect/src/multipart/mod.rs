//! Finds the `model` field of a `multipart/form-data` request (audio, images, files) while the body is passing.
//!
//! The ingress feeds it the body's chunks. It keeps scanning to the end, because a second `model` further down would be
//! the one that some vendors read. Wherever two parsers could disagree (bare line feeds, `name*`, a line that only
//! begins with the boundary, bytes after the end) the body is refused rather than guessed at.
//!
//! Deliberately absent: the content of all other parts, file names (never looked at), and nested multipart, which
//! is content like any other.

use memchr::memmem;

use crate::neutral::{BadModel, MAX_MODEL_BYTES};

mod header;
#[cfg(test)]
mod tests;

/// The most parts a body may have.
pub const MAX_PARTS: usize = 1_000;

/// The largest head of one part, in bytes.
pub const MAX_HEAD_BYTES: usize = 8 << 10;

/// Room for the white space that may follow a boundary on its line.
const MAX_PADDING: usize = 64;

/// Why a body is refused: always a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The content type names no usable boundary.
    #[error("the content type has no valid boundary of 1 to 70 characters")]
    Boundary,
    /// The body does not follow the form, or parsers would disagree about it.
    #[error("malformed multipart body: {what}, near byte {at}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// About where.
        at: u64,
    },
    /// More than [`MAX_PARTS`].
    #[error("more than 1000 parts")]
    TooManyParts,
    /// A part's head over [`MAX_HEAD_BYTES`].
    #[error("the head of a part is larger than 8 KiB")]
    HeadTooLarge,
    /// `model` came twice.
    #[error("'model' is given more than once")]
    SecondModel,
    /// A name that some reader would take for `model`.
    #[error("a field name must be written 'model', as it is")]
    OtherCase,
    /// The model's name is not acceptable.
    #[error("'model' {0}")]
    Model(BadModel),
    /// The model's name is not UTF-8.
    #[error("'model' is not UTF-8")]
    NotUtf8,
    /// The body ended before its closing boundary.
    #[error("the body ends before its closing boundary")]
    Unfinished,
}

impl Error {
    /// The stable code: `invalid_multipart` where readers of the body could disagree, else `invalid_value`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Model(_) | Self::NotUtf8 => "invalid_value",
            Self::Boundary
            | Self::Malformed { .. }
            | Self::TooManyParts
            | Self::HeadTooLarge
            | Self::SecondModel
            | Self::OtherCase
            | Self::Unfinished => "invalid_multipart",
        }
    }

    /// The field at fault.
    #[must_use]
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::SecondModel | Self::OtherCase | Self::Model(_) | Self::NotUtf8 => Some("model"),
            Self::Boundary
            | Self::Malformed { .. }
            | Self::TooManyParts
            | Self::HeadTooLarge
            | Self::Unfinished => None,
        }
    }
}

/// The model field of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its value.
    pub name: String,
    /// Where the value begins, counted from the body's first byte.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first boundary.
    Start,
    /// In a part's head.
    Head,
    /// In the content of a part; of the model's from this offset on.
    Content { model: Option<u64> },
    /// After the closing boundary.
    End,
}

/// See the module.
#[derive(Debug)]
pub struct Multipart {
    /// Finds `--` and the boundary.
    finder: memmem::Finder<'static>,
    state: State,
    /// Bytes that are not decided yet: a part's head, the model's value, or a possible boundary's beginning.
    pending: Vec<u8>,
    /// The offset of `pending` in the body.
    base: u64,
    parts: usize,
    model: Option<Model>,
}

impl Multipart {
    /// For a body of this content type.
    pub fn new(content_type: &str) -> Result<Self, Error> {
        let boundary = header::boundary(content_type).ok_or(Error::Boundary)?;
        let finder = memmem::Finder::new(&[b"--", boundary.as_bytes()].concat()).into_owned();
        Ok(Self {
            finder,
            state: State::Start,
            pending: Vec::new(),
            base: 0,
            parts: 0,
            model: None,
        })
    }

    /// Takes the next bytes. The model is given once, by the call that completes it.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Option<Model>, Error> {
        let known = self.model.is_some();
        self.pending.extend_from_slice(chunk);
        while self.advance()? {}
        Ok(self.model.clone().filter(|_| !known))
    }

    /// The model, once it has been found.
    #[must_use]
    pub fn model(&self) -> Option<&Model> {
        self.model.as_ref()
    }

    /// The body has ended: was it whole?
    pub fn finish(&self) -> Result<(), Error> {
        match self.state {
            State::End => Ok(()),
            State::Start | State::Head | State::Content { .. } => Err(Error::Unfinished),
        }
    }

    /// Goes one step on; false where that needs more bytes.
    fn advance(&mut self) -> Result<bool, Error> {
        match self.state {
            State::Start => self.start(),
            State::Head => self.head(),
            State::Content { model } => self.content(model),
            State::End => {
                if !self.pending.iter().all(u8::is_ascii_whitespace) {
                    return Err(self.malformed("bytes after its end"));
                }
                self.discard(self.pending.len());
                Ok(false)
            }
        }
    }

    /// The body must begin with its boundary; a preamble would be read by some and skipped by others.
    fn start(&mut self) -> Result<bool, Error> {
        let skipped = if self.pending.starts_with(b"\r\n") {
            2
        } else {
            0
        };
        let needle = self.finder.needle();
        let found = self.pending.get(skipped..).unwrap_or_default();
        let known = found.len().min(needle.len());
        if skipped == 0 && b"\r\n".starts_with(found) {
            return Ok(false);
        }
        if found.get(..known) != needle.get(..known) {
            return Err(self.malformed("it does not begin with its boundary"));
        }
        if known < needle.len() {
            return Ok(false);
        }
        self.after_boundary(skipped + known)
    }

    /// A part's head, up to its empty line.
    fn head(&mut self) -> Result<bool, Error> {
        let bound = self.pending.len().min(MAX_HEAD_BYTES);
        let head = self.pending.get(..bound).unwrap_or_default();
        let length = if head.starts_with(b"\r\n") {
            Some(0)
        } else {
            memmem::find(head, b"\r\n\r\n").map(|at| at + 2)
        };
        let Some(length) = length else {
            return if self.pending.len() >= MAX_HEAD_BYTES {
                Err(Error::HeadTooLarge)
            } else {
                Ok(false)
            };
        };
        let name = header::name(head.get(..length).unwrap_or_default());
        let is_model = match name.map_err(|what| self.malformed(what))? {
            header::Name::Model => true,
            header::Name::LikeModel => return Err(Error::OtherCase),
            header::Name::Other => false,
        };
        if is_model && self.model.is_some() {
            return Err(Error::SecondModel);
        }
        self.discard(length + 2);
        self.state = State::Content {
            model: is_model.then_some(self.base),
        };
        Ok(true)
    }

    /// A part's content, up to the next boundary.
    fn content(&mut self, model: Option<u64>) -> Result<bool, Error> {
        let Some(place) = self.finder.find(&self.pending) else {
            // What may be a boundary's beginning stays, with the line end before it; of the model, all stays.
            let kept = self.finder.needle().len() + 1;
            match model {
                None => self.discard(self.pending.len().saturating_sub(kept)),
                Some(_) if self.pending.len() > MAX_MODEL_BYTES + kept => {
                    return Err(Error::Model(BadModel::TooLong));
                }
                Some(_) => {}
            }
            return Ok(false);
        };
        let before = self.pending.get(..place).unwrap_or_default();
        let Some(value) = before.strip_suffix(b"\r\n") else {
            // In content that is empty the line end before the boundary is the head's.
            if place > 0 && matches!(before.last(), Some(b'\r' | b'\n')) || place == 0 {
                return Err(self.malformed("a boundary after a bare line end"));
            }
            // In the middle of a line it is content. The model's value has no use for it.
            if model.is_some() {
                return Err(self.malformed("a boundary inside the model's name"));
            }
            self.discard(place + 1);
            return Ok(true);
        };
        if let Some(start) = model {
            let name = std::str::from_utf8(value).map_err(|_| Error::NotUtf8)?;
            crate::neutral::check_model(name).map_err(Error::Model)?;
            let end = start + value.len() as u64;
            self.model = Some(Model {
                name: name.to_owned(),
                start,
                end,
            });
            self.state = State::Content { model: None };
        }
        self.after_boundary(place + self.finder.needle().len())
    }

    /// What follows a boundary: the line's end, or `--`, and nothing else.
    fn after_boundary(&mut self, from: usize) -> Result<bool, Error> {
        let rest = self.pending.get(from..).unwrap_or_default();
        if rest.starts_with(b"--") {
            self.discard(from + 2);
            self.state = State::End;
            return Ok(true);
        }
        let padding = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        let end = rest.get(padding..).unwrap_or_default();
        if padding > MAX_PADDING {
            return Err(self.malformed("a line that only begins like a boundary"));
        }
        if end.starts_with(b"\r\n") {
            self.parts += 1;
            if self.parts > MAX_PARTS {
                return Err(Error::TooManyParts);
            }
            self.discard(from + padding + 2);
            self.state = State::Head;
            return Ok(true);
        }
        let cut = b"\r\n".starts_with(end) || (padding == 0 && rest == b"-");
        if !cut {
            return Err(self.malformed("a line that only begins like a boundary"));
        }
        Ok(false)
    }

    fn discard(&mut self, count: usize) {
        self.pending.drain(..count.min(self.pending.len()));
        self.base += count as u64;
    }

    fn malformed(&self, what: &'static str) -> Error {
        Error::Malformed {
            what,
            at: self.base,
        }
    }
}
