//! Reads what was said: a stream as the message that it makes, and the names of tools, in any vendor's words.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use weir_dialect::sse::{DEFAULT_BOUND, Splitter};

use super::Part;

/// Most names of tools that are noted, and the longest.
const MAX_TOOLS: usize = 128;
const MAX_NAME: usize = 128;

/// A body as a value: JSON where it is some, else text.
pub fn read(part: &Part, is_stream: bool) -> Value {
    if is_stream {
        return message(&part.bytes);
    }
    match serde_json::from_slice(&part.bytes) {
        Ok(value) => value,
        Err(_) => match std::str::from_utf8(&part.bytes) {
            Ok(text) => text.into(),
            // Where it is cut, a character may be.
            Err(error) if error.error_len().is_none() => {
                String::from_utf8_lossy(&part.bytes[..error.valid_up_to()]).into()
            }
            Err(_) => Value::Null,
        },
    }
}

/// The names of the tools that a request offers.
pub fn offered(request: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for list in ["tools", "functions"] {
        for tool in request[list].as_array().into_iter().flatten() {
            let declared = ["functionDeclarations", "function_declarations"];
            let declared = declared.iter().filter_map(|list| tool[list].as_array());
            for declared in declared.flatten() {
                note(&mut names, declared["name"].as_str());
            }
            let name = tool["function"]["name"].as_str();
            let name = name.or(tool["name"].as_str());
            // What a vendor has built in is called by its type; what carries declarations has none.
            note(&mut names, name.or(tool["type"].as_str()));
        }
    }
    names
}

/// The names of the tools that an answer calls.
pub fn called(answer: &Value) -> Vec<String> {
    let mut names = Vec::new();
    look(answer, &mut names);
    names
}

fn look(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| look(one, names)),
        Value::Object(fields) => {
            let kind = fields.get("type").and_then(Value::as_str);
            if let Some("tool_use" | "server_tool_use" | "function_call" | "custom_tool_call") =
                kind
            {
                note(names, fields.get("name").and_then(Value::as_str));
            }
            for (name, field) in fields {
                match name.as_str() {
                    "function" | "functionCall" | "function_call" => {
                        note(names, field["name"].as_str());
                    }
                    _ => {}
                }
                look(field, names);
            }
        }
        _ => {}
    }
}

fn note(names: &mut Vec<String>, name: Option<&str>) {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return;
    };
    // PostgreSQL keeps no NUL, and nobody calls a tool so.
    let name = name[..name.floor_char_boundary(MAX_NAME)].replace('\0', "\u{fffd}");
    if names.len() < MAX_TOOLS && !names.contains(&name) {
        names.push(name);
    }
}

/// What the events of a stream say together, so that nothing stays hidden in being said in pieces.
fn message(bytes: &[u8]) -> Value {
    let mut message = Message::default();
    let mut splitter = Splitter::new(DEFAULT_BOUND);
    let mut each = |event: weir_dialect::sse::Event<'_>| {
        let data = event.data.unwrap_or_default();
        if let Ok(data) = serde_json::from_slice(&data) {
            message.add(&data);
        }
    };
    splitter.feed(bytes, &mut each);
    splitter.finish(&mut each);
    message.into_value()
}

#[derive(Default)]
struct Message {
    /// OpenAI's choices, by index, and Anthropic's blocks.
    choices: BTreeMap<u64, Map<String, Value>>,
    blocks: BTreeMap<u64, Map<String, Value>>,
    /// What the Responses API says in pieces, by the output that it is of and the kind of piece.
    pieces: BTreeMap<u64, Map<String, Value>>,
    /// Gemini's candidates, by index.
    candidates: BTreeMap<u64, Map<String, Value>>,
    usage: Option<Value>,
    /// Events that are of neither kind, and say more than that something happens.
    others: Vec<Value>,
}

