//! The two headers that matter to multipart: `content-type` of the body, for its boundary, and `content-disposition`
//! of a part, for its name. Both are read strictly; a form that servers read differently is an error.

use crate::neutral::same_but_for_case;

/// What a part's name says to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// `model`
    Model,
    /// Some reader would take it for `model`.
    LikeModel,
    /// Anything else.
    Other,
}

/// The boundary in a content type, if it is a multipart form's and valid.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut found = None;
    for (name, value) in self::parameters(parameters).ok()? {
        if name.eq_ignore_ascii_case("boundary") && found.replace(value).is_some() {
            return None;
        }
    }
    let boundary = found?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "'()+_,-./:=? ".contains(c);
    let valid = (1..=70).contains(&boundary.len())
        && boundary.chars().all(allowed)
        && !boundary.ends_with(' ');
    valid.then_some(boundary)
}

/// The name in a part's head (its lines, each with CRLF).
pub(super) fn name(head: &[u8]) -> Result<Name, &'static str> {
    let head = std::str::from_utf8(head).map_err(|_| "a head that is not UTF-8")?;
    let mut disposition = None;
    let mut encoded = false;
    for line in head.split_terminator("\r\n") {
        if line.contains(['\r', '\n', '\0']) {
            return Err("a bare line end in a head");
        }
        if line.starts_with([' ', '\t']) {
            return Err("a folded header");
        }
        let (field, value) = line.split_once(':').ok_or("a header without a colon")?;
        if field.trim() != field {
            return Err("white space before a colon");
        }
        if field.eq_ignore_ascii_case("content-disposition") && disposition.replace(value).is_some()
        {
            return Err("two content-disposition headers");
        }
        if field.eq_ignore_ascii_case("content-transfer-encoding") {
            let plain = ["7bit", "8bit", "binary"];
            encoded = !plain
                .iter()
                .any(|plain| value.trim().eq_ignore_ascii_case(plain));
        }
    }
    let (kind, rest) = disposition
        .and_then(|value| value.split_once(';'))
        .ok_or("a part without a name")?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err("a part that is no form-data");
    }
    let mut name = None;
    let mut is_file = false;
    for (parameter, value) in parameters(rest)? {
        // `name*` and its continuations are read by some servers only.
        if parameter
            .get(..5)
            .is_some_and(|start| start.eq_ignore_ascii_case("name*"))
        {
            return Err("an encoded field name");
        }
        if parameter.eq_ignore_ascii_case("name") && name.replace(value).is_some() {
            return Err("two names for one part");
        }
        is_file |= parameter
            .get(..8)
            .is_some_and(|start| start.eq_ignore_ascii_case("filename"));
    }
    let name = name.ok_or("a part without a name")?;
    if name != "model" {
        let like = same_but_for_case(name.trim(), "model");
        return Ok(if like { Name::LikeModel } else { Name::Other });
    }
    if is_file || encoded {
        return Err("a model that is a file or encoded");
    }
    Ok(Name::Model)
}

/// `a=b; c="d"`: names and values, quotes resolved.
fn parameters(text: &str) -> Result<Vec<(&str, String)>, &'static str> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or("a parameter without a value")?;
        let name = name.trim_start();
        if name.is_empty()
            || !name
                .chars()
                .all(|c| c.is_ascii_graphic() && !"\"';,".contains(c))
        {
            return Err("a malformed parameter");
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                let (value, after) = after.split_at(end);
                let value = value.trim_end();
                if value.is_empty() || value.contains(['"', ' ', '\t', '\\']) {
                    return Err("a malformed parameter");
                }
                (value.to_owned(), after)
            }
        };
        found.push((name, value));
        let after = after.trim_start();
        rest = match after.strip_prefix(';') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return Err("a malformed parameter"),
        };
    }
    Ok(found)
}

/// The value up to the closing quote, and what follows that. Before anything but a quote or a backslash, a backslash
/// stands for itself: old browsers sent whole paths as file names.
fn unquoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            '\\' => match characters.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push(c),
            },
            c => value.push(c),
        }
    }
    Err("a quoted value without its end")
}
