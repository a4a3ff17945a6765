//! The whole configuration as plain values: as it is stored, or as it shall be.
//!
//! A file is merged into the stored picture, which gives the wanted one; what differs between the two is the plan. No
//! store and no clock here, so that every rule of `apply` can be tried with plain values.

use std::collections::BTreeMap;

use uuid::Uuid;
use weir_api_types::resources::RoleName;

use crate::{
    access::OwnRole,
    catalog::{Channel, Model},
    routing,
    tenancy::{
        Budget, BudgetId, ChannelId, Group, GroupId, KeyId, Limit, LimitId, MemberRole, ModelId,
        Person, ProxyKey, RoleId, Scope, Tenant, TenantId, UserId,
    },
};

/// Everything that a file can say something about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picture {
    pub tenants: BTreeMap<TenantId, Tenant>,
    pub roles: BTreeMap<RoleId, OwnRole>,
    pub groups: BTreeMap<GroupId, Group>,
    pub people: BTreeMap<UserId, Person>,
    /// With their credentials opened.
    pub channels: BTreeMap<ChannelId, Channel>,
    pub models: BTreeMap<ModelId, Model>,
    pub keys: BTreeMap<KeyId, ProxyKey>,
    /// By what they stand on.
    pub limits: BTreeMap<(Scope, LimitId), Limit>,
    /// By what they stand on.
    pub budgets: BTreeMap<(Scope, BudgetId), Budget>,
}

impl Picture {
    /// The name of an owner; `None` is the platform.
    pub fn tenant_name(&self, id: Option<TenantId>) -> Option<&str> {
        let tenant = self.tenants.get(&id?)?;
        Some(&tenant.name)
    }

    /// What an owner calls a channel so that it means this one: `platform/NAME` where a channel of its own has the name.
    pub fn channel_reference(&self, owner: Option<TenantId>, id: ChannelId) -> Option<String> {
        let channel = self.channels.get(&id)?;
        let shadowed = channel.owner.is_none()
            && owner.is_some()
            && self.channel_of(owner, &channel.name).is_some();
        Some(if shadowed {
            format!("{PLATFORM}{}", channel.name)
        } else {
            channel.name.clone()
        })
    }

    /// The channel that a name means to an owner: its own before the platform's.
    pub fn channel_named(&self, owner: Option<TenantId>, reference: &str) -> Option<ChannelId> {
        match reference.strip_prefix(PLATFORM) {
            Some(name) => self.channel_of(None, name),
            None => self
                .channel_of(owner, reference)
                .or_else(|| self.channel_of(None, reference)),
        }
    }

    /// Whether a name means a channel to a tenant, its own or one of the platform's that it is granted.
    pub fn is_granted(&self, tenant: Option<TenantId>, reference: &str) -> bool {
        let channel = self.channel_named(tenant, reference);
        let channel = channel.and_then(|id| self.channels.get(&id));
        let tenant = tenant.and_then(|id| self.tenants.get(&id));
        let (Some(channel), Some(tenant)) = (channel, tenant) else {
            return false;
        };
        routing::is_granted(tenant, channel)
    }

    /// The owner's own channel of this name.
    pub fn channel_of(&self, owner: Option<TenantId>, name: &str) -> Option<ChannelId> {
        let mut channels = self.channels.values();
        channels
            .find(|channel| channel.owner == owner && channel.name == name)
            .map(|channel| channel.id)
    }

    /// The owner's own model of this name.
    pub fn model_of(&self, owner: Option<TenantId>, name: &str) -> Option<ModelId> {
        let mut models = self.models.values();
        models
            .find(|model| model.owner == owner && model.name == name)
            .map(|model| model.id)
    }

    /// The tenant of this name.
    pub fn tenant_named(&self, name: &str) -> Option<TenantId> {
        let mut tenants = self.tenants.values();
        tenants
            .find(|tenant| tenant.name == name)
            .map(|tenant| tenant.id)
    }