impl Message {
    fn add(&mut self, event: &Value) {
        let index = |of: &Value| of["index"].as_u64().unwrap_or_default();
        if let Some(usage) = event.get("usage").filter(|usage| !usage.is_null()) {
            self.usage = Some(usage.clone());
        }
        if let Some(choices) = event["choices"].as_array() {
            for choice in choices {
                let said = self.choices.entry(index(choice)).or_default();
                merge(said, &choice["delta"]);
                join(said, "text", choice["text"].as_str());
                if let Some(reason) = choice["finish_reason"].as_str() {
                    said.insert("finish_reason".to_owned(), reason.into());
                }
            }
            return;
        }
        match event["type"].as_str() {
            Some("content_block_start") => {
                let block = event["content_block"].as_object();
                let block = block.cloned().unwrap_or_default();
                self.blocks.insert(index(event), block);
            }
            Some("content_block_delta") => {
                let (delta, block) = (
                    &event["delta"],
                    self.blocks.entry(index(event)).or_default(),
                );
                join(block, "text", delta["text"].as_str());
                join(block, "thinking", delta["thinking"].as_str());
                join(block, "input_json", delta["partial_json"].as_str());
            }
            // The whole of it comes once more at the end, unless that is missing.
            Some("response.completed" | "response.incomplete" | "response.failed") => {
                self.pieces.clear();
                self.others.push(event.clone());
            }
            Some(kind) if kind.ends_with(".delta") => {
                let said = self
                    .pieces
                    .entry(event["output_index"].as_u64().unwrap_or_default());
                join(said.or_default(), kind, event["delta"].as_str());
            }
            Some(kind) if kind.starts_with("response.") => {}
            None if event["candidates"].is_array() => self.add_candidates(event),
            Some("ping" | "message_stop" | "content_block_stop") => {}
            _ => self.others.push(event.clone()),
        }
    }

    /// Gemini's: texts go behind texts, calls of tools are whole.
    fn add_candidates(&mut self, event: &Value) {
        for candidate in event["candidates"].as_array().into_iter().flatten() {
            let index = candidate["index"].as_u64().unwrap_or_default();
            let said = self.candidates.entry(index).or_default();
            let parts = candidate["content"]["parts"].as_array();
            for part in parts.into_iter().flatten() {
                join(said, "text", part["text"].as_str());
                if let Some(call) = part.get("functionCall") {
                    let calls = said.entry("functionCalls").or_insert_with(|| json!([]));
                    if let Some(calls) = calls.as_array_mut() {
                        calls.push(json!({"functionCall": call}));
                    }
                }
            }
        }
        if let Some(usage) = event.get("usageMetadata") {
            self.usage = Some(usage.clone());
        }
    }

    fn into_value(self) -> Value {
        let mut whole = Map::new();
        let mut put = |name: &str, list: Vec<Value>| {
            if !list.is_empty() {
                whole.insert(name.to_owned(), list.into());
            }
        };
        put(
            "choices",
            self.choices.into_values().map(Value::Object).collect(),
        );
        put(
            "content",
            self.blocks.into_values().map(Value::Object).collect(),
        );
        put(
            "candidates",
            self.candidates.into_values().map(Value::Object).collect(),
        );
        put(
            "output",
            self.pieces.into_values().map(Value::Object).collect(),
        );
        put("events", self.others);
        if let Some(usage) = self.usage {
            whole.insert("usage".to_owned(), usage);
        }
        Value::Object(whole)
    }
}

/// Adds what a delta of OpenAI's says: texts go behind texts, calls of tools to those of their index.
fn merge(said: &mut Map<String, Value>, delta: &Value) {
    for (name, more) in delta.as_object().into_iter().flatten() {
        match more {
            Value::String(text) if name == "role" => {
                said.insert(name.clone(), text.as_str().into());
            }
            Value::String(text) => join(said, name, Some(text)),
            Value::Array(calls) if name == "tool_calls" => {
                for call in calls {
                    add_call(said, call);
                }
            }
            Value::Null => {}
            other => drop(said.insert(name.clone(), other.clone())),
        }
    }
}

fn add_call(said: &mut Map<String, Value>, call: &Value) {
    let calls = said.entry("tool_calls").or_insert_with(|| json!([]));
    let Some(calls) = calls.as_array_mut() else {
        return;
    };
    let at = call["index"].as_u64().unwrap_or(calls.len() as u64) as usize;
    if at >= MAX_TOOLS {
        return;
    }
    while calls.len() <= at {
        calls.push(json!({"function": {"name": "", "arguments": ""}}));
    }
    let known = &mut calls[at];
    if let Some(id) = call["id"].as_str() {
        known["id"] = id.into();
    }
    if let Some(function) = known["function"].as_object_mut() {
        for part in ["name", "arguments"] {
            join(function, part, call["function"][part].as_str());
        }
    }
}

