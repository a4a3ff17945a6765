//! Guesses at passwords and codes wait, the longer the more there were.
//!
//! Failures are counted for an account and an address together, for an address, and for an account. The first wait up to a quarter of
//! an hour. The others are what somebody with many addresses or many accounts runs into, and what an outsider, or whoever shares an
//! address, could keep closed; so they wait half a minute at most, and an account not at all where its owner has signed in or has set a
//! password by a link: nobody is locked out for good (threats.md, A3).

use std::net::IpAddr;

use sha2::{Digest as _, Sha256};

use crate::{
    store::{self, Stores, sign_in_failures},
    tenancy::UserId,
};

const SECOND_MS: i64 = 1_000;
const QUARTER_HOUR_MS: i64 = 900_000;
const HALF_MINUTE_MS: i64 = 30_000;

/// Failures that are free, and the longest wait after them.
#[derive(Clone, Copy)]
struct Rule {
    free: u32,
    longest_ms: i64,
}

const BOTH: Rule = Rule {
    free: 5,
    longest_ms: QUARTER_HOUR_MS,
};
/// An office has one address.
const ADDRESS: Rule = Rule {
    free: 50,
    longest_ms: HALF_MINUTE_MS,
};
const ACCOUNT: Rule = Rule {
    free: 20,
    longest_ms: HALF_MINUTE_MS,
};
/// Of codes, which have six digits; whoever tries them has the password.
const CODE: Rule = Rule {
    free: 5,
    longest_ms: QUARTER_HOUR_MS,
};

/// Who tries.
#[derive(Debug)]
pub struct Try {
    both: String,
    address: String,
    account: String,
    code: String,
    from: IpAddr,
}

impl Try {
    pub fn new(account: &str, address: IpAddr) -> Self {
        let place = crate::tenancy::address::network(address).to_string();
        Self {
            both: whose("both", &[account, &place]),
            address: whose("address", &[&place]),
            account: whose("account", &[account]),
            code: whose("code", &[account]),
            from: address,
        }
    }

    /// Whether a password may be looked at now, or in how many milliseconds; `user` is whose account it is, if anybody's. It counts
    /// as a failure until [`Try::succeeded`], so that many at once are not all looked at.
    pub async fn begin(
        &self,
        stores: &Stores,
        user: Option<UserId>,
        now_ms: i64,
    ) -> store::Result<Result<(), i64>> {
        let db = &stores.config.read;
        // Nobody is let through this one: who is would tell whose account there is.
        let next_ms = sign_in_failures::next_ms(db, std::slice::from_ref(&self.address)).await?;
        if next_ms > now_ms {
            return Ok(Err(next_ms - now_ms));
        }
        let next_ms = sign_in_failures::next_ms(db, std::slice::from_ref(&self.account)).await?;
        if next_ms > now_ms {
            let is_known = match user {
                Some(user) => store::known_places::knows(db, user, self.from).await?,
                None => false,
            };
            if !is_known {
                return Ok(Err(next_ms - now_ms));
            }
        }
        count(stores, &self.both, BOTH, now_ms).await
    }

    /// The same for a code of the second factor.
    pub async fn begin_code(&self, stores: &Stores, now_ms: i64) -> store::Result<Result<(), i64>> {
        count(stores, &self.code, CODE, now_ms).await
    }

    /// Counts a wrong password, or an account that is not there, for the address and the account each by itself.
    pub async fn failed(&self, stores: &Stores, now_ms: i64) -> store::Result<()> {
        for (whose, rule) in [(&self.address, ADDRESS), (&self.account, ACCOUNT)] {
            // Where it has to wait already, it waits.
            let _already = count(stores, whose, rule, now_ms).await?;
        }
        Ok(())
    }

    /// Forgets what was counted of this account here, and its codes.
    pub async fn succeeded(&self, stores: &Stores) -> store::Result<()> {
        let whose = [self.both.clone(), self.code.clone()];
        sign_in_failures::forget(&stores.config.write, &whose).await
    }
}

/// Somebody who is signed in shows their password again.
#[derive(Debug)]
pub struct Proof(String);

impl Proof {
    pub fn new(user: UserId) -> Self {
        Self(whose("proof", &[&user.to_string()]))
    }

    /// Whether it may be looked at now, or in how many milliseconds. It counts as a failure until [`Proof::succeeded`].
    pub async fn begin(&self, stores: &Stores, now_ms: i64) -> store::Result<Result<(), i64>> {
        count(stores, &self.0, BOTH, now_ms).await
    }

    /// Forgets them.
    pub async fn succeeded(&self, stores: &Stores) -> store::Result<()> {
        sign_in_failures::forget(&stores.config.write, std::slice::from_ref(&self.0)).await
    }
}

/// Counts one more, unless it has to wait: then for how many milliseconds.
async fn count(
    stores: &Stores,
    whose: &str,
    rule: Rule,
    now_ms: i64,
) -> store::Result<Result<(), i64>> {
    let transaction = stores.config.begin_write().await?;
    let mut counted = sign_in_failures::locked(&transaction, whose, now_ms).await?;
    if counted.next_ms > now_ms {
        transaction.commit().await?;
        return Ok(Err(counted.next_ms - now_ms));
    }
    counted.count += 1;
    if let Some(beyond) = counted.count.checked_sub(rule.free) {
        let wait_ms = SECOND_MS.saturating_mul(1_i64 << beyond.min(20));
        counted.next_ms = now_ms + wait_ms.min(rule.longest_ms);
    }
    sign_in_failures::put(&transaction, whose, counted).await?;
    transaction.commit().await?;
    Ok(Ok(()))
}

/// Hashed: people type their password where their address goes.
fn whose(kind: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    format!("{kind}:{}", hex::encode(hash.finalize()))
}
