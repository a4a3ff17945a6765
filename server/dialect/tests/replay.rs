//! Every recorded answer, cut at each byte and fed byte by byte, must be observed as it is in one piece.
//!
//! The project's own recordings (`testdata/`, written by hand) always run. Those of real vendors are found through
//! `WEIR_RECORDINGS` (default: `shared/fixtures` beside the repository); on CI their absence is a failure unless the
//! variable says `none`.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use weir_dialect::neutral::{Observation, Reported, Usage};
use weir_dialect::openai::{Limits, Observer, Piece, Sieve, Which};
use weir_dialect::sse::Ends;

/// The folders of recordings that speak this dialect.
const FOLDERS: &[&str] = &[
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

/// cargo runs tests in their package.
fn manifest() -> &'static Path {
    Path::new("")
}

/// The vendors' recordings, if they are here.
fn recordings() -> Option<PathBuf> {
    let given = env::var_os("WEIR_RECORDINGS");
    if given.as_deref() == Some("none".as_ref()) {
        return None;
    }
    let folder = given.map_or_else(
        || manifest().join("../../../shared/fixtures"),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        env::var_os("CI").is_none(),
        "no recordings in {}: set WEIR_RECORDINGS to their folder, or to `none` to do without",
        folder.display()
    );
    None
}

/// All files of one name in the vendors' folders.
fn recorded(name: &str) -> Vec<PathBuf> {
    let Some(root) = recordings() else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for folder in FOLDERS {
        let Ok(cases) = fs::read_dir(root.join(folder)) else {
            continue;
        };
        let cases = cases.map(|case| case.unwrap().path().join(name));
        files.extend(cases.filter(|file| file.is_file()));
    }
    assert!(!files.is_empty(), "no {name} in {}", root.display());
    files.sort();
    files
}

fn own(extension: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(manifest().join("testdata"))
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|found| found == extension))
        .collect()
}

fn observe<'a>(mut observer: Observer, chunks: impl IntoIterator<Item = &'a [u8]>) -> Observation {
    for chunk in chunks {
        observer.feed(chunk);
    }
    observer.finish()
}

fn stream(bytes: &[u8]) -> Observation {
    observe(Observer::stream(Limits::default()), [bytes])
}

fn json(bytes: &[u8]) -> Observation {
    observe(Observer::json(Limits::default()), [bytes])
}

/// What the sieve lets pass, and how much it sets apart.
fn sift<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, usize) {
    let mut sieve = Sieve::new(Which::Alone);
    let mut pieces = Vec::new();
    for chunk in chunks {
        pieces.extend(sieve.feed(Bytes::copy_from_slice(chunk)));
    }
    pieces.extend(sieve.finish());
    let (mut passed, mut apart) = (Vec::new(), 0);
    for piece in pieces {
        match piece {
            Piece::Pass(bytes) => passed.extend_from_slice(&bytes),
            Piece::Usage(bytes) => apart += bytes.len(),
        }
    }
    (passed, apart)
}

/// The single events of a stream, each with its blank line.
fn events(bytes: &[u8]) -> Vec<&[u8]> {
    let mut ends = Ends::default();
    let mut events = Vec::new();
    let mut from = 0;
    while let Some(end) = ends.next(bytes, from) {
        events.push(&bytes[from..end]);
        from = end;
    }
    events.push(&bytes[from..]);
    events
}

/// Calls `check` with each stream and each way to cut it. Our own streams are cut whole at each byte; the vendors' are
/// long, so each of their events is cut at each byte for itself, and the whole into chunks of several sizes.
fn each_cut(mut check: impl FnMut(&[u8], Vec<&[u8]>)) {
    let (own, recorded) = (own("sse"), recorded("stream.sse"));
    for file in own.iter().chain(&recorded) {
        let bytes = fs::read(file).unwrap();
        for size in [1, 2, 61, 977] {
            check(&bytes, bytes.chunks(size).collect());
        }
        let parts = if own.contains(file) {
            vec![bytes.as_slice()]
        } else {
            events(&bytes)
        };
        for part in parts {
            for cut in 0..part.len() {
                let (head, tail) = part.split_at(cut);
                check(part, vec![head, tail]);
            }
        }
    }
}

