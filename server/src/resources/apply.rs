//! Making it so: the plan and its execution in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sea_orm::ConnectionTrait;
use weir_api_types::{
    apply::{Action, Applied, Change as Told},
    problem::FieldError,
    resources::Resources,
};

use super::{
    Picture, export,
    merge::{self, Merged},
    plan,
};
use crate::{
    access::Author,
    catalog::{Entry, Kind},
    clock::now_ms,
    secrets::Sealer,
    store::{
        self, Change, Stores,
        audit::Done,
        catalog::{self, Reading, Slice},
    },
    tenancy::{Person, TenantId, UserId, key::Digest},
};

/// How a file is applied.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Delete what the given collections do not name.
    pub prune: bool,
    /// Say what would change and write nothing.
    pub dry_run: bool,
}

/// Why a file was not applied. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file asks for what cannot be; every reason.
    #[error("{}", words(.0))]
    Refused(Vec<FieldError>),
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An entry that cannot be read could be made a second time, or its secret lost: somebody must look first.
    #[error("{0} stored entries cannot be read; the log names them")]
    Broken(usize),
}

/// Makes the platform as the file says. A file that changes nothing leaves the version as it was.
pub async fn apply(
    stores: &Stores,
    sealer: &Sealer,
    author: &Author,
    wanted: &Resources,
    options: Options,
) -> Result<Applied, Error> {
    let mut change = Change::begin(stores).await?;
    let now_ms = now_ms();
    let before = read(change.transaction(), sealer).await?;
    let merged = merge::merge(&before, wanted, options.prune, now_ms).map_err(Error::Refused)?;
    keep_owners(&before, &merged.picture)?;
    let changes = plan::changes(&before, &merged.picture);
    if options.dry_run {
        let version = change.version() - 1;
        change.rollback().await?;
        return Ok(Applied {
            dry_run: true,
            version,
            changes,
            generated: Vec::new(),
        });
    }
    write(&mut change, sealer, &before, &merged, now_ms).await?;
    record(&change, sealer, author, &before, &merged, &changes).await?;
    Ok(Applied {
        dry_run: false,
        version: change.commit().await?,
        changes,
        generated: merged.generated,
    })
}

/// A tenant that somebody owns is left with an owner, whoever the file's is (threats.md, T2).
fn keep_owners(before: &Picture, after: &Picture) -> Result<(), Error> {
    let owned = |picture: &Picture| -> BTreeSet<TenantId> {
        let people = picture.people.values();
        people.flat_map(Person::owns).collect()
    };
    let (was, is) = (owned(before), owned(after));
    let left = was.difference(&is);
    let left = left.filter_map(|tenant| after.tenants.get(tenant));
    let errors: Vec<FieldError> = left
        .map(|tenant| {
            let message = format!("{} would be left without an owner", tenant.name);
            FieldError::new("tenants", message)
        })
        .collect();
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Error::Refused(errors)),
    }
}

/// Puts what is changed into the audit log.
pub(super) async fn record(
    change: &Change,
    sealer: &Sealer,
    author: &Author,
    before: &Picture,
    merged: &Merged,
    changes: &[Told],
) -> Result<(), Error> {
    // What is deleted belonged to a tenant that may be gone as well.
    let tenant = |name: &str| {
        let now = merged.picture.tenant_named(name);
        now.or_else(|| before.tenant_named(name))
    };
    // A limit that only moves up, as one before it is gone, is what it was.
    let is_moved = |change: &&Told| {
        let is_bound = matches!(change.kind.as_str(), "limit" | "budget");
        is_bound && change.action == Action::Update && change.fields.is_empty()
    };
    let told = changes.iter().filter(|change| !is_moved(change));
    let done = told.map(|change| Done {
        tenant: match (&change.tenant, change.kind.as_str()) {
            (Some(owner), _) => tenant(owner),
            (None, "tenant") => tenant(&change.name),
            // Of people who are changed in one tenant, that tenant is told.
            (None, "user") => only(&merged.picture),
            (None, _) => None,
        },
        change: change.clone(),
    });
    let done: Vec<Done> = done.collect();
    Ok(store::audit::append(change.transaction(), sealer, author, &done).await?)
}

/// The tenant of a picture that has one.
fn only(picture: &Picture) -> Option<TenantId> {
    let mut tenants = picture.tenants.keys();
    tenants.next().copied().filter(|_| tenants.next().is_none())
}

