//! A caller of management, and where their rights hold.

use std::sync::Arc;

use uuid::Uuid;

use super::{Permission, Permissions};
use crate::tenancy::{TenantId, UserId};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Whoever has `WEIR_ADMIN_TOKEN`.
    AdminToken,
    ServiceToken {
        id: Uuid,
        name: Arc<str>,
    },
    /// Somebody who is signed in.
    User {
        id: UserId,
        email: Arc<str>,
        session: Uuid,
        /// Whether they are so by the word of a tenant's identity provider alone: then they are somebody in that tenant, and nobody
        /// who may change what is the person's.
        is_lent: bool,
    },
}

/// Where something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Platform,
    Tenant(TenantId),
}

/// Somebody who has shown who they are.
#[derive(Debug, Clone)]
pub struct Caller {
    pub subject: Subject,
    /// Where their permissions hold.
    pub reach: Reach,
    permissions: Permissions,
}

impl Caller {
    /// In a tenant nothing holds that is for the platform, whatever it is called with.
    pub fn new(subject: Subject, reach: Reach, permissions: Permissions) -> Self {
        let permissions = match reach {
            Reach::Platform => permissions,
            Reach::Tenant(_) => Permissions::that(|permission| {
                permission.is_for_tenants() && permissions.has(permission)
            }),
        };
        Self {
            subject,
            reach,
            permissions,
        }
    }

    /// Whether it is allowed anywhere.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.has(permission)
    }

    /// Whether what belongs to a tenant, or with `None` to the platform, is within reach.
    pub fn reaches(&self, tenant: Option<TenantId>) -> bool {
        match self.reach {
            Reach::Platform => true,
            Reach::Tenant(own) => tenant == Some(own),
        }
    }

    /// Whether they may hand on these permissions there: nobody gives what they have not.
    pub fn may_grant(&self, tenant: Option<TenantId>, permissions: Permissions) -> bool {
        self.reaches(tenant) && self.covers(permissions)
    }

    /// Whether they may do everything of these themselves.
    pub fn covers(&self, permissions: Permissions) -> bool {
        self.permissions.covers(permissions)
    }
}
