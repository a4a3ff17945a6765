//! Gzip without compression: stored blocks only, which is all that a test of decoders needs.
//!
//! Each piece becomes a block of its own, as a server does that flushes after each event.

use crate::answer::Answer;

/// Wraps the body and moves its marks along.
pub(crate) fn wrap(answer: &mut Answer) {
    let plain = std::mem::take(&mut answer.body);
    let mut wrapped = Vec::with_capacity(plain.len() + 64 + answer.marks.len() * 5);
    wrapped.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    let mut from = 0;
    for mark in &mut answer.marks {
        stored(&mut wrapped, &plain[from..mark.end]);
        mark.stamp_at = None; // It would not match the checksum.
        from = mark.end;
        mark.end = wrapped.len();
    }
    stored(&mut wrapped, &plain[from..]);
    wrapped.extend([1, 0, 0, 0xff, 0xff]);
    wrapped.extend(crc32(&plain).to_le_bytes());
    wrapped.extend((plain.len() as u32).to_le_bytes());
    answer.body = wrapped;
    answer
        .headers
        .push(("content-encoding".into(), "gzip".into()));
}

fn stored(out: &mut Vec<u8>, data: &[u8]) {
    for block in data.chunks(65_535) {
        let length = block.len() as u16;
        out.push(0);
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn checksum_is_the_standard_one() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
    }
}
