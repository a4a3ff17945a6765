//! A strict reader of JSON (RFC 8259) that pulls values out of bytes and says where each of them lies.
//!
//! Dialects use it for request bodies, because an edit in place needs byte spans and a doubled key must be seen,
//! which serde_json gives neither of; and for answers, because it copies nothing and forgives a field of another type.
//! Nesting is counted, not recursed into: [`Reader::value`] keeps one bit a level, so depth never costs stack.
//!
//! Deliberately absent: a tree of values, and meaning. Which keys matter is the dialect's to say.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use crate::neutral::same_but_for_case;

mod escape;
mod splice;
#[cfg(test)]
mod tests;

pub use splice::{Splice, quoted, splice};

/// The deepest nesting that is read.
pub const MAX_DEPTH: usize = 128;

/// Why bytes are not the JSON that was expected; `at` is an offset into them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No bytes, or nothing but white space.
    #[error("there is nothing in it")]
    Empty,
    /// Not UTF-8.
    #[error("invalid UTF-8 at byte {at}")]
    NotUtf8 {
        /// Where.
        at: usize,
    },
    /// Something else stands where this was due.
    #[error("expected {expected} at byte {at}")]
    Expected {
        /// What was due.
        expected: &'static str,
        /// Where.
        at: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested more than 128 deep at byte {at}")]
    TooDeep {
        /// Where.
        at: usize,
    },
    /// A bare control character inside a string.
    #[error("a control character that is not escaped, at byte {at}")]
    Control {
        /// Where.
        at: usize,
    },
    /// An escape that JSON does not have.
    #[error("an invalid escape at byte {at}")]
    Escape {
        /// Where.
        at: usize,
    },
    /// Half of a surrogate pair in a string whose characters matter.
    #[error("half of a surrogate pair at byte {at}")]
    Surrogate {
        /// Where.
        at: usize,
    },
    /// The value has ended, the bytes have not.
    #[error("more after the end of the value, at byte {at}")]
    Trailing {
        /// Where.
        at: usize,
    },
}

/// A stretch of bytes, `end` excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// An empty span: the place of an insertion.
    #[must_use]
    pub fn at(place: usize) -> Self {
        Self {
            start: place,
            end: place,
        }
    }

    /// The bytes it covers; none where it reaches outside.
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }
}

/// What kind of value comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number; its text is validated when it is read.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`
    Null,
}

/// A string as it stands in the bytes, its escapes valid but not yet resolved.
#[derive(Clone, Copy, Debug)]
pub struct Str<'a> {
    raw: &'a str,
    /// Where it lies, its quotes included.
    pub span: Span,
}

impl<'a> Str<'a> {
    /// The text between the quotes, escapes unresolved.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// The characters it stands for; borrowed where there is no escape.
    pub fn decode(&self) -> Result<Cow<'a, str>, Error> {
        if memchr(b'\\', self.raw.as_bytes()).is_none() {
            return Ok(Cow::Borrowed(self.raw));
        }
        escape::resolve(self.raw, self.span.start + 1).map(Cow::Owned)
    }

    /// As [`Str::decode`], but the raw text where half a surrogate pair has no characters: for text that is only measured.
    #[must_use]
    pub fn decode_lossy(&self) -> Cow<'a, str> {
        self.decode().unwrap_or(Cow::Borrowed(self.raw))
    }

    /// Whether some reader, also one that ignores letter case, takes it for this lower-case name.
    #[must_use]
    pub fn is_like(&self, name: &str) -> bool {
        same_but_for_case(&self.decode_lossy(), name)
    }
}

/// A member of an object, its value not yet read.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its key.
    pub key: Str<'a>,
    /// Where the comma before it stands; none before the first.
    pub comma: Option<usize>,
}

