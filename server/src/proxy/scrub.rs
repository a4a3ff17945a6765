//! Takes pieces of a credential out of what an upstream says about it (threats.md, K4).

use actix_web::http::header::HeaderMap;
use bytes::Bytes;

use crate::secrets::Secret;

/// The shortest run of a credential that is not shown.
const RUN: usize = 8;
/// Bits of the filter that most text fails, so that an answer's head costs next to nothing.
const FILTER_BITS: usize = 4096;

/// The runs of one credential, to be looked for.
pub struct Pieces<'a> {
    secret: &'a [u8],
    run: usize,
    filter: [u64; FILTER_BITS / 64],
}

impl<'a> Pieces<'a> {
    /// None if there is nothing to hide.
    pub fn of(secret: &'a Secret) -> Option<Self> {
        let secret = secret.expose().as_bytes();
        if secret.is_empty() {
            return None;
        }
        let run = RUN.min(secret.len());
        let mut filter = [0; FILTER_BITS / 64];
        for piece in secret.windows(run) {
            let bit = bit(piece);
            filter[bit / 64] |= 1 << (bit % 64);
        }
        Some(Self {
            secret,
            run,
            filter,
        })
    }

    /// Where in the bytes a run of the credential begins.
    fn found<'b>(&'b self, bytes: &'b [u8]) -> impl Iterator<Item = usize> + 'b {
        let at = bytes.windows(self.run).enumerate();
        at.filter(|(_, window)| {
            let bit = bit(window);
            self.filter[bit / 64] & (1 << (bit % 64)) != 0
                && self.secret.windows(self.run).any(|piece| piece == *window)
        })
        .map(|(at, _)| at)
    }

    /// The same bytes with every run starred out, length kept.
    pub fn starred(&self, bytes: &[u8]) -> Bytes {
        let mut scrubbed = bytes.to_vec();
        for at in self.found(bytes) {
            scrubbed[at..at + self.run].fill(b'*');
        }
        scrubbed.into()
    }

    /// Drops the headers that hold a run, in name or value: an upstream that echoes what it got has nothing to say there.
    pub fn drop_from(&self, headers: &mut HeaderMap) {
        headers.retain(|name, value| {
            self.found(value.as_bytes()).next().is_none()
                && self.found(name.as_str().as_bytes()).next().is_none()
        });
    }
}

/// Where in the filter a run has its bit.
fn bit(run: &[u8]) -> usize {
    let hash = run.iter().fold(0_u32, |hash, byte| {
        hash.wrapping_mul(0x0100_0193) ^ u32::from(*byte)
    });
    (hash ^ (hash >> 15)) as usize % FILTER_BITS
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn runs_of_the_secret_are_starred_and_nothing_else() {
        let secret = Secret::new("sk-proj-abcdefghijklmnop");
        let pieces = Pieces::of(&secret).expect("pieces");
        let scrub =
            |text: &str| String::from_utf8(pieces.starred(text.as_bytes()).to_vec()).expect("text");
        assert_eq!(
            scrub("key sk-proj-abcdefghijklmnop!"),
            "key ************************!"
        );
        assert_eq!(scrub("ends in ijklmnop."), "ends in ********.");
        assert_eq!(scrub("ends in mnop."), "ends in mnop.");
        assert_eq!(scrub(""), "");
        assert!(Pieces::of(&Secret::new("")).is_none());
    }

    #[test]
    fn headers_that_echo_the_secret_are_dropped() {
        let secret = Secret::new("sk-proj-abcdefghijklmnop");
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-echo", "Bearer sk-proj-abcdefghijklmnop"),
            ("x-echo", "harmless"),
            ("x-tail", "...ijklmnop"),
            ("x-abcdefghij", "1"),
            ("x-model", "gpt"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        Pieces::of(&secret).expect("pieces").drop_from(&mut headers);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
            .collect();
        left.sort_unstable();
        assert_eq!(left, [("x-echo", "harmless"), ("x-model", "gpt")]);
    }
}
