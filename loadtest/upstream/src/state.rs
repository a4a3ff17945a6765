//! What all connections of one vendor share: its options, its book, and the choice of behaviour.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::behaviour::{Behaviour, Fault};
use crate::bill::Book;
use crate::clock::Clock;
use crate::recording::{self, Recording};

/// How a vendor is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that serve.
    pub workers: usize,
    /// What is kept of each request.
    pub record: Record,
    /// Lines and requests kept; the oldest go first.
    pub keep: usize,
    /// Whether `/_control/...` is answered.
    pub control: bool,
    /// Chat answers say that they are no model's and repeat the question.
    pub demo: bool,
    /// Most tokens a generated choice may have.
    pub output_cap: u32,
    /// The first default behaviour.
    pub default: Behaviour,
    /// How connections are treated between requests.
    pub connections: ConnectionPolicy,
    /// Folders of recordings beside the ones compiled in.
    pub recordings: Vec<PathBuf>,
    /// Serve TLS with this certificate.
    #[cfg(feature = "tls")]
    pub identity: Option<crate::Identity>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            workers: 1,
            record: Record::Full {
                body_limit: 4 << 20,
            },
            keep: 100_000,
            control: false,
            demo: false,
            output_cap: 16_384,
            default: Behaviour::default(),
            connections: ConnectionPolicy::default(),
            recordings: recording::default_folders(),
            #[cfg(feature = "tls")]
            identity: None,
        }
    }
}

/// What is kept of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The bill, and each request with the first bytes of its body.
    Full {
        /// Bytes of a body that are kept.
        body_limit: usize,
    },
    /// The bill alone.
    Bill,
    /// Running totals only: for benchmarks.
    Nothing,
}

/// How connections are treated between requests.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionPolicy {
    /// A connection idle for so long is sent a 408 and closed, as some load balancers do.
    pub idle_408_after_ms: Option<u64>,
    /// A connection idle for so long is closed.
    pub idle_close_after_ms: Option<u64>,
    /// After so many answers the connection is closed without a `connection: close` before it.
    pub close_after_requests: Option<u32>,
}

/// Running totals since the start, whatever is recorded.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Of these, closed before anything was read ([`Fault::Refuse`]).
    pub refused: u64,
    /// Requests whose head was read.
    pub requests: u64,
    /// Input tokens billed.
    pub input_tokens: u64,
    /// Output tokens billed.
    pub output_tokens: u64,
}

/// A behaviour, with the recording that it names at hand.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) behaviour: Behaviour,
    pub(crate) replay: Option<Arc<Recording>>,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) book: Book,
    pub(crate) policy: RwLock<ConnectionPolicy>,
    pub(crate) drawer: Mutex<Drawer>,
    choices: RwLock<Choices>,
}

/// What clients have left with the vendor.
#[derive(Debug, Default)]
pub(crate) struct Drawer {
    pub(crate) files: Vec<Value>,
    pub(crate) batches: Vec<Value>,
}

#[derive(Debug)]
struct Choices {
    queue: VecDeque<Arc<Choice>>,
    models: HashMap<String, Arc<Choice>>,
    default: Arc<Choice>,
}

impl State {
    pub(crate) fn new(options: Options) -> anyhow::Result<Self> {
        let clock = Clock::new();
        let default = choice(options.default.clone(), &options.recordings)?;
        Ok(Self {
            clock,
            book: Book::new(clock, options.record, options.keep),
            policy: RwLock::new(options.connections),
            drawer: Mutex::default(),
            choices: RwLock::new(Choices {
                queue: VecDeque::new(),
                models: HashMap::new(),
                default,
            }),
            options,
        })
    }

    pub(crate) fn push(&self, behaviour: Behaviour) -> anyhow::Result<()> {
        let choice = choice(behaviour, &self.options.recordings)?;
        self.choices.write().queue.push_back(choice);
        Ok(())
    }

    pub(crate) fn set_default(&self, behaviour: Behaviour) -> anyhow::Result<()> {
        let choice = choice(behaviour, &self.options.recordings)?;
        self.choices.write().default = choice;
        Ok(())
    }

    pub(crate) fn on_model(&self, model: String, behaviour: Behaviour) -> anyhow::Result<()> {
        let choice = choice(behaviour, &self.options.recordings)?;
        self.choices.write().models.insert(model, choice);
        Ok(())
    }

    /// Forgets behaviours (the default goes back to the one of the options), bill and drawer.
    pub(crate) fn reset(&self) -> anyhow::Result<()> {
        let default = choice(self.options.default.clone(), &self.options.recordings)?;
        *self.choices.write() = Choices {
            queue: VecDeque::new(),
            models: HashMap::new(),
            default,
        };
        *self.policy.write() = self.options.connections;
        *self.drawer.lock() = Drawer::default();
        self.book.clear();
        Ok(())
    }

    /// Whether a connection just accepted is to be closed unread; uses up a queued refusal.
    pub(crate) fn refuses(&self) -> bool {
        let refuses = |choice: &Choice| choice.behaviour.has(&Fault::Refuse);
        {
            let choices = self.choices.read();
            match choices.queue.front() {
                Some(front) if refuses(front) => {}
                Some(_) => return false,
                None => return refuses(&choices.default),
            }
        }
        let mut choices = self.choices.write();
        match choices.queue.front() {
            Some(front) if refuses(front) => choices.queue.pop_front().is_some(),
            _ => false,
        }
    }

    /// The choice that needs no knowledge of the model: the queue's next, if any. Second: the
    /// default, and whether the model's name can still change it.
    pub(crate) fn at_head(&self) -> (Option<Arc<Choice>>, Arc<Choice>, bool) {
        {
            let choices = self.choices.read();
            if choices.queue.is_empty() {
                return (None, choices.default.clone(), !choices.models.is_empty());
            }
        }
        let mut choices = self.choices.write();
        let queued = choices.queue.pop_front();
        (queued, choices.default.clone(), !choices.models.is_empty())
    }

    /// What the model's name chooses, if anything.
    pub(crate) fn for_model(&self, model: &str) -> Option<Arc<Choice>> {
        if let Some(choice) = self.choices.read().models.get(model) {
            return Some(choice.clone());
        }
        let behaviour = Behaviour::from_model(model)?;
        Some(Arc::new(Choice {
            behaviour,
            replay: None,
        }))
    }
}

fn choice(behaviour: Behaviour, folders: &[PathBuf]) -> anyhow::Result<Arc<Choice>> {
    let replay = match (&behaviour.recording, &behaviour.body) {
        (Some(name), _) => Some(Arc::new(recording::load(name, folders)?)),
        (None, Some(body)) => Some(Arc::new(Recording::of_body(body))),
        (None, None) => None,
    };
    Ok(Arc::new(Choice { behaviour, replay }))
}
