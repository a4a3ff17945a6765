use proptest::prelude::*;

use super::*;

/// Each event's name and data, as text.
fn events(chunks: &[&[u8]], bound: usize) -> Vec<(String, String)> {
    let mut splitter = Splitter::new(bound);
    let mut seen = Vec::new();
    let mut note = |event: Event<'_>| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        seen.push((
            text(event.name.unwrap_or_default()),
            text(&event.data.unwrap_or_default()),
        ));
    };
    for chunk in chunks {
        splitter.feed(chunk, &mut note);
    }
    splitter.finish(&mut note);
    seen
}

fn data(text: &str) -> Vec<String> {
    events(&[text.as_bytes()], DEFAULT_BOUND)
        .into_iter()
        .map(|(_, data)| data)
        .collect()
}

#[test]
fn lines_end_in_lf_crlf_or_cr() {
    for end in ["\n", "\r\n", "\r"] {
        let text = "event: e|data: a|data:b||: comment||data||data: last||".replace('|', end);
        let wanted = [("e", "a\nb"), ("", ""), ("", "last")]
            .map(|(name, data)| (name.to_owned(), data.to_owned()));
        assert_eq!(events(&[text.as_bytes()], DEFAULT_BOUND), wanted, "{end:?}");
        for cut in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(cut);
            assert_eq!(
                events(&[head, tail], DEFAULT_BOUND),
                wanted,
                "{end:?} cut at {cut}"
            );
        }
    }
}

#[test]
fn fields_are_read_as_the_standard_says() {
    let event =
        Event::parse(b"\xef\xbb\xbfid: 7\nretry: 250\ndata:  two spaces\nunknown: x\ndata\n:c\n\n");
    assert_eq!(event.id, Some(&b"7"[..]));
    assert_eq!(event.retry_ms, Some(250));
    assert_eq!(event.data.unwrap().as_ref(), b" two spaces\n");
    assert_eq!(Event::parse(b"id: a\0b\nretry: 1x\nretry:\n").id, None);
    assert_eq!(
        Event::parse(b"retry: 99999999999999999999\n").retry_ms,
        None
    );
}

#[test]
fn a_last_event_without_its_blank_line_is_given_at_the_end() {
    assert_eq!(data("data: a\n\ndata: b"), ["a", "b"]);
    assert_eq!(data("data: a\n\n\n\n: only a comment"), ["a"]);
}

#[test]
fn an_event_over_the_bound_is_counted_and_not_kept() {
    let text = format!("data: {}\n\ndata: b\n\n", "x".repeat(100));
    for size in [1, 7, 50, 200] {
        let mut splitter = Splitter::new(64);
        let mut seen = Vec::new();
        for chunk in text.as_bytes().chunks(size) {
            splitter.feed(chunk, |event| seen.push(event.data.unwrap().into_owned()));
            assert!(splitter.held.capacity() <= 128);
        }
        splitter.finish(|_| {});
        assert_eq!(seen, [b"b"]);
        assert_eq!(
            (splitter.dropped(), splitter.dropped_bytes()),
            (1, 108),
            "chunks of {size}"
        );
    }
}

#[test]
fn a_line_without_end_stays_within_the_bound() {
    let mut splitter = Splitter::new(1 << 10);
    for _ in 0..1_000 {
        splitter.feed(&[b'x'; 1 << 10], |_| panic!("no event"));
        assert!(splitter.held.capacity() <= 1 << 11);
    }
    splitter.finish(|_| panic!("no event"));
    assert_eq!(splitter.dropped(), 1);
}

/// Threats: H9.
#[test]
fn no_value_becomes_two_lines() {
    let mut out = Vec::new();
    write(&mut out, Some("error"), Some("1"), b"a\nb\r\nc\rd\n").unwrap();
    comment(&mut out, "x\ndata: forged");
    assert_eq!(out, b"event: error\nid: 1\ndata: a\ndata: b\ndata: c\ndata: d\ndata: \n\n: x\n: data: forged\n\n");
    assert_eq!(
        write(&mut out, Some("a\nb"), None, b""),
        Err(LineBreak { field: "event" })
    );
    assert_eq!(
        write(&mut out, None, Some("a\0"), b""),
        Err(LineBreak { field: "id" })
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(texts in prop::collection::vec("[ab:\u{e9} ]{0,6}(\n[ab: ]{0,4}){0,2}", 0..4), sizes in prop::collection::vec(1..9_usize, 1..20)) {
        let mut out = Vec::new();
        for text in &texts {
            write(&mut out, None, None, text.as_bytes()).unwrap();
        }
        let mut chunks = Vec::new();
        let mut rest = out.as_slice();
        for size in sizes.iter().cycle().take(out.len()) {
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        let seen: Vec<String> = events(&chunks, DEFAULT_BOUND).into_iter().map(|(_, data)| data).collect();
        prop_assert_eq!(seen, texts);
    }

    #[test]
    fn cuts_change_nothing(text in "(data|event|:| |a|\r|\n|\r\n){0,30}", cut in any::<prop::sample::Index>()) {
        let whole = events(&[text.as_bytes()], DEFAULT_BOUND);
        let (head, tail) = text.as_bytes().split_at(cut.index(text.len() + 1));
        prop_assert_eq!(events(&[head, tail], DEFAULT_BOUND), whole);
    }
}
