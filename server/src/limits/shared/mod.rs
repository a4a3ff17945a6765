//! Counts of limits in Redis, for any number of instances.
//!
//! Everything that counts a call inside one tenant is asked by one script in one round trip, all or nothing; limits that cross
//! tenants have hash tags of their own and are asked beside it. What calls really were is sent back in batches, each numbered, so
//! that one sent twice counts once. Redis' own clock opens and names the windows.
//!
//! Redis has little time to answer. After some misses nobody waits for it: each instance goes on with its share of every limit,
//! from what it has counted itself, until a probe finds Redis again. [`keys`] makes every key; [`settle`] sends back what was too
//! much.

mod keys;
pub mod leases;
mod restock;
mod settle;
mod slots;

use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::BoxFuture, future::join_all};
use parking_lot::Mutex;
use redis::{RedisError, Script};
use tokio::{sync::Notify, time};
use uuid::Uuid;
use weir_api_types::limit::Metric;

use super::{
    Local, Rejected,
    claim::Counted,
    rate::{Left, Shape, Taken},
    rates::{CountKey, Holding, Passed, Rates, cost},
};
use crate::{redis::Redis, tenancy::LimitId};
use keys::{bounded, key, letter, tag};
use settle::{Batch, Item};
use slots::Slots;

/// After so many misses in a row nobody waits for Redis any more.
const MISSES: u32 = 3;
/// For so long a refusal is repeated without asking again: others may have given something back by then.
const REFUSED_FOR: Duration = Duration::from_millis(20);
/// Refusals remembered at most.
const MAX_REFUSED: usize = 10_000;
/// Concurrency slots of an instance that is not heard of are free after so long.
const HOLD_MS: u64 = 15_000;

/// The counts that instances share.
pub struct Shared {
    redis: Redis,
    /// This process in Redis; another one with each start.
    instance: String,
    timeout: Duration,
    scripts: Scripts,
    /// When this process began to count, by Redis' clock; what it is for, `lua/tell.lua` says.
    born_ms: Mutex<Option<i64>>,
    /// Since when Redis counts, by its clock, as far as this instance has seen to it.
    since_ms: Mutex<Option<i64>>,
    /// What this instance has counted, and goes on from when Redis is away.
    local: Local,
    misses: AtomicU32,
    waiting: Mutex<VecDeque<Item>>,
    /// Batches that were sent and not answered; they are sent again as they are.
    unanswered: Mutex<Vec<Batch>>,
    batches: AtomicU64,
    due: Notify,
    slots: Mutex<HashMap<(String, String), Slots>>,
    refused: Mutex<HashMap<CountKey, (Instant, Rejected)>>,
}

/// All that runs in Redis; each says what it does where it stands.
struct Scripts {
    take: Script,
    settle: Script,
    hold: Script,
    tell: Script,
    claim: Script,
    finish: Script,
    lose: Script,
    epoch: Script,
    restock: Script,
}

impl Scripts {
    fn new() -> Self {
        Self {
            take: Script::new(include_str!("lua/take.lua")),
            settle: Script::new(include_str!("lua/settle.lua")),
            hold: Script::new(include_str!("lua/hold.lua")),
            tell: Script::new(include_str!("lua/tell.lua")),
            claim: Script::new(include_str!("lua/claim.lua")),
            finish: Script::new(include_str!("lua/finish.lua")),
            lose: Script::new(include_str!("lua/lose.lua")),
            epoch: Script::new(include_str!("lua/epoch.lua")),
            restock: Script::new(include_str!("lua/restock.lua")),
        }
    }
}

/// What a script says of the limits of one tag.
enum Answer {
    Passed(Vec<i64>),
    /// Which of them stands against the call, and for how many microseconds.
    Refused(usize, u64),
}

/// Why there is no answer.
enum Missing {
    /// Redis does not answer.
    Away,
    /// Redis answers with an error: a key that somebody overwrote, a right that is missing.
    Odd,
}

