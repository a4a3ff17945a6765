//! What must hold for any bytes, whoever makes them up: cargo-fuzz runs these, and the server's tests run them over the
//! corpus (threats.md, H12).

#![allow(dead_code, reason = "each fuzz target uses one")]

use std::{path::Path, sync::OnceLock};

use actix_web::http::{
    Uri,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use percent_encoding::percent_decode;
use url::{Url, form_urlencoded};
use weir::{
    metering::{
        UsageEvent,
        spool::{self, Spool},
    },
    proxy::{
        headers, path,
        upstream::framing::{self, Body, Head},
    },
    resources::{Picture, export, merge::merge, plan, read},
};

const KEY: [u8; 32] = [7; 32];

/// However the bytes of a segment are changed, cut, moved or doubled, no event is read that was not written there, and
/// none is read twice.
pub fn spool(data: &[u8]) {
    spool::read_bytes(data, &KEY);
    let (segment, events) = segment();
    let changed = changed(segment.clone(), data);
    let Some(read) = spool::read_bytes(&changed, &KEY) else {
        return;
    };
    let mut written = events.iter();
    for event in &read.events {
        assert!(written.any(|written| written == event), "made up, or moved");
    }
    if changed == *segment {
        assert_eq!(read.events.len(), events.len());
    }
}

/// The bytes of a segment of three events, and the events.
fn segment() -> &'static (Vec<u8>, Vec<UsageEvent>) {
    static SEGMENT: OnceLock<(Vec<u8>, Vec<UsageEvent>)> = OnceLock::new();
    SEGMENT.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let opened = Spool::open(directory.path(), &KEY, spool::Config::default());
        let spool = opened.expect("a spool").spool;
        let events = [1, 2, 3].map(event).to_vec();
        for event in &events {
            spool.append(event).expect("appended");
        }
        spool.seal();
        (first_segment(directory.path()), events)
    })
}

/// The one that was closed; the spool may have begun the next.
fn first_segment(directory: &Path) -> Vec<u8> {
    let files = directory.read_dir().expect("a directory");
    let paths = files.map(|file| file.expect("a file").path());
    let segment = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "segment"))
        .min()
        .expect("a segment");
    std::fs::read(segment).expect("its bytes")
}

fn event(number: u128) -> UsageEvent {
    let id = uuid::Uuid::from_u128(number);
    let usage = serde_json::json!({"input": 5, "output": number as u64});
    let attempt = serde_json::json!({
        "channel": id, "credential": null, "upstream_model": "m", "started_us": 1, "took_us": 2, "status": 200,
        "failure": null, "usage": usage, "estimated": false, "cost": 3,
    });
    serde_json::from_value(serde_json::json!({
        "id": id, "tenant": id, "key": id, "user": null, "group": null, "started_ms": 1_785_000_000_000_i64,
        "endpoint": "/v1/chat/completions", "dialect": "openai", "model": "m", "source": "api", "outcome": "ok",
        "status": 200, "error_code": null, "streamed": true, "count": 1, "usage": usage, "estimated": false,
        "unpriced": false, "cost": 3, "charge": 3, "rates": null, "first_byte_us": 1, "total_us": 2, "overhead_us": 1,
        "request_bytes": 1, "response_bytes": 1, "client_request_id": null, "upstream_request_id": null,
        "end_user": null, "attempts": [attempt], "instance": "weir-0",
    }))
    .expect("an event")
}

/// The bytes changed as the script says: what to do, where (two bytes), how much, and the bytes that come there.
fn changed(mut bytes: Vec<u8>, script: &[u8]) -> Vec<u8> {
    let mut rest = script;
    while let Some(([what, high, low, much], after)) = rest.split_first_chunk::<4>() {
        let at = usize::from(u16::from_be_bytes([*high, *low])) % (bytes.len() + 1);
        let end = (at + usize::from(*much)).min(bytes.len());
        let given = &after[..usize::from(*much).min(after.len())];
        rest = after;
        match what % 5 {
            0 => {
                rest = &after[given.len()..];
                bytes.splice(at..(at + given.len()).min(bytes.len()), given.to_vec());
            }
            1 => {
                rest = &after[given.len()..];
                bytes.splice(at..at, given.to_vec());
            }
            2 => drop(bytes.drain(at..end)),
            3 => bytes.extend_from_within(at..end),
            _ => bytes.truncate(at),
        }
        // A script that only copies would fill the memory.
        bytes.truncate(64 * 1024);
    }
    bytes
}

