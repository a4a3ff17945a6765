//! What is told to Redis after a call: what it really was, in batches.

use std::{collections::HashMap, sync::atomic::Ordering::Relaxed};

use futures_util::future::join_all;
use tokio::time;
use weir_api_types::limit::Metric;

use super::{
    Missing, Shared,
    keys::{key, letter, tag_of},
};
use crate::limits::{
    rate::{Kind, Shape, Taken},
    rates::Holding,
};

/// Items in one batch.
const BATCH: usize = 200;
/// Items that wait at most while Redis is away; older ones belong to windows that are over.
const MAX_WAITING: usize = 200_000;
/// One call's part in a batch.
pub(super) struct Item {
    tag: String,
    key: String,
    shape: Shape,
    taken: Taken,
    actual: u64,
    metric: Metric,
}

/// What is settled at once, on one hash tag.
#[derive(Clone)]
pub(super) struct Batch {
    number: u64,
    tag: String,
    keys: Vec<String>,
    arguments: Vec<String>,
}

impl Shared {
    /// Takes note of what calls really were, to be sent soon.
    pub(super) fn owe(&self, holdings: &[Holding], actual: u64) {
        let mut waiting = self.waiting.lock();
        for holding in holdings {
            if holding.metric == Metric::Concurrent {
                self.with_slots(holding, |slots| slots.free += 1);
                continue;
            }
            waiting.push_back(Item {
                tag: tag_of(holding.scope, holding.key.limit),
                key: key(holding.key.limit, holding.key.value),
                shape: holding.shape,
                taken: holding.taken,
                actual: actual.min(1 << 50),
                metric: holding.metric,
            });
        }
        while waiting.len() > MAX_WAITING {
            waiting.pop_front();
        }
        drop(waiting);
        self.due.notify_one();
    }

    /// Forgets what tokens are owed where this instance's own notes have them already.
    pub(super) fn forget_owed_tokens(&self) {
        let is_owed =
            |item: &Item| item.metric != Metric::Tokens || item.shape.kind == Kind::Sliding;
        self.waiting.lock().retain(is_owed);
        self.unanswered.lock().clear();
    }

    /// Sends what calls really were. What is not answered is sent again the next time, as it is.
    pub async fn flush(&self) {
        let fresh = self.fresh_batches();
        let mut batches = std::mem::take(&mut *self.unanswered.lock());
        batches.extend(fresh);
        if batches.is_empty() {
            return;
        }
        // Of one tag, one after the other: a number that was passed over would be taken for one that was here before.
        batches.sort_by(|a, b| (&a.tag, a.number).cmp(&(&b.tag, b.number)));
        let by_tag = batches.chunk_by(|a, b| a.tag == b.tag);
        let sent = by_tag.map(|of_tag| async move {
            for (at, batch) in of_tag.iter().enumerate() {
                if matches!(self.send(batch).await, Err(Missing::Away)) {
                    return of_tag[at..].to_vec();
                }
            }
            Vec::new()
        });
        let unanswered: Vec<Vec<Batch>> = join_all(sent).await;
        let mut unanswered: Vec<Batch> = unanswered.concat();
        let waiting: usize = unanswered.iter().map(|batch| batch.keys.len()).sum();
        if waiting > MAX_WAITING {
            tracing::warn!(
                waiting,
                "Redis is away for so long that what limits are owed is given up"
            );
            unanswered.clear();
        }
        *self.unanswered.lock() = unanswered;
    }

    fn fresh_batches(&self) -> Vec<Batch> {
        let mut waiting = std::mem::take(&mut *self.waiting.lock());
        for ((tag, key), slots) in self.slots.lock().iter_mut() {
            for _ in 0..std::mem::take(&mut slots.free) {
                slots.held = slots.held.saturating_sub(1);
                waiting.push_back(Item {
                    tag: tag.clone(),
                    key: key.clone(),
                    shape: slots.shape,
                    taken: Taken {
                        cost: 1,
                        place: 0,
                        wait_us: 0,
                    },
                    actual: 0,
                    metric: Metric::Concurrent,
                });
            }
        }
        let mut by_tag: HashMap<String, Vec<Item>> = HashMap::new();
        for item in waiting {
            by_tag.entry(item.tag.clone()).or_default().push(item);
        }
        let mut batches = Vec::new();
        for (tag, items) in by_tag {
            for items in items.chunks(BATCH) {
                batches.push(self.batch(&tag, items));
            }
        }
        batches
    }

    fn batch(&self, tag: &str, items: &[Item]) -> Batch {
        let number = self.batches.fetch_add(1, Relaxed);
        let mut arguments = Vec::with_capacity(items.len() * 6);
        for item in items {
            arguments.extend([
                letter(item.shape.kind).to_owned(),
                item.shape.window_us.to_string(),
                item.shape.max.to_string(),
                item.taken.place.to_string(),
                item.taken.cost.to_string(),
                item.actual.to_string(),
            ]);
        }
        Batch {
            number,
            tag: tag.to_owned(),
            keys: items.iter().map(|item| item.key.clone()).collect(),
            arguments,
        }
    }

    async fn send(&self, batch: &Batch) -> Result<(), Missing> {
        if !self.is_asked() {
            return Err(Missing::Away);
        }
        let mut settle = self.scripts.settle.prepare_invoke();
        settle.key(
            self.redis
                .tagged(&batch.tag, &format!("b:{}", self.instance)),
        );
        for key in &batch.keys {
            settle.key(self.redis.tagged(&batch.tag, key));
        }
        settle.arg(&self.instance).arg(batch.number);
        for argument in &batch.arguments {
            settle.arg(argument);
        }
        let sent = async {
            let mut connection = self.redis.connection().await?;
            settle.invoke_async::<i64>(&mut connection).await
        };
        self.answered(time::timeout(self.timeout, sent).await)
            .map(drop)
    }
}
