//! Paths: the raw bytes are relayed, the decision is made on the fully decoded form (threats.md, H3).

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the path holds a dot segment, an empty segment, a backslash, a control character or a broken escape"
)]
pub struct BadPath;

/// Checks a raw path as vendors that decode it once, or twice, would see it.
pub fn check(raw: &str) -> Result<(), BadPath> {
    let (once, twice);
    let mut forms = vec![raw.as_bytes()];
    // Without an escape all forms are one.
    if raw.contains('%') {
        once = decode(raw)?;
        twice = decode_bytes(&once)?;
        forms.extend([once.as_slice(), &twice]);
    }
    for form in forms {
        let bad_byte = |byte: &u8| byte.is_ascii_control() || *byte == b'\\';
        if form.iter().any(bad_byte) {
            return Err(BadPath);
        }
        let segments = || form.split(|byte| *byte == b'/');
        // Parameters of a segment (`..;x=1`) are cut off by some servers before they look at dots.
        fn name(segment: &[u8]) -> &[u8] {
            let mut parts = segment.split(|byte| *byte == b';');
            parts.next().unwrap_or_default()
        }
        if segments().any(|segment| matches!(name(segment), b"." | b"..")) {
            return Err(BadPath);
        }
    }
    // `//` is merged by some servers and kept by others; only the very end may be empty.
    let body = raw.strip_prefix('/').ok_or(BadPath)?;
    let inner = body.strip_suffix('/').unwrap_or(body);
    if !inner.is_empty() && inner.split('/').any(str::is_empty) {
        return Err(BadPath);
    }
    Ok(())
}

/// The path as a vendor that decodes once sees it; encoded slashes stay as they are.
pub fn decoded(raw: &str) -> Cow<'_, str> {
    if !raw.contains('%') {
        return Cow::Borrowed(raw);
    }
    let kept = raw.replace("%2f", "%252F").replace("%2F", "%252F");
    match decode(&kept).map(String::from_utf8) {
        Ok(Ok(text)) => Cow::Owned(text),
        _ => Cow::Borrowed(raw),
    }
}

/// The path as vendors that decode it once, or twice, slashes included, would see it: for what must never be reached.
pub fn forms(raw: &str) -> [String; 2] {
    let decoded = |text: &[u8]| decode_bytes(text).unwrap_or_else(|BadPath| text.to_vec());
    let once = decoded(raw.as_bytes());
    let twice = decoded(&once);
    [once, twice].map(|form| String::from_utf8_lossy(&form).into_owned())
}

/// A segment of a raw path as a name: decoded, or as it is where its escapes are broken.
pub fn name(raw: &str) -> String {
    decode(raw)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_else(|| raw.to_owned())
}

/// A query without the parameter `key`, in which Gemini's clients carry their key; with its decoded values.
pub fn without_key(query: &str) -> (String, Vec<Vec<u8>>) {
    without(query, "key")
}

/// A query without a parameter, however its name is escaped; with the decoded values.
pub fn without(query: &str, parameter: &str) -> (String, Vec<Vec<u8>>) {
    let mut kept = Vec::new();
    let mut keys = Vec::new();
    for part in query.split('&') {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match decode(name) {
            Ok(name) if name == parameter.as_bytes() => {
                keys.push(decode(value).unwrap_or_else(|BadPath| value.as_bytes().to_vec()))
            }
            _ => kept.push(part),
        }
    }
    (kept.join("&"), keys)
}

fn decode(text: &str) -> Result<Vec<u8>, BadPath> {
    decode_bytes(text.as_bytes())
}

fn decode_bytes(bytes: &[u8]) -> Result<Vec<u8>, BadPath> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let byte = rest
            .get(..2)
            .and_then(|digits| Some(digit(digits[0])? << 4 | digit(digits[1])?))
            .ok_or(BadPath)?;
        decoded.push(byte);
        rest = &rest[2..];
    }
    Ok(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_pass() {
        for path in [
            "/v1/files/file-1",
            "/v1/files/",
            "/v1/models/a%2Fb",
            "/",
            "/v1/a%20b",
            "/v1/%E4%B8%AD",
            "/v1/...x",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn paths_that_servers_read_differently_are_refused() {
        for path in [
            "/a/..",
            "/a/../b",
            "/a/./b",
            "/a/%2e%2e/b",
            "/a/%2E./b",
            "/a/%252e%252e/b",
            "/a%2f..%2fb",
            "/a/..%2fb",
            "/a/..;x=1/b",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0a",
            "/a//b",
            "//evil",
            "/a%2",
            "/a%zz",
            "/a%+e",
            "a",
        ] {
            assert_eq!(check(path), Err(BadPath), "{path}");
        }
    }

    #[test]
    fn an_encoded_slash_stays_part_of_its_segment() {
        assert_eq!(
            decoded("/%76%31/organization%2Fusers"),
            "/v1/organization%2Fusers"
        );
    }

    #[test]
    fn the_key_leaves_the_query() {
        let (rest, keys) = without_key("a=1&key=wk-%61&alt=sse&%6Bey=two&monkey=3");
        assert_eq!(
            (rest.as_str(), keys),
            (
                "a=1&alt=sse&monkey=3",
                vec![b"wk-a".to_vec(), b"two".to_vec()]
            )
        );
        assert_eq!(without_key("key=x").0, "");
    }
}