/// Reads values one after the other; see the module.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte. All bytes must be UTF-8.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes).map_err(|error| Error::NotUtf8 {
            at: error.valid_up_to(),
        })?;
        let mut reader = Self {
            text,
            at: 0,
            depth: 0,
        };
        reader.space();
        if reader.byte().is_none() {
            return Err(Error::Empty);
        }
        Ok(reader)
    }

    /// The offset of the next byte to read; after [`Reader::kind`] that is where the next value starts.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// What comes next; nothing is consumed but white space.
    pub fn kind(&mut self) -> Result<Kind, Error> {
        self.space();
        match self.byte() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.expected("a value")),
        }
    }

    /// Reads an object. `each` is given every member and must read exactly its value.
    pub fn object<E: From<Error>>(
        &mut self,
        mut each: impl FnMut(&mut Self, Member<'a>) -> Result<(), E>,
    ) -> Result<Span, E> {
        let start = self.open(b'{', "an object")?;
        let mut comma = None;
        if !self.eat(b'}') {
            loop {
                let key = self.key()?;
                each(self, Member { key, comma })?;
                if self.eat(b'}') {
                    break;
                }
                self.need(b',', "`,` or `}`")?;
                comma = Some(self.at - 1);
            }
        }
        self.depth -= 1;
        Ok(Span {
            start,
            end: self.at,
        })
    }

    /// Reads an array. `each` is called before every element and must read exactly that.
    pub fn array<E: From<Error>>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<Span, E> {
        let start = self.open(b'[', "an array")?;
        if !self.eat(b']') {
            loop {
                each(self)?;
                if self.eat(b']') {
                    break;
                }
                self.need(b',', "`,` or `]`")?;
            }
        }
        self.depth -= 1;
        Ok(Span {
            start,
            end: self.at,
        })
    }

    /// Reads a string.
    pub fn string(&mut self) -> Result<Str<'a>, Error> {
        self.space();
        let start = self.at;
        if self.byte() != Some(b'"') {
            return Err(self.expected("a string"));
        }
        self.at += 1;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let stop = memchr2(b'"', b'\\', rest);
            let plain = stop.unwrap_or(rest.len());
            // Without an early exit this looks at many bytes at a time, and almost always finds none.
            let control = rest
                .iter()
                .take(plain)
                .fold(false, |found, &byte| found | (byte < 0x20));
            if control {
                let first = rest
                    .iter()
                    .position(|&byte| byte < 0x20)
                    .unwrap_or_default();
                return Err(Error::Control {
                    at: self.at + first,
                });
            }
            self.at += plain;
            match stop.and_then(|stop| rest.get(stop)) {
                Some(b'"') => break,
                Some(_) => self.escape()?,
                None => return Err(self.expected("the string's closing quote")),
            }
        }
        let raw = self.text.get(start + 1..self.at).unwrap_or_default();
        self.at += 1;
        Ok(Str {
            raw,
            span: Span {
                start,
                end: self.at,
            },
        })
    }

    /// Reads a number and gives its text, of any size and precision.
    pub fn number(&mut self) -> Result<&'a str, Error> {
        self.space();
        let start = self.at;
        self.step_if(|byte| byte == b'-');
        if !self.step_if(|byte| byte == b'0') {
            self.digits()?;
        }
        if self.step_if(|byte| byte == b'.') {
            self.digits()?;
        }
        if self.step_if(|byte| matches!(byte, b'e' | b'E')) {
            self.step_if(|byte| matches!(byte, b'+' | b'-'));
            self.digits()?;
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// Reads `true` or `false`.
    pub fn boolean(&mut self) -> Result<bool, Error> {
        self.space();
        if self.byte() == Some(b't') {
            self.word("true").map(|()| true)
        } else {
            self.word("false").map(|()| false)
        }
    }

    /// Reads past a value of any kind, validating it.
    pub fn skip(&mut self) -> Result<(), Error> {
        self.value().map(drop)
    }

    /// As [`Reader::skip`], and says where the value lies.
    pub fn value(&mut self) -> Result<Span, Error> {
        self.space();
        let start = self.at;
        let mut objects: u128 = 0; // one bit a level, the innermost lowest: set for an object
        let mut levels = 0;
        loop {
            if self.enter(&mut objects, &mut levels)? {
                continue;
            }
            // A value has ended: so have the containers that close after it.
            loop {
                if levels == 0 {
                    return Ok(Span {
                        start,
                        end: self.at,
                    });
                }
                let object = objects & 1 == 1;
                if self.eat(if object { b'}' } else { b']' }) {
                    objects >>= 1;
                    levels -= 1;
                    continue;
                }
                self.need(b',', "`,` or the end of the object or array")?;
                if object {
                    self.key()?;
                }
                break;
            }
        }
    }

    /// Makes sure that nothing but white space is left.
    pub fn end(mut self) -> Result<(), Error> {
        self.space();
        match self.byte() {
            None => Ok(()),
            Some(_) => Err(Error::Trailing { at: self.at }),
        }
    }

    /// For [`Reader::value`]: reads a scalar or an empty container whole, or steps into a container (true).
    fn enter(&mut self, objects: &mut u128, levels: &mut usize) -> Result<bool, Error> {
        let (open, close) = match self.kind()? {
            Kind::Object => (b'{', b'}'),
            Kind::Array => (b'[', b']'),
            Kind::String => return self.string().map(|_| false),
            Kind::Number => return self.number().map(|_| false),
            Kind::Bool => return self.boolean().map(|_| false),
            Kind::Null => return self.word("null").map(|()| false),
        };
        if self.depth + *levels >= MAX_DEPTH {
            return Err(Error::TooDeep { at: self.at });
        }
        self.at += 1;
        if self.eat(close) {
            return Ok(false);
        }
        let object = open == b'{';
        *objects = *objects << 1 | u128::from(object);
        *levels += 1;
        if object {
            self.key()?;
        }
        Ok(true)
    }

    fn open(&mut self, bracket: u8, expected: &'static str) -> Result<usize, Error> {
        self.space();
        let start = self.at;
        if self.depth >= MAX_DEPTH {
            return Err(Error::TooDeep { at: start });
        }
        self.need(bracket, expected)?;
        self.depth += 1;
        Ok(start)
    }

    fn key(&mut self) -> Result<Str<'a>, Error> {
        self.space();
        if self.byte() != Some(b'"') {
            return Err(self.expected("a key"));
        }
        let key = self.string()?;
        self.need(b':', "`:`")?;
        Ok(key)
    }

    /// Steps over an escape inside a string, validating its form only.
    fn escape(&mut self) -> Result<(), Error> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let length = match rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u')
                if rest
                    .get(2..6)
                    .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) =>
            {
                6
            }
            _ => return Err(Error::Escape { at: self.at }),
        };
        self.at += length;
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Error> {
        if !self.step_if(|byte| byte.is_ascii_digit()) {
            return Err(self.expected("a digit"));
        }
        while self.step_if(|byte| byte.is_ascii_digit()) {}
        Ok(())
    }

    fn word(&mut self, word: &'static str) -> Result<(), Error> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Takes this byte if it comes next after white space.
    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        self.step_if(|next| next == byte)
    }

    fn need(&mut self, byte: u8, expected: &'static str) -> Result<(), Error> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.expected(expected))
        }
    }

    fn step_if(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let steps = self.byte().is_some_and(wanted);
        self.at += usize::from(steps);
        steps
    }

    fn space(&mut self) {
        while self.step_if(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {}
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expected(&self, expected: &'static str) -> Error {
        Error::Expected {
            expected,
            at: self.at,
        }
    }
}
