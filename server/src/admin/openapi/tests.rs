//! The document says what the routes are, and holds together.

use std::collections::BTreeSet;

use super::*;
use crate::admin::error::Code;
use crate::telemetry::generated::assert_current;

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(name) = fields.get("$ref").and_then(Value::as_str) {
                found.insert(name.to_owned());
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_operation_is_there_once_and_every_reference_leads_somewhere() {
    let document = value();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for route in TABLE {
        let path = format!("{ROOT}{}", route.path);
        let operation = &document["paths"][&path][route.method.to_ascii_lowercase()];
        let id = operation["operationId"].as_str().expect(&path);
        assert!(ids.insert(id.to_owned()), "{id} twice");
        assert_eq!(operation[PERMISSION], route.needs.to_string());
    }
    let mut found = BTreeSet::new();
    references(document, &mut found);
    for name in found {
        let pointer = name.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{name}");
    }
}

#[test]
fn no_two_types_have_one_name() {
    let mut known = BTreeMap::new();
    let wires = TABLE.iter().flat_map(|route| {
        let order = route.order.as_ref().map(|body| body.wire);
        order.into_iter().chain(route.answer)
    });
    for (name, schema) in wires.flat_map(|wire| wire.all()) {
        let schema = serde_json::to_value(schema).expect("JSON");
        let before = known.entry(name.clone()).or_insert_with(|| schema.clone());
        assert_eq!(*before, schema, "{name} is the name of two types");
    }
}

#[test]
fn what_is_several_taken_together_is_one_object() {
    let schemas = &value()["components"]["schemas"];
    let key = &schemas["KeyDetailShown"];
    for field in ["id", "hints", "name", "ip_allow"] {
        assert!(key["properties"].get(field).is_some(), "{key}");
    }
    assert!(key.get("allOf").is_none() && key.get("additionalProperties").is_none());
    assert_eq!(schemas["KeyOrder"]["additionalProperties"], false);
}

#[test]
fn the_page_is_there_without_fetching_anything_from_outside() {
    let config = Arc::new(Config::new([Url::from("/v1/admin/openapi.json")]));
    let page = utoipa_swagger_ui::serve("", config).expect("a page");
    let page = page.expect("the index");
    let text = String::from_utf8_lossy(&page.bytes).into_owned();
    assert!(
        !text.contains("http://") && !text.contains("https://"),
        "{text}"
    );
}

/// A schema in a word or two, with a link where it has a name.
fn word(schema: &Value) -> String {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|name| name.rsplit('/').next())
    {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for several in ["oneOf", "anyOf"] {
        if let Some(forms) = schema[several].as_array() {
            let forms: Vec<String> = forms.iter().map(word).collect();
            return forms.join(" or ");
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words
            .iter()
            .map(|word| format!("`{}`", word.as_str().unwrap_or("null")))
            .collect();
        return words.join(", ");
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => vec!["any"],
    };
    let kinds = kinds.into_iter().map(|kind| match kind {
        "array" => format!("list of {}", word(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map to {}", word(&schema["additionalProperties"]))
        }
        kind => kind.to_owned(),
    });
    kinds.collect::<Vec<_>>().join(" or ")
}

/// Text in a cell of a table.
fn cell(text: &Value) -> String {
    text.as_str()
        .unwrap_or_default()
        .replace('\n', " ")
        .replace('|', "\\|")
}

fn fields(page: &mut String, schema: &Value) {
    let Some(fields) = schema["properties"].as_object() else {
        page.push_str(&format!("{}\n\n", word(schema)));
        return;
    };
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    page.push_str("| field | type | meaning |\n|---|---|---|\n");
    for (name, field) in fields {
        let mark = if required.contains(&name.as_str().into()) {
            " (always)"
        } else {
            ""
        };
        let (word, meaning) = (word(field), cell(&field["description"]));
        page.push_str(&format!("| `{name}`{mark} | {word} | {meaning} |\n"));
    }
    page.push('\n');
}

#[test]
fn the_page_of_the_api_is_current() {
    let document = value();
    let mut page = format!(
        "# Management API\n\nMade from `server/src/admin/routes.rs` and `server/api-types` by\n\
         `WEIR_UPDATE_DOCS=1 cargo test -p weir --lib the_page_of`; do not edit. The same as OpenAPI 3.1: `GET /v1/admin/openapi.json`,\n\
         to be read and tried out at `/docs/api/`.\n\n{INTRODUCTION}\n\n\
         A `POST` with `Idempotency-Key` that comes again within a day is answered as it was and not done again.\n\n## Operations\n\n"
    );
    let mut tags: Vec<&str> = TABLE.iter().map(tag).collect();
    let mut seen = BTreeSet::new();
    tags.retain(|tag| seen.insert(*tag));
    for of in tags {
        page.push_str(&format!("### {of}\n\n| operation | what it does | needs | takes | answers |\n|---|---|---|---|---|\n"));
        for route in TABLE.iter().filter(|route| tag(route) == of) {
            let path = format!("{ROOT}{}", route.path);
            let operation = &document["paths"][&path][route.method.to_ascii_lowercase()];
            let content = operation["requestBody"]["content"].as_object();
            let taken = content.and_then(|content| content.values().next());
            let taken = taken
                .map(|content| word(&content["schema"]))
                .unwrap_or_default();
            let answer =
                &operation["responses"][route.status.to_string()]["content"]["application/json"];
            let answer = match answer.get("schema") {
                Some(schema) => format!("{} {}", route.status, word(schema)),
                None => route.status.to_string(),
            };
            let query: Vec<String> = route
                .query
                .iter()
                .flat_map(|query| query())
                .map(|parameter| format!("`{}`", parameter.name))
                .collect();
            let query = match query.is_empty() {
                true => String::new(),
                false => format!(" Query: {}.", query.join(", ")),
            };
            let lately = if route.mark == Mark::Fresh {
                ", shown lately"
            } else {
                ""
            };
            page.push_str(&format!(
                "| `{} {path}` | {}{query} | `{}`{lately} | {taken} | {answer} |\n",
                route.method, route.summary, route.needs
            ));
        }
        page.push('\n');
    }
    page.push_str("## Errors\n\n| code | status | what it says |\n|---|---|---|\n");
    for code in Code::ALL {
        let (word, status, title) = code.parts();
        page.push_str(&format!("| `{word}` | {} | {title} |\n", status.as_u16()));
    }
    page.push_str("\n## Types\n\n");
    for (name, schema) in document["components"]["schemas"]
        .as_object()
        .expect("schemas")
    {
        page.push_str(&format!("### {name}\n\n"));
        if let Some(meaning) = schema["description"].as_str() {
            page.push_str(&format!("{meaning}\n\n"));
        }
        fields(&mut page, schema);
    }
    assert_current("docs/api.md", &format!("{}\n", page.trim_end()));
}
