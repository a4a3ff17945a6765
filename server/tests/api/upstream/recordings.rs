//! Every recording of the dialect passes byte for byte, and is booked as its own report says.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use weir_dialect::{
    neutral::Observation,
    openai::{Limits, Observer},
};
use weir_upstream::{Behaviour, Line};

use super::{MODEL, bench};
use crate::support::Bench;

/// The folders of recordings that speak this dialect.
const FOLDERS: [&str; 15] = [
    "azure-openai",
    "deepseek",
    "doubao",
    "groq",
    "hunyuan",
    "llamacpp",
    "mistral",
    "ollama",
    "openai-chat",
    "openrouter",
    "perplexity",
    "qwen",
    "vllm",
    "xai",
    "zhipu",
];

/// A recorded answer.
#[derive(Debug, Clone)]
struct Case {
    name: String,
    status: u16,
    streamed: bool,
    body: Vec<u8>,
}

impl Case {
    fn read(folder: &Path) -> Option<Self> {
        let meta: Value =
            serde_json::from_slice(&std::fs::read(folder.join("meta.json")).unwrap()).unwrap();
        let file = meta["body"].as_str().unwrap();
        // Ollama's own API is another dialect.
        let streamed = match file {
            "stream.sse" => true,
            "response.json" => false,
            _ => return None,
        };
        let path = meta["path"].as_str().unwrap_or_default();
        if path.ends_with("/responses") || path.starts_with("/api/chat") {
            return None;
        }
        Some(Self {
            name: format!(
                "{}/{}",
                meta["dialect"].as_str().unwrap(),
                meta["case"].as_str().unwrap()
            ),
            status: meta["status"]
                .as_u64()
                .map_or(200, |status| status.try_into().unwrap()),
            streamed,
            body: std::fs::read(folder.join(file)).unwrap(),
        })
    }

    fn observed(&self) -> Observation {
        let mut observer = if self.streamed {
            Observer::stream(Limits::default())
        } else {
            Observer::json(Limits::default())
        };
        observer.feed(&self.body);
        observer.finish()
    }

    /// The bytes without the chunk that only tells the usage, cut by hand and not by the code under test.
    fn without_usage_chunk(&self) -> Vec<u8> {
        let text = String::from_utf8(self.body.clone()).unwrap();
        let break_ = if text.contains("\r\n\r\n") {
            "\r\n\r\n"
        } else {
            "\n\n"
        };
        let kept = text.split_inclusive(break_).filter(|event| {
            let data = event
                .lines()
                .find_map(|line| line.strip_prefix("data:"))
                .unwrap_or_default();
            let data: Value = serde_json::from_str(data).unwrap_or_default();
            !(data["choices"].as_array().is_some_and(Vec::is_empty) && data["usage"].is_object())
        });
        kept.collect::<String>().into_bytes()
    }
}

