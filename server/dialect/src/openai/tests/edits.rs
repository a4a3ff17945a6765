use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn edited(body: &str, edits: &Edits<'_>) -> String {
    let bytes = read_at(body, Endpoint::SessionChat).unwrap().edited(edits);
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_model_is_replaced_in_place() {
    let edits = Edits {
        model: Some("a\"b"),
        ..Edits::default()
    };
    assert_eq!(
        edited(r#"{ "x":[1 ,2], "model" :"old" ,"y":"model"}"#, &edits),
        r#"{ "x":[1 ,2], "model" :"a\"b" ,"y":"model"}"#
    );
    assert_eq!(
        edited(r#"{"\u006dodel":"old"}"#, &edits),
        r#"{"\u006dodel":"a\"b"}"#
    );
    assert_eq!(edited(r#"{"x":1}"#, &edits), r#"{"model":"a\"b","x":1}"#);
    assert_eq!(edited("{ }", &edits), r#"{"model":"a\"b" }"#);
}

#[test]
fn a_body_that_needs_no_edit_is_not_copied() {
    let body = Bytes::from_static(br#"{"model":"\u0061","stream_options":{"include_usage":true}}"#);
    let ask = Ask::read(&body, Endpoint::Chat).unwrap();
    let same = ask.edited(&Edits {
        model: Some("a"),
        include_usage: true,
        drop_labels: true,
        bound: None,
    });
    assert_eq!(same.as_ptr(), body.as_ptr());
}

#[test]
fn usage_is_asked_for_wherever_the_options_stand() {
    let edits = Edits {
        include_usage: true,
        ..Edits::default()
    };
    for (body, wanted) in [
        (
            r#"{"a":1}"#,
            r#"{"stream_options":{"include_usage":true},"a":1}"#,
        ),
        ("{}", r#"{"stream_options":{"include_usage":true}}"#),
        (
            r#"{"stream_options":null}"#,
            r#"{"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"stream_options": { }}"#,
            r#"{"stream_options": {"include_usage":true }}"#,
        ),
        (
            r#"{"stream_options":{"x":{}}}"#,
            r#"{"stream_options":{"include_usage":true,"x":{}}}"#,
        ),
        (
            r#"{"stream_options":{"x":1,"include_usage": false}}"#,
            r#"{"stream_options":{"x":1,"include_usage": true}}"#,
        ),
        (
            r#"{"stream_options":{"include_usage":null}}"#,
            r#"{"stream_options":{"include_usage":true}}"#,
        ),
    ] {
        assert_eq!(edited(body, &edits), wanted, "{body}");
    }
}

#[test]
fn labels_go_with_one_of_their_commas() {
    let edits = Edits {
        drop_labels: true,
        ..Edits::default()
    };
    for (body, wanted) in [
        (r#"{"session_id":"s","a":1}"#, r#"{"a":1}"#),
        (r#"{"a":1,"session_id":"s"}"#, r#"{"a":1}"#),
        (
            r#"{"a":1 , "session_id":null , "b":2}"#,
            r#"{"a":1  , "b":2}"#,
        ),
        (r#"{"session_id":"s","user_id":"u"}"#, "{}"),
        (
            r#"{"session_id":"s" , "user_id":"u" , "a":1}"#,
            r#"{ "a":1}"#,
        ),
        (r#"{"a":1,"user_id":"u","session_id":"s"}"#, r#"{"a":1}"#),
        (r#"{"user_id":"u","a":1,"session_id":"s"}"#, r#"{"a":1}"#),
    ] {
        assert_eq!(edited(body, &edits), wanted, "{body}");
    }
}

#[test]
fn a_bound_is_set_and_all_edits_go_together() {
    let bound = Some(Bound {
        field: BoundField::MaxCompletionTokens,
        tokens: 1_024,
    });
    let edits = Edits {
        model: Some("m"),
        include_usage: true,
        drop_labels: true,
        bound,
    };
    let wanted =
        r#"{"model":"m","stream_options":{"include_usage":true},"max_completion_tokens":1024}"#;
    assert_eq!(edited(r#"{"session_id":"s"}"#, &edits), wanted);
    let body = r#"{"max_completion_tokens":null,"user_id":"u","model":"x","stream_options":{}}"#;
    let wanted =
        r#"{"max_completion_tokens":1024,"model":"m","stream_options":{"include_usage":true}}"#;
    assert_eq!(edited(body, &edits), wanted);
}

fn member() -> impl Strategy<Value = (&'static str, Value)> {
    prop_oneof![
        "[a-z\"é]{1,8}".prop_map(|model| ("model", json!(model))),
        any::<Option<bool>>().prop_map(|stream| ("stream", json!(stream))),
        any::<Option<bool>>().prop_map(|usage| (
            "stream_options",
            json!({"include_usage": usage, "other": [1, {}]})
        )),
        prop::sample::select(vec![json!(null), json!({})])
            .prop_map(|options| ("stream_options", options)),
        (1..u32::MAX).prop_map(|bound| ("max_tokens", json!(bound))),
        "[a-z]{1,4}".prop_map(|label| ("session_id", json!(label))),
        "[a-z]{1,4}".prop_map(|label| ("user_id", json!(label))),
        any::<String>().prop_map(|text| ("messages", json!([{"role": "user", "content": text}]))),
        any::<f64>().prop_map(|number| ("temperature", json!(number))),
    ]
}

/// A body with each member at most once, in any order and spacing.
fn body() -> impl Strategy<Value = String> {
    (prop::collection::vec(member(), 0..9), "[ \n\t]{0,2}").prop_map(|(mut members, space)| {
        let mut seen = Vec::new();
        members.retain(|(key, _)| {
            !seen.contains(key) && {
                seen.push(key);
                true
            }
        });
        let members: Vec<_> = members
            .iter()
            .map(|(key, value)| format!("{space}\"{key}\"{space}:{value}{space}"))
            .collect();
        format!("{{{}}}", members.join(","))
    })
}

fn wanted(body: &str, edits: &Edits<'_>) -> Value {
    let mut value: Value = serde_json::from_str(body).unwrap();
    if let Some(model) = edits.model {
        value["model"] = json!(model);
    }
    if edits.include_usage {
        if value["stream_options"].is_null() {
            value["stream_options"] = json!({});
        }
        value["stream_options"]["include_usage"] = json!(true);
    }
    if let Some(bound) = edits.bound {
        value[bound.field.name()] = json!(bound.tokens);
    }
    if edits.drop_labels {
        let members = value.as_object_mut().unwrap();
        members.remove("session_id");
        members.remove("user_id");
    }
    value
}

proptest! {
    #[test]
    fn an_edit_changes_what_it_names_and_nothing_else(
        body in body(),
        model in prop::option::of("[a-z\"\n]{1,6}"),
        include_usage in any::<bool>(),
        drop_labels in any::<bool>(),
        tokens in prop::option::of(1..99_u32),
    ) {
        let bound = tokens.map(|tokens| Bound { field: BoundField::MaxTokens, tokens });
        let edits = Edits { model: model.as_deref(), include_usage, drop_labels, bound };
        let after = edited(&body, &edits);
        let value: Value = serde_json::from_str(&after).unwrap();
        prop_assert_eq!(value, wanted(&body, &edits));
        // Members that no edit names are there as they were written.
        for key in ["\"messages\"", "\"temperature\"", "\"stream\""] {
            let written = |text: &str| {
                let (_, rest) = text.split_once(key)?;
                let mut reader = crate::json::Reader::new(rest.trim_start().strip_prefix(':')?.as_bytes()).ok()?;
                let span = reader.value().ok()?;
                Some(rest[..rest.find(':')? + 1 + span.end].to_owned())
            };
            prop_assert_eq!(written(&body), written(&after));
        }
    }

    /// Threats: H12.
    #[test]
    fn reading_never_panics(body in "(\\{|\\}|\"|model|stream|:|,|1|\\[|\\]|\\\\|é|image_url|messages|content|prompt){0,30}") {
        let _ = read(&body);
    }
}
