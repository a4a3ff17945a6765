//! The connection to Redis and the prefix that all of its keys and channels have.
//!
//! Through it go counts of limits and budgets (`limits::Shared`), and word that the configuration changed. Such a message
//! says "look" and nothing else; what changed is read from the database. Whoever needs a key of Redis makes it by a function
//! here, from ids alone. A single server and a Redis Cluster are asked alike: what belongs together has one hash tag.
//!
//! Each thread has a connection of its own, driven on that thread: a question of a worker wakes nobody else, and what the
//! calls of one turn of its loop ask goes out together.

mod inspect;

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use redis::{
    Client, Cmd, Pipeline, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use serde::Deserialize;
use thread_local::ThreadLocal;
use tokio::{
    sync::{Notify, OnceCell},
    time,
};

use crate::secrets::Secret;

/// The channel on which changes of the configuration are told.
const CHANGED: &str = "catalog:look";
/// Longest wait for an answer or a connection, unless calls are to wait longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest pause before a lost subscription is tried again.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// A subscription this silent is made anew: a peer that vanished without a word looks the same.
const SILENCE: Duration = Duration::from_secs(30);

/// Where Redis is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `redis://…` or `rediss://…`. Absent: one instance alone, nothing is shared.
    pub url: Option<Secret>,
    /// What all keys and channels begin with, so that installations can share a Redis.
    pub prefix: String,
    /// Whether the URL is that of a node of a Redis Cluster.
    pub cluster: bool,
    /// How long a call waits for an answer: no connection gives up before.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            prefix: "weir".to_owned(),
            cluster: false,
            timeout: Duration::ZERO,
        }
    }
}

/// Redis, connected by each thread when it first asks and again whenever lost. Clones share the connections.
#[derive(Clone)]
pub struct Redis {
    /// For subscriptions: any node of a cluster hears every message.
    client: Client,
    links: Links,
    prefix: String,
    patience: Duration,
}

/// The threads' connections.
#[derive(Clone)]
enum Links {
    One(Arc<ThreadLocal<ConnectionManager>>),
    Cluster(Arc<Cluster>),
}

/// A cluster, whose nodes are looked up when a thread first asks it.
struct Cluster {
    client: ClusterClient,
    connections: ThreadLocal<OnceCell<ClusterConnection>>,
}

/// A connection to ask through, of either kind.
#[derive(Clone)]
pub enum Connection {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

impl Redis {
    /// Redis as configured; `None` if there is none. Nothing is sent yet.
    pub fn open(config: &Config) -> RedisResult<Option<Self>> {
        let Some(url) = &config.url else {
            return Ok(None);
        };
        let client = Client::open(url.expose())?;
        let patience = PATIENCE.max(config.timeout);
        let links = if config.cluster {
            let cluster = ClusterClient::builder([url.expose()])
                .connection_timeout(patience)
                .response_timeout(patience)
                .retries(2)
                .build()?;
            Links::Cluster(Arc::new(Cluster {
                client: cluster,
                connections: ThreadLocal::new(),
            }))
        } else {
            Links::One(Arc::default())
        };
        Ok(Some(Self {
            client,
            links,
            prefix: config.prefix.clone(),
            patience,
        }))
    }

    /// Asks for a sign of life.
    pub async fn ping(&self) -> RedisResult<()> {
        let mut connection = self.connection().await?;
        redis::cmd("PING").query_async(&mut connection).await
    }

    /// Tells every instance to look for a change.
    pub async fn publish_changed(&self) -> RedisResult<()> {
        self.publish(CHANGED, "look").await
    }

    /// Tells everybody who follows a channel something.
    pub async fn publish(&self, channel: &str, text: &str) -> RedisResult<()> {
        let mut connection = self.connection().await?;
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.channel(channel)).arg(text);
        publish.query_async(&mut connection).await
    }

    /// Notifies whenever somebody told of a change, and once after every reconnection, as something may have been
    /// missed. Never ends by itself.
    pub async fn follow_changes(&self, look: &Notify) {
        self.follow(CHANGED, |_| look.notify_one()).await;
    }

    /// Hands over what is told on a channel, and nothing once after every reconnection, as something may have been missed.
    /// Never ends by itself.
    pub async fn follow(&self, channel: &str, heard: impl Fn(Option<String>) + Send) {
        let mut pause = Duration::from_millis(100);
        let mut down = false;
        loop {
            match time::timeout(PATIENCE, self.subscribe(channel)).await {
                Ok(Ok(mut messages)) => {
                    if std::mem::take(&mut down) {
                        tracing::info!(channel, "Redis is back");
                    }
                    pause = Duration::from_millis(100);
                    heard(None);
                    while let Ok(Some(message)) = time::timeout(SILENCE, messages.next()).await {
                        heard(message.get_payload().ok());
                    }
                    continue;
                }
                Ok(Err(error)) if !down => {
                    tracing::warn!(%error, channel, "Redis is away: nothing is heard");
                }
                Err(_) if !down => {
                    tracing::warn!(channel, "Redis does not answer: nothing is heard");
                }
                _ => {}
            }
            down = true;
            time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn subscribe(&self, channel: &str) -> RedisResult<redis::aio::PubSubStream> {
        let mut subscription = self.client.get_async_pubsub().await?;
        subscription.subscribe(self.channel(channel)).await?;
        Ok(subscription.into_on_message())
    }

    /// This thread's connection. Its runtime has to last as long as the thread asks.
    pub async fn connection(&self) -> RedisResult<Connection> {
        match &self.links {
            Links::One(managers) => {
                let connect = || {
                    let patient = ConnectionManagerConfig::new()
                        .set_connection_timeout(Some(self.patience))
                        .set_response_timeout(Some(self.patience))
                        .set_number_of_retries(1);
                    ConnectionManager::new_lazy_with_config(self.client.clone(), patient)
                };
                let connection = managers.get_or_try(connect)?;
                Ok(Connection::One(connection.clone()))
            }
            Links::Cluster(cluster) => {
                let connect = || cluster.client.get_async_connection();
                let cell = cluster.connections.get_or_default();
                let connection = cell.get_or_try_init(connect).await?;
                Ok(Connection::Cluster(connection.clone()))
            }
        }
    }

    /// A key whose place in a cluster is decided by its tag alone. Both are made of ids, never of names.
    pub fn tagged(&self, tag: &str, key: &str) -> String {
        format!("{}:{{{tag}}}:{key}", self.prefix)
    }

    fn channel(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Redis")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// Redis for tests, under a prefix of its own: where `WEIR_TEST_REDIS_URL` names one, and in CI it must.
#[cfg(test)]
pub(crate) fn for_test() -> Option<Redis> {
    const VARIABLE: &str = "WEIR_TEST_REDIS_URL";
    let Ok(url) = std::env::var(VARIABLE) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI is set, so {VARIABLE} must name a Redis for the tests"
        );
        eprintln!("skipped: {VARIABLE} names no Redis");
        return None;
    };
    let config = Config {
        url: Some(Secret::new(url)),
        prefix: format!("weir-test-{}", uuid::Uuid::new_v4().simple()),
        ..Config::default()
    };
    Redis::open(&config).expect("a Redis URL")
}
