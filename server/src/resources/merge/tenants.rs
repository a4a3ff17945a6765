//! Tenants of a file, with their roles, groups and users.

use std::collections::HashSet;

use weir_api_types::resources::{Group as GivenGroup, OwnRole as GivenRole, Tenant as Given};

use super::{Merge, checks};
use crate::{
    access::{self, OwnRole, Permissions},
    tenancy::{Grants, Group, GroupId, RoleId, Scope, Tenant, TenantId, name},
};

/// A tenant of the file that was merged.
pub(super) struct NamedTenant<'g> {
    pub id: TenantId,
    pub path: String,
    pub given: &'g Given,
}

impl Merge<'_> {
    /// Merges all tenants with their roles, groups and users, and returns them. Keys come later, as they may name channels.
    pub(super) fn tenants<'g>(&mut self, given: &'g [Given]) -> Vec<NamedTenant<'g>> {
        let places = given.iter().enumerate();
        let places = places.map(|(at, given)| (format!("tenants[{at}]"), given.name.as_str()));
        let names = self.names(places, name::normal);
        let mut named = Vec::new();
        for (at, (given, name)) in given.iter().zip(names).enumerate() {
            let path = format!("tenants[{at}]");
            let Some(name) = name else { continue };
            let id = self.tenant(&path, name, given);
            self.scope.push(id);
            self.limits(&path, Scope::Tenant(id), given.limits.as_deref());
            self.budgets(&path, Scope::Tenant(id), given.budgets.as_deref());
            self.roles(&path, id, given.roles.as_deref().unwrap_or_default());
            self.groups(&path, id, given.groups.as_deref().unwrap_or_default());
            self.users(&path, id, given.users.as_deref().unwrap_or_default());
            named.push(NamedTenant { id, path, given });
        }
        named
    }

    fn tenant(&mut self, path: &str, name: String, given: &Given) -> TenantId {
        let stored = self.merged.picture.tenant_named(&name);
        let stored = stored.and_then(|id| self.merged.picture.tenants.get(&id).cloned());
        let mut tenant = stored.unwrap_or_else(|| Tenant {
            id: TenantId::random(),
            name,
            enabled: true,
            time_zone: "UTC".to_owned(),
            grants: None,
            policies: Default::default(),
        });
        tenant.enabled = given.enabled.unwrap_or(tenant.enabled);
        if let Some(policies) = given.policies {
            if policies.keys_per_user == Some(0) {
                self.refuse(format!("{path}.policies.keys_per_user"), "is at least 1");
            }
            if policies
                .log_bodies_days
                .is_some_and(|days| !(1..=365).contains(&days))
            {
                self.refuse(format!("{path}.policies.log_bodies_days"), "is 1 to 365");
            }
            tenant.policies = policies;
        }
        if let Some(zone) = &given.time_zone
            && let Some(zone) = self.accept(&format!("{path}.time_zone"), checks::time_zone(zone))
        {
            tenant.time_zone = zone;
        }
        if let Some(grants) = &given.grants {
            tenant.grants = grants.as_ref().map(|grants| {
                let mut patterns = |field: &str, list: &Option<Vec<String>>| {
                    let path = format!("{path}.grants.{field}");
                    let list = list.as_deref()?;
                    Some(self.list(&path, list, checks::pattern))
                };
                Grants {
                    models: patterns("models", &grants.models),
                    channels: patterns("channels", &grants.channels),
                }
            });
        }
        let id = tenant.id;
        self.merged.picture.tenants.insert(id, tenant);
        id
    }

    fn roles(&mut self, path: &str, tenant: TenantId, given: &[GivenRole]) {
        let places = given.iter().enumerate();
        let places = places.map(|(at, given)| (format!("{path}.roles[{at}]"), given.name.as_str()));
        let names = self.names(places, name::normal);
        for (at, (given, name)) in given.iter().zip(names).enumerate() {
            let path = format!("{path}.roles[{at}]");
            let Some(name) = name else { continue };
            if access::is_built_in(&name) {
                self.refuse(
                    format!("{path}.name"),
                    "is the name of a role that is built in",
                );
                continue;
            }
            let stored = self.merged.picture.role_of(tenant, &name);
            let stored = stored.and_then(|id| self.merged.picture.roles.get(&id).cloned());
            let mut role = stored.unwrap_or_else(|| OwnRole {
                id: RoleId::random(),
                tenant,
                name,
                permissions: Permissions::default(),
            });
            if let Some(words) = &given.permissions {
                let path = format!("{path}.permissions");
                let permissions = self.list(&path, words, checks::tenant_permission);
                role.permissions = permissions.into_iter().collect();
            }
            self.merged.picture.roles.insert(role.id, role);
        }
    }

    fn groups(&mut self, path: &str, tenant: TenantId, given: &[GivenGroup]) {
        let places = given.iter().enumerate();
        let places =
            places.map(|(at, given)| (format!("{path}.groups[{at}]"), given.name.as_str()));
        let names = self.names(places, name::normal);
        for (at, (given, name)) in given.iter().zip(names).enumerate() {
            let Some(name) = name else { continue };
            let stored = self.merged.picture.group_named(tenant, &name);
            let id = stored.unwrap_or_else(GroupId::random);
            let group = Group { id, tenant, name };
            self.merged.picture.groups.insert(id, group);
            let (path, scope) = (format!("{path}.groups[{at}]"), Scope::Group(tenant, id));
            self.limits(&path, scope, given.limits.as_deref());
            self.budgets(&path, scope, given.budgets.as_deref());
        }
    }

    /// The tenants that the file names, for questions of belonging.
    pub(super) fn scope(&self) -> HashSet<TenantId> {
        self.scope.iter().copied().collect()
    }
}
