use proptest::prelude::*;

use super::*;

const TYPE: &str = "multipart/form-data; boundary=xYz";

/// A part of a form; `disposition` follows `form-data; `.
fn part(disposition: &str, content: &str) -> String {
    format!("--xYz\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
}

fn form(parts: &[String]) -> String {
    parts.concat() + "--xYz--\r\n"
}

fn read_in(body: &[u8], size: usize) -> Result<Option<Model>, Error> {
    let mut multipart = Multipart::new(TYPE)?;
    for chunk in body.chunks(size) {
        multipart.feed(chunk)?;
    }
    multipart.finish()?;
    Ok(multipart.model().cloned())
}

fn read(body: &str) -> Result<Option<Model>, Error> {
    let whole = read_in(body.as_bytes(), usize::MAX);
    assert_eq!(
        read_in(body.as_bytes(), 1).is_ok(),
        whole.is_ok(),
        "cut into bytes"
    );
    whole
}

fn file(content: &str) -> String {
    part(
        "name=\"file\"; filename=\"../../etc/passwd\"\r\nContent-Type: audio/wav",
        content,
    )
}

#[test]
fn the_model_is_found_with_its_place_however_the_body_is_cut() {
    let body = form(&[
        file("RIFF\r\n--xY\r\n-- not --xYz\u{e9}"),
        part("name=\"model\"", "whisper-1"),
        file(""),
    ]);
    for size in 1..body.len() {
        let model = read_in(body.as_bytes(), size).unwrap().unwrap();
        assert_eq!(model.name, "whisper-1");
        let place = usize::try_from(model.start).unwrap()..usize::try_from(model.end).unwrap();
        assert_eq!(&body[place], "whisper-1", "chunks of {size}");
    }
    let mut multipart = Multipart::new(TYPE).unwrap();
    assert!(
        multipart.feed(body.as_bytes()).unwrap().is_some(),
        "given by the call that completes it"
    );
    assert_eq!(multipart.feed(b"\r\n").unwrap(), None, "and only by that");
}

#[test]
fn a_form_without_a_model_is_fine() {
    assert_eq!(read(&form(&[file("x")])), Ok(None));
    assert_eq!(read("--xYz--"), Ok(None));
    assert_eq!(
        read(&form(&[
            part("name=\"a\\\"b\"", "x"),
            part("name=models", "x")
        ])),
        Ok(None)
    );
}

#[test]
fn a_second_model_is_refused_wherever_it_stands_and_however_it_is_written() {
    let first = part("name=\"model\"", "cheap");
    let with = |disposition: &str| {
        read(&form(&[
            first.clone(),
            file(&"x".repeat(5_000)),
            part(disposition, "dear"),
        ]))
    };
    assert_eq!(with("name=\"model\""), Err(Error::SecondModel));
    assert_eq!(with("name=model"), Err(Error::SecondModel));
    assert_eq!(with("NAME=\"model\""), Err(Error::SecondModel));
    assert_eq!(with("name=\"Model\""), Err(Error::OtherCase));
    assert_eq!(with("name=\" model\""), Err(Error::OtherCase));
    for disposition in [
        "name*=utf-8''model",
        "name=\"a\"; name=\"model\"",
        "name=\"a\"; name*0=\"model\"",
        "Name*=utf-8''x",
    ] {
        assert!(
            matches!(with(disposition), Err(Error::Malformed { .. })),
            "{disposition}"
        );
    }
}

#[test]
fn what_parsers_read_differently_is_refused() {
    let model = "Content-Disposition: form-data; name=\"model\"\r\n\r\ndear";
    for body in [
        form(&[file("x\n--xYz\n")]),
        form(&[file(&format!("x\n--xYz\r\n{model}"))]),
        form(&[file(&format!("x\r\n--xYzz\r\n{model}"))]),
        form(&[file(&format!("x\r\n--xYz\n{model}"))]),
        format!("preamble\r\n{}", form(&[file("x")])),
        format!(
            "{}{}",
            form(&[file("x")]),
            form(&[part("name=\"model\"", "dear")])
        ),
        form(&[part("name=\"model\"; filename=\"m\"", "dear")]),
        form(&[part(
            "name=\"model\"\r\nContent-Transfer-Encoding: base64",
            "ZGVhcg==",
        )]),
        form(&[part("name=\"a\"\r\n ; name=\"model\"", "dear")]),
        form(&[part("name=\"a\"\nX: y", "dear")]),
        form(&[part(
            "name=\"a\"\r\nContent-Disposition: form-data; name=\"model\"",
            "dear",
        )]),
        form(&[part("filename=\"x\"", "dear")]),
        form(&[part("name=\"x", "dear")]),
        form(&["--xYz\r\n\r\nno head\r\n".to_owned()]),
    ] {
        assert!(
            matches!(read(&body), Err(Error::Malformed { .. })),
            "{body:?} gave {:?}",
            read(&body)
        );
    }
}

#[test]
fn the_model_s_name_is_bounded() {
    let with = |name: &str| read(&form(&[part("name=\"model\"", name)]));
    assert_eq!(with(&"m".repeat(256)).unwrap().unwrap().name.len(), 256);
    assert_eq!(with(&"m".repeat(257)), Err(Error::Model(BadModel::TooLong)));
    assert_eq!(
        with(&"m".repeat(100_000)),
        Err(Error::Model(BadModel::TooLong))
    );
    assert_eq!(with(""), Err(Error::Model(BadModel::Empty)));
    assert_eq!(with("a\r\nb"), Err(Error::Model(BadModel::Control)));
}

#[test]
fn parts_and_heads_are_bounded() {
    let parts = vec![part("name=\"a\"", "x"); MAX_PARTS];
    assert_eq!(read(&form(&parts)), Ok(None));
    let parts = vec![part("name=\"a\"", "x"); MAX_PARTS + 1];
    assert_eq!(read(&form(&parts)), Err(Error::TooManyParts));
    let head = part(&format!("name=\"{}\"", "a".repeat(MAX_HEAD_BYTES)), "x");
    assert_eq!(read(&form(&[head])), Err(Error::HeadTooLarge));
}

#[test]
fn a_body_cut_short_is_refused() {
    let body = form(&[file("x"), part("name=\"model\"", "m")]);
    for end in 0..body.len() - "--\r\n".len() {
        assert_eq!(
            read_in(&body.as_bytes()[..end], 16),
            Err(Error::Unfinished),
            "cut at {end}"
        );
    }
}

#[test]
fn content_is_not_kept() {
    let mut multipart = Multipart::new(TYPE).unwrap();
    multipart
        .feed(b"--xYz\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n")
        .unwrap();
    for _ in 0..1_000 {
        multipart.feed(&[b'-'; 4 << 10]).unwrap();
        assert!(multipart.pending.len() < 16 && multipart.pending.capacity() < 16 << 10);
    }
}

#[test]
fn boundaries_are_read_from_the_content_type() {
    let boundary = |value: &str| header::boundary(value);
    assert_eq!(
        boundary("multipart/form-data; boundary=abc").as_deref(),
        Some("abc")
    );
    assert_eq!(
        boundary("Multipart/Form-Data;charset=utf-8 ; BOUNDARY=\"a b:c\"").as_deref(),
        Some("a b:c")
    );
    assert_eq!(
        boundary(&format!("multipart/form-data; boundary={}", "b".repeat(70))).map(|b| b.len()),
        Some(70)
    );
    for bad in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"a \"",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=\"a\r\n\"",
        "multipart/form-data; boundary=\"a",
        "multipart/mixed; boundary=a",
        "application/json",
        "",
    ] {
        assert_eq!(boundary(bad), None, "{bad:?}");
    }
    assert_eq!(
        boundary(&format!("multipart/form-data; boundary={}", "b".repeat(71))),
        None
    );
}

proptest! {
    /// Threats: H12.
    #[test]
    fn nothing_panics(body in "(--xYz|--|\r\n|\r|\n|Content-Disposition: form-data; name=\"model\"|:|é|a| ){0,40}", size in 1..9_usize) {
        let _ = read_in(body.as_bytes(), size);
    }
}