#[test]
fn a_stream_is_observed_alike_however_it_is_cut() {
    let mut whole = (Vec::new(), Observation::default());
    each_cut(|bytes, chunks| {
        if whole.0 != bytes {
            whole = (bytes.to_vec(), stream(bytes));
            assert_eq!(whole.1.unread_bytes, 0);
        }
        let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk.len()).take(2).collect();
        assert_eq!(
            observe(Observer::stream(Limits::default()), chunks),
            whole.1,
            "cut into {sizes:?}"
        );
    });
}

#[test]
fn the_same_bytes_pass_the_sieve_however_a_stream_is_cut() {
    let mut whole = (Vec::new(), (Vec::new(), 0));
    each_cut(|bytes, chunks| {
        if whole.0 != bytes {
            whole = (bytes.to_vec(), sift([bytes]));
            assert_eq!(whole.1.0.len() + whole.1.1, bytes.len());
        }
        let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk.len()).take(2).collect();
        assert_eq!(sift(chunks), whole.1, "cut into {sizes:?}");
    });
}

#[test]
fn a_json_answer_is_observed_alike_however_it_is_cut() {
    let files = [own("json"), recorded("response.json")].concat();
    for file in &files {
        let bytes = fs::read(file).unwrap();
        let cut_up = observe(Observer::json(Limits::default()), bytes.chunks(1));
        assert_eq!(cut_up, json(&bytes), "{}", file.display());
        // Over the bound the text is given up; the usage is not, wherever it stands at the top.
        let skimmed = observe(
            Observer::json(Limits {
                event_bytes: 16,
                ..Limits::default()
            }),
            bytes.chunks(5),
        );
        assert_eq!(skimmed.usage, cut_up.usage, "{}", file.display());
    }
}

#[test]
fn our_own_recordings_show_what_they_were_written_to_show() {
    let own = |name: &str| fs::read(manifest().join("testdata").join(name)).unwrap();
    let plausible = |usage| Some(Reported::Plausible(usage));

    let text = stream(&own("text.sse"));
    let usage = Usage {
        input: 21,
        cached_read: 16,
        output: 9,
        reasoning: 4,
        ..Usage::default()
    };
    assert_eq!(text.usage, plausible(usage));
    assert_eq!(
        (text.text.as_str(), text.generated_bytes),
        ("Grüß 你好 😀\n", 19)
    );
    assert_eq!(
        (text.finish.as_deref(), text.done, text.choices, text.events),
        (Some("stop"), true, 1, 5)
    );
    assert_eq!(text.model.as_deref(), Some("made-model-1"));

    let tools = stream(&own("tools.sse"));
    let usage = Usage {
        input: 80,
        cached_read: 64,
        output: 31,
        reasoning: 5,
        ..Usage::default()
    };
    assert_eq!(tools.usage, plausible(usage));
    assert_eq!(tools.text, "Look it up.weather{\"city\":clockUTC\"Köln\"}");
    assert_eq!(tools.finish.as_deref(), Some("tool_calls"));

    let crlf = stream(&own("crlf-comments.sse"));
    assert_eq!(
        crlf.usage,
        plausible(Usage {
            input: 3,
            output: 4,
            ..Usage::default()
        })
    );
    assert_eq!(
        (crlf.text.as_str(), crlf.choices, crlf.done),
        ("OneUno dos", 2, true)
    );

    let filters = stream(&own("filters-first.sse"));
    assert_eq!(
        (filters.text.as_str(), filters.model.as_deref()),
        ("Hi", Some("made-model-4"))
    );
    let (passed, _) = sift([own("filters-first.sse").as_slice()]);
    assert!(
        passed.starts_with(b"data: {\"id\":\"\""),
        "the first chunk passes though its choices are empty"
    );
    assert!(
        passed.ends_with(b"\"usage\":null}\n\ndata: [DONE]\n\n"),
        "the usage chunk does not"
    );

    let error = stream(&own("error.sse"));
    let told = error.error.unwrap();
    assert_eq!(
        (told.message.as_str(), told.code.as_deref()),
        ("The provider went away", Some("502"))
    );
    assert_eq!(
        (error.text.as_str(), error.usage, error.done),
        ("Well", None, true)
    );

    let details = json(&own("details.json"));
    let usage = Usage {
        input: 100,
        cached_read: 40,
        cached_write: 20,
        audio_input: 30,
        image_input: 10,
        output: 50,
        reasoning: 12,
        audio_output: 8,
        image_output: 0,
    };
    assert_eq!(details.usage, plausible(usage));
    assert_eq!(details.text, "Hm. Yes. Aye.");
}

