//! How a slot's areas are written: fields in a row, numbers little endian, texts with their length before them and cut
//! to a bound, so that every area's size is known when the code is read.

use uuid::Uuid;

/// Puts fields in a row.
#[derive(Default)]
pub(super) struct Encoder(pub Vec<u8>);

impl Encoder {
    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn number(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn id(&mut self, id: Uuid) {
        self.0.extend_from_slice(id.as_bytes());
    }

    /// An absent id is one of zeros, which no id is.
    pub(super) fn optional_id(&mut self, id: Option<Uuid>) {
        self.id(id.unwrap_or_default());
    }

    /// A text, cut to `max` bytes at a character's boundary.
    pub(super) fn text(&mut self, text: &str, max: usize) {
        let text = &text[..text.floor_char_boundary(max)];
        self.0.extend_from_slice(&(text.len() as u16).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn optional_text(&mut self, text: Option<&str>, max: usize) {
        self.byte(text.is_some().into());
        self.text(text.unwrap_or_default(), max);
    }
}

/// Takes fields off a row; `None` once it does not hold what is asked.
pub(super) struct Decoder<'a>(pub &'a [u8]);

impl<'a> Decoder<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn id(&mut self) -> Option<Uuid> {
        self.take().map(Uuid::from_bytes)
    }

    pub(super) fn optional_id(&mut self) -> Option<Option<Uuid>> {
        let id = self.id()?;
        Some((!id.is_nil()).then_some(id))
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = u16::from_le_bytes(self.take()?);
        let (text, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    pub(super) fn optional_text(&mut self) -> Option<Option<String>> {
        let present = self.byte()? != 0;
        let text = self.text()?;
        Some(present.then_some(text))
    }
}
