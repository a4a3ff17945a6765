//! Roles of tenants' own, as they are written, listed and looked up.

use std::collections::HashMap;

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, QuerySelect as _, sea_query::OnConflict,
};
use uuid::Uuid;
use weir_api_types::{
    manage::RoleItem,
    resources::{Role, RoleName},
};
use weir_entity::{
    membership,
    role::{ActiveModel, Column, Entity, Model},
    service_token,
};

use super::{
    Columns, Error, Listed, Page, Result, Scope, document, moment,
    names::{self, Named},
};
use crate::{
    access::{OwnRole, Permission, Permissions, of_role},
    tenancy::{MemberRole, RoleId, TenantId},
};

/// Makes a role, or brings its row up to date.
pub async fn put(db: &impl ConnectionTrait, role: &OwnRole, now_ms: i64) -> Result<()> {
    let row = ActiveModel {
        id: Set(role.id.0),
        tenant_id: Set(role.tenant.0),
        name: Set(role.name.clone()),
        permissions: Set(document(&role.permissions.words())?),
        created_ms: Set(now_ms),
        updated_ms: Set(now_ms),
    };
    let changed = [Column::Name, Column::Permissions, Column::UpdatedMs];
    let known = OnConflict::column(Column::Id)
        .update_columns(changed)
        .to_owned();
    let insert = Entity::insert(row).on_conflict(known);
    insert.exec_without_returning(db).await?;
    Ok(())
}

/// Deletes a tenant's role.
pub async fn delete(db: &impl ConnectionTrait, tenant: TenantId, id: RoleId) -> Result<()> {
    let own = Column::TenantId.eq(tenant.0);
    Entity::delete_by_id(id.0).filter(own).exec(db).await?;
    Ok(())
}

/// What a role of a tenant allows there. One that is gone, or another tenant's, allows nothing.
pub async fn permissions(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    role: MemberRole,
) -> Result<Permissions> {
    let id = match role {
        MemberRole::BuiltIn(role) => return Ok(of_role(role)),
        MemberRole::Own(id) => id,
    };
    let own = Column::TenantId.eq(tenant.0);
    let row = Entity::find_by_id(id.0).filter(own).one(db).await?;
    let role = row.map(read);
    Ok(role.map(|role| role.permissions).unwrap_or_default())
}

/// A page of the roles of one tenant's own, or of all tenants'.
pub async fn list(
    db: &impl ConnectionTrait,
    scope: Scope,
    page: &Page,
) -> Result<Listed<RoleItem>> {
    let mut query = Entity::find();
    if let Scope::Tenant(tenant) = scope {
        query = query.filter(Column::TenantId.eq(tenant.0));
    }
    let columns = Columns {
        id: Column::Id,
        name: Column::Name,
        created_ms: Column::CreatedMs,
        enabled: None,
    };
    let Listed { data: rows, next } = page.named(db, query, columns).await?;
    let tenants: Vec<Uuid> = rows.iter().map(|row| row.tenant_id).collect();
    let tenants = names::of(db, Named::Tenant, &tenants).await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let holders = counted(db, &ids).await?;
    let item = |row: Model| RoleItem {
        id: row.id,
        tenant: tenants.get(&row.tenant_id).cloned().unwrap_or_default(),
        name: row.name.clone(),
        created_at: moment(row.created_ms),
        holders: holders.get(&row.id).copied().unwrap_or_default(),
        permissions: read(row).permissions.words(),
    };
    let data = rows.into_iter().map(item).collect();
    Ok(Listed { data, next })
}

