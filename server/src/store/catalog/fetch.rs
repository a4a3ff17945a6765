//! Reads the rows of entries and puts together what belongs together.

use std::collections::{HashMap, HashSet};

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult as _, QueryFilter as _,
    QueryTrait as _,
};
use uuid::Uuid;
use weir_entity::{
    budget, channel, credential, group, group_member, key_secret, limit, membership, model, price,
    proxy_key, role, route, runtime_setting, tenant, user,
};

use super::rows::{self, Broken};
use crate::{
    catalog::{Entry, Kind},
    secrets::Sealer,
    store::{IDS_PER_QUERY, Result, roles},
};

/// Which entries of a kind are read.
#[derive(Clone, Copy)]
pub enum Which<'a> {
    All,
    Only(&'a [Uuid]),
}

/// The entries that were read.
#[derive(Default)]
pub struct Found {
    pub entries: Vec<Entry>,
    /// Of the entries.
    pub ids: HashSet<Uuid>,
    /// Entries that are there but cannot be read.
    pub broken: HashSet<Uuid>,
}

/// Reads entries of one kind with all that hangs on them.
pub async fn entries(
    db: &impl ConnectionTrait,
    kind: Kind,
    which: Which<'_>,
    sealer: &Sealer,
) -> Result<Found> {
    let mut found = Assembly::new(kind);
    match kind {
        Kind::Tenant => {
            let own = parts::<tenant::Entity>(db, which, tenant::Column::Id).await?;
            found.assemble(own, |row| rows::tenant(row).map(Entry::Tenant));
        }
        Kind::Group => {
            let own = parts::<group::Entity>(db, which, group::Column::Id).await?;
            found.assemble(own, |row| Ok(Entry::Group(rows::group(row))));
        }
        Kind::Role => {
            let own = parts::<role::Entity>(db, which, role::Column::Id).await?;
            found.assemble(own, |row| Ok(Entry::Role(roles::read(row))));
        }
        Kind::User => {
            let own = parts::<user::Entity>(db, which, user::Column::Id).await?;
            let tenants = membership::Column::UserId;
            let mut tenants = parts::<membership::Entity>(db, which, tenants).await?;
            let groups = group_member::Column::UserId;
            let mut groups = parts::<group_member::Entity>(db, which, groups).await?;
            found.assemble(own, |row| {
                let id = row.id;
                Ok(Entry::User(rows::user(
                    row,
                    tenants.take(id)?,
                    groups.take(id)?,
                )))
            });
        }
        Kind::Key => {
            let own = parts::<proxy_key::Entity>(db, which, proxy_key::Column::Id).await?;
            let secrets = key_secret::Column::KeyId;
            let mut secrets = parts::<key_secret::Entity>(db, which, secrets).await?;
            found.assemble(own, |row| {
                let secrets = secrets.take(row.id)?;
                rows::key(row, secrets).map(Entry::Key)
            });
        }
        Kind::Channel => {
            let own = parts::<channel::Entity>(db, which, channel::Column::Id).await?;
            let pool = credential::Column::ChannelId;
            let mut pool = parts::<credential::Entity>(db, which, pool).await?;
            found.assemble(own, |row| {
                let pool = pool.take(row.id)?;
                rows::channel(row, pool, sealer).map(Entry::Channel)
            });
        }
        Kind::Model => {
            let own = parts::<model::Entity>(db, which, model::Column::Id).await?;
            let routes = route::Column::ModelId;
            let mut routes = parts::<route::Entity>(db, which, routes).await?;
            let mut prices = parts::<price::Entity>(db, which, price::Column::ModelId).await?;
            found.assemble(own, |row| {
                let id = row.id;
                rows::model(row, routes.take(id)?, prices.take(id)?).map(Entry::Model)
            });
        }
        Kind::Limit => {
            let own = parts::<limit::Entity>(db, which, limit::Column::Id).await?;
            found.assemble(own, |row| rows::limit(row).map(Entry::Limit));
        }
        Kind::Budget => {
            let own = parts::<budget::Entity>(db, which, budget::Column::Id).await?;
            found.assemble(own, |row| rows::budget(row).map(Entry::Budget));
        }
        Kind::Settings => {
            let id = runtime_setting::Column::Id;
            let own = parts::<runtime_setting::Entity>(db, which, id).await?;
            found.assemble(own, |row| rows::settings(row).map(Entry::Settings));
        }
    }
    Ok(found.found)
}

/// Rows by the entry that they are part of.
struct Parts<M> {
    by_entry: HashMap<Uuid, Vec<M>>,
    broken: HashMap<Uuid, DbErr>,
}

impl<M> Parts<M> {
    /// All rows of one entry, none of them broken.
    fn take(&mut self, entry: Uuid) -> std::result::Result<Vec<M>, Broken> {
        match self.broken.remove(&entry) {
            Some(error) => Err(Broken(error.to_string())),
            None => Ok(self.by_entry.remove(&entry).unwrap_or_default()),
        }
    }
}

/// Reads rows one by one, so that a broken one does not hide the others.
async fn parts<E: EntityTrait>(
    db: &impl ConnectionTrait,
    which: Which<'_>,
    entry: E::Column,
) -> Result<Parts<E::Model>> {
    let mut parts = Parts {
        by_entry: HashMap::new(),
        broken: HashMap::new(),
    };
    let queries = match which {
        Which::All => vec![E::find()],
        Which::Only(ids) => ids
            .chunks(IDS_PER_QUERY)
            .map(|ids| E::find().filter(entry.is_in(ids.iter().copied())))
            .collect(),
    };
    let id_column = sea_orm::Iden::unquoted(&entry).to_owned();
    for query in queries {
        for row in db.query_all(&query.into_query()).await? {
            let id: Uuid = match row.try_get("", &id_column) {
                Ok(id) => id,
                Err(error) => {
                    let table = E::default().table_name().to_owned();
                    tracing::error!(%error, table, "a row has no readable id and is left out");
                    continue;
                }
            };
            match E::Model::from_query_result(&row, "") {
                Ok(model) => parts.by_entry.entry(id).or_default().push(model),
                Err(error) => drop(parts.broken.insert(id, error)),
            }
        }
    }
    Ok(parts)
}

struct Assembly {
    kind: Kind,
    found: Found,
}

impl Assembly {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            found: Found::default(),
        }
    }

    fn assemble<M>(
        &mut self,
        own: Parts<M>,
        mut build: impl FnMut(M) -> std::result::Result<Entry, Broken>,
    ) {
        for (id, error) in own.broken {
            self.leave_out(id, &Broken(error.to_string()));
        }
        for (id, rows) in own.by_entry {
            for row in rows {
                match build(row) {
                    Ok(entry) => {
                        self.found.ids.insert(id);
                        self.found.entries.push(entry);
                    }
                    Err(broken) => self.leave_out(id, &broken),
                }
            }
        }
    }

    fn leave_out(&mut self, id: Uuid, Broken(reason): &Broken) {
        let kind = self.kind.as_str();
        tracing::error!(kind, %id, reason, "an entry cannot be read and is left out of the catalog");
        self.found.broken.insert(id);
    }
}