fn folder(root: &Path) -> Vec<Case> {
    let Ok(folders) = std::fs::read_dir(root) else {
        return Vec::new();
    };
    let mut cases: Vec<Case> = folders
        .filter_map(|entry| Case::read(&entry.unwrap().path()))
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

/// The project's own, which are always there.
fn made() -> Vec<Case> {
    let root = Path::new("../loadtest/upstream/recordings");
    let cases = folder(&root.join("openai-chat"));
    assert!(cases.len() >= 9, "{cases:?}");
    cases
}

/// The vendors', if they are here; in CI they are unless `WEIR_RECORDINGS` says `none`.
fn recorded() -> Vec<Case> {
    let given = std::env::var_os("WEIR_RECORDINGS");
    if given.as_deref() == Some("none".as_ref()) {
        return Vec::new();
    }
    let root = given.map_or_else(|| PathBuf::from("../../shared/fixtures"), PathBuf::from);
    let cases: Vec<Case> = FOLDERS
        .iter()
        .flat_map(|name| folder(&root.join(name)))
        .collect();
    assert!(
        !cases.is_empty() || std::env::var_os("CI").is_none(),
        "no recordings in {}: set WEIR_RECORDINGS to their folder, or to `none` to do without",
        root.display()
    );
    cases
}

/// Plays a case through the gateway; what the client read, and what the vendor billed.
async fn play(
    bench: &Bench,
    case: &Case,
    include_usage: bool,
    chunk_bytes: Option<usize>,
) -> (String, Line) {
    let mut behaviour = Behaviour::recording(&case.name);
    behaviour.chunk_bytes = chunk_bytes;
    bench.vendor.push(behaviour);
    let mut body =
        json!({"model": MODEL, "messages": [{"role": "user", "content": "Say it again."}]});
    if case.streamed {
        body["stream"] = true.into();
        if include_usage {
            body["stream_options"] = json!({"include_usage": true});
        }
    }
    let answer = bench.chat(body).await;
    assert_eq!(answer.status(), case.status, "{}", case.name);
    let id = answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let read = answer.bytes().await.unwrap();
    let expected = if case.streamed && !include_usage {
        case.without_usage_chunk()
    } else {
        case.body.clone()
    };
    assert!(
        read == expected,
        "{} (usage asked: {include_usage}, cut: {chunk_bytes:?})\n--- read\n{}\n--- expected\n{}",
        case.name,
        String::from_utf8_lossy(&read),
        String::from_utf8_lossy(&expected)
    );
    (id, bench.vendor.bill().pop().unwrap())
}

async fn play_all(cases: Vec<Case>, variants: &[(bool, Option<usize>)]) {
    // Without a credential, so that a recorded 401 is relayed like any other error, and nothing is set aside.
    let bench = bench("retry: {attempts: 1}").await;
    let mut played = HashMap::new();
    for case in cases {
        for (include_usage, chunk_bytes) in variants {
            if *include_usage && !case.streamed {
                continue;
            }
            let (id, line) = play(&bench, &case, *include_usage, *chunk_bytes).await;
            played.insert(id, (case.clone(), line));
        }
    }
    let books = bench.books().await;
    assert_eq!(books.events.len(), played.len());
    for event in &books.events {
        let (case, line) = &played[&event.id.to_string()];
        let reported = case.observed().usage.and_then(|usage| usage.plausible());
        let booked = (event.input_tokens as u64, event.output_tokens as u64);
        match reported {
            Some(usage) => {
                assert_eq!(booked, (usage.input, usage.output), "{}", case.name);
                assert_eq!(
                    event.cached_tokens as u64, usage.cached_read,
                    "{}",
                    case.name
                );
                assert_eq!(
                    event.reasoning_tokens as u64, usage.reasoning,
                    "{}",
                    case.name
                );
                assert!(!event.estimated, "{}", case.name);
                // xAI counts what it reasons beside its output, which the stand-in's bill does not know.
                if line.usage_reported && !case.name.starts_with("xai/") {
                    let billed = (line.tokens.input, line.tokens.output);
                    assert_eq!(booked, billed, "the vendor's bill of {}", case.name);
                }
            }
            None if case.status < 400 => assert!(event.estimated, "{}", case.name),
            None => assert_eq!((booked, event.charge_nanos), ((0, 0), 0), "{}", case.name),
        }
        assert_eq!(event.streamed, case.streamed);
    }
    books.assert_sums();
}

#[tokio::test]
async fn made_recordings_pass_byte_for_byte_however_they_are_cut() {
    let variants = [
        (false, None),
        (true, None),
        (false, Some(1)),
        (false, Some(7)),
        (true, Some(7)),
    ];
    play_all(made(), &variants).await;
}

#[tokio::test]
async fn recorded_vendors_pass_byte_for_byte_and_are_booked_as_they_report() {
    play_all(recorded(), &[(false, None), (true, None)]).await;
}

#[tokio::test]
async fn recorded_streams_pass_byte_for_byte_in_drops() {
    let few = recorded()
        .into_iter()
        .filter(|case| case.streamed && case.body.len() < 8 * 1024)
        .take(4)
        .collect();
    play_all(few, &[(false, Some(1)), (false, Some(7)), (true, Some(7))]).await;
}
