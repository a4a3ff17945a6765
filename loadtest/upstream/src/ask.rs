//! What a request asks: the fields of its JSON body or form that the answer depends on.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::multipart;
use crate::request::Head;

/// Which of two equal keys counts. Real vendors differ, which is why a gateway must refuse such
/// bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// The last, as most parsers do.
    #[default]
    LastWins,
    /// The first.
    FirstWins,
    /// The last, whatever the case of its letters, as Go's parser does.
    CaseBlind,
}

/// What is asked.
#[derive(Debug, Default)]
pub(crate) struct Ask {
    pub(crate) model: Option<String>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) n: u32,
    /// The words of everything to read: the number of input tokens.
    pub(crate) words: u64,
    /// What the user said last.
    pub(crate) question: String,
    /// Name of the first tool, if the model may call one.
    pub(crate) tool: Option<String>,
    /// The schema that the content must follow.
    pub(crate) schema: Option<Value>,
    pub(crate) dimensions: Option<usize>,
    pub(crate) base64: bool,
    /// Texts to embed, documents to rank.
    pub(crate) items: usize,
    /// Files of a form: name and size.
    pub(crate) file: Option<(String, u64)>,
    pub(crate) purpose: Option<String>,
    pub(crate) input_file: Option<String>,
    pub(crate) endpoint: Option<String>,
    /// Why the body cannot be understood.
    pub(crate) invalid: Option<String>,
}

/// The keys that are read.
const KEYS: [&str; 20] = [
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "messages",
    "prompt",
    "input",
    "tools",
    "tool_choice",
    "response_format",
    "dimensions",
    "encoding_format",
    "documents",
    "query",
    "purpose",
    "input_file_id",
    "endpoint",
    "max_output_tokens",
];

/// The values found, in the order of [`KEYS`].
type Found<'a> = [Option<&'a RawValue>; KEYS.len()];

impl Ask {
    /// What is asked by a body that is empty or cannot be read.
    pub(crate) fn unknown() -> Self {
        Self {
            n: 1,
            ..Self::default()
        }
    }

    /// Reads a body. An error says what is wrong with it.
    pub(crate) fn read(head: &Head, body: &[u8], reading: Reading) -> Result<Self, String> {
        let content_type = head.content_type.as_deref().unwrap_or_default();
        if body.is_empty() {
            Ok(Self::unknown())
        } else if content_type.starts_with("multipart/") {
            Ok(Self::form(content_type, body, reading))
        } else if content_type.is_empty() || content_type.contains("json") {
            Self::json(body, reading)
        } else {
            Ok(Self::unknown())
        }
    }

    fn json(body: &[u8], reading: Reading) -> Result<Self, String> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let found = Keys(reading)
            .deserialize(&mut json)
            .map_err(|error| error.to_string())?;
        json.end().map_err(|error| error.to_string())?;
        let get = |key: &str| KEYS.iter().position(|k| *k == key).and_then(|at| found[at]);
        let mut ask = Self {
            model: value(get("model"), "model")?,
            stream: value(get("stream"), "stream")?.unwrap_or_default(),
            include_usage: value::<StreamOptions>(get("stream_options"), "stream_options")?
                .is_some_and(|options| options.include_usage),
            max_tokens: value(get("max_completion_tokens"), "max_completion_tokens")?
                .or(value(get("max_tokens"), "max_tokens")?)
                .or(value(get("max_output_tokens"), "max_output_tokens")?),
            n: value(get("n"), "n")?.unwrap_or(1),
            dimensions: value(get("dimensions"), "dimensions")?,
            base64: get("encoding_format").is_some_and(|raw| raw.get() == "\"base64\""),
            purpose: value(get("purpose"), "purpose")?,
            input_file: value(get("input_file_id"), "input_file_id")?,
            endpoint: value(get("endpoint"), "endpoint")?,
            ..Self::default()
        };
        ask.read_texts(get)?;
        if get("tool_choice").is_none_or(|raw| raw.get() != "\"none\"")
            && let Some(tools) = value::<Vec<Tool>>(get("tools"), "tools")?
        {
            ask.tool = tools.into_iter().find_map(|tool| Some(tool.function?.name));
        }
        let format = value::<Value>(get("response_format"), "response_format")?;
        ask.schema = format
            .and_then(|mut format| Some(format.get_mut("json_schema")?.get_mut("schema")?.take()));
        Ok(ask)
    }

    /// Counts the words of whatever is there to read, and keeps the last question.
    fn read_texts<'a>(&mut self, get: impl Fn(&str) -> Option<&'a RawValue>) -> Result<(), String> {
        let messages = value::<Vec<Message<'_>>>(get("messages"), "messages")?;
        for message in messages.unwrap_or_default() {
            let Some(content) = message.content else {
                continue;
            };
            let (words, text) = words_of(content);
            self.words += words;
            if message.role.as_deref() == Some("user") {
                self.question = text;
            }
        }
        for key in ["prompt", "input", "query", "documents"] {
            let Some(raw) = get(key) else { continue };
            let items = match raw.get().as_bytes().first() {
                Some(b'[') => value::<Vec<IgnoredAny>>(Some(raw), key)?.map_or(0, |all| all.len()),
                _ => 1,
            };
            if key != "query" {
                self.items = items;
            }
            self.words += words_of(raw).0;
        }
        Ok(())
    }

    fn form(content_type: &str, body: &[u8], reading: Reading) -> Self {
        let mut ask = Self::unknown();
        for part in multipart::parts(content_type, body) {
            let text = || String::from_utf8_lossy(&body[part.range.clone()]).into_owned();
            let name = match reading {
                Reading::CaseBlind => part.name.to_ascii_lowercase(),
                Reading::LastWins | Reading::FirstWins => part.name,
            };
            let set = |field: &mut Option<String>| {
                if field.is_none() || reading != Reading::FirstWins {
                    *field = Some(text());
                }
            };
            match (name.as_str(), part.file_name) {
                ("model", None) => set(&mut ask.model),
                ("purpose", None) => set(&mut ask.purpose),
                ("prompt", None) => ask.words += text().split_whitespace().count() as u64,
                ("n", None) => ask.n = text().parse().unwrap_or(1),
                (_, Some(file_name)) => {
                    ask.file = Some((file_name, part.range.len() as u64));
                    ask.items += 1;
                }
                _ => {}
            }
        }
        ask
    }
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Tool {
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
}

