//! Builds accounts of budgets that Redis does not know, or has lost: from the books, and from what every instance holds.
//!
//! One instance builds at a time, as many accounts at once as wait for it:
//!
//! 1. It *claims* them in Redis: nothing is given of them from now on. Instances go on with what they hold.
//! 2. It tells all instances to take part. Each *opens* the accounts, so that what it settles from then on counts apart; has
//!    everything booked that it had settled before; books nothing for a while; and says what it holds.
//! 3. When all have said so, the books hold everything that was settled before each of them opened the accounts, and nothing
//!    that was settled after. They are read at one moment, and the accounts begin with that.
//! 4. All book again.
//!
//! All living instances have to take part. While Redis has begun anew not long ago, those that have ended without a word have
//! to as well, or to be replayed: they may live, apart from the others, and spend what they hold.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use redis::RedisError;
use tokio::{
    sync::mpsc,
    time::{self, Instant},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{Backoff, write_usage, write_usage::Turn};
use crate::{
    limits::{Account, Limits, Shared, Unbuilt, Window, lease::KEPT_FOR, leases::Word},
    metering::Recorder,
    store::{self, Stores, instances, usage},
};

/// How long an instance books nothing at most.
const PAUSE: Duration = Duration::from_secs(5);
/// By then the books have to be read: well before anybody who takes part books again.
const READ_WITHIN: Duration = Duration::from_secs(4);
/// Longest wait for the others.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// For so long accounts are claimed.
const CLAIMED_FOR: Duration = Duration::from_secs(8);
/// How often is looked who has answered.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often those who have not answered are told again.
const TELL_AGAIN: Duration = Duration::from_millis(200);
/// Accounts in one build.
const AT_ONCE: usize = 1_000;

/// The job, and what it works with.
pub struct BuildAccounts {
    pub limits: Arc<Limits>,
    pub shared: Arc<Shared>,
    pub stores: Stores,
    /// Holds the spool.
    pub recorder: Recorder,
    pub turn: Turn,
}

/// Why accounts are not built yet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    #[error("instance {0} has not said what it holds")]
    Silent(Uuid),
    #[error("nobody builds what was told of")]
    Nobody,
    #[error("the books were read too late")]
    Late,
    #[error("usage waits to be booked")]
    Unbooked,
}

/// The other instances, as the database knows them.
struct Others {
    /// Those that have to take part.
    needed: Vec<Uuid>,
    /// Those that were heard of not long ago, and have not said that they end.
    lately: Vec<Uuid>,
}

/// That this instance books nothing, for the sake of a build; until it is dropped.
struct Paused {
    build: Uuid,
    _over: DropGuard,
}

