use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn read(bytes: &[u8]) -> Result<(), Error> {
    let mut reader = Reader::new(bytes)?;
    reader.skip()?;
    reader.end()
}

fn decoded(text: &str) -> Result<String, Error> {
    Ok(Reader::new(text.as_bytes())?
        .string()?
        .decode()?
        .into_owned())
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    assert_eq!(read(b""), Err(Error::Empty));
    assert_eq!(read(b" \r\n"), Err(Error::Empty));
    assert_eq!(read(b"{}x"), Err(Error::Trailing { at: 2 }));
    assert_eq!(read(b"{} {}"), Err(Error::Trailing { at: 3 }));
    assert_eq!(read(b"[\"\xff\"]"), Err(Error::NotUtf8 { at: 2 }));
    assert_eq!(
        read(b"\xef\xbb\xbf{}"),
        Err(Error::Expected {
            expected: "a value",
            at: 0
        })
    );
    assert_eq!(
        read(b"{\"a\":1,}"),
        Err(Error::Expected {
            expected: "a key",
            at: 7
        })
    );
    assert_eq!(
        read(b"[1,]"),
        Err(Error::Expected {
            expected: "a value",
            at: 3
        })
    );
    assert_eq!(read(b"\"a\nb\""), Err(Error::Control { at: 2 }));
    assert_eq!(read(b"\"\\x\""), Err(Error::Escape { at: 1 }));
    assert_eq!(read(b"\"\\u12g4\""), Err(Error::Escape { at: 1 }));
    for text in [
        "[1}", "{\"a\"}", "{1:2}", "01", "1.", "-", "1e", "+1", ".5", "nul", "NaN", "tru", "\"a",
        "[", "{\"a\":",
    ] {
        assert!(read(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn depth_is_bounded_without_recursion() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(read(nested(MAX_DEPTH).as_bytes()), Ok(()));
    assert_eq!(
        read(nested(MAX_DEPTH + 1).as_bytes()),
        Err(Error::TooDeep { at: 128 })
    );
    assert_eq!(
        read("[".repeat(100_000).as_bytes()),
        Err(Error::TooDeep { at: 128 })
    );
    assert_eq!(
        read(r#"{"a":"#.repeat(10_000).as_bytes()),
        Err(Error::TooDeep { at: 128 * 5 })
    );
}

#[test]
fn depth_counts_the_containers_that_were_entered() {
    let text = format!("{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128));
    let mut reader = Reader::new(text.as_bytes()).unwrap();
    let result = reader.object::<Error>(|reader, _| reader.skip());
    assert_eq!(result, Err(Error::TooDeep { at: 132 }));
}

#[test]
fn escapes_stand_for_their_characters() {
    assert_eq!(decoded(r#""\u006dodel""#).unwrap(), "model");
    assert_eq!(
        decoded(r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z""#).unwrap(),
        "a\"\\/\u{8}\u{c}\n\r\té😀z"
    );
    assert_eq!(decoded(r#""ab\ud83d""#), Err(Error::Surrogate { at: 3 }));
    assert_eq!(decoded(r#""\ude00""#), Err(Error::Surrogate { at: 1 }));
    assert_eq!(
        decoded(r#""\ud83d\u0041""#),
        Err(Error::Surrogate { at: 1 })
    );
}

#[test]
fn half_a_surrogate_pair_passes_where_nobody_acts_on_it() {
    assert_eq!(read(br#"["\ud83d"]"#), Ok(()));
}

#[test]
fn members_say_where_they_lie() {
    let text = br#" { "a" : [1, 2] ,"b":"x"}"#;
    let mut seen = Vec::new();
    let mut reader = Reader::new(text).unwrap();
    let span = reader
        .object::<Error>(|reader, member| {
            let value = reader.value()?;
            seen.push((
                member.key.raw().to_owned(),
                member.comma,
                value.of(text).to_vec(),
            ));
            Ok(())
        })
        .unwrap();
    assert_eq!(
        span,
        Span {
            start: 1,
            end: text.len()
        }
    );
    let wanted = [
        ("a".to_owned(), None, b"[1, 2]".to_vec()),
        ("b".to_owned(), Some(16), b"\"x\"".to_vec()),
    ];
    assert_eq!(seen, wanted);
}

#[test]
fn splices_are_done_in_one_pass() {
    let splices = vec![
        Splice {
            span: Span { start: 3, end: 5 },
            with: "XYZ".to_owned(),
        },
        Splice {
            span: Span::at(0),
            with: "<".to_owned(),
        },
        Splice {
            span: Span { start: 4, end: 6 },
            with: "overlaps".to_owned(),
        },
        Splice {
            span: Span { start: 7, end: 90 },
            with: "outside".to_owned(),
        },
    ];
    assert_eq!(splice(b"abcdefgh", splices), b"<abcXYZfgh");
}

/// Pieces that make both valid and nearly valid JSON likely.
fn near_json() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"\\u00e9\"",
        "\"\\ud83d\\ude00\"",
        "\"",
        "\\",
        "0",
        "-1",
        "1.5e+3",
        "01",
        "1e",
        "true",
        "false",
        "null",
        " ",
        "\n",
        "\t",
        "é",
        "\u{1}",
        "\"\"",
        "\"k\":",
        "{\"k\":",
        "[1,",
        "[]",
        "{}",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// serde_json's own verdict, by the plain grammar: a raw value may hold numbers and escapes that no `Value` can.
fn accepted_by_serde(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}

proptest! {
    #[test]
    fn accepts_what_serde_json_writes(value in value(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        prop_assert_eq!(read(&text), Ok(()));
    }

    #[test]
    fn accepts_exactly_what_serde_json_accepts(text in near_json()) {
        prop_assert_eq!(read(text.as_bytes()).is_ok(), accepted_by_serde(text.as_bytes()), "{}", text);
    }

    #[test]
    fn accepts_exactly_what_serde_json_accepts_after_one_byte_changed(value in value(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = serde_json::to_vec(&value).unwrap();
        let place = place.index(text.len());
        text[place] = byte;
        prop_assert_eq!(read(&text).is_ok(), accepted_by_serde(&text));
    }

    #[test]
    fn strings_decode_as_serde_json_decodes_them(text in any::<String>()) {
        prop_assert_eq!(decoded(&quoted(&text)).unwrap(), text);
    }

    /// Threats: H12.
    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }
}
