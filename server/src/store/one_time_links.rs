//! Invitations, and links to another password.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _,
    PaginatorTrait as _, QueryFilter as _,
};
use uuid::Uuid;
use weir_api_types::people::InvitationItem;
use weir_entity::one_time_link::{ActiveModel, Column, Entity, Model};

use super::{
    Columns, Error, Listed, Page, Result, Scope, document, moment,
    names::{self, Named},
    roles::{self, RoleNames},
};
use crate::tenancy::{GroupId, MemberRole, TenantId, UserId, key::Digest};

const INVITATION: &str = "invitation";
const RESET: &str = "reset";

/// What a link is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Purpose {
    /// To become a member.
    Invitation {
        tenant: TenantId,
        role: MemberRole,
        groups: Vec<GroupId>,
        /// Who invited, and has to be able to for as long as it waits.
        inviter: Inviter,
        /// Who invited, in words.
        invited_by: String,
        /// Whether nobody but the address's owner, or an operator, has seen it.
        proves_email: bool,
    },
    /// To set another password.
    Reset { user: UserId },
}

/// Who asked somebody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inviter {
    /// Whoever has the admin token.
    Operator,
    Person(UserId),
    /// A service token, by its id.
    Token(Uuid),
}

/// A link.
#[derive(Debug, Clone)]
pub struct Link {
    pub id: Uuid,
    pub email: String,
    pub purpose: Purpose,
    pub expires_ms: i64,
}