/// A file that is read says the same in any environment once it is written down, and one that applies is a fixed point.
pub fn resources(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(resources) = read::parse(text) else {
        return;
    };
    let written = read::write(&resources).expect("YAML");
    let canary = |_: &str| Some("canary".to_owned());
    assert_eq!(
        read::parse_expanding(&written, &canary).as_ref(),
        Ok(&resources)
    );
    let now_ms = 1_785_000_000_000;
    let Ok(merged) = merge(&Picture::default(), &resources, false, now_ms) else {
        return;
    };
    let exported = read::write(&export::all(&merged.picture)).expect("YAML");
    let again = read::parse_expanding(&exported, &canary).expect("an export is a file");
    let twice = merge(&merged.picture, &again, true, now_ms).expect("an export applies");
    let changes = plan::changes(&merged.picture, &twice.picture);
    assert!(changes.is_empty(), "{changes:#?}");
    assert_eq!(twice.picture, merged.picture);
}

/// A request's head: the first line is its target, the others are its fields.
pub fn head(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.split('\n');
    let target = lines.next().unwrap_or_default();
    // As actix reads it: what is no URI never arrives.
    if let Ok(uri) = target.parse::<Uri>()
        && target.starts_with('/')
    {
        path_of(uri.path());
        query_of(uri.query().unwrap_or_default());
    }
    let mut fields = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value.trim())) {
            fields.append(name, value);
        }
    }
    fields_of(&fields);
}

/// A path that passes has no meaning but the one, for those who decode it never, once and twice, and for browsers.
fn path_of(raw: &str) {
    let _ = (path::decoded(raw), path::forms(raw), path::name(raw));
    if path::check(raw).is_err() {
        return;
    }
    let once: Vec<u8> = percent_decode(raw.as_bytes()).collect();
    let twice: Vec<u8> = percent_decode(&once).collect();
    for form in [raw.as_bytes(), &once, &twice] {
        assert!(
            !form
                .iter()
                .any(|byte| byte.is_ascii_control() || *byte == b'\\')
        );
        let mut segments = form.split(|byte| *byte == b'/');
        assert!(!segments.any(|segment| segment == b"." || segment == b".."));
    }
    assert_eq!(path::forms(raw)[0].as_bytes(), lossy(&once).as_bytes());
    let url = Url::parse(&format!("https://vendor.example/base{raw}")).expect("a URL");
    assert_eq!(url.host_str(), Some("vendor.example"));
    let segments = url.path_segments().expect("segments");
    assert_eq!(segments.count(), 1 + raw.matches('/').count());
    assert!(url.path().starts_with("/base/"), "{url}");
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// No reader finds a key in what is left of a query, and everything else stays in its order.
fn query_of(query: &str) {
    let (rest, _) = path::without_key(query);
    let others = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "key");
    assert!(others.eq(form_urlencoded::parse(rest.as_bytes())));
}

/// What must never go upstream, whoever names it.
const NEVER_SENT: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "openai-organization",
    "openai-project",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-api-key",
    "api-key",
    "x-forwarded-for",
    "x-goog-api-key",
    "x-goog-user-project",
    "x-real-ip",
    "x-weir-session",
];

/// What must never come back from an upstream.
const NEVER_GIVEN: &[&str] = &[
    "access-control-allow-origin",
    "alt-svc",
    "clear-site-data",
    "connection",
    "content-length",
    "openai-organization",
    "refresh",
    "service-worker-allowed",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "x-weir-cost",
];

