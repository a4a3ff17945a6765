//! Recorded exchanges, replayed byte for byte, and the usage that they report.
//!
//! A recording is a folder `<dialect>/<case>/` with `meta.json` and the body that it names. A few
//! made by hand are compiled in; real ones are read from the folders of the options
//! (`WEIR_RECORDINGS`, else `../shared/fixtures` beside the repository).

use std::path::PathBuf;

use anyhow::{Context, ensure};
use memchr::memmem;
use serde_json::Value;

use crate::answer::{Answer, Mark};
use crate::bill::Tokens;

/// One answer to replay.
#[derive(Debug)]
pub(crate) struct Recording {
    status: u16,
    content_type: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    streamed: bool,
    /// Where its pieces end: events of a stream, else the whole.
    ends: Vec<usize>,
    usage: Tokens,
    /// The last piece with a report of usage.
    usage_at: Option<usize>,
}

macro_rules! made {
    ($($name:literal $body:literal),* $(,)?) => {
        [$((
            $name,
            include_str!(concat!("../recordings/", $name, "/meta.json")),
            include_str!(concat!("../recordings/", $name, "/", $body)),
        )),*]
    };
}

/// The recordings made by hand: name, meta.json, body.
const MADE: [(&str, &str, &str); 9] = made![
    "openai-chat/made-text" "response.json",
    "openai-chat/made-text-stream-usage" "stream.sse",
    "openai-chat/made-tool-call-stream" "stream.sse",
    "openai-chat/made-error-401" "response.json",
    "openai-chat/made-error-429" "response.json",
    "openai-chat/made-error-500" "response.json",
    "openai-chat/made-error-in-stream" "stream.sse",
    "openai-chat/made-embeddings" "response.json",
    "openai-chat/made-models-list" "response.json",
];

/// Framing is the stand-in's own, and the content type is kept apart.
const NOT_REPLAYED: [&str; 6] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "transfer-encoding",
    "x-request-id",
];

/// The folders that are searched unless the options name others.
pub(crate) fn default_folders() -> Vec<PathBuf> {
    vec![std::env::var_os("WEIR_RECORDINGS").map_or_else(beside_the_project, PathBuf::from)]
}

/// `shared/fixtures` beside the project that the working directory belongs to. Not beside the one that this was built
/// from: clones share a target folder.
fn beside_the_project() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    let project = here
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file());
    project.unwrap_or(&here).join("../shared/fixtures")
}

/// Loads a recording by its name.
pub(crate) fn load(name: &str, folders: &[PathBuf]) -> anyhow::Result<Recording> {
    if let Some((_, meta, body)) = MADE.iter().find(|(made, ..)| *made == name) {
        return Recording::new(meta.as_bytes(), |_| Ok(body.as_bytes().to_vec()));
    }
    ensure!(!name.contains(".."), "{name} is no name of a recording");
    let folder = folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|folder| folder.is_dir());
    let folder = folder.with_context(|| format!("no recording {name} in {folders:?}"))?;
    let read = |file: &str| {
        let path = folder.join(file);
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    Recording::new(&read("meta.json")?, read)
}

