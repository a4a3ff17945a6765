//! A part of the configuration: what the change of one thing has to look at, and no more.
//!
//! An installation with a hundred thousand keys pays for one more key what an empty one does.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter as _, QuerySelect as _,
};
use uuid::Uuid;
use weir_entity::{budget, channel, group, limit, model, role};

use super::{Reading, fetch, fetch::Which};
use crate::{
    catalog::Kind,
    secrets::Sealer,
    store::Result,
    tenancy::{KeyId, TenantId, UserId},
};

/// What is read. The platform's channels always are: anybody may refer to them.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    /// The owner: read with all of its roles, groups, channels and models. None: the platform, with its models.
    pub owner: Option<TenantId>,
    /// Tenants of which only the name and settings are read.
    pub tenants: Vec<TenantId>,
    pub people: Vec<UserId>,
    pub keys: Vec<KeyId>,
}

/// Reads a slice, with the limits and budgets that stand on what is in it.
pub async fn slice(db: &impl ConnectionTrait, slice: &Slice, sealer: &Sealer) -> Result<Reading> {
    let owner = slice.owner.map(|tenant| tenant.0);
    let mut reading = Reading::default();
    for kind in Kind::ALL {
        let ids = match kind {
            Kind::Tenant => {
                let named = slice.tenants.iter().map(|tenant| tenant.0);
                owner.into_iter().chain(named).collect()
            }
            Kind::Group => match owner {
                Some(owner) => {
                    let own = group::Column::TenantId.eq(owner);
                    ids::<group::Entity>(db, group::Column::Id, own).await?
                }
                None => Vec::new(),
            },
            Kind::Role => match owner {
                Some(owner) => {
                    let own = role::Column::TenantId.eq(owner);
                    ids::<role::Entity>(db, role::Column::Id, own).await?
                }
                None => Vec::new(),
            },
            Kind::User => slice.people.iter().map(|user| user.0).collect(),
            Kind::Key => slice.keys.iter().map(|key| key.0).collect(),
            Kind::Channel => {
                let own = Condition::any()
                    .add(channel::Column::TenantId.is_null())
                    .add_option(owner.map(|owner| channel::Column::TenantId.eq(owner)));
                ids::<channel::Entity>(db, channel::Column::Id, own).await?
            }
            Kind::Model => {
                let own = owned(model::Column::TenantId, owner);
                ids::<model::Entity>(db, model::Column::Id, own).await?
            }
            Kind::Limit => {
                use limit::Column as C;
                let there = standing(slice, C::TenantId, C::UserId, C::KeyId);
                ids::<limit::Entity>(db, C::Id, there).await?
            }
            Kind::Budget => {
                use budget::Column as C;
                let there = standing(slice, C::TenantId, C::UserId, C::KeyId);
                ids::<budget::Entity>(db, C::Id, there).await?
            }
            Kind::Settings => Vec::new(),
        };
        let found = fetch::entries(db, kind, Which::Only(&ids), sealer).await?;
        reading.broken += found.broken.len();
        reading.delta.entries.extend(found.entries);
    }
    Ok(reading)
}

/// The owner's limits or budgets, but those of keys and people that are not in the slice.
fn standing<C: ColumnTrait>(slice: &Slice, tenant: C, user: C, key: C) -> Condition {
    let people = slice.people.iter().map(|user| user.0);
    let keys = slice.keys.iter().map(|key| key.0);
    Condition::all()
        .add(owned(tenant, slice.owner.map(|owner| owner.0)))
        .add(Condition::any().add(user.is_null()).add(user.is_in(people)))
        .add(Condition::any().add(key.is_null()).add(key.is_in(keys)))
}

fn owned<C: ColumnTrait>(tenant: C, owner: Option<Uuid>) -> Condition {
    Condition::all().add(match owner {
        Some(owner) => tenant.eq(owner),
        None => tenant.is_null(),
    })
}

async fn ids<E: EntityTrait>(
    db: &impl ConnectionTrait,
    id: E::Column,
    which: impl sea_orm::sea_query::IntoCondition,
) -> Result<Vec<Uuid>> {
    let query = E::find().select_only().column(id).filter(which);
    Ok(query.into_tuple().all(db).await?)
}
