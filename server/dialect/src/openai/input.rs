//! How much a request gives the model to read, measured without a tokenizer.
//!
//! Limits estimate from these numbers and hard budgets bound with them, so whatever could be read as text counts as
//! text: the whole body, less the payload of media at the places where the dialect has media. A `data:` URI in a
//! message's text is text. Keys are compared as the most tolerant vendor would.

use crate::json::{Error, Kind, Reader};

/// What a request holds for the model to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Bytes of the body that are not media; no tokenizer makes more tokens than this of it.
    pub text_bytes: u64,
    /// Bytes of `data:` URIs and audio payloads, in images, audio and files.
    pub media_bytes: u64,
    /// Images (`image_url` parts), embedded or by address.
    pub images: u32,
    /// Pieces of audio (`input_audio` parts).
    pub audios: u32,
    /// Files (`file` parts).
    pub files: u32,
    /// Prompts in a list of prompts (Completions), each of which is answered; 0 where there is no `prompt`.
    pub prompts: u32,
}

/// Measures `messages`.
pub(super) fn messages(reader: &mut Reader<'_>, input: &mut Input) -> Result<(), Error> {
    elements(reader, |reader| {
        members(reader, &["content"], |reader, _| {
            elements(reader, |reader| {
                members(
                    reader,
                    &["image_url", "input_audio", "file"],
                    |reader, kind| part(reader, kind, input),
                )
            })
        })
    })
}

/// Counts `prompt`: a text or a list of tokens is one, a list of texts or of token lists is many.
pub(super) fn prompts(reader: &mut Reader<'_>, input: &mut Input) -> Result<(), Error> {
    let mut prompts = 0_u32;
    elements(reader, |reader| {
        if matches!(reader.kind()?, Kind::String | Kind::Array) {
            prompts = prompts.saturating_add(1);
        }
        reader.skip()
    })?;
    input.prompts = prompts.max(1);
    Ok(())
}

fn part(reader: &mut Reader<'_>, kind: &str, input: &mut Input) -> Result<(), Error> {
    let (count, payload) = match kind {
        "image_url" => (&mut input.images, "url"),
        "input_audio" => (&mut input.audios, "data"),
        _ => (&mut input.files, "file_data"),
    };
    *count = count.saturating_add(1);
    let media_bytes = &mut input.media_bytes;
    let mut measure = |reader: &mut Reader<'_>| {
        if reader.kind()? != Kind::String {
            return reader.skip();
        }
        let text = reader.string()?.raw();
        if kind == "input_audio" || text.starts_with("data:") {
            *media_bytes = media_bytes.saturating_add(text.len() as u64);
        }
        Ok(())
    };
    if reader.kind()? == Kind::String {
        return measure(reader); // some vendors take the address itself
    }
    members(reader, &[payload], |reader, _| measure(reader))
}

/// Calls `each` for the members with these names, and reads past all else.
fn members<'a>(
    reader: &mut Reader<'a>,
    names: &[&'static str],
    mut each: impl FnMut(&mut Reader<'a>, &'static str) -> Result<(), Error>,
) -> Result<(), Error> {
    if reader.kind()? != Kind::Object {
        return reader.skip();
    }
    let read =
        reader.object(
            |reader, member| match names.iter().find(|name| member.key.is_like(name)) {
                Some(name) => each(reader, name),
                None => reader.skip(),
            },
        );
    read.map(drop)
}

/// Calls `each` for the elements of an array, and reads past anything that is none.
fn elements<'a>(
    reader: &mut Reader<'a>,
    each: impl FnMut(&mut Reader<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    if reader.kind()? != Kind::Array {
        return reader.skip();
    }
    reader.array(each).map(drop)
}