/// Makes a link.
pub async fn insert(
    db: &impl ConnectionTrait,
    link: &Link,
    digest: &Digest,
    now_ms: i64,
) -> Result<()> {
    let mut row = ActiveModel {
        id: Set(link.id),
        kind: Set(RESET.to_owned()),
        digest: Set(digest.to_vec()),
        email: Set(link.email.clone()),
        user_id: Set(None),
        tenant_id: Set(None),
        role: Set(None),
        groups: Set(None),
        inviter_id: Set(None),
        inviter_token_id: Set(None),
        invited_by: Set(String::new()),
        proves_email: Set(true),
        expires_ms: Set(link.expires_ms),
        used_ms: Set(None),
        created_ms: Set(now_ms),
    };
    match &link.purpose {
        Purpose::Reset { user } => row.user_id = Set(Some(user.0)),
        Purpose::Invitation {
            tenant,
            role,
            groups,
            inviter,
            invited_by,
            proves_email,
        } => {
            row.kind = Set(INVITATION.to_owned());
            row.tenant_id = Set(Some(tenant.0));
            row.role = Set(Some(match role {
                MemberRole::BuiltIn(role) => role.as_str().to_owned(),
                MemberRole::Own(id) => id.to_string(),
            }));
            row.groups = Set(Some(document(groups)?));
            match inviter {
                Inviter::Operator => {}
                Inviter::Person(id) => row.inviter_id = Set(Some(id.0)),
                Inviter::Token(id) => row.inviter_token_id = Set(Some(*id)),
            }
            row.invited_by = Set(invited_by.clone());
            row.proves_email = Set(*proves_email);
        }
    }
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// The link of a token's digest, while it works.
pub async fn usable(
    db: &impl ConnectionTrait,
    digest: &Digest,
    now_ms: i64,
) -> Result<Option<Link>> {
    let row = Entity::find()
        .filter(Column::Digest.eq(digest.to_vec()))
        .filter(Column::UsedMs.is_null())
        .filter(Column::ExpiresMs.gt(now_ms))
        .one(db)
        .await?;
    row.map(link).transpose()
}

/// Uses a link up, or withdraws it; whether it worked until now.
pub async fn take(db: &impl ConnectionTrait, id: Uuid, now_ms: i64) -> Result<bool> {
    let update = Entity::update_many()
        .col_expr(Column::UsedMs, now_ms.into())
        .filter(Column::Id.eq(id))
        .filter(Column::UsedMs.is_null());
    Ok(update.exec(db).await?.rows_affected == 1)
}

/// Deletes links that are over and were made before; how many.
pub async fn prune(db: &impl ConnectionTrait, before_ms: i64, now_ms: i64) -> Result<u64> {
    let is_over = Condition::any()
        .add(Column::UsedMs.is_not_null())
        .add(Column::ExpiresMs.lte(now_ms));
    let delete = Entity::delete_many()
        .filter(Column::CreatedMs.lt(before_ms))
        .filter(is_over);
    Ok(delete.exec(db).await?.rows_affected)
}

/// Withdraws all of somebody's links to another password.
pub async fn withdraw_resets(db: &impl ConnectionTrait, user: UserId, now_ms: i64) -> Result<()> {
    let update = Entity::update_many()
        .col_expr(Column::UsedMs, now_ms.into())
        .filter(Column::UserId.eq(user.0))
        .filter(Column::UsedMs.is_null());
    update.exec(db).await?;
    Ok(())
}

/// Whether somebody got a link to another password since.
pub async fn reset_since(db: &impl ConnectionTrait, user: UserId, since_ms: i64) -> Result<bool> {
    let query = Entity::find()
        .filter(Column::UserId.eq(user.0))
        .filter(Column::Kind.eq(RESET))
        .filter(Column::CreatedMs.gte(since_ms));
    Ok(query.count(db).await? > 0)
}

/// How many invitations a tenant has made since.
pub async fn invited_since(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    since_ms: i64,
) -> Result<u64> {
    let query = Entity::find()
        .filter(Column::TenantId.eq(tenant.0))
        .filter(Column::CreatedMs.gte(since_ms));
    Ok(query.count(db).await?)
}

/// The invitations that wait, of one tenant or of all.
pub async fn list(
    db: &impl ConnectionTrait,
    scope: Scope,
    page: &Page,
    now_ms: i64,
) -> Result<Listed<InvitationItem>> {
    let mut query = Entity::find()
        .filter(Column::Kind.eq(INVITATION))
        .filter(Column::UsedMs.is_null())
        .filter(Column::ExpiresMs.gt(now_ms));
    if let Scope::Tenant(tenant) = scope {
        query = query.filter(Column::TenantId.eq(tenant.0));
    }
    let columns = Columns {
        id: Column::Id,
        name: Column::Email,
        created_ms: Column::CreatedMs,
        enabled: None,
    };
    let Listed { data, next } = page.named(db, query, columns).await?;
    let data = items(db, data).await?;
    Ok(Listed { data, next })
}

/// One that waits, with its tenant.
pub async fn find(
    db: &impl ConnectionTrait,
    id: Uuid,
    now_ms: i64,
) -> Result<(TenantId, InvitationItem)> {
    let row = Entity::find_by_id(id)
        .filter(Column::Kind.eq(INVITATION))
        .filter(Column::UsedMs.is_null())
        .filter(Column::ExpiresMs.gt(now_ms))
        .one(db)
        .await?;
    let row = row.ok_or(Error::NotFound)?;
    let tenant = row.tenant_id.ok_or(Error::NotFound)?;
    let item = items(db, vec![row]).await?.pop();
    Ok((tenant.into(), item.ok_or(Error::NotFound)?))
}

async fn items(db: &impl ConnectionTrait, rows: Vec<Model>) -> Result<Vec<InvitationItem>> {
    let tenants: Vec<Uuid> = rows.iter().filter_map(|row| row.tenant_id).collect();
    let tenants = names::of(db, Named::Tenant, &tenants).await?;
    let held = rows.iter().map(|row| role(row.role.as_deref()));
    let held: Vec<MemberRole> = held.collect::<Result<_>>()?;
    let role_names = RoleNames::of(db, held.iter().copied()).await?;
    let item = |(row, held): (Model, MemberRole)| {
        let tenant = row.tenant_id.and_then(|id| tenants.get(&id).cloned());
        Ok(InvitationItem {
            id: row.id,
            tenant: tenant.unwrap_or_default(),
            role: role_names.name(held),
            email: row.email,
            invited_by: row.invited_by,
            created_at: moment(row.created_ms),
            expires_at: moment(row.expires_ms),
        })
    };
    rows.into_iter().zip(held).map(item).collect()
}

fn link(row: Model) -> Result<Link> {
    let broken = |what: &str| Error::other(format!("one_time_links.{what} of {}", row.id));
    let purpose = match (row.kind.as_str(), row.user_id, row.tenant_id) {
        (RESET, Some(user), _) => Purpose::Reset { user: user.into() },
        (INVITATION, _, Some(tenant)) => {
            let groups = row.groups.clone().map(serde_json::from_value).transpose();
            let groups: Option<Vec<GroupId>> = groups.map_err(|_| broken("groups"))?;
            Purpose::Invitation {
                tenant: tenant.into(),
                role: role(row.role.as_deref())?,
                groups: groups.unwrap_or_default(),
                inviter: match (row.inviter_id, row.inviter_token_id) {
                    (Some(id), _) => Inviter::Person(id.into()),
                    (None, Some(id)) => Inviter::Token(id),
                    (None, None) => Inviter::Operator,
                },
                invited_by: row.invited_by.clone(),
                proves_email: row.proves_email,
            }
        }
        _ => return Err(broken("kind")),
    };
    Ok(Link {
        id: row.id,
        purpose,
        expires_ms: row.expires_ms,
        email: row.email,
    })
}

/// A word, or the id of one of the tenant's own.
fn role(word: Option<&str>) -> Result<MemberRole> {
    let word = word.unwrap_or_default();
    roles::of_columns(word, Uuid::parse_str(word).ok())
}
