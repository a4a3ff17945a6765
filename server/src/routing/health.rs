//! What traffic teaches about credentials: which one was refused, which one must rest, how busy each is.
//!
//! Shared by all workers of an instance, in memory only. A credential that gets 401 (or 403 on an inference path) is set
//! aside and shown; every so often one call is let through to see whether the vendor takes it again. One that gets 429
//! rests for as long as the vendor says, within bounds: no vendor can ban it for ever.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicUsize, Ordering},
};

use parking_lot::RwLock;
use weir_api_types::channel::Rotation;

use crate::{
    catalog::{Channel, Credential},
    hash::IdMap,
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
    credentials: RwLock<IdMap<CredentialId, Arc<State>>>,
    next: RwLock<IdMap<ChannelId, Arc<AtomicUsize>>>,
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
        let known = channel.credentials.iter().filter(|credential| {
            credential.enabled && credential.secret.is_some() && !except.contains(&credential.id)
        });
        let mut usable = Vec::with_capacity(channel.credentials.len());
        for credential in known {
            let state = self.state(credential.id);
            match state.readiness(now_ms) {
                Readiness::Ready => usable.push((credential, state)),
                // The one call that tries again what was set aside; if it is refused, the caller takes another.
                Readiness::ToProbe(since_ms) if state.claim_probe(since_ms, now_ms) => {
                    return Ok(Lease::new(credential, state));
                }
                Readiness::ToProbe(_) | Readiness::NotNow => {}
            }
        }
        if usable.is_empty() {
            return Err(NoCredential::NoneUsable);
        }
        let turn = self.turn(channel.id);
        let count = usable.len();
        let chosen = match channel.settings.rotation {
            Rotation::RoundRobin => turn % count,
            // Among equally busy ones the turn decides, or the first would take all of a quiet channel's calls.
            Rotation::LeastUsed => (0..count)
                .map(|at| (at + turn) % count)
                .min_by_key(|at| usable[*at].1.in_use.load(Ordering::Relaxed))
                .unwrap_or(0),
        };
        let (credential, state) = usable.swap_remove(chosen);
        Ok(Lease::new(credential, state))
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

    /// The vendor took the credential when it was tried.
    pub fn forgive(&self, credential: CredentialId) {
        let state = self.credentials.read().get(&credential).cloned();
        if let Some(state) = state {
            state.set_aside_ms.store(0, Ordering::Relaxed);
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

impl Lease {
    fn new(credential: &Credential, state: Arc<State>) -> Self {
        state.in_use.fetch_add(1, Ordering::Relaxed);
        Self {
            credential: credential.clone(),
            state,
        }
    }
}

/// Whether a credential may take a call.
enum Readiness {
    Ready,
    /// Set aside at this time, long enough ago to be tried once.
    ToProbe(i64),
    NotNow,
}

impl State {
    fn readiness(&self, now_ms: i64) -> Readiness {
        if self.rests_until_ms.load(Ordering::Relaxed) > now_ms {
            return Readiness::NotNow;
        }
        match self.set_aside_ms.load(Ordering::Relaxed) {
            0 => Readiness::Ready,
            since_ms if now_ms - since_ms >= PROBE_AFTER_MS => Readiness::ToProbe(since_ms),
            _ => Readiness::NotNow,
        }
    }

    /// Whoever moves the mark makes the call.
    fn claim_probe(&self, since_ms: i64, now_ms: i64) -> bool {
        let moved = self.set_aside_ms.compare_exchange(
            since_ms,
            now_ms,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        moved.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use weir_api_types::channel::{Auth, Kind, Retry, Settings, Timeouts};

    use super::*;
    use crate::{catalog::channel::Base, secrets::Secret};

    fn channel(credentials: u128, rotation: Rotation) -> Channel {
        let credential = |number| Credential {
            id: CredentialId(uuid::Uuid::from_u128(number)),
            name: None,
            enabled: true,
            secret: Some(Secret::new(format!("secret-{number}"))),
        };
        Channel {
            id: ChannelId(uuid::Uuid::from_u128(1)),
            owner: None,
            name: "vendor".to_owned(),
            kind: Kind::Openai,
            base: Base::parse("https://vendor.example/v1").unwrap(),
            auth: Auth::default(),
            credentials: (1..=credentials).map(credential).collect(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            proxy_paths: None,
            settings: Settings {
                rotation,
                ..Settings::default()
            },
            weight: 1,
            priority: 0,
            enabled: true,
            allowed_origin: None,
        }
    }

    fn number(lease: &Lease) -> u128 {
        lease.credential.id.0.as_u128()
    }

    #[test]
    fn round_robin_takes_turns_and_skips_what_was_tried() {
        let (health, channel) = (Health::default(), channel(3, Rotation::RoundRobin));
        let taken: Vec<u128> = (0..6)
            .map(|_| number(&health.lease(&channel, &[], 0).unwrap()))
            .collect();
        assert_eq!(taken, [1, 2, 3, 1, 2, 3]);
        let tried = [channel.credentials[0].id, channel.credentials[2].id];
        assert_eq!(number(&health.lease(&channel, &tried, 0).unwrap()), 2);
        let all: Vec<CredentialId> = channel
            .credentials
            .iter()
            .map(|credential| credential.id)
            .collect();
        assert_eq!(
            health.lease(&channel, &all, 0).err(),
            Some(NoCredential::NoneUsable)
        );
    }

    #[test]
    fn the_least_used_goes_first_and_gives_its_place_back() {
        let (health, channel) = (Health::default(), channel(2, Rotation::LeastUsed));
        let first = health.lease(&channel, &[], 0).unwrap();
        let second = health.lease(&channel, &[], 0).unwrap();
        assert_ne!(number(&first), number(&second));
        let freed = number(&first);
        drop(first);
        assert_eq!(number(&health.lease(&channel, &[], 0).unwrap()), freed);
    }

    #[test]
    fn a_rest_is_bounded_and_ends() {
        let (health, channel) = (Health::default(), channel(1, Rotation::RoundRobin));
        let id = channel.credentials[0].id;
        health.rest(id, Some(i64::MAX / 2), 1_000);
        assert_eq!(
            health.condition(&channel.credentials[0], 1_000),
            Condition::Resting(1_000 + MAX_REST_MS)
        );
        assert!(
            health
                .lease(&channel, &[], 1_000 + MAX_REST_MS - 1)
                .is_err()
        );
        assert!(health.lease(&channel, &[], 1_000 + MAX_REST_MS).is_ok());
        assert!(!health.is_up(&channel, 1_000) && health.is_up(&channel, 1_000 + MAX_REST_MS));
    }

    #[test]
    fn a_refused_credential_is_set_aside_and_tried_again_by_one_call() {
        let (health, channel) = (Health::default(), channel(1, Rotation::RoundRobin));
        let credential = &channel.credentials[0];
        health.refused(credential.id, 401, 1_000);
        assert_eq!(
            health.condition(credential, 1_000),
            Condition::SetAside {
                since_ms: 1_000,
                status: 401
            }
        );
        assert!(
            health
                .lease(&channel, &[], 1_000 + PROBE_AFTER_MS - 1)
                .is_err()
        );
        let probe = health.lease(&channel, &[], 1_000 + PROBE_AFTER_MS).unwrap();
        assert!(
            health.lease(&channel, &[], 1_000 + PROBE_AFTER_MS).is_err(),
            "one call tries, not all"
        );
        health.accepted(&probe);
        assert_eq!(
            health.condition(credential, 1_000 + PROBE_AFTER_MS),
            Condition::Good
        );
    }

    #[test]
    fn a_channel_without_credentials_needs_none_and_one_that_cannot_be_opened_is_never_used() {
        let health = Health::default();
        assert_eq!(
            health
                .lease(&channel(0, Rotation::RoundRobin), &[], 0)
                .err(),
            Some(NoCredential::NoneNeeded)
        );
        let mut sealed = channel(1, Rotation::RoundRobin);
        sealed.credentials[0].secret = None;
        assert_eq!(
            health.lease(&sealed, &[], 0).err(),
            Some(NoCredential::NoneUsable)
        );
        assert_eq!(
            health.condition(&sealed.credentials[0], 0),
            Condition::Unusable
        );
    }
}