/// Input, cached read, cached write, output and reasoning, as the vendors' recordings report them.
const EXPECTED: &[(&str, [u64; 5])] = &[
    ("openai-chat/text-stream-usage/stream.sse", [12, 0, 0, 5, 0]),
    (
        "openai-chat/two-choices-stream/stream.sse",
        [13, 0, 0, 43, 0],
    ),
    (
        "openai-chat/cache-read/response.json",
        [1220, 1152, 0, 100, 0],
    ),
    (
        "openai-chat/cache-write/response.json",
        [1220, 0, 1217, 100, 100],
    ),
    (
        "openai-chat/embeddings-dimensions/response.json",
        [8, 0, 0, 0, 0],
    ),
    (
        "azure-openai/filter-annotations-stream/stream.sse",
        [15, 0, 0, 78, 64],
    ),
    (
        "deepseek/reasoning-tool-call-cache/response.json",
        [563, 512, 0, 116, 60],
    ),
    ("deepseek/reasoning-stream/stream.sse", [14, 0, 0, 34, 20]),
    ("groq/text-stream/stream.sse", [18, 0, 0, 73, 0]),
    ("llamacpp/tools-stream/stream.sse", [139, 0, 0, 41, 0]),
    ("mistral/tool-choice-any/response.json", [70, 69, 0, 12, 0]),
    (
        "openrouter/kimi-tool-call-stream/stream.sse",
        [69, 0, 0, 87, 66],
    ),
    ("qwen/tool-call-stream/stream.sse", [896, 64, 0, 34, 0]),
    ("vllm/tool-call/response.json", [185, 0, 0, 138, 0]),
    ("xai/tool-call-stream/stream.sse", [390, 384, 0, 103, 77]), // reasoning is beside the completion there
    ("zhipu/tool-call-stream/stream.sse", [173, 172, 0, 93, 65]),
];

#[test]
fn usage_is_read_from_wherever_a_vendor_reports_it() {
    let Some(root) = recordings() else { return };
    for (name, [input, cached_read, cached_write, output, reasoning]) in EXPECTED.iter().copied() {
        let bytes = fs::read(root.join(name)).unwrap();
        let seen = if name.ends_with(".sse") {
            stream(&bytes)
        } else {
            json(&bytes)
        };
        let usage = seen.usage.and_then(Reported::plausible).unwrap();
        let wanted = Usage {
            input,
            cached_read,
            cached_write,
            output,
            reasoning,
            ..Usage::default()
        };
        assert_eq!(usage, wanted, "{name}");
    }
}

#[test]
fn vendors_peculiarities_are_observed() {
    let Some(root) = recordings() else { return };
    let seen = |name: &str| stream(&fs::read(root.join(name).join("stream.sse")).unwrap());

    let error = seen("openrouter/error-in-stream");
    assert_eq!(error.error.unwrap().message, "Token limit reached");
    assert_eq!(
        error.usage,
        Some(Reported::Implausible),
        "it reports more reasoning than output"
    );
    assert!(error.done);

    let cited = seen("perplexity/citations-stream");
    assert_eq!(
        (cited.text.as_str(), cited.finish.as_deref()),
        ("1 2 3", Some("stop")),
        "not twice"
    );
    assert!(!cited.done, "it ends with the connection");

    assert_eq!(seen("openai-chat/two-choices-stream").choices, 2);
    assert_eq!(seen("qwen/text-stream").text, "1 2 3");
    assert_eq!(seen("hunyuan/text-stream").usage, None);
    assert!(
        seen("doubao/tool-call-stream")
            .text
            .ends_with("{\"location\": \"洛阳\", \"format\": \"celsius\"}get_current_weather")
    );
    assert!(seen("openai-chat/refusal-stream").text.starts_with("I'm"));
}