fn fields_of(fields: &HeaderMap) {
    let hop_by_hop = |name: &str| {
        let lines = fields.get_all("connection");
        let mut names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        name != "content-type"
            && names.any(|named| named.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    };
    let is_given =
        |name: &HeaderName, value: &HeaderValue| fields.get_all(name).any(|given| given == value);
    for passed in [
        headers::for_inference(fields, true),
        headers::for_proxy(fields, true, true),
    ] {
        for (name, value) in passed.iter() {
            assert!(!NEVER_SENT.contains(&name.as_str()), "{name}");
            assert!(!hop_by_hop(name.as_str()), "{name}");
            assert!(is_given(name, value), "{name}");
        }
    }
    for (name, value) in headers::of_answer(fields.clone()) {
        assert!(!NEVER_GIVEN.contains(&name.as_str()), "{name}");
        assert!(!hop_by_hop(name.as_str()), "{name}");
        assert!(is_given(&name, &value), "{name}");
    }
    if let Some(label) = headers::client_request_id(fields) {
        assert!(!label.is_empty() && label.len() <= 128);
        assert!(label.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

/// However an upstream's answer is cut, it ends at the same byte.
pub fn answer(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let to_head_request = first & 0x80 != 0;
    let size = usize::from(first & 0x7F) + 1;
    let whole = follow(bytes, bytes.len().max(1), to_head_request);
    assert_eq!(follow(bytes, size, to_head_request), whole);
    if let (end, Ok(Ended::Chunked(start))) = whole {
        assert_eq!(dechunked(&bytes[start..end]), Some(end - start));
    }
}

/// How far an answer came.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    InHead,
    InBody,
    /// Complete.
    Whole,
    /// Complete, with chunks from this byte on.
    Chunked(usize),
}

/// Reads an answer as it comes in pieces: the byte at which it stopped, and why.
fn follow(
    bytes: &[u8],
    size: usize,
    to_head_request: bool,
) -> (usize, Result<Ended, framing::Error>) {
    let mut arrived = 0;
    let mut at = 0;
    let (mut body, start) = loop {
        match framing::head(&bytes[at..arrived], to_head_request) {
            Err(error) => return (at, Err(error)),
            Ok(Head::Partial) if arrived == bytes.len() => return (at, Ok(Ended::InHead)),
            Ok(Head::Partial) => arrived = (arrived + size).min(bytes.len()),
            Ok(Head::Interim(length)) => at += length,
            Ok(Head::Final {
                bytes: length,
                body,
                false_length,
            }) => {
                assert!(false_length.is_none_or(|place| place.end <= length));
                break (body, at + length);
            }
        }
    };
    at = start;
    let ended = |body: &Body| match body {
        Body::Chunked(_) => Ended::Chunked(start),
        _ => Ended::Whole,
    };
    if body.is_empty() {
        return (at, Ok(ended(&body)));
    }
    loop {
        while at < arrived {
            match body.take(&bytes[at..arrived]) {
                Err(error) => return (at, Err(error)),
                Ok((taken, true)) => return (at + taken, Ok(ended(&body))),
                Ok((taken, false)) => at += taken,
            }
        }
        if arrived == bytes.len() {
            return (at, Ok(Ended::InBody));
        }
        arrived = (arrived + size).min(bytes.len());
    }
}

/// Where a chunked body ends for httparse, trailers included.
fn dechunked(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let httparse::Status::Complete((line, size)) =
            httparse::parse_chunk_size(&bytes[at..]).ok()?
        else {
            return None;
        };
        at += line;
        if size == 0 {
            break;
        }
        at += usize::try_from(size).ok()?;
        at += bytes.get(at..)?.strip_prefix(b"\r\n").map(|_| 2)?;
    }
    loop {
        let rest = bytes.get(at..)?;
        if rest.starts_with(b"\r\n") {
            return Some(at + 2);
        }
        at += rest.windows(2).position(|pair| pair == b"\r\n")? + 2;
    }
}
