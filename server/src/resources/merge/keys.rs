//! Proxy keys of a file.

use std::collections::HashMap;

use weir_api_types::{
    apply::GeneratedKey,
    resources::{Key as Given, KeyChannel},
    secret::Secret,
};

use super::{Merge, NO_CHANNEL, checks, tenants::NamedTenant};
use crate::tenancy::{
    KeyId, Owner, ProxyKey, Scope, TenantId,
    key::{self, ChannelPreference, Digest, KeySecret},
    name,
};

impl Merge<'_> {
    /// Merges the keys of all tenants.
    pub(super) fn keys(&mut self, tenants: &[NamedTenant<'_>]) {
        for tenant in tenants {
            let given = tenant.given.keys.as_deref().unwrap_or_default();
            let place = |at| format!("{}.keys[{at}]", tenant.path);
            let places = given.iter().enumerate();
            let places = places.map(|(at, given)| (place(at), given.name.as_str()));
            let names = self.names(places, name::normal);
            let stored = self.key_names(tenant.id);
            for (at, (given, name)) in given.iter().zip(names).enumerate() {
                let Some(name) = name else { continue };
                let stored = stored.get(&name).copied();
                let key = self.key(&place(at), tenant, stored, name, given);
                let scope = Scope::Key(tenant.id, key.id);
                let (owner, before) = (key.owner, self.merged.picture.keys.insert(key.id, key));
                if before.is_none_or(|before| before.owner != owner) {
                    self.refuse_one_too_many(&place(at), tenant.id, owner);
                }
                self.limits(&place(at), scope, given.limits.as_deref());
                self.budgets(&place(at), scope, given.budgets.as_deref());
            }
        }
        self.refuse_shared_values(tenants);
    }

    fn key(
        &mut self,
        path: &str,
        tenant: &NamedTenant<'_>,
        stored: Option<KeyId>,
        name: String,
        given: &Given,
    ) -> ProxyKey {
        let stored = stored.and_then(|id| self.merged.picture.keys.get(&id).cloned());
        let is_new = stored.is_none();
        let mut key = stored.unwrap_or_else(|| ProxyKey {
            id: KeyId::random(),
            tenant: tenant.id,
            name,
            owner: Owner::Tenant,
            enabled: true,
            expires_ms: None,
            models: None,
            channels: Vec::new(),
            ip_allow: Vec::new(),
            secrets: Vec::new(),
        });
        key.enabled = given.enabled.unwrap_or(key.enabled);
        if let Some(owner) = self.key_owner(path, tenant.id, given, key.owner) {
            key.owner = owner;
        }
        if let Some(moment) = &given.expires_at {
            let path = format!("{path}.expires_at");
            key.expires_ms = match moment {
                Some(moment) => self.accept(&path, checks::instant(moment)),
                None => None,
            };
        }
        if let Some(models) = &given.models {
            let path = format!("{path}.models");
            key.models = models
                .as_ref()
                .map(|models| self.list(&path, models, checks::pattern));
        }
        if let Some(networks) = &given.ip_allow {
            key.ip_allow = self.list(&format!("{path}.ip_allow"), networks, checks::network);
        }
        if let Some(channels) = &given.channels {
            key.channels = self.preferences(&format!("{path}.channels"), tenant.id, channels);
        }
        self.key_value(path, tenant, &mut key, is_new, given);
        key
    }

    fn key_owner(
        &mut self,
        path: &str,
        tenant: TenantId,
        given: &Given,
        stored: Owner,
    ) -> Option<Owner> {
        match (given.user.as_ref(), given.group.as_ref()) {
            (Some(Some(_)), Some(Some(_))) => {
                self.refuse(path, "belongs to a user or to a group, not to both");
                None
            }
            (Some(Some(user)), _) => {
                let path = format!("{path}.user");
                let email = self.accept(&path, checks::email(user))?;
                let mut people = self.merged.picture.people.values();
                let person = people
                    .find(|person| person.email == email && person.membership(tenant).is_some());
                let id = person.map(|person| person.id);
                self.accept(&path, id.ok_or("there is no such user in the tenant"))
                    .map(Owner::User)
            }
            (_, Some(Some(group))) => {
                let path = format!("{path}.group");
                let name = self.accept(&path, name::normal(group))?;
                let group = self.merged.picture.group_named(tenant, &name);
                self.accept(&path, group.ok_or("there is no such group in the tenant"))
                    .map(Owner::Group)
            }
            (Some(None), _) if matches!(stored, Owner::User(_)) => Some(Owner::Tenant),
            (_, Some(None)) if matches!(stored, Owner::Group(_)) => Some(Owner::Tenant),
            _ => None,
        }
    }

    /// A value that is given is the key's only one; a new key without any gets one made.
    fn key_value(
        &mut self,
        path: &str,
        tenant: &NamedTenant<'_>,
        key: &mut ProxyKey,
        is_new: bool,
        given: &Given,
    ) {
        let at = format!("{path}.value");
        let (digest, hint) = match (&given.value, &given.sha256) {
            (Some(_), Some(_)) => {
                return self.refuse(path, "has either value or sha256, not both");
            }
            (Some(Secret::Value(value)), None) => {
                let value = value.expose();
                if self.accept(&at, key::check_given(value)).is_none() {
                    return;
                }
                (key::digest(value.as_bytes()), key::hint(value))
            }
            (Some(Secret::Keep(id)), None) => {
                if is_new || key.id.0 != *id {
                    self.refuse(
                        at,
                        "is no stored value of this key; give one, or leave it out",
                    );
                }
                return;
            }
            (None, Some(text)) => {
                let Some(digest) = self.accept(&format!("{path}.sha256"), checks::sha256(text))
                else {
                    return;
                };
                (digest, String::new())
            }
            (None, None) if is_new => {
                let value = key::Value::generate();
                self.merged.generated.push(GeneratedKey {
                    id: key.id.0,
                    tenant: self.merged.picture.tenants[&tenant.id].name.clone(),
                    name: key.name.clone(),
                    value: Some(value.reveal().to_owned()),
                });
                (key::digest(value.reveal().as_bytes()), value.hint())
            }
            (None, None) => return,
        };
        if matches!(key.secrets.as_slice(), [only] if only.digest == digest) {
            return;
        }
        self.merged.hints.insert(digest, hint);
        key.secrets = vec![KeySecret {
            digest,
            expires_ms: None,
        }];
    }

    fn preferences(
        &mut self,
        path: &str,
        tenant: TenantId,
        given: &[KeyChannel],
    ) -> Vec<ChannelPreference> {
        let mut preferences: Vec<ChannelPreference> = Vec::new();
        for (at, given) in given.iter().enumerate() {
            let path = format!("{path}[{at}]");
            let channel = self
                .merged
                .picture
                .channel_named(Some(tenant), &given.channel);
            let channel = channel.ok_or(NO_CHANNEL);
            let Some(channel) = self.accept(&format!("{path}.channel"), channel) else {
                continue;
            };
            if preferences.iter().any(|earlier| earlier.channel == channel) {
                self.refuse(path, "names the channel of an earlier one");
                continue;
            }
            preferences.push(ChannelPreference {
                channel,
                priority: given.priority.unwrap_or(0),
            });
        }
        preferences
    }

    fn key_names(&self, tenant: TenantId) -> HashMap<String, KeyId> {
        let keys = self.merged.picture.keys.values();
        keys.filter(|key| key.tenant == tenant)
            .map(|key| (key.name.clone(), key.id))
            .collect()
    }

    /// Where the tenant says how many keys a user may have.
    fn refuse_one_too_many(&mut self, path: &str, tenant: TenantId, owner: Owner) {
        let picture = &self.merged.picture;
        let most = picture.tenants.get(&tenant);
        let most = most.and_then(|tenant| tenant.policies.keys_per_user);
        let (Owner::User(_), Some(most)) = (owner, most) else {
            return;
        };
        let keys = picture.keys.values();
        let theirs = keys.filter(|key| key.tenant == tenant && key.owner == owner);
        if theirs.count() > most as usize {
            let message = format!("has as many keys as the tenant allows a user, {most}");
            self.refuse(format!("{path}.user"), message);
        }
    }

    /// Two keys with one value would be one caller.
    fn refuse_shared_values(&mut self, tenants: &[NamedTenant<'_>]) {
        if self.merged.hints.is_empty() {
            return;
        }
        let mut owners: HashMap<Digest, usize> = HashMap::new();
        for key in self.merged.picture.keys.values() {
            for secret in &key.secrets {
                *owners.entry(secret.digest).or_default() += 1;
            }
        }
        for tenant in tenants {
            let names = self.key_names(tenant.id);
            let given = tenant.given.keys.as_deref().unwrap_or_default();
            for (at, given) in given.iter().enumerate() {
                let name = name::normal(&given.name).unwrap_or_default();
                let key = names
                    .get(&name)
                    .and_then(|id| self.merged.picture.keys.get(id));
                let shared = key.is_some_and(|key| {
                    let mut secrets = key.secrets.iter();
                    secrets.any(|secret| owners.get(&secret.digest).is_some_and(|count| *count > 1))
                });
                if shared {
                    let path = format!("{}.keys[{at}]", tenant.path);
                    self.refuse(path, "has a value that another key has too");
                }
            }
        }
    }
}
