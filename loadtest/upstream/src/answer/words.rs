//! The text that the stand-in writes: plain words, each one token with the space before it.

use serde_json::{Map, Value, json};

/// The `at`th word of a text; all but the first have a space before them.
pub(super) fn word(at: usize) -> &'static str {
    if at == 0 {
        WORDS[0].trim_start()
    } else {
        WORDS[at % WORDS.len()]
    }
}

/// Each is one token of o200k (tested).
const WORDS: [&str; 32] = [
    " the", " river", " water", " stone", " light", " over", " and", " under", " green", " field",
    " with", " small", " house", " near", " old", " road", " where", " people", " walk", " every",
    " day", " from", " time", " to", " place", " in", " warm", " air", " while", " cloud", " like",
    " snow",
];

/// A small value that follows a JSON schema, as far as stand-ins need it.
pub(super) fn value_of(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find_map(Value::as_str),
        kind => kind.as_str(),
    };
    match kind {
        Some("string") => json!("river"),
        Some("integer") => json!(7),
        Some("number") => json!(1.5),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => json!([value_of(&schema["items"])]),
        _ => {
            let properties = schema["properties"].as_object();
            let required = schema["required"].as_array();
            let wanted = |name: &str| {
                required.is_none_or(|names| names.iter().any(|required| required == name))
            };
            let chosen = properties
                .into_iter()
                .flatten()
                .filter(|(name, _)| wanted(name));
            let object: Map<_, _> = chosen
                .map(|(name, of)| (name.clone(), value_of(of)))
                .collect();
            Value::Object(object)
        }
    }
}

/// Cuts a text into pieces that count as one token each.
pub(super) fn cut(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters
        .chunks(4)
        .map(|piece| piece.iter().collect())
        .collect()
}

/// Cuts a text before each space, so that it can be streamed word by word.
pub(super) fn cut_words(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_one_token() {
        let tokenizer = bpe_openai::o200k_base();
        for at in 0..=WORDS.len() {
            assert_eq!(tokenizer.count(word(at)), 1, "{}", word(at));
        }
        let text: String = (0..100).map(word).collect();
        assert_eq!(tokenizer.count(text.as_str()), 100);
    }

    #[test]
    fn value_follows_its_schema() {
        let schema = json!({"type": "object", "required": ["name", "tags"], "properties": {
            "name": {"type": "string"}, "age": {"type": "integer"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
        }});
        assert_eq!(value_of(&schema), json!({"name": "river", "tags": ["a"]}));
    }
}
