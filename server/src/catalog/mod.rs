//! The one immutable picture that a request reads: tenants, users, groups, keys, channels and models with their prices,
//! and the limits and budgets that stand on them.
//!
//! A request takes the present picture once and keeps it to its end. `jobs::refresh_catalog` makes the next one out of a
//! [`Delta`] that `store::catalog` read, and swaps it in. The maps are persistent (`imbl`): a new picture shares all
//! that did not change, so one changed row costs the same among ten keys and among a hundred thousand. What traffic
//! changes (health, spend, last use) is not here.

mod bounds;
pub mod channel;
pub mod current;
pub mod model;
mod usable;

use std::{hash::Hash, sync::Arc};

use uuid::Uuid;
use weir_api_types::settings::RuntimeSettings;

use bounds::Bounds;
pub use channel::{Channel, Credential};
pub use current::Current;
pub use model::{Model, Route};
pub use usable::Unusable;

use crate::{
    access::OwnRole,
    hash::SharedIdMap,
    tenancy::{
        Budget, BudgetId, ChannelId, Group, GroupId, KeyId, Limit, LimitId, ModelId, Owner,
        ProxyKey, Scope, Tenant, TenantId, User, UserId, key::Digest,
    },
};

/// Which state of the configuration a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// Of the installation; another one means that the database was replaced.
    pub epoch: Uuid,
    /// Counts writing transactions.
    pub number: i64,
    /// When the one of this number was, as it has noted itself, Unix milliseconds; 0 where that is not known. A database that
    /// was restored and has been changed since has the same numbers, and other times.
    pub changed_ms: i64,
}

/// A name as seen by tenants: the platform's (`None`) or one tenant's own.
type OwnedName = (Option<TenantId>, Arc<str>);

/// The picture.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    version: Version,
    tenants: SharedIdMap<TenantId, Arc<Tenant>>,
    users: SharedIdMap<UserId, Arc<User>>,
    groups: SharedIdMap<GroupId, Arc<Group>>,
    keys: SharedIdMap<KeyId, Arc<ProxyKey>>,
    /// Of both secrets of each key.
    digests: SharedIdMap<Digest, KeyId>,
    channels: SharedIdMap<ChannelId, Arc<Channel>>,
    channel_names: SharedIdMap<OwnedName, ChannelId>,
    models: SharedIdMap<ModelId, Arc<Model>>,
    model_names: SharedIdMap<OwnedName, ModelId>,
    limits: Bounds<LimitId, Limit>,
    budgets: Bounds<BudgetId, Budget>,
    settings: Arc<RuntimeSettings>,
}

/// One thing as the catalog holds it, with all that hangs on it.
#[derive(Debug, Clone)]
pub enum Entry {
    Tenant(Tenant),
    /// Who may do what in management: requests of programs never ask for it.
    Role(OwnRole),
    User(User),
    Group(Group),
    Key(ProxyKey),
    Channel(Channel),
    Model(Model),
    Limit(Limit),
    Budget(Budget),
    Settings(RuntimeSettings),
}

/// What kind of entry a change is about; the word in `catalog_changes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Tenant,
    Role,
    User,
    Group,
    Key,
    Channel,
    Model,
    Limit,
    Budget,
    /// Of which there is one.
    Settings,
}

impl Kind {
    pub const ALL: [Self; 10] = [
        Self::Tenant,
        Self::Role,
        Self::User,
        Self::Group,
        Self::Key,
        Self::Channel,
        Self::Model,
        Self::Limit,
        Self::Budget,
        Self::Settings,
    ];

    /// The word that the database uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Role => "role",
            Self::User => "user",
            Self::Group => "group",
            Self::Key => "key",
            Self::Channel => "channel",
            Self::Model => "model",
            Self::Limit => "limit",
            Self::Budget => "budget",
            Self::Settings => "settings",
        }
    }
}

/// What changed since a version, or everything.
#[derive(Debug, Clone, Default)]
pub struct Delta {
    /// The version that the picture has afterwards.
    pub version: Version,
    /// Whether the picture is built anew: `entries` is then all there is.
    pub full: bool,
    pub entries: Vec<Entry>,
    pub removed: Vec<(Kind, Uuid)>,
}

