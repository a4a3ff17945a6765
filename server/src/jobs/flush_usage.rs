//! Has every instance book what it has answered, so that whoever asks for usage gets all that was answered before they asked.
//!
//! The instance that is asked tells the others over Redis; each flushes its spool, waits until that is booked, and says so. An
//! instance that says nothing in time, or that cannot be told, leaves the answer incomplete, and the answer says that.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sea_orm::DbBackend;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::write_usage::flushed_and_booked;
use crate::{
    metering::Recorder,
    redis::Redis,
    store::{
        self, Stores,
        instances::{self, SILENCE_MS},
    },
};

const CHANNEL: &str = "usage_flush";
/// How often those who have not answered are told again.
const TELL_AGAIN: Duration = Duration::from_millis(200);
/// How often is looked who lives.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The longest that an instance tries on another's behalf.
const PATIENCE: Duration = Duration::from_secs(60);

/// What instances tell each other.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Flush { ask: Uuid, by: Uuid },
    Flushed { ask: Uuid, by: Uuid },
}

/// The job, and the questions that wait for it.
pub struct FlushUsage {
    me: Uuid,
    stores: Stores,
    redis: Option<Redis>,
    /// Holds the spool.
    recorder: Recorder,
    /// Who has answered which of this instance's questions.
    answered: Mutex<HashMap<Uuid, HashSet<Uuid>>>,
    /// Others' questions that are worked on here.
    under_way: Mutex<HashSet<Uuid>>,
    heard: Notify,
}

/// A question under way; when it is dropped nobody waits for its answers.
struct Asking<'a> {
    of: &'a FlushUsage,
    ask: Uuid,
}

impl<'a> Asking<'a> {
    fn begin(of: &'a FlushUsage) -> Self {
        let ask = Uuid::new_v4();
        of.answered.lock().insert(ask, HashSet::new());
        Self { of, ask }
    }

    fn have_answered(&self, others: &HashSet<Uuid>) -> bool {
        let answered = self.of.answered.lock();
        let answered = answered.get(&self.ask);
        answered.is_some_and(|answered| answered.is_superset(others))
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.of.answered.lock().remove(&self.ask);
    }
}

impl FlushUsage {
    /// For the instance `me`; without Redis it speaks to no other.
    pub fn new(me: Uuid, stores: Stores, redis: Option<Redis>, recorder: Recorder) -> Self {
        Self {
            me,
            stores,
            redis,
            recorder,
            answered: Mutex::default(),
            under_way: Mutex::default(),
            heard: Notify::new(),
        }
    }

    /// Whether all that any living instance had answered before the call is booked; waits for that, if not for too long.
    pub async fn everywhere(&self, at_most: Duration) -> bool {
        let own = flushed_and_booked(&self.recorder);
        let all = futures_util::future::join(own, self.elsewhere());
        matches!(timeout(at_most, all).await, Ok((true, true)))
    }

    async fn elsewhere(&self) -> bool {
        // A database within the process has no other.
        if self.stores.config.backend() == DbBackend::Sqlite {
            return true;
        }
        let told = async {
            let others = self.others().await?;
            match &self.redis {
                _ if others.is_empty() => Ok(true),
                None => Ok(false),
                Some(redis) => self.told(redis, others).await.map(|()| true),
            }
        };
        told.await.unwrap_or_else(|error: store::Error| {
            tracing::warn!(%error, "nobody knows who else has usage to book");
            false
        })
    }

    async fn others(&self) -> store::Result<HashSet<Uuid>> {
        let living = instances::heard_of(&self.stores.config, SILENCE_MS).await?;
        Ok(living.into_iter().filter(|id| *id != self.me).collect())
    }

    /// Returns when all of them that still live have said that theirs is booked.
    async fn told(&self, redis: &Redis, mut others: HashSet<Uuid>) -> store::Result<()> {
        let asking = Asking::begin(self);
        let mut looked = Instant::now();
        loop {
            if looked.elapsed() >= LOOK_AGAIN {
                let living = self.others().await?;
                others.retain(|id| living.contains(id));
                looked = Instant::now();
            }
            let word = Word::Flush {
                ask: asking.ask,
                by: self.me,
            };
            if let Err(error) = self.say(redis, &word).await {
                tracing::debug!(%error, "the others cannot be told to book their usage");
            }
            let again = sleep(TELL_AGAIN);
            tokio::pin!(again);
            loop {
                let heard = self.heard.notified();
                tokio::pin!(heard);
                heard.as_mut().enable();
                if asking.have_answered(&others) {
                    return Ok(());
                }
                tokio::select! {
                    () = heard => {}
                    () = &mut again => break,
                }
            }
        }
    }

    /// Does what others ask, and hears what they answer, until told to stop.
    pub async fn run(self: Arc<Self>, redis: Redis, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = redis.follow(CHANNEL, |text| self.hear(&redis, text.as_deref())) => {}
        }
    }

    fn hear(self: &Arc<Self>, redis: &Redis, text: Option<&str>) {
        // What another version says may be something else.
        let word = text.and_then(|text| serde_json::from_str(text).ok());
        match word {
            Some(Word::Flush { ask, by }) if by != self.me && self.under_way.lock().insert(ask) => {
                tokio::spawn(Arc::clone(self).flush(redis.clone(), ask));
            }
            Some(Word::Flushed { ask, by }) => {
                if let Some(answered) = self.answered.lock().get_mut(&ask) {
                    answered.insert(by);
                }
                self.heard.notify_waiters();
            }
            _ => {}
        }
    }

    async fn flush(self: Arc<Self>, redis: Redis, ask: Uuid) {
        let is_booked = timeout(PATIENCE, flushed_and_booked(&self.recorder)).await;
        // Whoever asks again is answered again: a word may have been lost.
        self.under_way.lock().remove(&ask);
        if is_booked != Ok(true) {
            return;
        }
        let word = Word::Flushed { ask, by: self.me };
        if let Err(error) = self.say(&redis, &word).await {
            tracing::debug!(%error, "that usage is booked cannot be told");
        }
    }

    async fn say(&self, redis: &Redis, word: &Word) -> anyhow::Result<()> {
        let text = serde_json::to_string(word)?;
        redis.publish(CHANNEL, &text).await?;
        Ok(())
    }
}