impl Recording {
    fn new(meta: &[u8], read: impl Fn(&str) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Self> {
        let meta: Value = serde_json::from_slice(meta).context("meta.json is no JSON")?;
        let file = meta["body"].as_str().context("meta.json names no body")?;
        let recorded = meta["response_headers"].as_object();
        let header = |name: &str| recorded?.get(name)?.as_str().map(str::to_owned);
        let content_type = header("content-type").unwrap_or_else(|| {
            let by_name = match file {
                "stream.sse" => "text/event-stream; charset=utf-8",
                "stream.ndjson" => "application/x-ndjson",
                _ => "application/json",
            };
            by_name.to_owned()
        });
        let headers = recorded.into_iter().flatten().filter_map(|(name, value)| {
            let replayed = !NOT_REPLAYED.contains(&name.to_ascii_lowercase().as_str());
            replayed.then(|| Some((name.clone(), value.as_str()?.to_owned())))?
        });
        let status = meta["status"]
            .as_u64()
            .and_then(|status| status.try_into().ok());
        Ok(Self {
            status: status.unwrap_or(200),
            headers: headers.collect(),
            ..Self::of(read(file)?, content_type, file != "response.json")
        })
    }

    /// A body given by a test, as if it had been recorded.
    pub(crate) fn of_body(body: &str) -> Self {
        let stream = ["data:", "event:", ":"]
            .iter()
            .any(|start| body.starts_with(start));
        let content_type = if stream {
            "text/event-stream; charset=utf-8"
        } else {
            "application/json"
        };
        Self::of(body.as_bytes().to_vec(), content_type.to_owned(), stream)
    }

    fn of(body: Vec<u8>, content_type: String, streamed: bool) -> Self {
        let ends = if streamed {
            events(&body)
        } else {
            vec![body.len()]
        };
        let mut usage = None;
        let mut usage_at = None;
        let mut from = 0;
        for (at, &end) in ends.iter().enumerate() {
            for value in values(&body[from..end]) {
                if let Some(found) = usage_in(&value) {
                    usage = Some(usage.map_or(found, |usage| most(usage, found)));
                    usage_at = Some(at);
                }
            }
            from = end;
        }
        let usage = usage.unwrap_or_default();
        Self {
            status: 200,
            content_type,
            headers: Vec::new(),
            body,
            streamed,
            ends,
            usage,
            usage_at,
        }
    }

    /// Makes it the answer. The output that the recording reports is earned in equal shares by
    /// the pieces up to the report, since what each of them cost is not on record.
    pub(crate) fn replay(&self, answer: &mut Answer) {
        answer.status = self.status;
        answer.content_type = self.content_type.clone().into();
        answer.headers.clone_from(&self.headers);
        answer.streamed = self.streamed;
        answer.body.extend_from_slice(&self.body);
        answer.input = Tokens {
            output: 0,
            reasoning: 0,
            ..self.usage
        };
        let shares = self.usage_at.map_or(1, |at| at as u64 + 1);
        let share = |total: u64, at: u64| total * (at + 1).min(shares) / shares;
        let earned = |total: u64, at: u64| {
            share(total, at) - at.checked_sub(1).map_or(0, |at| share(total, at))
        };
        for (at, &end) in self.ends.iter().enumerate() {
            answer.marks.push(Mark {
                end,
                output: earned(self.usage.output, at as u64),
                reasoning: earned(self.usage.reasoning, at as u64),
                reports_usage: self.usage_at == Some(at),
                stamp_at: None,
            });
        }
    }
}

/// Where events end: after each empty line, or after each line where there are none.
fn events(body: &[u8]) -> Vec<usize> {
    let mut ends: Vec<usize> = memmem::find_iter(body, b"\n\n")
        .map(|at| at + 2)
        .chain(memmem::find_iter(body, b"\n\r\n").map(|at| at + 3))
        .collect();
    if ends.is_empty() {
        ends = memchr::memchr_iter(b'\n', body).map(|at| at + 1).collect();
    }
    ends.sort_unstable();
    if !body.is_empty() && ends.last() != Some(&body.len()) {
        ends.push(body.len());
    }
    ends
}

/// The JSON in a piece: the piece itself, or its `data:` lines.
fn values(piece: &[u8]) -> Vec<Value> {
    if let Ok(value) = serde_json::from_slice(piece) {
        return vec![value];
    }
    let text = String::from_utf8_lossy(piece);
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.filter_map(|data| serde_json::from_str(data.trim()).ok())
        .collect()
}

/// The usage that a JSON value reports, in the words of whichever dialect.
fn usage_in(value: &Value) -> Option<Tokens> {
    if let Value::Array(values) = value {
        return values.iter().filter_map(usage_in).reduce(most);
    }
    let places = [
        "/usage",
        "/usageMetadata",
        "/response/usage",
        "/message/usage",
        "/x_groq/usage",
        "",
    ];
    places
        .iter()
        .find_map(|place| usage_of(value.pointer(place)?))
}

/// The numbers of a usage object.
fn usage_of(usage: &Value) -> Option<Tokens> {
    let one = |path: &&str| usage.pointer(path)?.as_u64();
    let any = |paths: &[&str]| paths.iter().find_map(one);
    let input = any(&[
        "/prompt_tokens",
        "/input_tokens",
        "/promptTokenCount",
        "/prompt_eval_count",
    ]);
    let output = any(&[
        "/completion_tokens",
        "/output_tokens",
        "/candidatesTokenCount",
        "/eval_count",
    ]);
    let thoughts = any(&["/thoughtsTokenCount"]);
    if input.or(output).or(thoughts).is_none() {
        // Only inside a `usage`: rerankers report nothing else.
        let total = any(&["/total_tokens"])?;
        return Some(Tokens {
            input: total,
            ..Tokens::default()
        });
    }
    // Anthropic counts what it cached apart from the input.
    let apart = any(&["/cache_read_input_tokens"]).unwrap_or_default();
    let written_apart = any(&["/cache_creation_input_tokens"]).unwrap_or_default();
    let cached = any(&[
        "/prompt_tokens_details/cached_tokens",
        "/input_tokens_details/cached_tokens",
        "/cachedContentTokenCount",
        "/prompt_cache_hit_tokens",
    ]);
    let written = any(&[
        "/prompt_tokens_details/cache_write_tokens",
        "/input_tokens_details/cache_write_tokens",
    ]);
    let reasoning = any(&[
        "/completion_tokens_details/reasoning_tokens",
        "/output_tokens_details/reasoning_tokens",
    ]);
    let tool_use = any(&["/toolUsePromptTokenCount"]).unwrap_or_default();
    Some(Tokens {
        input: input.unwrap_or_default() + apart + written_apart + tool_use,
        cached: cached.unwrap_or(apart),
        cache_write: written.unwrap_or(written_apart),
        output: output.unwrap_or_default() + thoughts.unwrap_or_default(),
        reasoning: reasoning.or(thoughts).unwrap_or_default(),
    })
}

/// Usage is reported cumulatively or in parts for different fields: the most of each is the truth.
fn most(a: Tokens, b: Tokens) -> Tokens {
    Tokens {
        input: a.input.max(b.input),
        cached: a.cached.max(b.cached),
        cache_write: a.cache_write.max(b.cache_write),
        output: a.output.max(b.output),
        reasoning: a.reasoning.max(b.reasoning),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(body: &str) -> Tokens {
        Recording::of_body(body).usage
    }

    #[test]
    fn usage_is_found_in_every_dialect() {
        let tokens = |input, cached, cache_write, output, reasoning| Tokens {
            input,
            cached,
            cache_write,
            output,
            reasoning,
        };
        assert_eq!(
            usage(r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#),
            tokens(3, 0, 0, 4, 0)
        );
        let anthropic = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":2,\
            \"cache_read_input_tokens\":5,\"cache_creation_input_tokens\":1,\"output_tokens\":1}}}\n\n\
            event: message_delta\ndata: {\"usage\":{\"output_tokens\":9}}\n\n";
        assert_eq!(usage(anthropic), tokens(8, 5, 1, 9, 0));
        let gemini = r#"[{"usageMetadata":{"promptTokenCount":3,"thoughtsTokenCount":2}},
            {"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4,"thoughtsTokenCount":2}}]"#;
        assert_eq!(usage(gemini), tokens(3, 0, 0, 6, 2));
        assert_eq!(
            usage(r#"{"usage":{"total_tokens":7}}"#),
            tokens(7, 0, 0, 0, 0)
        );
        assert_eq!(usage(r#"{"error":{"message":"no"}}"#), Tokens::default());
    }

    #[test]
    fn made_recordings_load_and_shares_add_up() {
        for (name, ..) in MADE {
            let recording = load(name, &[]).unwrap();
            let mut answer = Answer::default();
            recording.replay(&mut answer);
            let earned: u64 = answer.marks.iter().map(|mark| mark.output).sum();
            assert_eq!(earned, recording.usage.output, "{name}");
            assert_eq!(
                answer.marks.last().unwrap().end,
                answer.body.len(),
                "{name}"
            );
        }
        assert!(load("openai-chat/none", &[]).is_err());
        assert!(load("../../etc", &[PathBuf::from("/")]).is_err());
    }
}
