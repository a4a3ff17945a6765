//! A chunked body, RFC 9112, section 7.1, as it arrives: a chunk's edge may stand anywhere, within a stamp too.

use anyhow::{Context, ensure};
use memchr::memmem;

/// What of a body is still framed, and where its reading stands.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    framed: Vec<u8>,
    /// Bytes of the present chunk that are still to come.
    left: usize,
    /// Whether the line end behind a chunk's bytes is still to come.
    in_line_end: bool,
    /// Whether the last chunk has begun.
    is_last: bool,
}

impl Chunked {
    /// Takes bytes as they came and adds what they carry to the body. Whether it has ended.
    ///
    /// # Errors
    ///
    /// The framing is broken.
    pub(crate) fn feed(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> anyhow::Result<bool> {
        self.framed.extend_from_slice(bytes);
        loop {
            let here = self.left.min(self.framed.len());
            body.extend(self.framed.drain(..here));
            self.left -= here;
            if self.left > 0 {
                return Ok(false);
            }
            if self.in_line_end {
                if self.framed.len() < 2 {
                    return Ok(false);
                }
                ensure!(self.framed.starts_with(b"\r\n"), "a chunk without its end");
                self.framed.drain(..2);
                self.in_line_end = false;
                if self.is_last {
                    return Ok(true);
                }
            }
            let Some(end) = memmem::find(&self.framed, b"\r\n") else {
                return Ok(false);
            };
            let size = std::str::from_utf8(&self.framed[..end]).context("a chunk's size")?;
            self.left = usize::from_str_radix(size, 16).context("a chunk's size")?;
            self.framed.drain(..end + 2);
            self.in_line_end = true;
            self.is_last = self.left == 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let framed = b"5\r\nhello\r\nb\r\n, my wor\r\nl\r\n1\r\nd\r\n0\r\n\r\n";
        for cut in 0..=framed.len() {
            let (mut chunked, mut body) = (Chunked::default(), Vec::new());
            let ended = chunked.feed(&framed[..cut], &mut body).expect("framed");
            assert_eq!(ended, cut == framed.len(), "{cut}");
            if !ended {
                assert!(chunked.feed(&framed[cut..], &mut body).expect("framed"));
            }
            assert_eq!(body, b"hello, my wor\r\nld", "{cut}");
        }
        let broken = Chunked::default().feed(b"2\r\nabc\r\n", &mut Vec::new());
        assert!(broken.is_err());
    }
}
