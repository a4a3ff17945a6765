//! A user as the management side sees it: with what a request never asks for.

use weir_api_types::{manage::PlatformRole, resources::Role};

use super::{GroupId, RoleId, TenantId, UserId};

/// A person with all that is stored about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub id: UserId,
    /// Lower case; unique over the installation.
    pub email: String,
    pub name: String,
    pub department: String,
    pub contact: String,
    pub enabled: bool,
    /// Whether the address is known to be theirs. If not, no other tenant takes them for the one it invites.
    pub email_proven: bool,
    /// What they are on the platform itself.
    pub platform_role: Option<PlatformRole>,
    /// One per tenant, in the order of the tenants' ids.
    pub memberships: Vec<Membership>,
}

/// A person's place in one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub tenant: TenantId,
    pub role: MemberRole,
    /// By position: the first one counts for limits and reports.
    pub groups: Vec<GroupId>,
}

/// What somebody is in a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberRole {
    /// A role that every tenant has.
    BuiltIn(Role),
    /// One that the tenant has made.
    Own(RoleId),
}

impl Default for MemberRole {
    fn default() -> Self {
        Self::BuiltIn(Role::default())
    }
}

impl Person {
    /// Somebody new, who is called by their address until they say otherwise.
    pub fn new(email: String) -> Self {
        Self {
            id: UserId::random(),
            name: email.clone(),
            email,
            department: String::new(),
            contact: String::new(),
            enabled: true,
            email_proven: true,
            platform_role: None,
            memberships: Vec::new(),
        }
    }

    /// The tenants that they own and can act in.
    pub fn owns(&self) -> impl Iterator<Item = TenantId> {
        let owned = self
            .memberships
            .iter()
            .filter(|place| self.enabled && place.role == MemberRole::BuiltIn(Role::Owner));
        owned.map(|place| place.tenant)
    }

    /// The place in a tenant, if there is one.
    pub fn membership(&self, tenant: TenantId) -> Option<&Membership> {
        self.memberships
            .iter()
            .find(|membership| membership.tenant == tenant)
    }
}
