//! Whether a key lets anybody in.

use super::Catalog;
use crate::tenancy::{Owner, ProxyKey, key::Digest};

/// Why a key that is known lets nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It, its tenant or its owner is switched off, or its owner is gone.
    Disabled,
    /// Its time is over, or that of the value after a rotation.
    Expired,
}

impl Catalog {
    /// Whether a key, its tenant and its owner are there and switched on. Expiry counts when a call begins.
    pub fn is_active(&self, key: &ProxyKey) -> bool {
        let tenant = self.tenant(key.tenant);
        key.enabled && tenant.is_some_and(|tenant| tenant.enabled) && self.owner_is_active(key)
    }

    /// Why a value of a key lets nobody in, if so.
    pub fn unusable(&self, key: &ProxyKey, digest: &Digest, now_ms: i64) -> Option<Unusable> {
        if !self.is_active(key) {
            return Some(Unusable::Disabled);
        }
        let is_over = |ends_ms: Option<i64>| ends_ms.is_some_and(|ends_ms| ends_ms <= now_ms);
        let mut secrets = key.secrets.iter();
        let secret = secrets.find(|secret| secret.digest == *digest);
        let secret_is_over = secret.is_some_and(|secret| is_over(secret.expires_ms));
        (is_over(key.expires_ms) || secret_is_over).then_some(Unusable::Expired)
    }

    /// A user's key works as long as the user is enabled and a member of the key's tenant.
    fn owner_is_active(&self, key: &ProxyKey) -> bool {
        match key.owner {
            Owner::Tenant => true,
            Owner::Group(group) => self
                .group(group)
                .is_some_and(|group| group.tenant == key.tenant),
            Owner::User(user) => self
                .user(user)
                .is_some_and(|user| user.enabled && user.tenants.contains(&key.tenant)),
        }
    }
}
