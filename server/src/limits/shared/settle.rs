//! What is told to Redis after a call: what it really was, in batches.

use std::{collections::HashMap, sync::atomic::Ordering::Relaxed};

use futures_util::future::join_all;
use weir_api_types::limit::Metric;

use super::{
    Missing, Shared,
    keys::{key, letter, tag_of},
};
use crate::{
    limits::{
        rate::{Kind, MOST, Shape, Taken},
        rates::{CountKey, Holding},
    },
    tenancy::Scope,
};

/// Items in one batch.
const BATCH: usize = 200;
/// Items that wait at most while Redis is away; older ones belong to windows that are over.
const MAX_WAITING: usize = 200_000;
/// What was taken of one count, and what it really was.
pub(super) struct Item {
    pub(super) key: CountKey,
    pub(super) scope: Scope,
    pub(super) shape: Shape,
    pub(super) taken: Taken,
    pub(super) actual: u64,
    pub(super) metric: Metric,
    /// Whether Redis had counted it; what it had not, it counts now.
    pub(super) was_counted: bool,
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
                key: holding.key,
                scope: holding.scope,
                shape: holding.shape,
                taken: holding.taken,
                actual: actual.min(MOST),
                metric: holding.metric,
                was_counted: true,
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
        self.flush_all(Self::is_asked).await;
    }

    /// The same for as long as this says that Redis may be asked.
    pub(super) async fn flush_all(&self, may_ask: fn(&Self) -> bool) {
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
                if !may_ask(self) || matches!(self.send(batch).await, Err(Missing::Away)) {
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
        let waiting = std::mem::take(&mut *self.waiting.lock());
        let items = waiting
            .into_iter()
            .chain(self.idle_slots())
            .chain(self.slices.unspent())
            .chain(self.of_alone());
        let mut by_tag: HashMap<String, Vec<Item>> = HashMap::new();
        for item in merged(items) {
            let tag = tag_of(item.scope, item.key.limit);
            by_tag.entry(tag).or_default().push(item);
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
                match item.was_counted {
                    true => item.taken.place.to_string(),
                    false => String::new(),
                },
                item.taken.cost.to_string(),
                item.actual.to_string(),
            ]);
        }
        Batch {
            number,
            tag: tag.to_owned(),
            keys: items
                .iter()
                .map(|item| key(item.key.limit, item.key.value))
                .collect(),
            arguments,
        }
    }

    async fn send(&self, batch: &Batch) -> Result<(), Missing> {
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
        self.run::<i64>(&settle).await.map(drop)
    }
}

/// The same with one item where several say the same of one count: what was too much apart from what was too little, of which
/// a window that is over takes only the latter.
fn merged(items: impl Iterator<Item = Item>) -> Vec<Item> {
    let mut merged: Vec<Item> = Vec::new();
    let mut places = HashMap::new();
    for item in items {
        if matches!(item.shape.kind, Kind::Sliding | Kind::Concurrent) {
            merged.push(item);
            continue;
        }
        let is_more = item.actual > item.taken.cost;
        let place = places
            .entry((
                item.key,
                item.shape,
                item.taken.place,
                is_more,
                item.was_counted,
            ))
            .or_insert(merged.len());
        match merged.get_mut(*place) {
            Some(same) => {
                same.taken.cost = same.taken.cost.saturating_add(item.taken.cost);
                same.actual = same.actual.saturating_add(item.actual);
            }
            None => merged.push(item),
        }
    }
    merged
}