fn value<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    key: &str,
) -> Result<Option<T>, String> {
    let Some(raw) = raw else { return Ok(None) };
    serde_json::from_str(raw.get()).map_err(|error| format!("invalid value for '{key}': {error}"))
}

/// Number of words of a text, of a list of texts, or of parts with a `text`; and the text itself.
fn words_of(raw: &RawValue) -> (u64, String) {
    fn gather(value: &Value, text: &mut String) {
        match value {
            Value::String(string) => {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(string);
            }
            Value::Array(values) => values.iter().for_each(|value| gather(value, text)),
            Value::Object(map) => {
                map.get("text")
                    .into_iter()
                    .for_each(|value| gather(value, text));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut text = String::new();
    if raw.get().starts_with('"') {
        text = serde_json::from_str(raw.get()).unwrap_or_default();
    } else if let Ok(value) = serde_json::from_str(raw.get()) {
        gather(&value, &mut text);
    }
    (text.split_whitespace().count() as u64, text)
}

/// Reads an object for its [`KEYS`].
struct Keys(Reading);

impl<'de> DeserializeSeed<'de> for Keys {
    type Value = Found<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Keys {
    type Value = Found<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        let mut found = Found::default();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let at = KEYS.iter().position(|known| match self.0 {
                Reading::CaseBlind => known.eq_ignore_ascii_case(&key.0),
                Reading::LastWins | Reading::FirstWins => *known == key.0,
            });
            match at {
                Some(at) if self.0 == Reading::FirstWins && found[at].is_some() => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(at) => found[at] = Some(map.next_value()?).filter(not_null),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

fn not_null(raw: &&RawValue) -> bool {
    raw.get() != "null"
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn double_keys_count_as_the_reading_says() {
        let body = br#"{"model":"a","Model":"c","max_tokens":1,"model":"b","MAX_TOKENS":9}"#;
        let read = |reading| {
            let ask = Ask::json(body, reading).unwrap();
            (ask.model.unwrap(), ask.max_tokens.unwrap())
        };
        assert_eq!(read(Reading::LastWins), ("b".into(), 1));
        assert_eq!(read(Reading::FirstWins), ("a".into(), 1));
        assert_eq!(read(Reading::CaseBlind), ("b".into(), 9));
    }

    #[test]
    fn words_are_counted_in_every_form_of_content() {
        let body = br#"{"messages":[{"role":"system","content":"be brief"},
            {"role":"user","content":[{"type":"text","text":"what\u0020is this"},{"type":"image_url"}]},
            {"role":"assistant","content":null}]}"#;
        let ask = Ask::json(body, Reading::LastWins).unwrap();
        assert_eq!((ask.words, ask.question.as_str()), (5, "what is this"));
        let ask = Ask::json(br#"{"input":["a b","c"]}"#, Reading::LastWins).unwrap();
        assert_eq!((ask.words, ask.items), (3, 2));
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for body in [
            &b"[1]"[..],
            b"{\"model\":1}",
            b"{\"n\":-1}",
            b"{} x",
            b"{\"a\":",
        ] {
            assert!(Ask::json(body, Reading::LastWins).is_err(), "{body:?}");
        }
    }
}
