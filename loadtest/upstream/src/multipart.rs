//! Reads `multipart/form-data`, as far as a stand-in needs it: names, file names, contents.

use std::ops::Range;

use memchr::memmem;

/// One part of a form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) file_name: Option<String>,
    /// Its content, within the body.
    pub(crate) range: Range<usize>,
}

/// The parts of a body, none if it is no form.
pub(crate) fn parts(content_type: &str, body: &[u8]) -> Vec<Part> {
    let Some((_, boundary)) = content_type.split_once("boundary=") else {
        return Vec::new();
    };
    let boundary = boundary
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .trim_matches('"');
    let delimiter = format!("--{boundary}");
    let starts: Vec<usize> = memmem::find_iter(body, delimiter.as_bytes()).collect();
    let between = starts
        .windows(2)
        .map(|pair| pair[0] + delimiter.len()..pair[1]);
    between.filter_map(|range| part(body, range)).collect()
}

fn part(body: &[u8], range: Range<usize>) -> Option<Part> {
    let bytes = &body[range.clone()];
    let head_end = memmem::find(bytes, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..head_end]);
    let disposition = head.lines().find(|line| {
        line.to_ascii_lowercase()
            .starts_with("content-disposition:")
    })?;
    let parameter = |name: &str| {
        disposition.split(';').find_map(|word| {
            let (key, value) = word.trim().split_once('=')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim_matches('"').to_owned())
        })
    };
    // The CRLF before the next delimiter belongs to the delimiter.
    let range = range.start + head_end + 4..(range.end - 2).max(range.start + head_end + 4);
    Some(Part {
        name: parameter("name")?,
        file_name: parameter("filename"),
        range,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_names_and_exact_contents() {
        let body = b"--xx\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
            --xx\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
            content-type: audio/wav\r\n\r\n\x00\r\n\x01\r\n--xx--\r\n";
        let parts = parts("multipart/form-data; boundary=xx", body);
        assert_eq!(parts.len(), 2);
        assert_eq!(&body[parts[0].range.clone()], b"whisper-1");
        assert_eq!(parts[1].file_name.as_deref(), Some("a.wav"));
        assert_eq!(&body[parts[1].range.clone()], b"\x00\r\n\x01");
    }
}
