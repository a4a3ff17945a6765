//! A caller of management, and where their rights hold.

use std::sync::Arc;

use uuid::Uuid;

use super::{Permission, Permissions};
use crate::tenancy::{TenantId, UserId};

/// For so long after somebody showed who they are, they may do what an unlocked screen must not (threats.md, A9), in milliseconds.
pub const FRESH_MS: i64 = 15 * 60_000;

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
        /// When they last showed in it who they are, Unix milliseconds.
        proved_ms: i64,
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

    /// Whether they have shown who they are within the last [`FRESH_MS`]. Tokens are shown with each call.
    pub fn is_fresh(&self, now_ms: i64) -> bool {
        match &self.subject {
            Subject::User { proved_ms, .. } => now_ms < proved_ms + FRESH_MS,
            Subject::AdminToken | Subject::ServiceToken { .. } => true,
        }
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
