use crate::json::Error as Json;
use crate::neutral::BadModel;

use super::*;

#[test]
fn the_fields_acted_on_are_read() {
    let ask = read(
            r#" {"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true,"x":1},"max_tokens":10,
            "max_completion_tokens":20,"n":3,"user":"zhang","metadata":{"model":7,"model":8},"session_id":5,"stop":null}"#,
        )
        .unwrap();
    assert_eq!(ask.model.as_deref(), Some("gpt-4o"));
    assert!(ask.stream && ask.include_usage);
    assert_eq!(
        (ask.max_tokens, ask.max_completion_tokens, ask.n),
        (Some(10), Some(20), Some(3))
    );
    assert_eq!(ask.output_bound(), Some(60));
    assert_eq!(ask.user.as_deref(), Some("zhang"));
}

#[test]
fn what_is_absent_or_null_has_no_value() {
    let ask =
        read(r#"{"stream":null,"stream_options":null,"max_tokens":null,"n":null,"user":null}"#)
            .unwrap();
    assert!(ask.model.is_none() && !ask.stream && !ask.include_usage && ask.user.is_none());
    assert_eq!(ask.output_bound(), None);
    assert!(
        !read(r#"{"stream_options":{"include_usage":null}}"#)
            .unwrap()
            .include_usage
    );
}

#[test]
fn a_field_given_twice_or_in_another_case_is_refused() {
    let doubled = |field| Some(Error::Doubled { field });
    assert_eq!(
        read(r#"{"model":"a","x":1,"model":"a"}"#).err(),
        doubled("model")
    );
    assert_eq!(
        read(r#"{"model":"a","\u006dodel":"b"}"#).err(),
        doubled("model")
    );
    assert_eq!(
        read(r#"{"stream_options":{"include_usage":true,"include_usage":false}}"#).err(),
        doubled("include_usage")
    );
    assert_eq!(
        read(r#"{"messages":[],"messages":[]}"#).err(),
        doubled("messages")
    );
    for (body, field) in [
        (r#"{"Model":"a"}"#, "model"),
        (r#"{"max_tokens":1,"MAX_TOKENS":9}"#, "max_tokens"),
        (r#"{"\u017ftream":true}"#, "stream"),
        ("{\"max_to\u{212a}ens\":true}", "max_tokens"),
        (
            r#"{"stream_options":{"Include_Usage":true}}"#,
            "include_usage",
        ),
    ] {
        let error = read(body).unwrap_err();
        assert!(matches!(error, Error::OtherCase { .. }), "{body}");
        assert_eq!(
            (error.code(), error.param()),
            ("invalid_json", Some(field)),
            "{body}"
        );
    }
}

#[test]
fn a_value_of_another_type_is_refused_with_its_field() {
    let numbers = [
        "-1",
        "0",
        "-0",
        "1.5",
        "1.0",
        "1e3",
        "\"5\"",
        "4294967296",
        "9223372036854775808",
        "1e308",
        "1e-30",
        "true",
        "[]",
    ];
    let long = "9".repeat(400);
    for field in [
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "n",
        "best_of",
    ] {
        for number in numbers.iter().copied().chain([long.as_str()]) {
            let error = read(&format!(r#"{{"{field}":{number}}}"#)).unwrap_err();
            assert_eq!(
                (error.code(), error.param()),
                ("invalid_value", Some(field)),
                "{number}"
            );
        }
    }
    for (body, param) in [
        (r#"{"model":5}"#, "model"),
        (r#"{"model":null}"#, "model"),
        (r#"{"stream":"yes"}"#, "stream"),
        (r#"{"stream":1}"#, "stream"),
        (r#"{"stream_options":[]}"#, "stream_options"),
        (
            r#"{"stream_options":{"include_usage":1}}"#,
            "stream_options.include_usage",
        ),
        (r#"{"user":{}}"#, "user"),
    ] {
        assert_eq!(read(body).unwrap_err().param(), Some(param), "{body}");
    }
    assert_eq!(
        read(r#"{"n":4294967295,"max_tokens":4294967295}"#)
            .unwrap()
            .output_bound(),
        Some(0xffff_fffe_0000_0001)
    );
}

#[test]
fn a_model_name_that_no_sink_should_carry_is_refused() {
    assert_eq!(
        read(r#"{"model":""}"#).err(),
        Some(Error::Model(BadModel::Empty))
    );
    assert_eq!(
        read(r#"{"model":"a\nb"}"#).err(),
        Some(Error::Model(BadModel::Control))
    );
    assert_eq!(
        read(&format!(r#"{{"model":"{}"}}"#, "a".repeat(257))).err(),
        Some(Error::Model(BadModel::TooLong))
    );
    assert_eq!(
        read(r#"{"model":"\ud800"}"#).err(),
        Some(Error::Json(Json::Surrogate { at: 10 }))
    );
}

#[test]
fn what_is_no_object_is_refused_with_a_clear_error() {
    assert_eq!(read("").err(), Some(Error::Json(Json::Empty)));
    assert_eq!(read("[]").err(), Some(Error::NotAnObject));
    assert_eq!(
        read(r#"{"model":"a"}{"#).err(),
        Some(Error::Json(Json::Trailing { at: 13 }))
    );
    assert_eq!(
        read(r#"{"a\ud800":1}"#).err(),
        Some(Error::Json(Json::Surrogate { at: 3 }))
    );
    let deep = format!(r#"{{"messages":{}"#, r#"[{"content":"#.repeat(10_000));
    assert!(matches!(
        read(&deep),
        Err(Error::Json(Json::TooDeep { .. }))
    ));
    let message = read("{\"model\":\"a\u{1}\"}").unwrap_err().to_string();
    assert_eq!(
        message,
        "The body is not valid JSON: a control character that is not escaped, at byte 11."
    );
}

#[test]
fn sessions_have_labels_of_their_own() {
    let body = r#"{"session_id":"s-1","user_id":"u-1"}"#;
    let ask = read_at(body, Endpoint::SessionChat).unwrap();
    assert_eq!(
        (ask.session_id.as_deref(), ask.user_id.as_deref()),
        (Some("s-1"), Some("u-1"))
    );
    assert_eq!(read(body).unwrap().session_id, None);
    for bad in [
        r#"{"session_id":7}"#,
        r#"{"session_id":""}"#,
        r#"{"session_id":"a\u0000"}"#,
    ] {
        assert_eq!(
            read_at(bad, Endpoint::SessionChat).unwrap_err().param(),
            Some("session_id"),
            "{bad}"
        );
    }
    let long = format!(r#"{{"user":"{}"}}"#, "u".repeat(257));
    assert_eq!(read(&long).unwrap().user, None, "passed on, not taken");
}

#[test]
fn media_are_counted_apart_and_text_cannot_pose_as_media() {
    let part = |part: &str| format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#);
    let image = part(
        r#"{"type":"image_url","image_url":{"detail":"low","url":"data:image/png;base64,AAAA"}}"#,
    );
    let input = read(&image).unwrap().input;
    assert_eq!((input.images, input.media_bytes), (1, 26));
    assert_eq!(input.text_bytes, image.len() as u64 - 26);
    let input = read(&part(
        r#"{"image_url":{"url":"https://x/y.png"}},{"image_url":"data:,x"}"#,
    ))
    .unwrap()
    .input;
    assert_eq!((input.images, input.media_bytes), (2, 7));
    let input = read(&part(
        r#"{"input_audio":{"data":"AAAA"}},{"file":{"file_data":"data:x","file_id":"f"}}"#,
    ))
    .unwrap()
    .input;
    assert_eq!((input.audios, input.files, input.media_bytes), (1, 1, 10));
    let posing = part(
        r#"{"type":"text","text":"data:image/png;base64,write a novel"},{"Image_URL":{"url":5}},7"#,
    );
    let input = read(&posing).unwrap().input;
    assert_eq!(
        (input.images, input.media_bytes, input.text_bytes),
        (1, 0, posing.len() as u64)
    );
}

#[test]
fn every_prompt_of_a_list_is_answered() {
    let bound = |prompt: &str| {
        read(&format!(r#"{{"max_tokens":10,"n":2,"prompt":{prompt}}}"#))
            .unwrap()
            .output_bound()
    };
    assert_eq!(bound(r#""a""#), Some(20));
    assert_eq!(bound("[1,2,3]"), Some(20));
    assert_eq!(bound(r#"["a","b","c"]"#), Some(60));
    assert_eq!(bound("[[1,2],[3]]"), Some(40));
}
