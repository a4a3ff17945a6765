//! Counts of limits in Redis, for any number of instances.
//!
//! Everything that counts a call inside one tenant is asked by one script in one round trip, all or nothing; limits that cross
//! tenants have hash tags of their own and are asked beside it. What calls really were is sent back in batches, each numbered, so
//! that one sent twice counts once. Redis' own clock opens and names the windows.
//!
//! Of a limit that is hot an instance takes a slice at once and spends it without asking ([`slices`]); most calls ask nothing then.
//!
//! Redis has little time to answer. After some misses nobody waits for it: each instance goes on with its share of every limit,
//! from what it has counted itself, until a probe finds Redis again, which is then told of it ([`alone`]). [`keys`] makes every
//! key; [`settle`] sends back what was too much.

mod alone;
mod keys;
pub mod leases;
mod left;
mod refused;
mod restock;
mod scripts;
mod settle;
mod slices;
mod slots;

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::BoxFuture, future::join_all, poll};
use parking_lot::Mutex;
use redis::{FromRedisValue, RedisError, ScriptInvocation};
use tokio::{sync::Notify, task, time};
use uuid::Uuid;
use weir_api_types::limit::Metric;

use super::{
    Local, Rejected,
    claim::Counted,
    rate::{Left, Shape, Taken},
    rates::{CountKey, Holding, Passed, Rates, cost},
};
use crate::{hash::IdMap, redis::Redis};
use alone::Alone;
use keys::{bounded, key, letter, tag};
use scripts::Scripts;
use settle::{Batch, Item};
use slices::{Given, LIFE, Slices};
use slots::Slots;

/// Turns of a thread's loop in which an answer that is there is found.
const TURNS: u32 = 4;
/// After so many misses in a row nobody waits for Redis any more.
const MISSES: u32 = 3;
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
    /// What it has let through without Redis, and not told yet.
    alone: Mutex<IdMap<CountKey, Alone>>,
    misses: AtomicU32,
    waiting: Mutex<VecDeque<Item>>,
    /// Batches that were sent and not answered; they are sent again as they are.
    unanswered: Mutex<Vec<Batch>>,
    batches: AtomicU64,
    due: Notify,
    slots: Mutex<IdMap<CountKey, Slots>>,
    slices: Slices,
    refused: Mutex<IdMap<CountKey, (Instant, Rejected)>>,
}

/// A limit that Redis is asked for.
struct Asked<'a> {
    counted: &'a Counted<'a>,
    shape: Shape,
    cost: u64,
    /// What is wanted of it besides, as a slice.
    wanted: u64,
}

/// What some limits have counted of a call: it goes back if others refuse it, or if the caller leaves meanwhile.
struct Counting<'a> {
    shared: &'a Shared,
    passed: Passed,
}

