//! What traffic teaches about credentials: which one was refused, which one must rest, how busy each is.
//!
//! Shared by all workers of an instance, in memory only. A credential that gets 401 (or 403 on an inference path) is set
//! aside and shown; every so often one call is let through to see whether the vendor takes it again. One that gets 429
//! rests for as long as the vendor says, within bounds: no vendor can ban it for ever.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicUsize, Ordering},
    },
};

use parking_lot::RwLock;
use weir_api_types::channel::Rotation;

use crate::{
    catalog::{Channel, Credential},
    tenancy::{ChannelId, CredentialId},
};

/// The longest rest, in milliseconds.
pub const MAX_REST_MS: i64 = 5 * 60 * 1000;
/// The rest where the vendor gives none.
pub const DEFAULT_REST_MS: i64 = 5 * 1000;
/// How long a credential that was set aside stays so before one call tries it again.
pub const PROBE_AFTER_MS: i64 = 60 * 1000;

/// What is known of all credentials.
#[derive(Debug, Default)]
pub struct Health {
    credentials: RwLock<HashMap<CredentialId, Arc<State>>>,
    next: RwLock<HashMap<ChannelId, Arc<AtomicUsize>>>,
}

#[derive(Debug, Default)]
struct State {
    /// Calls under way.
    in_use: AtomicU32,
    /// Unix milliseconds until which it rests.
    rests_until_ms: AtomicI64,
    /// Unix milliseconds at which it was set aside; 0 is not.
    set_aside_ms: AtomicI64,
    /// The status that set it aside, less 400.
    refused_with: AtomicU8,
}

/// A credential as an operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Good,
    /// Until Unix milliseconds.
    Resting(i64),
    /// Since Unix milliseconds, by this status.
    SetAside {
        since_ms: i64,
        status: u16,
    },
    /// It could not be opened with this master key, or belongs to another origin.
    Unusable,
}

/// A credential that is in use; gives its place back when dropped.
#[derive(Debug)]
pub struct Lease {
    pub credential: Credential,
    state: Arc<State>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.state.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a channel has no credential for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCredential {
    /// It has none at all and needs none: the call goes without.
    NoneNeeded,
    /// Those it has rest, were set aside or cannot be used.
    NoneUsable,
}

impl Health {
    /// Takes the next usable credential of the channel's pool that is not in `except`.
    pub fn lease(
        &self,
        channel: &Channel,
        except: &[CredentialId],
        now_ms: i64,
    ) -> Result<Lease, NoCredential> {
        if channel.credentials.is_empty() {
            return Err(NoCredential::NoneNeeded);
        }
        let usable: Vec<(&Credential, Arc<State>)> = channel
            .credentials
            .iter()
            .filter(|credential| {
                credential.enabled
                    && credential.secret.is_some()
                    && !except.contains(&credential.id)
            })
            .map(|credential| (credential, self.state(credential.id)))
            .filter(|(_, state)| state.admits(now_ms))
            .collect();
        let chosen = match (usable.len(), channel.settings.rotation) {
            (0, _) => return Err(NoCredential::NoneUsable),
            (1, _) => 0,
            (count, Rotation::RoundRobin) => self.turn(channel.id) % count,
            (count, Rotation::LeastUsed) => {
                let turn = self.turn(channel.id);
                let in_use = |at: &usize| usable[*at].1.in_use.load(Ordering::Relaxed);
                // Among equally busy ones the turn decides, or the first would take all of a quiet channel's calls.
                (0..count)
                    .map(|at| (at + turn) % count)
                    .min_by_key(in_use)
                    .unwrap_or(0)
            }
        };
        let (credential, state) = &usable[chosen];
        state.in_use.fetch_add(1, Ordering::Relaxed);
        Ok(Lease {
            credential: (*credential).clone(),
            state: Arc::clone(state),
        })
    }

    /// The upstream refused the credential itself.
    pub fn refused(&self, credential: CredentialId, status: u16, now_ms: i64) {
        let state = self.state(credential);
        state
            .refused_with
            .store(status.saturating_sub(400).min(255) as u8, Ordering::Relaxed);
        state.set_aside_ms.store(now_ms, Ordering::Relaxed);
    }

    /// The upstream asked for a pause.
    pub fn rest(&self, credential: CredentialId, retry_after_ms: Option<i64>, now_ms: i64) {
        let rest_ms = retry_after_ms
            .unwrap_or(DEFAULT_REST_MS)
            .clamp(0, MAX_REST_MS);
        self.state(credential)
            .rests_until_ms
            .fetch_max(now_ms + rest_ms, Ordering::Relaxed);
    }

    /// The upstream took the credential.
    pub fn accepted(&self, lease: &Lease) {
        if lease.state.set_aside_ms.load(Ordering::Relaxed) != 0 {
            lease.state.set_aside_ms.store(0, Ordering::Relaxed);
        }
    }

    /// How a credential is.
    pub fn condition(&self, credential: &Credential, now_ms: i64) -> Condition {
        if credential.secret.is_none() {
            return Condition::Unusable;
        }
        let Some(state) = self.credentials.read().get(&credential.id).cloned() else {
            return Condition::Good;
        };
        let set_aside_ms = state.set_aside_ms.load(Ordering::Relaxed);
        let rests_until_ms = state.rests_until_ms.load(Ordering::Relaxed);
        if set_aside_ms != 0 {
            let status = 400 + u16::from(state.refused_with.load(Ordering::Relaxed));
            return Condition::SetAside {
                since_ms: set_aside_ms,
                status,
            };
        }
        if rests_until_ms > now_ms {
            Condition::Resting(rests_until_ms)
        } else {
            Condition::Good
        }
    }

    /// Whether any credential of the channel could take a call now.
    pub fn is_up(&self, channel: &Channel, now_ms: i64) -> bool {
        let good = |credential: &Credential| {
            credential.enabled && self.condition(credential, now_ms) == Condition::Good
        };
        channel.enabled && (channel.credentials.is_empty() || channel.credentials.iter().any(good))
    }

    fn state(&self, credential: CredentialId) -> Arc<State> {
        if let Some(state) = self.credentials.read().get(&credential) {
            return Arc::clone(state);
        }
        Arc::clone(self.credentials.write().entry(credential).or_default())
    }

    fn turn(&self, channel: ChannelId) -> usize {
        if let Some(next) = self.next.read().get(&channel) {
            return next.fetch_add(1, Ordering::Relaxed);
        }
        self.next
            .write()
            .entry(channel)
            .or_default()
            .fetch_add(1, Ordering::Relaxed)
    }
}

impl State {
    fn admits(&self, now_ms: i64) -> bool {
        if self.rests_until_ms.load(Ordering::Relaxed) > now_ms {
            return false;
        }
        let set_aside_ms = self.set_aside_ms.load(Ordering::Relaxed);
        if set_aside_ms == 0 {
            return true;
        }
        // Whoever moves the mark makes the one call that tries again.
        now_ms - set_aside_ms >= PROBE_AFTER_MS
            && self
                .set_aside_ms
                .compare_exchange(set_aside_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}
