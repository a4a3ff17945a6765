//! What the ids in usage are called, and what a name means: for reports, which people read.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter as _, QuerySelect as _,
    TryGetable, sea_query::SimpleExpr,
};
use uuid::Uuid;
use weir_entity::{channel, credential, group, model, proxy_key, role, tenant, user};

use super::{IDS_PER_QUERY, Result, Scope};
use crate::tenancy::TenantId;

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    Tenant,
    Key,
    /// Called by their e-mail address.
    User,
    Group,
    /// Of a tenant's own.
    Role,
    Channel,
    /// Not all have a name.
    Credential,
}

/// The names of those of the ids that are still there.
pub async fn of(
    db: &impl ConnectionTrait,
    named: Named,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, String>> {
    use {channel::Column as C, group::Column as G, proxy_key::Column as K};
    use {tenant::Column as T, user::Column as U};
    match named {
        Named::Tenant => pairs::<tenant::Entity, _>(db, T::Id, T::Name, ids).await,
        Named::Key => pairs::<proxy_key::Entity, _>(db, K::Id, K::Name, ids).await,
        Named::User => pairs::<user::Entity, _>(db, U::Id, U::Email, ids).await,
        Named::Group => pairs::<group::Entity, _>(db, G::Id, G::Name, ids).await,
        Named::Role => {
            pairs::<role::Entity, _>(db, role::Column::Id, role::Column::Name, ids).await
        }
        Named::Channel => pairs::<channel::Entity, _>(db, C::Id, C::Name, ids).await,
        Named::Credential => {
            use credential::Column as N;
            let known: HashMap<Uuid, Option<String>> =
                pairs::<credential::Entity, _>(db, N::Id, N::Name, ids).await?;
            let named = known.into_iter();
            Ok(named.filter_map(|(id, name)| Some((id, name?))).collect())
        }
    }
}

/// The ids of all that is called so. Names that are unique in a tenant only are looked for in the scope alone; whatever
/// is asked with the ids must be scoped too.
pub async fn meaning(
    db: &impl ConnectionTrait,
    scope: Scope,
    named: Named,
    name: &str,
) -> Result<Vec<Uuid>> {
    use {channel::Column as C, group::Column as G, proxy_key::Column as K};
    use {tenant::Column as T, user::Column as U};
    let tenant = match scope {
        Scope::Platform => None,
        Scope::Tenant(TenantId(id)) => Some(id),
    };
    let called = |column: SimpleExpr| Condition::all().add(column);
    match named {
        Named::Tenant => ids::<tenant::Entity>(db, T::Id, called(T::Name.eq(name))).await,
        Named::User => {
            let email = name.to_lowercase();
            ids::<user::Entity>(db, U::Id, called(U::Email.eq(email))).await
        }
        Named::Channel => ids::<channel::Entity>(db, C::Id, called(C::Name.eq(name))).await,
        Named::Credential => {
            use credential::Column as N;
            ids::<credential::Entity>(db, N::Id, called(N::Name.eq(name))).await
        }
        Named::Key => {
            let within = tenant.map(|id| K::TenantId.eq(id));
            let called = called(K::Name.eq(name)).add_option(within);
            ids::<proxy_key::Entity>(db, K::Id, called).await
        }
        Named::Role => {
            use role::Column as R;
            let within = tenant.map(|id| R::TenantId.eq(id));
            let called = called(R::Name.eq(name)).add_option(within);
            ids::<role::Entity>(db, R::Id, called).await
        }
        Named::Group => {
            let within = tenant.map(|id| G::TenantId.eq(id));
            let called = called(G::Name.eq(name)).add_option(within);
            ids::<group::Entity>(db, G::Id, called).await
        }
    }
}

/// The public name of a model; `None` if there is no such model.
pub async fn model(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<String>> {
    let found = model::Entity::find_by_id(id).one(db).await?;
    Ok(found.map(|model| model.name))
}

/// The time zone that a tenant's reports use; `None` if there is no such tenant.
pub async fn time_zone(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Option<String>> {
    let zone = tenant::Entity::find_by_id(tenant.0)
        .select_only()
        .column(tenant::Column::TimeZone)
        .into_tuple()
        .one(db)
        .await?;
    Ok(zone)
}

async fn pairs<E: EntityTrait, N: TryGetable + Send>(
    db: &impl ConnectionTrait,
    id: E::Column,
    name: E::Column,
    of: &[Uuid],
) -> Result<HashMap<Uuid, N>> {
    let mut names = HashMap::with_capacity(of.len());
    for chunk in of.chunks(IDS_PER_QUERY) {
        let rows: Vec<(Uuid, N)> = E::find()
            .select_only()
            .column(id)
            .column(name)
            .filter(id.is_in(chunk.iter().copied()))
            .into_tuple()
            .all(db)
            .await?;
        names.extend(rows);
    }
    Ok(names)
}

async fn ids<E: EntityTrait>(
    db: &impl ConnectionTrait,
    id: E::Column,
    called: Condition,
) -> Result<Vec<Uuid>> {
    let query = E::find().select_only().column(id).filter(called);
    Ok(query.into_tuple().all(db).await?)
}
