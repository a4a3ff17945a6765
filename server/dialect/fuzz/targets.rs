//! What must hold for any bytes, whoever makes them up: cargo-fuzz runs these, and the tests of the crate run them over the
//! corpus (threats.md, H12).

#![allow(dead_code, reason = "each fuzz target uses one")]

use bytes::Bytes;
use weir_dialect::{
    multipart::{Error, Model, Multipart},
    openai::{Ask, Edits, Endpoint, Limits, Observer, Piece, Sieve, Which},
};

/// The first byte says how the rest is cut; the rest.
fn cut(data: &[u8]) -> (usize, &[u8]) {
    match data.split_first() {
        Some((size, rest)) => (usize::from(*size) + 1, rest),
        None => (1, data),
    }
}

/// However an answer is cut, the observer sees the same in it.
pub fn observer(data: &[u8]) {
    let (size, body) = cut(data);
    let small = Limits {
        event_bytes: 256,
        text_bytes: 64,
    };
    for limits in [Limits::default(), small] {
        for make in [Observer::stream, Observer::json] {
            let (mut whole, mut pieces) = (make(limits), make(limits));
            whole.feed(body);
            body.chunks(size).for_each(|piece| pieces.feed(piece));
            let (whole, pieces) = (whole.finish(), pieces.finish());
            assert_eq!(whole.usage, pieces.usage);
            assert_eq!(whole.text, pieces.text);
        }
    }
}

/// A body that is taken is JSON for everybody, and renaming its model changes its model and nothing else.
pub fn ask(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    for endpoint in [
        Endpoint::Chat,
        Endpoint::Embeddings,
        Endpoint::Relayed,
        Endpoint::SessionChat,
    ] {
        let Ok(ask) = Ask::read(&body, endpoint) else {
            continue;
        };
        serde_json::from_slice::<serde::de::IgnoredAny>(&body).expect("what is taken is JSON");
        assert_eq!(
            ask.edited(&Edits::default()),
            body,
            "nothing asked, nothing changed"
        );
        let edits = Edits {
            model: Some("re\"named"),
            ..Edits::default()
        };
        let edited = ask.edited(&edits);
        let again = Ask::read(&edited, endpoint).expect("it stays readable");
        assert_eq!(
            again.edited(&edits),
            edited,
            "what is as wanted is not touched"
        );
        // Numbers that no reader holds are valid JSON all the same.
        let parse = |body: &[u8]| {
            serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body)
        };
        let (Ok(before), Ok(mut after)) = (parse(&body), parse(&edited)) else {
            continue;
        };
        assert_eq!(after.remove("model"), Some("re\"named".into()));
        let rest = before.iter().filter(|(name, _)| *name != "model");
        assert!(rest.eq(after.iter()), "the rest is as it was");
    }
}

/// However a form is cut, it has the same model in the same place, or the same fault.
pub fn multipart(data: &[u8]) {
    let (size, body) = cut(data);
    let read = |size: usize| -> Result<Option<Model>, Error> {
        let mut reader = Multipart::new("multipart/form-data; boundary=xYz")?;
        for piece in body.chunks(size) {
            reader.feed(piece)?;
        }
        reader.finish()?;
        Ok(reader.model().cloned())
    };
    let whole = read(body.len().max(1));
    let pieces = read(size);
    assert_eq!(whole.is_ok(), pieces.is_ok(), "{whole:?} {pieces:?}");
    let Ok(Some(model)) = &whole else { return };
    assert_eq!(whole, pieces);
    let (start, end) = (model.start as usize, model.end as usize);
    assert!(start <= end && end <= body.len());
}

/// However a stream is cut, no byte of it is lost, and the same chunks are set apart.
pub fn sieve(data: &[u8]) {
    let (size, body) = cut(data);
    let read = |size: usize| {
        let mut sieve = Sieve::new(Which::Any);
        let (mut all, mut apart) = (Vec::new(), 0);
        let mut take = |piece: Piece| match piece {
            Piece::Pass(bytes) => all.extend_from_slice(&bytes),
            Piece::Usage(bytes) => {
                all.extend_from_slice(&bytes);
                apart += 1;
            }
        };
        for piece in body.chunks(size) {
            let pieces = sieve.feed(Bytes::copy_from_slice(piece));
            pieces.into_iter().for_each(&mut take);
        }
        if let Some(last) = sieve.finish() {
            take(last);
        }
        (all, apart)
    };
    let (whole, apart) = read(body.len().max(1));
    assert_eq!(whole, body, "no byte is lost or moved");
    assert_eq!(read(size), (whole, apart));
}
