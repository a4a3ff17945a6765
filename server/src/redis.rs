//! The connection to Redis and the prefix that all of its keys and channels have.
//!
//! So far one thing goes through it: word that the configuration changed. Such a message says "look" and nothing else;
//! what changed is read from the database. Whoever needs a key of Redis makes it by a function here, from ids alone.

use std::time::Duration;

use futures_util::StreamExt as _;
use redis::{
    Client, RedisResult,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use serde::Deserialize;
use tokio::{sync::Notify, time};

use crate::secrets::Secret;

/// Longest wait for an answer or a connection.
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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            prefix: "weir".to_owned(),
        }
    }
}

/// Redis, connected when first used and again whenever lost. Clones share the connection.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    connection: ConnectionManager,
    prefix: String,
}

impl Redis {
    /// Redis as configured; `None` if there is none. Nothing is sent yet.
    pub fn open(config: &Config) -> RedisResult<Option<Self>> {
        let Some(url) = &config.url else {
            return Ok(None);
        };
        let client = Client::open(url.expose())?;
        let patience = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), patience)?;
        Ok(Some(Self {
            client,
            connection,
            prefix: config.prefix.clone(),
        }))
    }

    /// Asks for a sign of life.
    pub async fn ping(&self) -> RedisResult<()> {
        let mut connection = self.connection.clone();
        redis::cmd("PING").query_async(&mut connection).await
    }

    /// Tells every instance to look for a change.
    pub async fn publish_changed(&self) -> RedisResult<()> {
        let mut connection = self.connection.clone();
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.changed_channel()).arg("look");
        publish.query_async(&mut connection).await
    }

    /// Notifies whenever somebody told of a change, and once after every reconnection, as something may have been
    /// missed. Never ends by itself.
    pub async fn follow_changes(&self, look: &Notify) {
        let mut pause = Duration::from_millis(100);
        let mut down = false;
        loop {
            match time::timeout(PATIENCE, self.subscribe()).await {
                Ok(Ok(mut messages)) => {
                    if std::mem::take(&mut down) {
                        tracing::info!("Redis is back");
                    }
                    pause = Duration::from_millis(100);
                    look.notify_one();
                    while let Ok(Some(_)) = time::timeout(SILENCE, messages.next()).await {
                        look.notify_one();
                    }
                    continue;
                }
                Ok(Err(error)) if !down => {
                    tracing::warn!(%error, "Redis is away: changes are found by polling");
                }
                Err(_) if !down => {
                    tracing::warn!("Redis does not answer: changes are found by polling");
                }
                _ => {}
            }
            down = true;
            time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn subscribe(&self) -> RedisResult<redis::aio::PubSubStream> {
        let mut subscription = self.client.get_async_pubsub().await?;
        subscription.subscribe(self.changed_channel()).await?;
        Ok(subscription.into_on_message())
    }

    /// A connection to ask through; all clones share one.
    pub fn connection(&self) -> ConnectionManager {
        self.connection.clone()
    }

    /// A key whose place in a cluster is decided by its tag alone. Both are made of ids, never of names.
    pub fn tagged(&self, tag: &str, key: &str) -> String {
        format!("{}:{{{tag}}}:{key}", self.prefix)
    }

    fn changed_channel(&self) -> String {
        format!("{}:catalog:look", self.prefix)
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
    };
    Redis::open(&config).expect("a Redis URL")
}
