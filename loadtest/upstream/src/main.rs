//! `weir-upstream`: the vendor stand-in as a process of its own.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use weir_upstream::{Behaviour, ConnectionPolicy, Options, Orders, Record, Vendor};

/// Plays an OpenAI-dialect vendor. Steered under /_control/ and by model names such as
/// stub-slow-20ms-tokens-100; see the README.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    /// Threads that serve.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Keep running totals only: for benchmarks.
    #[arg(long)]
    no_record: bool,
    /// Lines and requests kept; the oldest go first.
    #[arg(long, default_value_t = 100_000)]
    keep: usize,
    /// Answer every request with a fixed JSON body of about so many bytes (600 is a short chat).
    #[arg(long, value_name = "BYTES")]
    fixed: Option<usize>,
    /// Orders to begin with: a JSON file as POST /_control/behaviours takes it.
    #[arg(long, value_name = "FILE")]
    behaviours: Option<PathBuf>,
    /// A folder of recordings; may be given more than once.
    #[arg(long, value_name = "FOLDER")]
    recordings: Vec<PathBuf>,
    /// Send a 408 to connections idle for so long, and close them.
    #[arg(long, value_name = "MS")]
    idle_408_after_ms: Option<u64>,
    /// Close connections after so many answers, unannounced.
    #[arg(long, value_name = "N")]
    close_after_requests: Option<u32>,
    /// Say in every chat answer that this is no model, and repeat the question.
    #[arg(long)]
    demo: bool,
    /// No /_control/ endpoints.
    #[arg(long)]
    no_control: bool,
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let mut options = Options {
        listen: flags.listen,
        workers: flags.workers,
        keep: flags.keep,
        control: !flags.no_control,
        demo: flags.demo,
        connections: ConnectionPolicy {
            idle_408_after_ms: flags.idle_408_after_ms,
            close_after_requests: flags.close_after_requests,
            ..ConnectionPolicy::default()
        },
        ..Options::default()
    };
    options.recordings.extend(flags.recordings);
    if flags.no_record {
        options.record = Record::Nothing;
    }
    if let Some(bytes) = flags.fixed {
        options.default = Behaviour::body(fixed(bytes));
    }
    let vendor = Vendor::start(options)?;
    if let Some(file) = flags.behaviours {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let orders: Orders = serde_json::from_str(&text)
            .with_context(|| format!("{} is not understood", file.display()))?;
        vendor.order(orders)?;
    }
    println!("listening on {}", vendor.root_url());
    vendor.join()
}

/// A chat answer of about so many bytes, at least its frame.
fn fixed(bytes: usize) -> String {
    let answer = |content: &str| {
        format!(
            r#"{{"id":"chatcmpl-fixed","object":"chat.completion","created":1700000000,"model":"fixed","choices":[{{"index":0,"message":{{"role":"assistant","content":"{content}","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30,"prompt_tokens_details":{{"cached_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0}}}}}}"#
        )
    };
    answer(&"river ".repeat(bytes.saturating_sub(answer("").len()) / 6))
}