/// How many people and service tokens have each of these roles.
async fn counted(db: &impl ConnectionTrait, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>> {
    let mut counts = HashMap::new();
    let people = membership::Entity::find()
        .select_only()
        .column(membership::Column::RoleId)
        .column_as(membership::Column::Id.count(), "count")
        .filter(membership::Column::RoleId.is_in(ids.iter().copied()))
        .group_by(membership::Column::RoleId)
        .into_tuple::<(Uuid, i64)>();
    let tokens = service_token::Entity::find()
        .select_only()
        .column(service_token::Column::RoleId)
        .column_as(service_token::Column::Id.count(), "count")
        .filter(service_token::Column::RoleId.is_in(ids.iter().copied()))
        .group_by(service_token::Column::RoleId)
        .into_tuple::<(Uuid, i64)>();
    for (id, count) in people
        .all(db)
        .await?
        .into_iter()
        .chain(tokens.all(db).await?)
    {
        *counts.entry(id).or_default() += count.unsigned_abs();
    }
    Ok(counts)
}

/// How many people and how many service tokens have a role.
pub async fn holders(db: &impl ConnectionTrait, id: Uuid) -> Result<(u64, u64)> {
    let people = membership::Entity::find().filter(membership::Column::RoleId.eq(id));
    let tokens = service_token::Entity::find().filter(service_token::Column::RoleId.eq(id));
    Ok((people.count(db).await?, tokens.count(db).await?))
}

/// The tenant's role of a name, in its stored form.
pub async fn named(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    name: &RoleName,
) -> Result<Option<MemberRole>> {
    let name = match name {
        RoleName::BuiltIn(role) => return Ok(Some(MemberRole::BuiltIn(*role))),
        RoleName::Own(name) => name,
    };
    let id: Option<Uuid> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::TenantId.eq(tenant.0))
        .filter(Column::Name.eq(name))
        .into_tuple()
        .one(db)
        .await?;
    Ok(id.map(|id| MemberRole::Own(id.into())))
}

/// What roles are called.
pub struct RoleNames(HashMap<Uuid, String>);

impl RoleNames {
    /// Looks up those of the roles that tenants have made.
    pub async fn of(
        db: &impl ConnectionTrait,
        roles: impl IntoIterator<Item = MemberRole>,
    ) -> Result<Self> {
        let own = roles.into_iter().filter_map(|role| match role {
            MemberRole::BuiltIn(_) => None,
            MemberRole::Own(id) => Some(id.0),
        });
        let own: Vec<Uuid> = own.collect();
        if own.is_empty() {
            return Ok(Self(HashMap::new()));
        }
        Ok(Self(names::of(db, Named::Role, &own).await?))
    }

    /// Whether it is there.
    pub fn has(&self, role: MemberRole) -> bool {
        match role {
            MemberRole::BuiltIn(_) => true,
            MemberRole::Own(id) => self.0.contains_key(&id.0),
        }
    }

    /// One that is gone has its id for a name.
    pub fn name(&self, role: MemberRole) -> RoleName {
        match role {
            MemberRole::BuiltIn(role) => RoleName::BuiltIn(role),
            MemberRole::Own(id) => {
                let name = self.0.get(&id.0).cloned();
                RoleName::Own(name.unwrap_or_else(|| id.to_string()))
            }
        }
    }
}

/// The role that two columns say.
pub fn of_columns(word: &str, id: Option<Uuid>) -> Result<MemberRole> {
    if let Some(id) = id {
        return Ok(MemberRole::Own(id.into()));
    }
    let mut built_in = Role::ALL.into_iter();
    let found = built_in.find(|role| role.as_str() == word);
    let found = found.ok_or_else(|| Error::other(format!("{word:?} is no role")));
    found.map(MemberRole::BuiltIn)
}

/// What two columns say of a role: whoever reads the word alone takes an own role for the least one.
pub fn columns(role: MemberRole) -> (&'static str, Option<Uuid>) {
    match role {
        MemberRole::BuiltIn(role) => (role.as_str(), None),
        MemberRole::Own(id) => (Role::Viewer.as_str(), Some(id.0)),
    }
}

/// The role of a row. A word that this build does not know allows nothing.
pub fn read(row: Model) -> OwnRole {
    let words: Vec<String> = serde_json::from_value(row.permissions).unwrap_or_default();
    let known = words.iter().filter_map(|word| {
        let permission: Option<Permission> = word.parse().ok();
        if permission.is_none() {
            tracing::warn!(role = %row.id, word, "a role has a word that is no permission");
        }
        permission.filter(|permission| permission.is_for_tenants())
    });
    OwnRole {
        permissions: known.collect(),
        id: row.id.into(),
        tenant: row.tenant_id.into(),
        name: row.name,
    }
}
