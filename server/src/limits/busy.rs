//! How many calls of one tenant this instance has at once: whatever a tenant's upstreams do, it takes no more of the instance
//! than its part (threats.md, T4). No limit that somebody sets: the instance's own protection.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::{hash::IdMap, tenancy::TenantId};

/// Calls under way by tenant.
#[derive(Debug)]
pub struct Busy {
    most: u32,
    tenants: Mutex<IdMap<TenantId, u32>>,
}

/// A call under way; it is over when this is dropped.
#[derive(Debug)]
pub struct Present {
    busy: Arc<Busy>,
    tenant: TenantId,
}

impl Busy {
    /// At most so many of each tenant.
    pub fn new(most: u32) -> Arc<Self> {
        Arc::new(Self {
            most,
            tenants: Mutex::default(),
        })
    }

    /// Takes note of a call, unless its tenant has too many.
    pub fn enter(self: &Arc<Self>, tenant: TenantId) -> Option<Present> {
        let mut tenants = self.tenants.lock();
        let calls = tenants.entry(tenant).or_default();
        if *calls >= self.most {
            return None;
        }
        *calls += 1;
        Some(Present {
            busy: Arc::clone(self),
            tenant,
        })
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut tenants = self.busy.tenants.lock();
        if let Some(calls) = tenants.get_mut(&self.tenant) {
            *calls -= 1;
            if *calls == 0 {
                tenants.remove(&self.tenant);
            }
        }
    }
}
