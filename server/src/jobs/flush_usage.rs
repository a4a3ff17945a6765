//! Has every instance book what it has answered, so that whoever asks for usage gets all that was answered before they asked.
//!
//! The instance that is asked tells the others over Redis; each flushes its spool, waits until that is booked, and says so. An
//! instance that says nothing in time, or that cannot be told, leaves the answer incomplete, and the answer says that.

use std::{
    collections::{HashMap, HashSet, VecDeque},
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
    store::{self, Stores, instances},
};

const CHANNEL: &str = "usage_flush";
/// How often those who have not answered are told again.
const TELL_AGAIN: Duration = Duration::from_millis(200);
/// How often is looked who lives.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The longest that an instance tries on another's behalf.
const PATIENCE: Duration = Duration::from_secs(30);
/// Questions that wait at most.
const MAX_WAITING: usize = 1_000;

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
    heard: Notify,
    /// Others' questions that wait here.
    waiting: Mutex<Vec<Uuid>>,
    asked: Notify,
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
            heard: Notify::new(),
            waiting: Mutex::default(),
            asked: Notify::new(),
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
            let (others, _) = self.others().await?;
            match &self.redis {
                _ if others.is_empty() => {}
                None => return Ok(false),
                Some(redis) => self.told(redis, others).await?,
            }
            Ok(!self.others().await?.1)
        };
        told.await.unwrap_or_else(|error: store::Error| {
            tracing::warn!(%error, "nobody knows who else has usage to book");
            false
        })
    }

    /// The others that live, and whether there are some of which nothing is heard: they may have more.
    async fn others(&self) -> store::Result<(HashSet<Uuid>, bool)> {
        let mut others = instances::booking(&self.stores.config).await?;
        others.retain(|(id, _)| *id != self.me);
        let are_silent = others.iter().any(|(_, lives)| !lives);
        let living = others.into_iter().filter(|(_, lives)| *lives);
        Ok((living.map(|(id, _)| id).collect(), are_silent))
    }

    /// Returns when all of them that still live have said that theirs is booked.
    async fn told(&self, redis: &Redis, mut others: HashSet<Uuid>) -> store::Result<()> {
        let asking = Asking::begin(self);
        let mut looked = Instant::now();
        loop {
            if looked.elapsed() >= LOOK_AGAIN {
                let (living, _) = self.others().await?;
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
            () = redis.follow(CHANNEL, |text| self.hear(text.as_deref())) => {}
            () = self.flush_for_others(&redis) => {}
        }
    }

    fn hear(&self, text: Option<&str>) {
        // What another version says may be something else.
        let word = text.and_then(|text| serde_json::from_str(text).ok());
        match word {
            Some(Word::Flush { ask, by }) if by != self.me => {
                let mut waiting = self.waiting.lock();
                // Who is not heard for so many asks again.
                if waiting.len() < MAX_WAITING && !waiting.contains(&ask) {
                    waiting.push(ask);
                    self.asked.notify_one();
                }
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

    /// One flush after the other, each for all who asked before it.
    async fn flush_for_others(&self, redis: &Redis) {
        let mut done: VecDeque<Uuid> = VecDeque::new();
        loop {
            self.asked.notified().await;
            let waiting = std::mem::take(&mut *self.waiting.lock());
            let is_new = waiting.iter().any(|ask| !done.contains(ask));
            if is_new && timeout(PATIENCE, flushed_and_booked(&self.recorder)).await != Ok(true) {
                continue;
            }
            for ask in waiting {
                // Whoever asks again has not heard the answer.
                if !done.contains(&ask) {
                    done.push_back(ask);
                }
                let word = Word::Flushed { ask, by: self.me };
                if let Err(error) = self.say(redis, &word).await {
                    tracing::debug!(%error, "that usage is booked cannot be told");
                }
            }
            done.drain(..done.len().saturating_sub(MAX_WAITING));
        }
    }

    async fn say(&self, redis: &Redis, word: &Word) -> anyhow::Result<()> {
        let text = serde_json::to_string(word)?;
        redis.publish(CHANNEL, &text).await?;
        Ok(())
    }
}