impl Shared {
    /// Nothing is asked yet. The id is the process's own, another one with each start.
    pub fn new(redis: Redis, timeout: Duration, instance: Uuid) -> Self {
        Self {
            redis,
            instance: instance.simple().to_string(),
            timeout,
            scripts: Scripts::new(),
            born_ms: Mutex::default(),
            since_ms: Mutex::default(),
            local: Local::default(),
            misses: AtomicU32::new(0),
            waiting: Mutex::default(),
            unanswered: Mutex::default(),
            batches: AtomicU64::new(0),
            due: Notify::new(),
            slots: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Makes this instance's part of each limit, for when Redis is away, one of so many.
    pub fn share_among(&self, instances: u32) {
        self.local.share_among(instances);
    }

    /// Whether Redis is asked: not after some misses, until a probe finds it again.
    pub fn is_asked(&self) -> bool {
        self.misses.load(Relaxed) < MISSES
    }

    /// Connects, which may take longer than any call waits.
    pub async fn connect(&self) {
        if let Err(error) = self.redis.connection().await {
            tracing::debug!(%error, "Redis cannot be connected");
        }
    }

    /// Looks whether Redis is there again.
    pub async fn probe(&self) {
        self.connect().await;
        let ping = time::timeout(self.timeout, self.redis.ping());
        if matches!(ping.await, Ok(Ok(()))) {
            self.misses.store(0, Relaxed);
            tracing::info!("Redis is back: limits are shared again");
        }
    }

    /// Waits until something is to be settled.
    pub async fn due(&self) {
        self.due.notified().await;
    }

    /// Asks the limits of one tag.
    async fn ask(
        &self,
        tag: &str,
        counted: &[&Counted<'_>],
        tokens: u64,
    ) -> Result<Answer, Missing> {
        let mut take = self.scripts.take.prepare_invoke();
        take.arg(&self.instance);
        for one in counted {
            let shape = Shape::from(&one.limit.rule);
            take.key(self.redis.tagged(tag, &key(one.limit.id, one.value)))
                .arg(letter(shape.kind))
                .arg(shape.window_us)
                .arg(shape.max)
                .arg(shape.burst)
                .arg(shape.max_wait_us)
                .arg(bounded(&shape, cost(one.limit.rule.metric, tokens)))
                .arg(HOLD_MS);
        }
        let asked = async {
            let mut connection = self.redis.connection().await?;
            take.invoke_async::<Vec<i64>>(&mut connection).await
        };
        let answer = self.answered(time::timeout(self.timeout, asked).await)?;
        match answer.as_slice() {
            [1, rest @ ..] if rest.len() == counted.len() * 4 => Ok(Answer::Passed(rest.to_vec())),
            [0, which, after] => {
                let which = usize::try_from(which - 1)
                    .ok()
                    .filter(|which| *which < counted.len());
                let after = u64::try_from(*after).unwrap_or(0);
                which
                    .map(|which| Answer::Refused(which, after))
                    .ok_or(Missing::Odd)
            }
            _ => Err(Missing::Odd),
        }
    }

    fn answered<T>(
        &self,
        answer: Result<Result<T, RedisError>, time::error::Elapsed>,
    ) -> Result<T, Missing> {
        match answer {
            Ok(Ok(answer)) => {
                self.misses.store(0, Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) if error.code().is_some() => {
                tracing::warn!(%error, "Redis refuses what limits ask");
                Err(Missing::Odd)
            }
            Ok(Err(_)) | Err(_) => {
                if self.misses.fetch_add(1, Relaxed) + 1 == MISSES {
                    tracing::warn!(
                        "Redis is away: this instance goes on with its share of each limit"
                    );
                }
                Err(Missing::Away)
            }
        }
    }

    async fn count(&self, counted: &[Counted<'_>], tokens: u64) -> Result<Passed, Rejected> {
        if let Some(rejected) = self.refused_lately(counted) {
            return Err(rejected);
        }
        if !self.is_asked() {
            return self.local.take_now(counted, tokens);
        }
        let mut passed = Passed::default();
        let mut tags: Vec<(String, Vec<&Counted<'_>>)> = Vec::new();
        for one in counted {
            if let Some(slot) = self.free_slot(one) {
                passed.holdings.push(slot);
                continue;
            }
            let tag = tag(one);
            match tags.iter_mut().find(|(known, _)| *known == tag) {
                Some((_, of_tag)) => of_tag.push(one),
                None => tags.push((tag, vec![one])),
            }
        }
        let asked = tags
            .iter()
            .map(|(tag, of_tag)| self.ask(tag, of_tag, tokens));
        let answers = join_all(asked).await;
        let (mut worst, mut missing) = (None::<Rejected>, false);
        for ((_, of_tag), answer) in tags.iter().zip(answers) {
            match answer {
                Ok(Answer::Passed(told)) => self.note_passed(&mut passed, of_tag, &told, tokens),
                Ok(Answer::Refused(which, after_us)) => {
                    let limit = of_tag[which];
                    let rejected = Rejected::Rate {
                        limit: Box::new(limit.limit.clone()),
                        retry_after: Duration::from_micros(after_us),
                    };
                    self.remember(limit, after_us, &rejected);
                    let lasts_longer = |other: &Rejected| match other {
                        Rejected::Rate { retry_after, .. } => {
                            Duration::from_micros(after_us) > *retry_after
                        }
                        _ => true,
                    };
                    if worst.as_ref().is_none_or(lasts_longer) {
                        worst = Some(rejected);
                    }
                }
                Err(Missing::Away | Missing::Odd) => missing = true,
            }
        }
        if worst.is_some() || missing {
            // What some have counted goes back; where Redis said nothing, this instance's share decides.
            self.put(&passed.holdings, 0);
            return match worst {
                Some(rejected) => Err(rejected),
                None => self.local.take_now(counted, tokens),
            };
        }
        let rates: Vec<Counted<'_>> = counted
            .iter()
            .copied()
            .filter(|one| one.limit.rule.metric != Metric::Concurrent)
            .collect();
        self.local.note(&rates, tokens);
        Ok(passed)
    }

    fn note_passed(&self, passed: &mut Passed, of_tag: &[&Counted<'_>], told: &[i64], tokens: u64) {
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        for (one, told) in of_tag.iter().zip(told.chunks_exact(4)) {
            let shape = Shape::from(&one.limit.rule);
            let metric = one.limit.rule.metric;
            let left = Left {
                remaining: number(told[0]),
                reset_us: number(told[1]),
            };
            passed.left.note(metric, &shape, left);
            let holding = Holding {
                key: one.key(),
                scope: one.limit.scope,
                metric,
                shape,
                taken: Taken {
                    cost: bounded(&shape, cost(metric, tokens)),
                    place: number(told[2]),
                    wait_us: number(told[3]),
                },
                is_local: false,
            };
            if metric == Metric::Concurrent {
                self.with_slots(&holding, |slots| slots.held += 1);
            }
            passed.holdings.push(holding);
        }
    }

    /// A refusal of a moment ago stands: so many that come in vain ask nobody.
    fn refused_lately(&self, counted: &[Counted<'_>]) -> Option<Rejected> {
        let mut refused = self.refused.lock();
        if refused.is_empty() {
            return None;
        }
        for one in counted {
            let key = one.key();
            match refused.get(&key) {
                // A changed limit is asked at once.
                Some((until, Rejected::Rate { limit, retry_after }))
                    if limit.rule == one.limit.rule =>
                {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        refused.remove(&key);
                    } else {
                        return Some(Rejected::Rate {
                            limit: limit.clone(),
                            retry_after: *retry_after,
                        });
                    }
                }
                Some(_) => drop(refused.remove(&key)),
                None => {}
            }
        }
        None
    }

    fn remember(&self, counted: &Counted<'_>, after_us: u64, rejected: &Rejected) {
        // A slot can be free at any moment.
        if counted.limit.rule.metric == Metric::Concurrent {
            return;
        }
        let mut refused = self.refused.lock();
        if refused.len() >= MAX_REFUSED {
            let now = Instant::now();
            refused.retain(|_, (until, _)| *until > now);
            if refused.len() >= MAX_REFUSED {
                return;
            }
        }
        let until = Instant::now() + REFUSED_FOR.min(Duration::from_micros(after_us));
        refused.insert(counted.key(), (until, rejected.clone()));
    }
}

impl Rates for Shared {
    fn take<'a>(
        &'a self,
        counted: &'a [Counted<'a>],
        tokens: u64,
    ) -> BoxFuture<'a, Result<Passed, Rejected>> {
        self.count(counted, tokens).boxed()
    }

    fn put(&self, holdings: &[Holding], actual: u64) {
        if holdings.is_empty() {
            return;
        }
        let (local, shared): (Vec<Holding>, Vec<Holding>) =
            holdings.iter().partition(|holding| holding.is_local);
        self.local.put(&local, actual);
        if shared.is_empty() {
            return;
        }
        self.local.correct(&shared, actual);
        self.owe(&shared, actual);
    }

    /// Redis is not asked for a list.
    fn left(&self, _: LimitId) -> Option<Left> {
        None
    }
}

#[cfg(test)]
mod tests;