impl<'a> Counting<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            passed: Passed::default(),
        }
    }

    fn passes(mut self) -> Passed {
        std::mem::take(&mut self.passed)
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if !self.passed.holdings.is_empty() {
            self.shared.owe(&self.passed.holdings, 0);
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
            alone: Mutex::default(),
            misses: AtomicU32::new(0),
            waiting: Mutex::default(),
            unanswered: Mutex::default(),
            batches: AtomicU64::new(0),
            due: Notify::new(),
            slots: Mutex::default(),
            slices: Slices::default(),
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

    /// Connects this thread and has Redis know what it will be asked, which may take longer than any call waits.
    pub async fn connect(&self) {
        let connected = async {
            let mut connection = self.redis.connection().await?;
            self.scripts.take.load_async(&mut connection).await
        };
        if let Err(error) = connected.await {
            tracing::debug!(%error, "Redis cannot be connected");
        }
    }

    /// Looks whether Redis is there again, and tells it what was let through without it before it is asked anything.
    pub async fn probe(&self) {
        self.connect().await;
        let ping = time::timeout(self.timeout, self.redis.ping());
        if matches!(ping.await, Ok(Ok(()))) {
            self.restock_if_lost().await;
            self.flush_all(|_| true).await;
            self.misses.store(0, Relaxed);
            tracing::info!("Redis is back: limits are shared again");
        }
    }

    /// Waits until something is to be settled.
    pub async fn due(&self) {
        self.due.notified().await;
    }

    /// Asks the limits of one tag.
    async fn ask(&self, tag: &str, of_tag: &[Asked<'_>]) -> Result<Answer, Missing> {
        let mut take = self.scripts.take.prepare_invoke();
        take.arg(&self.instance).arg(LIFE.as_micros() as u64);
        for one in of_tag {
            let (shape, limit) = (&one.shape, one.counted.limit);
            take.key(self.redis.tagged(tag, &key(limit.id, one.counted.value)))
                .arg(letter(shape.kind))
                .arg(shape.window_us)
                .arg(shape.max)
                .arg(shape.burst)
                .arg(shape.max_wait_us)
                .arg(one.cost)
                .arg(HOLD_MS)
                .arg(one.wanted);
        }
        let answer = self.run::<Vec<i64>>(&take).await?;
        match answer.as_slice() {
            [1, rest @ ..] if rest.len() == of_tag.len() * 5 => Ok(Answer::Passed(rest.to_vec())),
            [0, which, after] => {
                let which = usize::try_from(which - 1)
                    .ok()
                    .filter(|which| *which < of_tag.len());
                let after = u64::try_from(*after).unwrap_or(0);
                which
                    .map(|which| Answer::Refused(which, after))
                    .ok_or(Missing::Odd)
            }
            _ => Err(Missing::Odd),
        }
    }

    /// Runs a script within the time that Redis has, and takes note of whether it answers.
    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Missing> {
        let asked = async {
            match self.run_once(script).await {
                // This thread's connection has broken since it last asked. What was lost with it counts twice at worst.
                Err(error) if error.is_connection_dropped() => self.run_once(script).await,
                answer => answer,
            }
        };
        let mut asked = std::pin::pin!(asked);
        let mut answer = time::timeout(self.timeout, &mut asked).await;
        // In a burst a thread may have been too busy to read what has long come: it reads, and hands over, before it gives up.
        for _ in 0..TURNS {
            if answer.is_ok() {
                break;
            }
            task::yield_now().await;
            if let Poll::Ready(late) = poll!(&mut asked) {
                answer = Ok(late);
            }
        }
        self.answered(answer)
    }

    async fn run_once<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        let mut connection = self.redis.connection().await?;
        script.invoke_async(&mut connection).await
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
            return self.take_alone(counted, tokens);
        }
        let mut counting = Counting::new(self);
        let mut tags: Vec<(String, Vec<Asked<'_>>)> = Vec::new();
        for one in counted {
            let Some(asked) = self.take_held(&mut counting.passed, one, tokens) else {
                continue;
            };
            let tag = tag(one);
            match tags.iter_mut().find(|(known, _)| *known == tag) {
                Some((_, of_tag)) => of_tag.push(asked),
                None => tags.push((tag, vec![asked])),
            }
        }
        if !tags.is_empty()
            && let Err(refused) = self.ask_all(&mut counting.passed, &tags).await
        {
            // Where Redis said nothing, this instance's share decides.
            return match refused {
                Some(rejected) => Err(rejected),
                None => self.take_alone(counted, tokens),
            };
        }
        let rates: Vec<Counted<'_>> = counted
            .iter()
            .copied()
            .filter(|one| one.limit.rule.metric != Metric::Concurrent)
            .collect();
        self.local.note(&rates, tokens);
        Ok(counting.passes())
    }

    /// Counts a call on one limit from what this instance holds of it; else says what is to be asked.
    fn take_held<'a>(
        &self,
        passed: &mut Passed,
        counted: &'a Counted<'a>,
        tokens: u64,
    ) -> Option<Asked<'a>> {
        if let Some(slot) = self.free_slot(counted) {
            passed.holdings.push(slot);
            return None;
        }
        let metric = counted.limit.rule.metric;
        let shape = Shape::from(&counted.limit.rule);
        let cost = bounded(&shape, cost(metric, tokens));
        match self.slices.spend(counted, &shape, cost, self.timeout) {
            Ok((taken, left)) => {
                passed.left.note(metric, &shape, left);
                passed.holdings.push(holding(counted, shape, taken));
                None
            }
            Err(wanted) => Some(Asked {
                counted,
                shape,
                cost,
                wanted,
            }),
        }
    }

    /// Asks the limits of all tags. Fails with the refusal that lasts longest, or with nothing where Redis says nothing.
    async fn ask_all(
        &self,
        passed: &mut Passed,
        tags: &[(String, Vec<Asked<'_>>)],
    ) -> Result<(), Option<Rejected>> {
        let began = Instant::now();
        let asked = tags.iter().map(|(tag, of_tag)| self.ask(tag, of_tag));
        let answers = join_all(asked).await;
        let (mut worst, mut missing) = (None::<Rejected>, false);
        for ((_, of_tag), answer) in tags.iter().zip(answers) {
            match answer {
                Ok(Answer::Passed(told)) => self.note_passed(passed, of_tag, &told, began),
                Ok(Answer::Refused(which, after_us)) => {
                    let limit = of_tag[which].counted;
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
            return Err(worst);
        }
        Ok(())
    }

    fn note_passed(&self, passed: &mut Passed, of_tag: &[Asked<'_>], told: &[i64], asked: Instant) {
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        for (one, told) in of_tag.iter().zip(told.chunks_exact(5)) {
            let metric = one.counted.limit.rule.metric;
            let left = Left {
                remaining: number(told[0]),
                reset_us: number(told[1]),
            };
            let taken = Taken {
                cost: one.cost,
                place: number(told[2]),
                wait_us: number(told[3]),
            };
            if one.wanted > 0 {
                let given = Given {
                    units: number(told[4]),
                    place: taken.place,
                    besides: left,
                    asked,
                };
                self.slices.stock(one.counted, &one.shape, &given);
            }
            passed.left.note(metric, &one.shape, left);
            let holding = holding(one.counted, one.shape, taken);
            if metric == Metric::Concurrent {
                self.with_slots(&holding, |slots| slots.take_one_more(left.remaining));
            }
            passed.holdings.push(holding);
        }
    }
}

fn holding(counted: &Counted<'_>, shape: Shape, taken: Taken) -> Holding {
    Holding {
        key: counted.key(),
        scope: counted.limit.scope,
        metric: counted.limit.rule.metric,
        shape,
        taken,
        is_local: false,
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
        self.correct_alone(&local, actual);
        if shared.is_empty() {
            return;
        }
        self.local.correct(&shared, actual);
        self.owe(&shared, actual);
    }

    fn warm(&self) -> BoxFuture<'_, ()> {
        self.connect().boxed()
    }

    fn left<'a>(&'a self, counted: &'a [Counted<'a>]) -> BoxFuture<'a, Vec<Option<Left>>> {
        self.left_of(counted).boxed()
    }
}

#[cfg(test)]
mod tests;
