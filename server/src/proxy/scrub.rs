//! Takes pieces of a credential out of what an upstream says about it (threats.md, K4).

use bytes::Bytes;

use crate::secrets::Secret;

/// The longest run of a credential that may be shown, plus one.
const RUN: usize = 8;

/// The same bytes with every run of eight or more bytes of the secret starred out, length kept.
pub fn without_secret(body: &[u8], secret: &Secret) -> Bytes {
    let secret = secret.expose().as_bytes();
    if secret.is_empty() {
        return Bytes::copy_from_slice(body);
    }
    let run = RUN.min(secret.len());
    let mut scrubbed = body.to_vec();
    for (at, window) in body.windows(run).enumerate() {
        if secret.windows(run).any(|piece| piece == window) {
            scrubbed[at..at + run].fill(b'*');
        }
    }
    scrubbed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_the_secret_are_starred_and_nothing_else() {
        let secret = Secret::new("sk-proj-abcdefghijklmnop");
        let scrub = |text: &str| {
            String::from_utf8(without_secret(text.as_bytes(), &secret).to_vec()).expect("text")
        };
        assert_eq!(
            scrub("key sk-proj-abcdefghijklmnop!"),
            "key ************************!"
        );
        assert_eq!(scrub("ends in ijklmnop."), "ends in ********.");
        assert_eq!(scrub("ends in mnop."), "ends in mnop.");
        assert_eq!(scrub(""), "");
    }
}
