use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const CONTENT: &str = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\\"usage\\\": {}\"}}],\"usage\":null}\n\n";
const FILTERS: &str = "data: {\"choices\":[],\"prompt_filter_results\":[{\"usage\":{}}]}\n\n";
const BESIDE: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{}}],\"usage\":{\"prompt_tokens\":1}}\n\n";
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// What passes, and what is set apart, of these chunks.
fn sift(which: Which, chunks: &[&[u8]]) -> (String, Vec<String>) {
    let mut sieve = Sieve::new(which);
    let mut pieces = Vec::new();
    for chunk in chunks {
        pieces.extend(sieve.feed(Bytes::copy_from_slice(chunk)));
    }
    pieces.extend(sieve.finish());
    let (mut passed, mut apart) = (Vec::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Pass(bytes) => passed.extend_from_slice(&bytes),
            Piece::Usage(bytes) => apart.push(String::from_utf8(bytes.to_vec()).unwrap()),
        }
    }
    (String::from_utf8(passed).unwrap(), apart)
}

fn passing(pieces: &[Piece]) -> usize {
    let sizes = pieces.iter().map(|piece| match piece {
        Piece::Pass(bytes) => bytes.len(),
        Piece::Usage(_) => 0,
    });
    sizes.sum()
}

#[test]
fn only_the_usage_chunk_is_set_apart_wherever_the_stream_is_cut() {
    let text = [": comment\n\n", FILTERS, CONTENT, BESIDE, USAGE, DONE].concat();
    let rest = text.replace(USAGE, "");
    for text in [
        text.clone(),
        text.replace('\n', "\r\n"),
        text.replace('\n', "\r"),
    ] {
        let (whole, apart) = sift(Which::Alone, &[text.as_bytes()]);
        assert_eq!(whole.replace("\r\n", "\n").replace('\r', "\n"), rest);
        assert_eq!(apart.len(), 1);
        for cut in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(cut);
            let (passed, apart) = sift(Which::Alone, &[head, tail]);
            assert_eq!(passed, whole, "cut at {cut}");
            assert_eq!(apart.len(), 1, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(sift(Which::Alone, &bytes).0, whole);
    }
}

#[test]
fn usage_beside_choices_is_set_apart_where_all_of_it_is_sought() {
    let text = [CONTENT, BESIDE, USAGE, DONE].concat();
    let (passed, apart) = sift(Which::Any, &[text.as_bytes()]);
    assert_eq!(passed, [CONTENT, DONE].concat());
    assert_eq!(apart, [BESIDE, USAGE]);
}

#[test]
fn an_event_flows_once_it_shows_choices() {
    let mut sieve = Sieve::new(Which::Alone);
    let (head, tail) = CONTENT.split_at(CONTENT.find("\"delta\"").unwrap());
    assert_eq!(
        passing(&sieve.feed(Bytes::from_static(head.as_bytes()))),
        head.len()
    );
    assert_eq!(
        passing(&sieve.feed(Bytes::from_static(tail.as_bytes()))),
        tail.len()
    );
}

#[test]
fn an_event_too_large_to_be_usage_flows() {
    let mut sieve = Sieve::new(Which::Any);
    let mut sent = 0;
    let mut fed = 0;
    for _ in 0..100 {
        fed += 1_000;
        sent += passing(&sieve.feed(Bytes::from(vec![b'x'; 1_000])));
        assert!(fed - sent <= 64 << 10, "{fed} {sent}");
    }
    assert_eq!(sent, fed);
}

#[test]
fn an_error_beside_usage_passes() {
    let text =
        "data: {\"choices\":[],\"error\":{\"message\":\"no\"},\"usage\":{\"prompt_tokens\":1}}\n\n";
    assert_eq!(
        sift(Which::Alone, &[text.as_bytes()]),
        (text.to_owned(), Vec::new())
    );
}

#[test]
fn a_usage_chunk_that_was_never_ended_is_still_set_apart() {
    let text = USAGE.trim_end();
    assert_eq!(
        sift(Which::Alone, &[text.as_bytes()]),
        (String::new(), vec![text.to_owned()])
    );
}

#[test]
fn passing_bytes_are_not_copied() {
    let chunk = Bytes::from([CONTENT, DONE].concat());
    let pieces = Sieve::new(Which::Alone).feed(chunk.clone());
    let [Piece::Pass(bytes)] = pieces.as_slice() else {
        panic!("{pieces:?}")
    };
    assert_eq!(bytes.as_ptr(), chunk.as_ptr());
}

#[test]
fn a_cost_becomes_the_last_member_of_the_usage() {
    let cost = |event: &str, cost: &str| {
        let bytes = with_cost(&Bytes::copy_from_slice(event.as_bytes()), cost);
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    let wanted = USAGE.replace("2}", "2,\"cost\":0.000125}");
    assert_eq!(cost(USAGE, "0.000125"), wanted);
    assert_eq!(
        cost(&wanted, "7"),
        USAGE.replace("2}", "2,\"cost\":7}"),
        "a vendor's own is replaced"
    );
    assert_eq!(
        cost("data:{\"usage\":{ }}\r\n\r\n", "1"),
        "data:{\"usage\":{ \"cost\":1}}\r\n\r\n"
    );
    for (event, number) in [
        (USAGE, "1,\"x\":2"),
        (USAGE, ""),
        (USAGE, "1 "),
        (DONE, "1"),
        ("data: {\ndata: \"usage\":{}}\n\n", "1"),
    ] {
        assert_eq!(cost(event, number), event);
    }
}

proptest! {
    #[test]
    fn no_byte_is_lost_or_moved(events in prop::collection::vec(0..7_usize, 0..8), sizes in prop::collection::vec(1..60_usize, 1..9)) {
        let kinds = [CONTENT, FILTERS, BESIDE, USAGE, DONE, "\n", ": c\r\r\n"];
        let text: String = events.iter().map(|&kind| kinds[kind]).collect();
        let mut chunks = Vec::new();
        let mut rest = text.as_bytes();
        for size in sizes.iter().cycle().take(text.len()) {
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        let (passed, apart) = sift(Which::Alone, &chunks);
        prop_assert_eq!(apart.len(), events.iter().filter(|&&kind| kind == 3).count());
        prop_assert_eq!(passed.replace("\r\r\n", "\n"), text.replace(USAGE, "").replace("\r\r\n", "\n"));
    }
}