    /// The limits that stand on a thing, in their order.
    pub fn limits_on(&self, scope: Scope) -> Vec<&Limit> {
        let all = (scope, Uuid::nil().into())..=(scope, Uuid::max().into());
        let mut limits: Vec<&Limit> = self.limits.range(all).map(|(_, limit)| limit).collect();
        limits.sort_by_key(|limit| limit.position);
        limits
    }

    /// The budgets that stand on a thing, in their order.
    pub fn budgets_on(&self, scope: Scope) -> Vec<&Budget> {
        let all = (scope, Uuid::nil().into())..=(scope, Uuid::max().into());
        let mut budgets: Vec<&Budget> = self.budgets.range(all).map(|(_, budget)| budget).collect();
        budgets.sort_by_key(|budget| budget.position);
        budgets
    }

    /// Whether the thing that a limit or budget stands on is there.
    pub fn has(&self, scope: Scope) -> bool {
        match scope {
            Scope::Platform => true,
            Scope::Tenant(tenant) => self.tenants.contains_key(&tenant),
            Scope::Group(_, group) => self.groups.contains_key(&group),
            Scope::User(tenant, user) => self
                .people
                .get(&user)
                .is_some_and(|person| person.membership(tenant).is_some()),
            Scope::Key(_, key) => self.keys.contains_key(&key),
            Scope::Channel(channel) => self.channels.contains_key(&channel),
            Scope::Model(model) => self.models.contains_key(&model),
        }
    }

    /// What people call a thing that a limit or budget stands on.
    pub fn name_of(&self, scope: Scope) -> Option<&str> {
        match scope {
            Scope::Platform => Some(""),
            Scope::Tenant(tenant) => self.tenant_name(Some(tenant)),
            Scope::Group(_, group) => Some(&self.groups.get(&group)?.name),
            Scope::User(_, user) => Some(&self.people.get(&user)?.email),
            Scope::Key(_, key) => Some(&self.keys.get(&key)?.name),
            Scope::Channel(channel) => Some(&self.channels.get(&channel)?.name),
            Scope::Model(model) => Some(&self.models.get(&model)?.name),
        }
    }

    /// The tenant that a thing is in, or whose channel or model it is.
    pub fn owner_of(&self, scope: Scope) -> Option<TenantId> {
        match scope {
            Scope::Channel(channel) => self.channels.get(&channel)?.owner,
            Scope::Model(model) => self.models.get(&model)?.owner,
            _ => scope.tenant(),
        }
    }

    /// The tenant's own role of this name.
    pub fn role_of(&self, tenant: TenantId, name: &str) -> Option<RoleId> {
        let mut roles = self.roles.values();
        roles
            .find(|role| role.tenant == tenant && role.name == name)
            .map(|role| role.id)
    }

    /// The role that a name means in a tenant.
    pub fn role_named(&self, tenant: TenantId, name: &RoleName) -> Option<MemberRole> {
        match name {
            RoleName::BuiltIn(role) => Some(MemberRole::BuiltIn(*role)),
            RoleName::Own(name) => self.role_of(tenant, name).map(MemberRole::Own),
        }
    }

    /// What a role is called; one that is gone, by its id.
    pub fn role_name(&self, role: MemberRole) -> RoleName {
        match role {
            MemberRole::BuiltIn(role) => RoleName::BuiltIn(role),
            MemberRole::Own(id) => RoleName::Own(
                self.roles
                    .get(&id)
                    .map_or_else(|| id.to_string(), |role| role.name.clone()),
            ),
        }
    }

    /// The tenant's group of this name.
    pub fn group_named(&self, tenant: TenantId, name: &str) -> Option<GroupId> {
        let mut groups = self.groups.values();
        groups
            .find(|group| group.tenant == tenant && group.name == name)
            .map(|group| group.id)
    }
}

/// Before a channel's name: the platform's one, whatever the owner has of its own.
const PLATFORM: &str = "platform/";