/// Everything that is stored, secrets kept by their ids.
pub async fn stored(stores: &Stores, sealer: &Sealer) -> Result<Resources, Error> {
    let snapshot = stores.config.begin_snapshot().await?;
    let picture = read(&snapshot, sealer).await?;
    snapshot.rollback().await.map_err(store::Error::from)?;
    Ok(export::all(&picture))
}

/// The stored picture, through a connection that is in a transaction.
pub async fn read(db: &impl ConnectionTrait, sealer: &Sealer) -> Result<Picture, Error> {
    let version = catalog::version(db).await?;
    let reading = catalog::whole(db, version, sealer).await?;
    picture(reading, store::users::all(db).await?)
}

/// A part of it.
pub async fn read_slice(
    db: &impl ConnectionTrait,
    slice: &Slice,
    sealer: &Sealer,
) -> Result<Picture, Error> {
    let reading = catalog::slice(db, slice, sealer).await?;
    picture(reading, store::users::some(db, &slice.people).await?)
}

/// People come by themselves, with what the catalog has no use for.
fn picture(reading: Reading, people: Vec<Person>) -> Result<Picture, Error> {
    if reading.broken > 0 {
        return Err(Error::Broken(reading.broken));
    }
    let mut picture = Picture::default();
    for entry in reading.delta.entries {
        match entry {
            Entry::Tenant(tenant) => drop(picture.tenants.insert(tenant.id, tenant)),
            Entry::Role(role) => drop(picture.roles.insert(role.id, role)),
            Entry::Group(group) => drop(picture.groups.insert(group.id, group)),
            Entry::Channel(channel) => drop(picture.channels.insert(channel.id, channel)),
            Entry::Model(model) => drop(picture.models.insert(model.id, model)),
            Entry::Key(key) => drop(picture.keys.insert(key.id, key)),
            Entry::Limit(limit) => drop(picture.limits.insert((limit.scope, limit.id), limit)),
            Entry::Budget(budget) => {
                drop(picture.budgets.insert((budget.scope, budget.id), budget));
            }
            Entry::User(_) | Entry::Settings(_) => {}
        }
    }
    let people = people.into_iter().map(|person| (person.id, person));
    picture.people = people.collect();
    Ok(picture)
}

/// Writes what differs between a picture and what was merged into it.
pub(super) async fn write(
    change: &mut Change,
    sealer: &Sealer,
    before: &Picture,
    merged: &Merged,
    now_ms: i64,
) -> Result<(), Error> {
    let mut writing = Writing {
        change,
        sealer,
        before,
        after: &merged.picture,
        hints: &merged.hints,
        now_ms,
    };
    writing.delete().await?;
    writing.put().await?;
    writing.shut_out().await
}

/// Two pictures, and the change that makes the second out of the first.
struct Writing<'a> {
    change: &'a mut Change,
    sealer: &'a Sealer,
    before: &'a Picture,
    after: &'a Picture,
    hints: &'a HashMap<Digest, String>,
    now_ms: i64,
}

