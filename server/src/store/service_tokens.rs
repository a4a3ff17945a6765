//! Service tokens, as they are written, listed and looked up.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _,
    QuerySelect as _,
};
use uuid::Uuid;
use weir_api_types::manage::{AnyRole, PlatformRole, ServiceTokenItem};
use weir_entity::{
    service_token::{ActiveModel, Column, Entity, Model},
    tenant,
};

use super::{
    Columns, Error, Listed, Page, Result, Scope,
    error::found,
    moment,
    names::{self, Named},
    roles::{self, RoleNames},
};
use crate::{
    access::{Permissions, of_platform_role},
    tenancy::{MemberRole, TenantId, key::Digest},
};

/// The use of a token is noted this often at most.
const USED_EVERY_MS: i64 = 60_000;

/// What a token is, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRole {
    Platform(PlatformRole),
    Tenant(TenantId, MemberRole),
}

impl TokenRole {
    /// The tenant that it holds in; none: the platform.
    pub fn tenant(self) -> Option<TenantId> {
        match self {
            Self::Platform(_) => None,
            Self::Tenant(tenant, _) => Some(tenant),
        }
    }

    /// What it allows there.
    pub async fn permissions(self, db: &impl ConnectionTrait) -> Result<Permissions> {
        match self {
            Self::Platform(role) => Ok(of_platform_role(role)),
            Self::Tenant(tenant, role) => roles::permissions(db, tenant, role).await,
        }
    }
}

/// A service token to be made.
#[derive(Debug)]
pub struct New {
    pub id: Uuid,
    pub name: String,
    pub role: TokenRole,
    pub digest: Digest,
    pub hint: String,
    pub expires_ms: Option<i64>,
}

/// What a presented token is good for.
#[derive(Debug, Clone)]
pub struct Known {
    pub id: Uuid,
    pub name: String,
    pub role: TokenRole,
    used_ms: Option<i64>,
}

