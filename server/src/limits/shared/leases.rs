//! What Redis knows of the accounts of budgets: what every instance has spent of each, and holds.
//!
//! The scripts are in `lua/`; what they decide is told there, the way of building an account in `jobs::build_accounts`.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use redis::{AsyncCommands as _, RedisError};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time};
use uuid::Uuid;

use super::Shared;
use crate::{
    limits::{
        Account, Window,
        lease::{Tell, Told},
    },
    tenancy::{Scope, limit::Spending},
};

/// For so long an account is kept that nobody tells anything of: what is needed later is built again.
const KEPT: Duration = Duration::from_secs(2 * 24 * 3600);
/// Accounts in one script.
const ACCOUNTS: usize = 200;
/// Longest wait for what no request waits for.
const PATIENCE: Duration = Duration::from_secs(1);
/// For so long what instances say of a build is kept.
const SAID_FOR: Duration = Duration::from_secs(60);

/// What the instances tell each other of accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// A build begins: every instance opens these accounts and says what it holds of them.
    Open {
        build: Uuid,
        accounts: Vec<(Account, Window)>,
    },
    /// It is over.
    Done(Uuid),
    /// An instance has a use for what lies idle elsewhere.
    Recall(Vec<(Account, Window)>),
}

/// What a script answers for one account.
type Answer = (i64, i64, i64, i64, i64, String);

/// Accounts of one hash tag.
pub fn tag_of(account: Account) -> String {
    match account.scope {
        Scope::Channel(channel) => channel.0.simple().to_string(),
        scope => scope
            .tenant()
            .map_or_else(String::new, |tenant| tenant.0.simple().to_string()),
    }
}

/// An account's key below its tag: ids alone, and when its window began.
fn key_of(account: Account, start_ms: i64) -> String {
    let scope = match account.scope {
        Scope::Platform => "p".to_owned(),
        Scope::Tenant(_) => "t".to_owned(),
        Scope::Group(_, group) => format!("g{}", group.0.simple()),
        Scope::User(_, user) => format!("u{}", user.0.simple()),
        Scope::Key(_, key) => format!("k{}", key.0.simple()),
        Scope::Channel(_) => "c".to_owned(),
        Scope::Model(model) => format!("m{}", model.0.simple()),
    };
    let spending = match account.spending {
        Spending::Money => "m",
        Spending::Tokens => "t",
        Spending::Requests => "r",
    };
    format!(
        "a:{scope}:{spending}:{}:{start_ms}",
        account.period.as_str()
    )
}

impl Shared {
    fn account_key(&self, account: Account, start_ms: i64) -> String {
        self.redis
            .tagged(&tag_of(account), &key_of(account, start_ms))
    }

    fn builds_key(&self, key: &str) -> String {
        self.redis.tagged("builds", key)
    }

    /// Tells Redis of accounts of one tag, and what it says to each.
    pub async fn tell(&self, tells: &[Tell]) -> Vec<Told> {
        let parts = tells.chunks(ACCOUNTS).map(|tells| self.tell_some(tells));
        join_all(parts).await.concat()
    }

    async fn tell_some(&self, tells: &[Tell]) -> Vec<Told> {
        let nothing = || vec![Told::Nothing; tells.len()];
        if !self.is_asked() {
            return nothing();
        }
        let mut script = self.scripts.tell.prepare_invoke();
        let born = *self.born_ms.lock();
        script
            .arg(&self.instance)
            .arg(Uuid::new_v4().simple().to_string())
            .arg(born.unwrap_or(-1))
            .arg(KEPT.as_millis() as u64);
        for tell in tells {
            let own = self.account_key(tell.account, tell.window.start_ms);
            let before = tell
                .window_before_ms
                .map_or_else(|| own.clone(), |ms| self.account_key(tell.account, ms));
            let amount = tell
                .amount
                .map_or(-1, |amount| i64::try_from(amount).unwrap_or(i64::MAX));
            script
                .key(own)
                .key(before)
                .arg(
                    tell.build
                        .map_or_else(String::new, |build| build.simple().to_string()),
                )
                .arg(tell.number)
                .arg(tell.answered)
                .arg(tell.spent)
                .arg(tell.held)
                .arg(tell.kept)
                .arg(tell.first)
                .arg(tell.wanted)
                .arg(amount)
                .arg(tell.usage as u8)
                .arg(tell.window.start_ms);
        }
        match self.run::<Vec<Answer>>(&script).await {
            Ok(answers) if answers.len() == tells.len() => answers.into_iter().map(told).collect(),
            _ => nothing(),
        }
    }

    /// Notes by Redis' clock when this instance began to count, if that is not known yet.
    pub async fn is_born(&self) {
        if self.born_ms.lock().is_some() {
            return;
        }
        match self.epoch().await {
            Ok((_, now_ms)) => *self.born_ms.lock() = Some(now_ms),
            Err(error) => tracing::debug!(%error, "Redis does not say what time it is"),
        }
    }

    /// For how long Redis has been counting without a loss that shows, and the present millisecond by its clock.
    pub async fn epoch(&self) -> Result<(Duration, i64), RedisError> {
        let key = self.builds_key("epoch");
        let mut script = self.scripts.epoch.prepare_invoke();
        script.key(key);
        let (age_ms, now_ms): (i64, i64) = self.patiently(script).await?;
        let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
        Ok((age, now_ms))
    }