impl Writing<'_> {
    /// An account whose address nobody had shown to be theirs is theirs by the platform's word: whoever knew a way into it knows none.
    async fn shut_out(&mut self) -> Result<(), Error> {
        let was_unproven = |id| {
            self.before
                .people
                .get(id)
                .is_some_and(|one| !one.email_proven)
        };
        let db = self.change.transaction();
        for (id, person) in &self.after.people {
            if person.email_proven && was_unproven(id) {
                store::sessions::end_all(db, *id, None).await?;
                store::sign_ins::delete(db, *id).await?;
                store::identities::forget_user(db, *id).await?;
            }
        }
        Ok(())
    }

    /// Deletes what is gone, what is owned before its owners.
    async fn delete(&mut self) -> Result<(), Error> {
        let (before, after) = (self.before, self.after);
        for limit in gone(&before.limits, &after.limits) {
            self.change.deletes(Kind::Limit, limit.id.0).await?;
            store::limits::delete(self.change.transaction(), limit.id).await?;
        }
        for budget in gone(&before.budgets, &after.budgets) {
            self.change.deletes(Kind::Budget, budget.id.0).await?;
            store::budgets::delete(self.change.transaction(), budget.id).await?;
        }
        for key in gone(&before.keys, &after.keys) {
            self.change.deletes(Kind::Key, key.id.0).await?;
            store::keys::delete(self.change.transaction(), key.tenant, key.id).await?;
        }
        for model in gone(&before.models, &after.models) {
            self.change.deletes(Kind::Model, model.id.0).await?;
            store::models::delete(self.change.transaction(), model.owner, model.id).await?;
        }
        for channel in gone(&before.channels, &after.channels) {
            self.change.deletes(Kind::Channel, channel.id.0).await?;
            store::channels::delete(self.change.transaction(), channel.owner, channel.id).await?;
        }
        let people = gone(&before.people, &after.people).map(|person| person.id);
        let people: Vec<UserId> = people.collect();
        store::users::delete(self.change, &people).await?;
        for role in gone(&before.roles, &after.roles) {
            let (_, tokens) = store::roles::holders(self.change.transaction(), role.id.0).await?;
            if tokens > 0 && after.tenants.contains_key(&role.tenant) {
                let message = format!(
                    "the role {} cannot be pruned: a service token has it",
                    role.name
                );
                return Err(Error::Refused(vec![FieldError::new("tenants", message)]));
            }
            self.change.deletes(Kind::Role, role.id.0).await?;
            store::roles::delete(self.change.transaction(), role.tenant, role.id).await?;
        }
        for group in gone(&before.groups, &after.groups) {
            self.change.deletes(Kind::Group, group.id.0).await?;
            store::groups::delete(self.change.transaction(), group.tenant, group.id).await?;
        }
        for tenant in gone(&before.tenants, &after.tenants) {
            self.change.deletes(Kind::Tenant, tenant.id.0).await?;
            store::tenants::delete(self.change.transaction(), tenant.id).await?;
        }
        Ok(())
    }

    /// Writes what is new or different, owners before what they own.
    async fn put(&mut self) -> Result<(), Error> {
        let (before, after, now_ms) = (self.before, self.after, self.now_ms);
        for (tenant, _) in changed(&before.tenants, &after.tenants) {
            store::tenants::put(self.change.transaction(), tenant, now_ms).await?;
            self.change.changed(Kind::Tenant, tenant.id.0);
        }
        for (role, _) in changed(&before.roles, &after.roles) {
            store::roles::put(self.change.transaction(), role, now_ms).await?;
            self.change.changed(Kind::Role, role.id.0);
        }
        for (group, _) in changed(&before.groups, &after.groups) {
            store::groups::put(self.change.transaction(), group, now_ms).await?;
            self.change.changed(Kind::Group, group.id.0);
        }
        for (person, _) in changed(&before.people, &after.people) {
            store::users::put(self.change.transaction(), person, now_ms).await?;
            self.change.changed(Kind::User, person.id.0);
        }
        for (channel, before) in changed(&before.channels, &after.channels) {
            let db = self.change.transaction();
            store::channels::put(db, channel, before, self.sealer, now_ms).await?;
            self.change.changed(Kind::Channel, channel.id.0);
        }
        for (model, _) in changed(&before.models, &after.models) {
            store::models::put(self.change.transaction(), model, now_ms).await?;
            self.change.changed(Kind::Model, model.id.0);
        }
        for (key, before) in changed(&before.keys, &after.keys) {
            if before.is_some() {
                store::keys::forget_secrets(self.change.transaction(), key).await?;
            }
        }
        for (key, _) in changed(&before.keys, &after.keys) {
            store::keys::put(self.change.transaction(), key, self.hints, now_ms).await?;
            self.change.changed(Kind::Key, key.id.0);
        }
        for (limit, _) in changed(&before.limits, &after.limits) {
            let owner = after.owner_of(limit.scope);
            store::limits::put(self.change.transaction(), limit, owner, now_ms).await?;
            self.change.changed(Kind::Limit, limit.id.0);
        }
        for (budget, _) in changed(&before.budgets, &after.budgets) {
            let owner = after.owner_of(budget.scope);
            store::budgets::put(self.change.transaction(), budget, owner, now_ms).await?;
            self.change.changed(Kind::Budget, budget.id.0);
        }
        Ok(())
    }
}

fn gone<'a, I: Ord, T>(
    before: &'a BTreeMap<I, T>,
    after: &'a BTreeMap<I, T>,
) -> impl Iterator<Item = &'a T> {
    let gone = before.iter().filter(|(id, _)| !after.contains_key(id));
    gone.map(|(_, value)| value)
}

/// What is new or different, with what it was.
fn changed<'a, I: Ord, T: PartialEq>(
    before: &'a BTreeMap<I, T>,
    after: &'a BTreeMap<I, T>,
) -> impl Iterator<Item = (&'a T, Option<&'a T>)> {
    let both = after.iter().map(|(id, value)| (value, before.get(id)));
    both.filter(|(value, before)| *before != Some(value))
}

/// What is wrong, in one line.
pub(super) fn words(errors: &[FieldError]) -> String {
    let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
    words.join("; ")
}
