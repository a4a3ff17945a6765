//! What `--prune` takes away: named things that a given collection does not name.
//!
//! The platform's channels and models are a collection, and so are those of each tenant that the file names; a tenant
//! that it does not name keeps its own. Nothing goes that something else still needs: cutting a key's last channel off
//! would widen the key, and a key whose owner goes would go along unseen.

use std::collections::HashSet;

use weir_api_types::resources::Resources;

use super::{Merge, checks, tenants::NamedTenant};
use crate::tenancy::{ChannelId, GroupId, MemberRole, Owner, RoleId, TenantId, UserId, name};

impl Merge<'_> {
    pub(super) fn prune(
        &mut self,
        wanted: &Resources,
        tenants: &[NamedTenant<'_>],
        named_channels: &HashSet<ChannelId>,
    ) {
        if wanted.tenants.is_some() {
            self.prune_tenants(tenants);
        }
        for tenant in tenants {
            self.prune_keys(tenant);
            self.prune_users(tenant);
            self.prune_groups(tenant);
            self.prune_roles(tenant);
        }
        if let Some(models) = &wanted.models {
            let scope = self.scope();
            let picture = &mut self.merged.picture;
            let names: HashSet<(Option<TenantId>, String)> = models
                .iter()
                .filter_map(|model| {
                    let tenant = model.tenant.as_deref().map(name::normal).transpose().ok()?;
                    let owner = tenant.and_then(|tenant| picture.tenant_named(&tenant));
                    Some((owner, name::normal(&model.name).ok()?))
                })
                .collect();
            picture.models.retain(|_, model| {
                !in_scope(&scope, model.owner) || names.contains(&(model.owner, model.name.clone()))
            });
        }
        if wanted.channels.is_some() {
            self.prune_channels(named_channels);
        }
        self.drop_the_homeless();
    }

    fn prune_tenants(&mut self, named: &[NamedTenant<'_>]) {
        let named: HashSet<TenantId> = named.iter().map(|tenant| tenant.id).collect();
        let owner = self.scope.iter().find(|id| !named.contains(id)).copied();
        if let Some(name) = self.merged.picture.tenant_name(owner) {
            let message = format!("{name} would be pruned, but owns something in this file");
            return self.refuse("tenants", message);
        }
        let picture = &mut self.merged.picture;
        picture.tenants.retain(|id, _| named.contains(id));
        picture.roles.retain(|_, role| named.contains(&role.tenant));
        picture
            .groups
            .retain(|_, group| named.contains(&group.tenant));
        picture.keys.retain(|_, key| named.contains(&key.tenant));
        let stays = |owner: &Option<TenantId>| owner.is_none_or(|owner| named.contains(&owner));
        picture.channels.retain(|_, channel| stays(&channel.owner));
        picture.models.retain(|_, model| stays(&model.owner));
        for person in picture.people.values_mut() {
            person
                .memberships
                .retain(|membership| named.contains(&membership.tenant));
        }
    }

    fn prune_keys(&mut self, tenant: &NamedTenant<'_>) {
        let Some(keys) = &tenant.given.keys else {
            return;
        };
        let names: HashSet<String> = keys
            .iter()
            .filter_map(|key| name::normal(&key.name).ok())
            .collect();
        let keys = &mut self.merged.picture.keys;
        keys.retain(|_, key| key.tenant != tenant.id || names.contains(&key.name));
    }

    fn prune_users(&mut self, tenant: &NamedTenant<'_>) {
        let Some(users) = &tenant.given.users else {
            return;
        };
        let emails: HashSet<String> = users
            .iter()
            .filter_map(|user| checks::email(&user.email).ok())
            .collect();
        let people = self.merged.picture.people.values();
        let leaving: Vec<(UserId, String)> = people
            .filter(|person| {
                person.membership(tenant.id).is_some() && !emails.contains(&person.email)
            })
            .map(|person| (person.id, person.email.clone()))
            .collect();
        for (id, email) in leaving {
            if let Some(key) = self.owned_key(tenant.id, Owner::User(id)) {
                let message = format!("{email} cannot be pruned: the key {key} is theirs");
                self.refuse(format!("{}.users", tenant.path), message);
            } else if let Some(person) = self.merged.picture.people.get_mut(&id) {
                person
                    .memberships
                    .retain(|membership| membership.tenant != tenant.id);
            }
        }
    }

    fn prune_groups(&mut self, tenant: &NamedTenant<'_>) {
        let Some(groups) = &tenant.given.groups else {
            return;
        };
        let names: HashSet<String> = groups
            .iter()
            .filter_map(|group| name::normal(&group.name).ok())
            .collect();
        let stored = self.merged.picture.groups.values();
        let leaving: Vec<(GroupId, String)> = stored
            .filter(|group| group.tenant == tenant.id && !names.contains(&group.name))
            .map(|group| (group.id, group.name.clone()))
            .collect();
        for (id, name) in leaving {
            if let Some(key) = self.owned_key(tenant.id, Owner::Group(id)) {
                let message = format!("{name} cannot be pruned: the key {key} is the group's");
                self.refuse(format!("{}.groups", tenant.path), message);
                continue;
            }
            self.merged.picture.groups.remove(&id);
            for person in self.merged.picture.people.values_mut() {
                for membership in &mut person.memberships {
                    membership.groups.retain(|group| *group != id);
                }
            }
        }
    }

    fn prune_roles(&mut self, tenant: &NamedTenant<'_>) {
        let Some(roles) = &tenant.given.roles else {
            return;
        };
        let names: HashSet<String> = roles
            .iter()
            .filter_map(|role| name::normal(&role.name).ok())
            .collect();
        let stored = self.merged.picture.roles.values();
        let leaving: Vec<(RoleId, String)> = stored
            .filter(|role| role.tenant == tenant.id && !names.contains(&role.name))
            .map(|role| (role.id, role.name.clone()))
            .collect();
        for (id, name) in leaving {
            let mut people = self.merged.picture.people.values();
            let holder = people.find(|person| {
                let place = person.membership(tenant.id);
                place.is_some_and(|place| place.role == MemberRole::Own(id))
            });
            if let Some(holder) = holder {
                let message = format!("{name} cannot be pruned: {} has it", holder.email);
                self.refuse(format!("{}.roles", tenant.path), message);
            } else {
                self.merged.picture.roles.remove(&id);
            }
        }
    }

    fn prune_channels(&mut self, named: &HashSet<ChannelId>) {
        let scope = self.scope();
        let channels = self.merged.picture.channels.values();
        let leaving: Vec<(ChannelId, String)> = channels
            .filter(|channel| in_scope(&scope, channel.owner) && !named.contains(&channel.id))
            .map(|channel| (channel.id, channel.name.clone()))
            .collect();
        for (id, name) in leaving {
            let picture = &self.merged.picture;
            let mut models = picture.models.values();
            let model = models.find(|model| model.routes.iter().any(|route| route.channel == id));
            let mut keys = picture.keys.values();
            let key = keys.find(|key| key.channels.iter().any(|choice| choice.channel == id));
            let needed = match (model, key) {
                (Some(model), _) => Some(format!("the model {} is routed to it", model.name)),
                (None, Some(key)) => Some(format!("the key {} names it", key.name)),
                (None, None) => None,
            };
            match needed {
                Some(reason) => {
                    self.refuse("channels", format!("{name} cannot be pruned: {reason}"));
                }
                None => drop(self.merged.picture.channels.remove(&id)),
            }
        }
    }

    /// People whom this file took out of their last tenant, and who are nothing on the platform.
    fn drop_the_homeless(&mut self) {
        let stored = self.stored;
        let picture = &mut self.merged.picture;
        let keys = &picture.keys;
        picture.people.retain(|id, person| {
            let had = stored
                .people
                .get(id)
                .is_some_and(|person| !person.memberships.is_empty());
            let owns = keys.values().any(|key| key.owner == Owner::User(*id));
            let is_operator = person.platform_role.is_some();
            !had || !person.memberships.is_empty() || owns || is_operator
        });
    }

    fn owned_key(&self, tenant: TenantId, owner: Owner) -> Option<String> {
        let mut keys = self.merged.picture.keys.values();
        keys.find(|key| key.tenant == tenant && key.owner == owner)
            .map(|key| key.name.clone())
    }
}

fn in_scope(scope: &HashSet<TenantId>, owner: Option<TenantId>) -> bool {
    owner.is_none_or(|owner| scope.contains(&owner))
}