/// Makes a token.
pub async fn insert(db: &impl ConnectionTrait, new: New, now_ms: i64) -> Result<()> {
    let (word, own) = match new.role {
        TokenRole::Platform(role) => (role.as_str(), None),
        TokenRole::Tenant(_, role) => roles::columns(role),
    };
    let row = ActiveModel {
        id: Set(new.id),
        tenant_id: Set(new.role.tenant().map(|tenant| tenant.0)),
        name: Set(new.name),
        role: Set(word.to_owned()),
        role_id: Set(own),
        digest: Set(new.digest.to_vec()),
        hint: Set(new.hint),
        enabled: Set(true),
        expires_ms: Set(new.expires_ms),
        used_ms: Set(None),
        created_ms: Set(now_ms),
        updated_ms: Set(now_ms),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// The token of this digest, if it may be used now.
pub async fn usable(
    db: &impl ConnectionTrait,
    digest: &Digest,
    now_ms: i64,
) -> Result<Option<Known>> {
    let query = Entity::find().filter(Column::Digest.eq(digest.to_vec()));
    known(db, query.one(db).await?, now_ms).await
}

/// The token of this id, if it may be used now.
pub async fn usable_by_id(
    db: &impl ConnectionTrait,
    id: Uuid,
    now_ms: i64,
) -> Result<Option<Known>> {
    known(db, Entity::find_by_id(id).one(db).await?, now_ms).await
}

async fn known(
    db: &impl ConnectionTrait,
    row: Option<Model>,
    now_ms: i64,
) -> Result<Option<Known>> {
    let Some(row) = row else {
        return Ok(None);
    };
    let is_over = row.expires_ms.is_some_and(|expires| expires <= now_ms);
    if !row.enabled || is_over {
        return Ok(None);
    }
    // With a suspended tenant go its tokens.
    if let Some(tenant) = row.tenant_id {
        let tenant = tenant::Entity::find_by_id(tenant).one(db).await?;
        if !tenant.is_some_and(|tenant| tenant.enabled) {
            return Ok(None);
        }
    }
    Ok(Some(Known {
        id: row.id,
        role: role(&row)?,
        used_ms: row.used_ms,
        name: row.name,
    }))
}

/// Notes that a token is used, unless that was noted a moment ago.
pub async fn note_use(db: &impl ConnectionTrait, known: &Known, now_ms: i64) -> Result<()> {
    if known
        .used_ms
        .is_some_and(|used| (used..used + USED_EVERY_MS).contains(&now_ms))
    {
        return Ok(());
    }
    let update = Entity::update_many()
        .col_expr(Column::UsedMs, now_ms.into())
        .filter(Column::Id.eq(known.id));
    update.exec(db).await?;
    Ok(())
}

/// A page of the tokens of one tenant, or of all.
pub async fn list(
    db: &impl ConnectionTrait,
    scope: Scope,
    page: &Page,
) -> Result<Listed<ServiceTokenItem>> {
    let mut query = Entity::find();
    if let Scope::Tenant(tenant) = scope {
        query = query.filter(Column::TenantId.eq(tenant.0));
    }
    let columns = Columns {
        id: Column::Id,
        name: Column::Name,
        created_ms: Column::CreatedMs,
        enabled: Some(Column::Enabled),
    };
    let Listed { data, next } = page.named(db, query, columns).await?;
    let data = items(db, data).await?;
    Ok(Listed { data, next })
}

/// One token, with what it is and where.
pub async fn find(db: &impl ConnectionTrait, id: Uuid) -> Result<(TokenRole, ServiceTokenItem)> {
    let row = Entity::find_by_id(id).one(db).await?;
    let row = row.ok_or(Error::NotFound)?;
    let role = role(&row)?;
    let items = items(db, vec![row]).await?;
    let item = items.into_iter().next().ok_or(Error::NotFound)?;
    Ok((role, item))
}

/// The same, to be changed: nobody else changes it until the transaction is over.
pub async fn find_held(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<(TokenRole, ServiceTokenItem)> {
    let row = Entity::find_by_id(id).lock_exclusive().one(db).await?;
    row.ok_or(Error::NotFound)?;
    find(db, id).await
}

/// When a token ends, Unix milliseconds; none: never.
pub async fn expires_ms(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<i64>> {
    let row = Entity::find_by_id(id).one(db).await?;
    Ok(row.ok_or(Error::NotFound)?.expires_ms)
}

/// Switches a token on or off.
pub async fn switch(db: &impl ConnectionTrait, id: Uuid, enabled: bool, now_ms: i64) -> Result<()> {
    let update = Entity::update_many()
        .col_expr(Column::Enabled, enabled.into())
        .col_expr(Column::UpdatedMs, now_ms.into())
        .filter(Column::Id.eq(id));
    found(update.exec(db).await?.rows_affected)
}

/// Deletes a token.
pub async fn delete(db: &impl ConnectionTrait, id: Uuid) -> Result<()> {
    found(Entity::delete_by_id(id).exec(db).await?.rows_affected)
}

async fn items(db: &impl ConnectionTrait, rows: Vec<Model>) -> Result<Vec<ServiceTokenItem>> {
    let tenants: Vec<Uuid> = rows.iter().filter_map(|row| row.tenant_id).collect();
    let tenants = names::of(db, Named::Tenant, &tenants).await?;
    let held: Vec<TokenRole> = rows.iter().map(role).collect::<Result<_>>()?;
    let own = held.iter().filter_map(|role| match role {
        TokenRole::Platform(_) => None,
        TokenRole::Tenant(_, role) => Some(*role),
    });
    let role_names = RoleNames::of(db, own).await?;
    let item = |(row, held): (Model, TokenRole)| {
        Ok(ServiceTokenItem {
            id: row.id,
            tenant: row.tenant_id.and_then(|id| tenants.get(&id).cloned()),
            role: match held {
                TokenRole::Platform(role) => AnyRole::Platform(role),
                TokenRole::Tenant(_, role) => AnyRole::Tenant(role_names.name(role)),
            },
            name: row.name,
            hint: row.hint,
            enabled: row.enabled,
            expires_at: row.expires_ms.map(moment),
            last_used_at: row.used_ms.map(moment),
            created_at: moment(row.created_ms),
        })
    };
    rows.into_iter().zip(held).map(item).collect()
}

fn role(row: &Model) -> Result<TokenRole> {
    if let Some(tenant) = row.tenant_id {
        let role = roles::of_columns(&row.role, row.role_id)?;
        return Ok(TokenRole::Tenant(tenant.into(), role));
    }
    let mut platform = PlatformRole::ALL.into_iter();
    let role = platform.find(|role| role.as_str() == row.role);
    let role = role.ok_or_else(|| Error::other(format!("{:?} is no role", row.role)))?;
    Ok(TokenRole::Platform(role))
}
