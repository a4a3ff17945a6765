//! What is told to Redis after a call: what it really was, in batches, and which concurrency slots this instance holds.

use std::{
    collections::HashMap,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use redis::RedisError;
use tokio::time;
use weir_api_types::limit::Metric;

use super::{
    HOLD_MS, Missing, Shared,
    keys::{key, letter, tag_of},
};
use crate::limits::{
    claim::Counted,
    rate::{Kind, Shape, Taken},
    rates::Holding,
};

/// Items in one batch.
const BATCH: usize = 200;
/// Items that wait at most while Redis is away; older ones belong to windows that are over.
const MAX_WAITING: usize = 200_000;
/// How long nothing happened to an instance's slots before it says anew how many it holds.
const QUIET: Duration = Duration::from_secs(3);

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

/// Concurrency slots that this instance holds on one limit.
pub(super) struct Slots {
    pub(super) held: u64,
    /// Of these, given back and not yet told: the next call takes one without asking.
    pub(super) free: u64,
    shape: Shape,
    touched: Instant,
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

    /// Says which concurrency slots this instance holds: to be called every few seconds.
    pub async fn hold_slots(&self) {
        let held: Vec<((String, String), i64)> = {
            let mut slots = self.slots.lock();
            let now = Instant::now();
            let held = slots.iter().map(|(place, slots)| {
                let is_quiet = now.duration_since(slots.touched) > QUIET;
                let count = i64::try_from(slots.held).unwrap_or(i64::MAX);
                (place.clone(), if is_quiet { count } else { -1 })
            });
            let held = held.collect();
            slots.retain(|_, slots| slots.held > 0 || now.duration_since(slots.touched) <= QUIET);
            held
        };
        let says = held.iter().map(|((tag, key), count)| async move {
            let mut hold = self.scripts.hold.prepare_invoke();
            hold.key(self.redis.tagged(tag, key))
                .arg(&self.instance)
                .arg(HOLD_MS)
                .arg(*count);
            let said = time::timeout(self.timeout, async {
                let mut connection = self.redis.connection().await?;
                hold.invoke_async::<i64>(&mut connection).await
            });
            let said: Result<Result<i64, RedisError>, _> = said.await;
            if !matches!(said, Ok(Ok(_))) {
                tracing::debug!("slots could not be held");
            }
        });
        join_all(says).await;
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

    pub(super) fn with_slots<T>(&self, holding: &Holding, act: impl FnOnce(&mut Slots) -> T) -> T {
        let place = (
            tag_of(holding.scope, holding.key.limit),
            key(holding.key.limit, holding.key.value),
        );
        let mut slots = self.slots.lock();
        let slots = slots.entry(place).or_insert(Slots {
            held: 0,
            free: 0,
            shape: holding.shape,
            touched: Instant::now(),
        });
        slots.touched = Instant::now();
        act(slots)
    }

    /// A slot that another call of this instance has just given back.
    pub(super) fn free_slot(&self, one: &Counted<'_>) -> Option<Holding> {
        if one.limit.rule.metric != Metric::Concurrent {
            return None;
        }
        let holding = Holding {
            key: one.key(),
            scope: one.limit.scope,
            metric: Metric::Concurrent,
            shape: Shape::from(&one.limit.rule),
            taken: Taken {
                cost: 1,
                place: 0,
                wait_us: 0,
            },
            is_local: false,
        };
        let is_free = self.with_slots(&holding, |slots| {
            // A limit that was lowered is asked.
            let fits = slots.free > 0 && slots.held <= holding.shape.max;
            slots.free -= u64::from(fits);
            fits
        });
        is_free.then_some(holding)
    }
}