impl BuildAccounts {
    /// Builds what is to be built, and takes part in what others build, until told to stop.
    pub async fn run(self, shutdown: CancellationToken) {
        let (words, heard) = mpsc::unbounded_channel();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.build_all() => {}
            () = self.take_parts(heard) => {}
            () = self.shared.hear(words) => {}
        }
    }

    async fn build_all(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let mut failing = false;
        loop {
            let mut unbuilt = self.limits.unbuilt();
            if unbuilt.is_empty() {
                self.limits.some_unbuilt().await;
                continue;
            }
            let later = unbuilt.split_off(unbuilt.len().min(AT_ONCE));
            self.limits.put_back_unbuilt(later);
            let build = Uuid::new_v4();
            // Who cannot read the books does not keep others from building.
            let right = match self.others().await {
                Ok(others) => {
                    let right = self.shared.may_build(build, CLAIMED_FOR).await;
                    right
                        .map(|right| right.then_some(others))
                        .map_err(Error::from)
                }
                Err(error) => Err(error),
            };
            let pause = match right {
                Ok(Some(others)) => {
                    let built = self.build(build, &unbuilt, &others).await;
                    // It ends by itself; and whoever pauses books again soon.
                    self.shared.publish(&Word::Done(build)).await.ok();
                    self.shared.has_built(build).await.ok();
                    match built {
                        Ok(()) => {
                            backoff.reset();
                            failing = false;
                            continue;
                        }
                        Err(error) => {
                            if !std::mem::replace(&mut failing, true) {
                                tracing::error!(%error, "what budgets have spent cannot be told; hard ones wait for it");
                            }
                            backoff.grow()
                        }
                    }
                }
                // Another builds; what it does not build is asked for again.
                Ok(None) => Duration::from_millis(20),
                Err(error) => {
                    tracing::debug!(%error, "accounts cannot be built now");
                    backoff.grow()
                }
            };
            // Whoever still waits for an account asks for it again; one that has left the queue needs none.
            self.limits.put_back_unbuilt(unbuilt);
            time::sleep(pause).await;
        }
    }

    /// Who has to take part, and who was heard of not long ago.
    async fn others(&self) -> Result<Others, Error> {
        let (age, _) = self.shared.epoch().await?;
        let within = if age < KEPT_FOR {
            KEPT_FOR.as_millis() as i64
        } else {
            instances::SILENCE_MS
        };
        let db = &self.stores.config;
        Ok(Others {
            needed: instances::heard_of(db, within).await?,
            lately: instances::heard_of(db, instances::REMEMBERED_MS).await?,
        })
    }

    async fn build(&self, build: Uuid, unbuilt: &[Unbuilt], others: &Others) -> Result<(), Error> {
        let claims = unbuilt.iter().map(|(place, apart)| async {
            let claimed = self.shared.claim(*place, build, CLAIMED_FOR, *apart);
            claimed.await.map(|claimed| claimed.then_some(*place))
        });
        let claims: Vec<_> = join_all(claims).await;
        let places: Result<Vec<_>, RedisError> = claims.into_iter().collect();
        let accounts: Vec<(Account, Window)> = places?.into_iter().flatten().collect();
        if accounts.is_empty() {
            return Ok(());
        }
        let built = self.build_claimed(build, &accounts, others).await;
        if built.is_err() {
            // Others may try at once.
            join_all(accounts.iter().map(|place| self.shared.lose(*place, None))).await;
        }
        built
    }

    async fn build_claimed(
        &self,
        build: Uuid,
        accounts: &[(Account, Window)],
        others: &Others,
    ) -> Result<(), Error> {
        let began = Instant::now();
        let open = Word::Open {
            build,
            accounts: accounts.to_vec(),
        };
        let said = self
            .answers(build, &others.needed, &open, accounts.len())
            .await?;
        let snapshot = self.stores.usage.begin_snapshot().await?;
        let mut booked = Vec::with_capacity(accounts.len());
        for (account, window) in accounts {
            booked.push(usage::spent(&snapshot, *account, *window).await?);
            // The first question fixes the moment; nobody may have booked again by then.
            if booked.len() == 1 && began.elapsed() > READ_WITHIN {
                return Err(Error::Late);
            }
        }
        snapshot.rollback().await.map_err(store::Error::from)?;
        let finished = accounts.iter().enumerate().map(|(at, place)| {
            let took_part = said
                .iter()
                .map(|(instance, holds)| (instance.clone(), Some(holds[at])));
            let lately = others.lately.iter().map(|id| id.simple().to_string());
            let lately = lately.filter(|instance| !said.contains_key(instance));
            let holds: Vec<(String, Option<u64>)> = took_part
                .chain(lately.map(|instance| (instance, None)))
                .collect();
            let booked = booked[at];
            async move { self.shared.finish(*place, build, booked, &holds).await }
        });
        for finished in join_all(finished).await {
            if !finished? {
                tracing::warn!("an account was built by another meanwhile");
            }
        }
        tracing::info!(
            accounts = accounts.len(),
            instances = said.len(),
            took_ms = began.elapsed().as_millis() as u64,
            "accounts of budgets were built"
        );
        Ok(())
    }

    /// Tells all to take part, and waits until those that are needed have said what they hold.
    async fn answers(
        &self,
        build: Uuid,
        needed: &[Uuid],
        open: &Word,
        accounts: usize,
    ) -> Result<HashMap<String, Vec<u64>>, Error> {
        let began = Instant::now();
        let mut tell_at = began;
        loop {
            // Who has just connected again has not heard it.
            if Instant::now() >= tell_at {
                self.shared.publish(open).await?;
                tell_at += TELL_AGAIN;
            }
            let mut said = self.shared.said(build).await?;
            said.retain(|_, holds| holds.len() == accounts);
            let has_said = |id: &&Uuid| said.contains_key(&id.simple().to_string());
            match needed.iter().find(|id| !has_said(id)) {
                None => return Ok(said),
                Some(silent) if began.elapsed() >= ANSWER_WITHIN => {
                    return Err(Error::Silent(*silent));
                }
                Some(_) => time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Takes part in what is built. Ends with those who tell of it, and books again by then.
    async fn take_parts(&self, mut heard: mpsc::UnboundedReceiver<Word>) {
        let mut paused: Option<Paused> = None;
        while let Some(word) = heard.recv().await {
            match word {
                Word::Open { build, .. }
                    if paused.as_ref().is_some_and(|paused| paused.build == build) => {}
                Word::Open { build, accounts } => {
                    paused = None;
                    match self.take_part(build, &accounts).await {
                        Ok(begun) => paused = Some(begun),
                        Err(error) => {
                            tracing::warn!(%error, "this instance cannot take part in building accounts");
                        }
                    }
                }
                Word::Recall(places) => self.limits.recall(&places),
                Word::Done(build) => {
                    paused.take_if(|paused| paused.build == build);
                }
            }
        }
    }

    async fn take_part(
        &self,
        build: Uuid,
        accounts: &[(Account, Window)],
    ) -> Result<Paused, Error> {
        // Whoever can publish could stop the books with words alone.
        if accounts.len() > AT_ONCE || !self.shared.is_building(build).await? {
            return Err(Error::Nobody);
        }
        let began = Instant::now();
        self.limits.open_for(build, accounts);
        let booked = write_usage::flushed_and_booked(&self.recorder);
        let booked = time::timeout(ANSWER_WITHIN, booked).await;
        if !booked.unwrap_or(false) {
            return Err(Error::Unbooked);
        }
        let booked_ms = began.elapsed().as_millis() as u64;
        let turn = time::timeout(ANSWER_WITHIN, Arc::clone(&self.turn).lock_owned());
        let turn = turn.await.map_err(|_| Error::Unbooked)?;
        let over = CancellationToken::new();
        let until = over.clone();
        tokio::spawn(async move {
            // Late or not heard of at all, the end of a build stops nobody for longer.
            time::timeout(PAUSE, until.cancelled()).await.ok();
            drop(turn);
        });
        let paused = Paused {
            build,
            _over: over.drop_guard(),
        };
        let mut holds = Vec::with_capacity(accounts.len());
        for place in accounts {
            let calls = self.limits.opened(build, *place);
            // Some of them may have been booked with what had come before.
            let booked = usage::spent_by_calls(&self.stores.usage.read, place.0, &calls).await?;
            holds.push(self.limits.acknowledge(build, *place, booked).unwrap_or(0));
        }
        // Heard or not, it may have been: nothing is booked until the build is over.
        if let Err(error) = self.shared.say(build, &holds).await {
            tracing::warn!(%error, "what this instance holds of accounts could not be said");
        }
        let took_ms = began.elapsed().as_millis() as u64;
        tracing::debug!(%build, booked_ms, took_ms, "took part in building accounts");
        Ok(paused)
    }
}