impl Catalog {
    /// The picture after a delta. Removals come first, so that a name may pass from one thing to another.
    pub fn after(&self, delta: Delta) -> Self {
        let mut next = if delta.full {
            Self::default()
        } else {
            self.clone()
        };
        next.version = delta.version;
        for (kind, id) in delta.removed {
            next.remove(kind, id);
        }
        // An entry that is replaced gives up its names before any new name is taken, whatever the order.
        for entry in &delta.entries {
            next.remove_names(entry);
        }
        for entry in delta.entries {
            next.insert(entry);
        }
        next
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn tenant(&self, id: TenantId) -> Option<&Arc<Tenant>> {
        self.tenants.get(&id)
    }

    pub fn user(&self, id: UserId) -> Option<&Arc<User>> {
        self.users.get(&id)
    }

    pub fn group(&self, id: GroupId) -> Option<&Arc<Group>> {
        self.groups.get(&id)
    }

    pub fn key(&self, id: KeyId) -> Option<&Arc<ProxyKey>> {
        self.keys.get(&id)
    }

    /// The key that a presented value's digest belongs to.
    pub fn key_by_digest(&self, digest: &Digest) -> Option<&Arc<ProxyKey>> {
        self.digests.get(digest).and_then(|id| self.keys.get(id))
    }

    pub fn channel(&self, id: ChannelId) -> Option<&Arc<Channel>> {
        self.channels.get(&id)
    }

    /// The channel that a name means to a tenant: its own before the platform's, for itself alone.
    pub fn channel_named(&self, tenant: TenantId, name: &str) -> Option<&Arc<Channel>> {
        let id = named(&self.channel_names, tenant, name)?;
        self.channels.get(id)
    }

    pub fn channels(&self) -> impl Iterator<Item = &Arc<Channel>> {
        self.channels.values()
    }

    /// The model that a name means to a tenant: its own before the platform's, for itself alone.
    pub fn model_named(&self, tenant: TenantId, name: &str) -> Option<&Arc<Model>> {
        let id = named(&self.model_names, tenant, name)?;
        self.models.get(id)
    }

    pub fn model(&self, id: ModelId) -> Option<&Arc<Model>> {
        self.models.get(&id)
    }

    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// The user and the one group that limits and reports count for a key.
    pub fn owners(&self, key: &ProxyKey) -> (Option<UserId>, Option<GroupId>) {
        match key.owner {
            Owner::Tenant => (None, None),
            Owner::Group(group) => (None, Some(group)),
            Owner::User(id) => {
                let groups = self
                    .users
                    .get(&id)
                    .map(|user| user.groups.as_slice())
                    .unwrap_or_default();
                let in_tenant = |group: &GroupId| {
                    self.groups
                        .get(group)
                        .is_some_and(|group| group.tenant == key.tenant)
                };
                (Some(id), groups.iter().copied().find(in_tenant))
            }
        }
    }

    /// The limits that stand on a thing, in their order.
    pub fn limits(&self, scope: Scope) -> &[Limit] {
        self.limits.on(scope)
    }

    /// The budgets that stand on a thing, in their order.
    pub fn budgets(&self, scope: Scope) -> &[Budget] {
        self.budgets.on(scope)
    }

    /// The channels that a model's enabled routes lead to, in their order.
    pub fn channels_of<'c>(&'c self, model: &'c Model) -> impl Iterator<Item = &'c Arc<Channel>> {
        let routes = model.routes.iter().filter(|route| route.enabled);
        routes.filter_map(|route| self.channel(route.channel))
    }

    /// Whose a thing with limits or budgets is: a tenant's, or the platform's.
    pub fn owner_of(&self, scope: Scope) -> Option<TenantId> {
        match scope {
            Scope::Channel(channel) => self.channel(channel)?.owner,
            Scope::Model(model) => self.model(model)?.owner,
            _ => scope.tenant(),
        }
    }

    /// All limits there are.
    pub fn all_limits(&self) -> impl Iterator<Item = &Limit> {
        self.limits.all()
    }

    /// All budgets there are.
    pub fn all_budgets(&self) -> impl Iterator<Item = &Budget> {
        self.budgets.all()
    }

    /// What operators have set while Weir runs.
    pub fn settings(&self) -> &Arc<RuntimeSettings> {
        &self.settings
    }

    /// How many keys, channels and models there are, for health and metrics.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.keys.len(), self.channels.len(), self.models.len())
    }