    /// Takes the right to build accounts, which one has at a time. `false`: another has it.
    pub async fn may_build(&self, build: Uuid, at_most: Duration) -> Result<bool, RedisError> {
        let mut connection = self.redis.connection().await?;
        let mut set = redis::cmd("SET");
        set.arg(self.builds_key("builder"))
            .arg(build.simple().to_string())
            .arg("NX")
            .arg("PX")
            .arg(at_most.as_millis() as u64);
        let taken: Option<String> = set.query_async(&mut connection).await?;
        Ok(taken.is_some())
    }

    /// Whether somebody has that right for this build.
    pub async fn is_building(&self, build: Uuid) -> Result<bool, RedisError> {
        let mut connection = self.redis.connection().await?;
        let has: Option<String> = connection.get(self.builds_key("builder")).await?;
        Ok(has == Some(build.simple().to_string()))
    }

    /// Gives that right back, and forgets what was said of the build.
    pub async fn has_built(&self, build: Uuid) -> Result<(), RedisError> {
        let mut connection = self.redis.connection().await?;
        if self.is_building(build).await? {
            let () = connection.del(self.builds_key("builder")).await?;
        }
        connection.del(self.said_key(build)).await
    }

    /// Begins to build an account; `apart` is the build that left somebody out. `false`: there is nothing to build.
    pub async fn claim(
        &self,
        (account, window): (Account, Window),
        build: Uuid,
        at_most: Duration,
        apart: Option<Uuid>,
    ) -> Result<bool, RedisError> {
        let mut script = self.scripts.claim.prepare_invoke();
        script
            .key(self.account_key(account, window.start_ms))
            .arg(build.simple().to_string())
            .arg(at_most.as_millis() as u64)
            .arg(apart.map_or_else(String::new, |apart| apart.simple().to_string()));
        self.patiently::<i64>(script)
            .await
            .map(|claimed| claimed == 1)
    }

    /// Ends the building of an account with what the books say and what each instance that took part holds; `None` for one that
    /// took no part and was heard of not long ago.
    pub async fn finish(
        &self,
        (account, window): (Account, Window),
        build: Uuid,
        booked: u64,
        holds: &[(String, Option<u64>)],
    ) -> Result<bool, RedisError> {
        let mut script = self.scripts.finish.prepare_invoke();
        script
            .key(self.account_key(account, window.start_ms))
            .arg(build.simple().to_string())
            .arg(booked)
            .arg(KEPT.as_millis() as u64);
        for (instance, held) in holds {
            let held = held.map_or(-1, |held| i64::try_from(held).unwrap_or(i64::MAX));
            script.arg(instance).arg(held);
        }
        self.patiently::<i64>(script).await.map(|done| done == 1)
    }

    /// Says that nobody may take an account for whole any more; the part of an instance that has ended is taken out.
    pub async fn lose(
        &self,
        (account, window): (Account, Window),
        ended: Option<Uuid>,
    ) -> Result<(), RedisError> {
        let mut script = self.scripts.lose.prepare_invoke();
        script
            .key(self.account_key(account, window.start_ms))
            .arg(ended.map_or_else(String::new, |ended| ended.simple().to_string()));
        self.patiently::<i64>(script).await.map(drop)
    }

    /// Says what this instance holds of the accounts of a build, in their order.
    pub async fn say(&self, build: Uuid, holds: &[u64]) -> Result<(), RedisError> {
        let mut connection = self.redis.connection().await?;
        let (key, said) = (self.said_key(build), serde_json::json!(holds).to_string());
        let () = connection.hset(&key, &self.instance, said).await?;
        connection.expire(&key, SAID_FOR.as_secs() as i64).await
    }

    /// What instances have said of a build so far. What nobody can read is not said.
    pub async fn said(&self, build: Uuid) -> Result<HashMap<String, Vec<u64>>, RedisError> {
        let mut connection = self.redis.connection().await?;
        let said: HashMap<String, String> = connection.hgetall(self.said_key(build)).await?;
        let read = said
            .into_iter()
            .filter_map(|(instance, said)| Some((instance, serde_json::from_str(&said).ok()?)));
        Ok(read.collect())
    }

    /// Tells every instance something of a build.
    pub async fn publish(&self, word: &Word) -> Result<(), RedisError> {
        let text = serde_json::to_string(word).map_err(std::io::Error::from)?;
        self.redis.publish(BUILDS, &text).await
    }

    /// Hands over what is told of builds; never ends by itself.
    pub async fn hear(&self, words: mpsc::UnboundedSender<Word>) {
        let heard = |text: Option<String>| {
            if let Some(word) = text.and_then(|text| serde_json::from_str(&text).ok()) {
                // Who hears no more has ended.
                words.send(word).ok();
            }
        };
        self.redis.follow(BUILDS, heard).await;
    }

    fn said_key(&self, build: Uuid) -> String {
        self.builds_key(&format!("said:{}", build.simple()))
    }

    pub(super) async fn patiently<T: redis::FromRedisValue>(
        &self,
        script: redis::ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        match time::timeout(PATIENCE, self.run_once(&script)).await {
            Ok(answer) => answer,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }
}

/// The channel on which builds are told.
const BUILDS: &str = "budgets:builds";

fn told((code, spent, others, granted, slice, build): Answer) -> Told {
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    match (code, Uuid::try_parse(&build)) {
        (0, Ok(build)) => Told::Counted {
            build,
            spent: number(spent),
            others: number(others),
            granted: number(granted),
            slice: number(slice),
        },
        (1, _) => Told::Unknown,
        (2, _) => Told::Building,
        (3, Ok(build)) => Told::Apart(build),
        _ => Told::Nothing,
    }
}
