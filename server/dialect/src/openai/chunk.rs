//! Reads one chunk of a stream, or one whole answer: they have the same members, `delta` for `message`.
//!
//! It is forgiving where the request reader is strict: a member of an unexpected type is passed over, because an
//! answer that goes to the client anyway should still be metered. Nothing is copied but strings with escapes.

use std::borrow::Cow;

use crate::json::{Error, Kind, Reader};
use crate::neutral::{Reported, UpstreamError};

use super::{error, usage};

/// More choices than any vendor gives; indexes beyond are not believed.
const MAX_CHOICES: u64 = 1_024;

/// What one chunk says.
#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    /// What was generated, in order.
    pub texts: Vec<Cow<'a, str>>,
    /// Sound was generated, which is no text.
    pub audio: bool,
    pub usage: Option<Reported>,
    pub finish: Option<Cow<'a, str>>,
    /// The highest index of a choice, plus one.
    pub choices: u32,
    pub error: Option<UpstreamError>,
    pub model: Option<Cow<'a, str>>,
}

impl<'a> Chunk<'a> {
    /// Reads a whole JSON text.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut chunk = Self::default();
        let mut reader = Reader::new(bytes)?;
        let mut top = None;
        let mut groq = None;
        let mut of_choice = None;
        reader.object(|reader, member| {
            match member.key.raw() {
                "choices" if reader.kind()? == Kind::Array => {
                    let mut index = 0;
                    reader.array(|reader| {
                        chunk.choice(reader, index, &mut of_choice)?;
                        index += 1;
                        Ok::<_, Error>(())
                    })?;
                }
                "usage" => top = usage::read(reader)?,
                "x_groq" => groq = inner_usage(reader)?,
                "model" => chunk.model = string(reader)?,
                "error" => chunk.error = error::read(reader)?,
                _ => reader.skip()?,
            }
            Ok::<_, Error>(())
        })?;
        reader.end()?;
        chunk.usage = top.or(of_choice).or(groq);
        Ok(chunk)
    }

    fn choice(
        &mut self,
        reader: &mut Reader<'a>,
        place: u64,
        usage: &mut Option<Reported>,
    ) -> Result<(), Error> {
        if reader.kind()? != Kind::Object {
            return reader.skip();
        }
        let mut index = place;
        let mut delta = None;
        let mut message = None;
        reader.object(|reader, member| {
            match member.key.raw() {
                "index" if reader.kind()? == Kind::Number => {
                    index = reader.number()?.parse().unwrap_or(place)
                }
                "delta" => delta = Said::read(reader)?,
                "message" => message = Said::read(reader)?,
                "text" => self.texts.extend(string(reader)?), // Completions
                "finish_reason" => self.finish = string(reader)?.or(self.finish.take()),
                "usage" => *usage = usage::read(reader)?, // Moonshot
                _ => reader.skip()?,
            }
            Ok::<_, Error>(())
        })?;
        // Perplexity repeats the whole message beside each delta.
        if let Some(said) = delta.or(message) {
            self.audio |= said.audio;
            // Some vendors give the same reasoning under both names.
            let reasoning = if said.reasoning_content.is_empty() {
                said.reasoning
            } else {
                said.reasoning_content
            };
            self.texts.extend(reasoning);
            self.texts.extend(said.texts);
        }
        let choices = u32::try_from(index.min(MAX_CHOICES - 1)).unwrap_or_default() + 1;
        self.choices = self.choices.max(choices);
        Ok(())
    }
}

/// What a delta or a message holds.
#[derive(Default)]
struct Said<'a> {
    texts: Vec<Cow<'a, str>>,
    reasoning_content: Vec<Cow<'a, str>>,
    reasoning: Vec<Cow<'a, str>>,
    audio: bool,
}

impl<'a> Said<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Option<Self>, Error> {
        if reader.kind()? != Kind::Object {
            return reader.skip().map(|()| None);
        }
        let mut said = Self::default();
        reader.object(|reader, member| match member.key.raw() {
            "content" | "refusal" => texts(reader, &mut said.texts),
            "reasoning_content" => texts(reader, &mut said.reasoning_content),
            "reasoning" => texts(reader, &mut said.reasoning),
            "tool_calls" if reader.kind()? == Kind::Array => reader
                .array(|reader| tool_call(reader, &mut said.texts))
                .map(drop),
            "function_call" => call(reader, &mut said.texts),
            "audio" => said.audio(reader),
            _ => reader.skip(),
        })?;
        Ok(Some(said))
    }

    fn audio(&mut self, reader: &mut Reader<'a>) -> Result<(), Error> {
        if reader.kind()? != Kind::Object {
            return reader.skip();
        }
        let read = reader.object(|reader, member| match member.key.raw() {
            "transcript" => texts(reader, &mut self.texts),
            "data" => {
                self.audio |= string(reader)?.is_some();
                Ok::<_, Error>(())
            }
            _ => reader.skip(),
        });
        read.map(drop)
    }
}

fn tool_call<'a>(reader: &mut Reader<'a>, out: &mut Vec<Cow<'a, str>>) -> Result<(), Error> {
    if reader.kind()? != Kind::Object {
        return reader.skip();
    }
    let read = reader.object(|reader, member| match member.key.raw() {
        "function" | "custom" => call(reader, out),
        _ => reader.skip(),
    });
    read.map(drop)
}

fn call<'a>(reader: &mut Reader<'a>, out: &mut Vec<Cow<'a, str>>) -> Result<(), Error> {
    if reader.kind()? != Kind::Object {
        return reader.skip();
    }
    let read = reader.object(|reader, member| match member.key.raw() {
        "name" | "arguments" | "input" => texts(reader, out),
        _ => reader.skip(),
    });
    read.map(drop)
}

/// Gathers a text, or all texts inside an array or object (Mistral's blocks, arguments that are an object).
fn texts<'a>(reader: &mut Reader<'a>, out: &mut Vec<Cow<'a, str>>) -> Result<(), Error> {
    match reader.kind()? {
        Kind::String => out.extend(string(reader)?),
        Kind::Array => drop(reader.array(|reader| texts(reader, out))?),
        Kind::Object => {
            let read = reader.object(|reader, member| match member.key.raw() {
                "type" | "id" | "signature" => reader.skip(),
                _ => texts(reader, out),
            });
            read?;
        }
        Kind::Number | Kind::Bool | Kind::Null => reader.skip()?,
    }
    Ok(())
}

/// A string that is not empty; anything else is passed over.
pub(super) fn string<'a>(reader: &mut Reader<'a>) -> Result<Option<Cow<'a, str>>, Error> {
    if reader.kind()? != Kind::String {
        return reader.skip().map(|()| None);
    }
    let text = reader.string()?;
    Ok(Some(text.decode_lossy()).filter(|text| !text.is_empty()))
}

fn inner_usage(reader: &mut Reader<'_>) -> Result<Option<Reported>, Error> {
    if reader.kind()? != Kind::Object {
        return reader.skip().map(|()| None);
    }
    let mut found = None;
    reader.object(|reader, member| {
        if member.key.raw() == "usage" {
            found = usage::read(reader)?;
            return Ok(());
        }
        reader.skip()
    })?;
    Ok(found)
}