    fn insert(&mut self, entry: Entry) {
        match entry {
            Entry::Tenant(tenant) => drop(self.tenants.insert(tenant.id, Arc::new(tenant))),
            Entry::Role(_) => {}
            Entry::User(user) => drop(self.users.insert(user.id, Arc::new(user))),
            Entry::Group(group) => drop(self.groups.insert(group.id, Arc::new(group))),
            Entry::Key(key) => {
                for secret in &key.secrets {
                    self.digests.insert(secret.digest, key.id);
                }
                self.keys.insert(key.id, Arc::new(key));
            }
            Entry::Channel(channel) => {
                self.channel_names
                    .insert((channel.owner, channel.name.as_str().into()), channel.id);
                self.channels.insert(channel.id, Arc::new(channel));
            }
            Entry::Model(model) => {
                self.model_names
                    .insert((model.owner, model.name.as_str().into()), model.id);
                self.models.insert(model.id, Arc::new(model));
            }
            Entry::Limit(limit) => self.limits.insert(limit),
            Entry::Budget(budget) => self.budgets.insert(budget),
            Entry::Settings(settings) => self.settings = Arc::new(settings),
        }
    }

    fn remove(&mut self, kind: Kind, id: Uuid) {
        match kind {
            Kind::Tenant => drop(self.tenants.remove(&TenantId(id))),
            Kind::Role => {}
            Kind::User => drop(self.users.remove(&UserId(id))),
            Kind::Group => drop(self.groups.remove(&GroupId(id))),
            Kind::Key => {
                self.forget_digests(id.into());
                self.keys.remove(&KeyId(id));
            }
            Kind::Channel => {
                self.forget_channel_name(id.into());
                self.channels.remove(&ChannelId(id));
            }
            Kind::Model => {
                self.forget_model_name(id.into());
                self.models.remove(&ModelId(id));
            }
            Kind::Limit => self.limits.remove(id.into()),
            Kind::Budget => self.budgets.remove(id.into()),
            Kind::Settings => self.settings = Arc::default(),
        }
    }

    fn remove_names(&mut self, entry: &Entry) {
        match entry {
            Entry::Key(key) => self.forget_digests(key.id),
            Entry::Channel(channel) => self.forget_channel_name(channel.id),
            Entry::Model(model) => self.forget_model_name(model.id),
            Entry::Tenant(_)
            | Entry::Role(_)
            | Entry::User(_)
            | Entry::Group(_)
            | Entry::Limit(_)
            | Entry::Budget(_)
            | Entry::Settings(_) => {}
        }
    }

    fn forget_digests(&mut self, id: KeyId) {
        let Some(key) = self.keys.get(&id).cloned() else {
            return;
        };
        for secret in &key.secrets {
            forget(&mut self.digests, &secret.digest, id);
        }
    }

    fn forget_channel_name(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id).cloned() else {
            return;
        };
        forget(
            &mut self.channel_names,
            &(channel.owner, channel.name.as_str().into()),
            id,
        );
    }

    fn forget_model_name(&mut self, id: ModelId) {
        let Some(model) = self.models.get(&id).cloned() else {
            return;
        };
        forget(
            &mut self.model_names,
            &(model.owner, model.name.as_str().into()),
            id,
        );
    }
}

fn named<'a, I>(
    names: &'a SharedIdMap<OwnedName, I>,
    tenant: TenantId,
    name: &str,
) -> Option<&'a I> {
    let name: Arc<str> = name.into();
    names
        .get(&(Some(tenant), name.clone()))
        .or_else(|| names.get(&(None, name)))
}

/// Takes a name away from `id`, unless it already belongs to something else.
fn forget<K: Hash + Eq + Clone, I: PartialEq + Clone>(
    names: &mut SharedIdMap<K, I>,
    name: &K,
    id: I,
) {
    if names.get(name) == Some(&id) {
        names.remove(name);
    }
}

#[cfg(test)]
mod tests;