/// Puts a text behind the one that is there.
fn join(said: &mut Map<String, Value>, name: &str, more: Option<&str>) {
    let Some(more) = more else { return };
    match said.get_mut(name) {
        Some(Value::String(text)) => text.push_str(more),
        _ => drop(said.insert(name.to_owned(), more.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::mask;

    fn kept(part: &Part, is_stream: bool) -> Value {
        let mut said = read(part, is_stream);
        mask::value(&mut said);
        said
    }

    fn part(text: &str) -> Part {
        Part {
            bytes: text.into(),
            length: text.len() as u64,
        }
    }

    #[test]
    fn a_secret_in_pieces_is_masked_as_a_whole() {
        let stream = r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"take sk-01234"}}]}

data: {"choices":[{"index":0,"delta":{"content":"56789abcdef now"}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"look","arguments":"{\"a\""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]},"finish_reason":"tool_calls"}]}

data: {"choices":[],"usage":{"total_tokens":9}}

data: [DONE]

"#;
        let said = kept(&part(stream), true);
        assert_eq!(said["choices"][0]["content"], "take *** now", "{said}");
        assert_eq!(
            said["choices"][0]["tool_calls"][0]["function"]["arguments"],
            "{\"a\":1}"
        );
        assert_eq!(
            (&said["usage"]["total_tokens"], called(&said)),
            (&json!(9), vec!["look".to_owned()])
        );
        let stream = r#"event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","name":"search"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}

"#;
        let said = kept(&part(stream), true);
        assert_eq!(called(&said), ["search"]);
    }

    #[test]
    fn gemini_and_responses_are_joined_too() {
        let stream = r#"data: {"candidates":[{"content":{"parts":[{"text":"sk-01234"}]}}]}

data: {"candidates":[{"content":{"parts":[{"text":"56789abcdef"},{"functionCall":{"name":"go"}}]}}]}

"#;
        let said = kept(&part(stream), true);
        assert_eq!(
            (&said["candidates"][0]["text"], called(&said)),
            (&json!("***"), vec!["go".to_owned()])
        );
        let cut = r#"data: {"type":"response.output_text.delta","output_index":0,"delta":"sk-0123456789"}

data: {"type":"response.output_text.delta","output_index":0,"delta":"abcdef"}

"#;
        let said = kept(&part(cut), true);
        assert_eq!(
            said["output"][0]["response.output_text.delta"], "***",
            "{said}"
        );
        let whole = format!(
            "{cut}data: {{\"type\":\"response.completed\",\"response\":{{\"output\":[]}}}}\n\n"
        );
        let said = kept(&part(&whole), true);
        assert!(
            said["output"].is_null() && said["events"][0]["type"] == "response.completed",
            "{said}"
        );
    }

    #[test]
    fn tools_have_names_in_every_dialect() {
        let request = json!({
            "tools": [
                {"type": "function", "function": {"name": "a"}},
                {"name": "b", "input_schema": {}},
                {"type": "web_search"},
                {"functionDeclarations": [{"name": "c"}, {"name": "a"}]},
            ],
            "functions": [{"name": "d"}],
        });
        assert_eq!(offered(&request), ["a", "b", "web_search", "c", "d"]);
        let answer = json!({
            "choices": [{"message": {"tool_calls": [{"function": {"name": "a"}}], "function_call": {"name": "d"}}}],
            "content": [{"type": "tool_use", "name": "b"}],
            "output": [{"type": "function_call", "name": "e"}],
            "candidates": [{"content": {"parts": [{"functionCall": {"name": "c"}}]}}],
        });
        let mut names = called(&answer);
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn what_is_no_json_is_text_and_what_is_no_text_is_nothing() {
        assert_eq!(read(&part("plain"), false), json!("plain"));
        let cut = Part {
            bytes: "wört".as_bytes()[..2].to_vec(),
            length: 5,
        };
        assert_eq!(read(&cut, false), json!("w"));
        let odd = Part {
            bytes: vec![0xff, 0],
            length: 2,
        };
        assert_eq!(read(&odd, false), Value::Null);
    }
}
