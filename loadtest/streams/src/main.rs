//! `weir-streams`: reads chat streams of `weir-upstream`, many at a time, and says how long each chunk was on its way.
//!
//! `wrk` measures whole answers; how long a chunk takes through a gateway, and what many open streams cost it, needs a
//! client of its own. The vendor writes into each chunk when it sent it (a model whose name ends in `-stamp`), so client
//! and vendor have to share a machine, and the machine's clock must not be set meanwhile. One thread, so that it takes no
//! more than one core from what is measured. Prints one JSON object; times are in microseconds.

#![forbid(unsafe_code)]

mod chunked;
mod stream;
mod tally;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::task::LocalSet;

use stream::Reader;
use tally::Tally;

/// How long one stream may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(120);

/// Reads streams and measures each chunk's way.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// The gateway's or vendor's address.
    address: SocketAddr,
    /// The model asked for; weir-upstream takes its orders from the name.
    #[arg(long, default_value = "stub-slow-10ms-tokens-50-stamp")]
    model: String,
    /// Chunks with a stamp that each stream has to have: the model's `tokens-<n>`.
    #[arg(long, default_value_t = 50)]
    chunks: u64,
    /// The caller's key.
    #[arg(long, default_value = "none", env = "WEIR_STREAMS_KEY")]
    key: String,
    /// Streams open at once.
    #[arg(long, default_value_t = 200)]
    connections: usize,
    /// How long new streams are begun.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Over how many seconds the first streams are begun.
    #[arg(long, default_value_t = 0.5)]
    ramp: f64,
    /// One stream for each connection, however long that takes.
    #[arg(long)]
    once: bool,
}

impl Flags {
    /// The request that each stream begins with.
    fn request(&self) -> Vec<u8> {
        let body = serde_json::json!({
            "model": self.model,
            "stream": true,
            // Its chunks are longer than tokens are: with less a gateway would think that the vendor does not keep to it.
            "max_tokens": self.chunks * 16,
            "messages": [{"role": "user", "content": "Say it slowly."}],
        })
        .to_string();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            self.key,
            body.len()
        )
        .into_bytes()
    }
}

fn main() -> anyhow::Result<()> {
    let flags = Rc::new(Flags::parse());
    let request: Rc<[u8]> = flags.request().into();
    let tally = Rc::new(RefCell::new(Tally::default()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let begun = Instant::now();
    LocalSet::new().block_on(&runtime, async {
        let readers: Vec<_> = (0..flags.connections)
            .map(|at| {
                tokio::task::spawn_local(read(
                    at,
                    Rc::clone(&flags),
                    Rc::clone(&request),
                    Rc::clone(&tally),
                ))
            })
            .collect();
        for reader in readers {
            if let Err(error) = reader.await {
                tally.borrow_mut().lost(&error.to_string());
            }
        }
    });
    println!("{}", tally.borrow_mut().summary(begun.elapsed()));
    Ok(())
}

/// One connection's streams, one after another.
async fn read(at: usize, flags: Rc<Flags>, request: Rc<[u8]>, tally: Rc<RefCell<Tally>>) {
    let begun = Instant::now();
    let turn = flags.ramp * at as f64 / flags.connections as f64;
    tokio::time::sleep(Duration::from_secs_f64(turn)).await;
    let mut reader = None;
    while flags.once || begun.elapsed().as_secs_f64() < flags.seconds {
        tally.borrow_mut().opens();
        let one = tokio::time::timeout(
            PATIENCE,
            one_stream(reader.take(), &flags, &request, &tally),
        )
        .await
        .unwrap_or_else(|_| Err(anyhow::anyhow!("a stream did not end in {PATIENCE:?}")));
        tally.borrow_mut().closes();
        match one {
            Ok(left) => reader = Some(left),
            Err(error) => {
                tally.borrow_mut().lost(&format!("{error:#}"));
                // What refuses at once must not be asked as fast as it can refuse.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        if flags.once {
            return;
        }
    }
}

/// One stream to its end; gives the connection back, which can carry another.
async fn one_stream(
    reader: Option<Reader>,
    flags: &Flags,
    request: &[u8],
    tally: &RefCell<Tally>,
) -> anyhow::Result<Reader> {
    let mut reader = match reader {
        Some(reader) => reader,
        None => Reader::connect(flags.address).await?,
    };
    reader.stream(request, flags.chunks, tally).await?;
    Ok(reader)
}
