//! Proxy keys and their secrets' digests, as they are written and listed.

use std::collections::HashMap;

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, QueryTrait as _, sea_query::OnConflict,
};
use serde_json::json;
use uuid::Uuid;
use weir_api_types::manage::KeyItem;
use weir_entity::{group, key_secret, proxy_key, user};

use super::{
    Columns, Error, Listed, Page, Result, Scope, document,
    error::found,
    moment,
    names::{self, Named},
};
use crate::tenancy::{KeyId, Owner, ProxyKey, TenantId, UserId, key::Digest};

/// The most secrets of one key: one, and the one that replaces it.
const SLOTS: [i16; 2] = [0, 1];

/// Makes a key, or brings its row up to date; `hints` are the masked beginnings of new secrets.
pub async fn put(
    db: &impl ConnectionTrait,
    key: &ProxyKey,
    hints: &HashMap<Digest, String>,
    now_ms: i64,
) -> Result<()> {
    use proxy_key::Column;
    let changed = [
        Column::Name,
        Column::UserId,
        Column::GroupId,
        Column::Enabled,
        Column::ExpiresMs,
        Column::Models,
        Column::Channels,
        Column::IpAllow,
        Column::UpdatedMs,
    ];
    let known = OnConflict::column(Column::Id)
        .update_columns(changed)
        .to_owned();
    let insert = proxy_key::Entity::insert(row(key, now_ms)?).on_conflict(known);
    insert.exec_without_returning(db).await?;
    put_secrets(db, key, hints, now_ms).await
}

/// Deletes the secrets that a key has no longer. Done for all keys before any is written, so that a value may pass from
/// one key to another in one change.
pub async fn forget_secrets(db: &impl ConnectionTrait, key: &ProxyKey) -> Result<()> {
    let kept = key.secrets.iter().map(|secret| secret.digest.to_vec());
    key_secret::Entity::delete_many()
        .filter(key_secret::Column::KeyId.eq(key.id.0))
        .filter(key_secret::Column::Digest.is_not_in(kept))
        .exec(db)
        .await?;
    Ok(())
}

/// Deletes a tenant's key.
pub async fn delete(db: &impl ConnectionTrait, tenant: TenantId, id: KeyId) -> Result<()> {
    let own = proxy_key::Column::TenantId.eq(tenant.0);
    let deleted = proxy_key::Entity::delete_by_id(id.0)
        .filter(own)
        .exec(db)
        .await?;
    found(deleted.rows_affected)
}

/// The key of a name in a tenant.
pub async fn named(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    name: &str,
) -> Result<Option<KeyId>> {
    let query = proxy_key::Entity::find()
        .filter(proxy_key::Column::TenantId.eq(tenant.0))
        .filter(proxy_key::Column::Name.eq(name));
    Ok(query.one(db).await?.map(|row| row.id.into()))
}

/// The user whom a key belongs to.
pub async fn user_of(db: &impl ConnectionTrait, id: KeyId) -> Result<Option<UserId>> {
    let row = proxy_key::Entity::find_by_id(id.0).one(db).await?;
    Ok(row.and_then(|row| row.user_id).map(Into::into))
}

/// A user's keys in a tenant.
pub async fn of_user(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    user: UserId,
) -> Result<Vec<KeyId>> {
    let ids: Vec<Uuid> = proxy_key::Entity::find()
        .select_only()
        .column(proxy_key::Column::Id)
        .filter(proxy_key::Column::TenantId.eq(tenant.0))
        .filter(proxy_key::Column::UserId.eq(user.0))
        .into_tuple()
        .all(db)
        .await?;
    Ok(ids.into_iter().map(Into::into).collect())
}

/// The masked beginnings of a key's secrets.
pub async fn hints(db: &impl ConnectionTrait, id: KeyId) -> Result<Vec<String>> {
    let rows = key_secret::Entity::find()
        .filter(key_secret::Column::KeyId.eq(id.0))
        .order_by_asc(key_secret::Column::CreatedMs)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| row.hint).collect())
}

/// Whose keys are looked for; names of nobody have none.
#[derive(Debug, Default)]
pub struct Whose {
    /// The address of the user that they belong to.
    pub user: Option<String>,
    /// The name of the group that they belong to.
    pub group: Option<String>,
}

/// A page of the keys of one tenant, or of all.
pub async fn list(
    db: &impl ConnectionTrait,
    scope: Scope,
    whose: &Whose,
    page: &Page,
) -> Result<Listed<KeyItem>> {
    let mut query = proxy_key::Entity::find();
    if let Scope::Tenant(tenant) = scope {
        query = query.filter(proxy_key::Column::TenantId.eq(tenant.0));
    }
    if let Some(email) = &whose.user {
        let users = user::Entity::find()
            .select_only()
            .column(user::Column::Id)
            .filter(user::Column::Email.eq(email));
        query = query.filter(proxy_key::Column::UserId.in_subquery(users.into_query()));
    }
    if let Some(name) = &whose.group {
        let groups = group::Entity::find()
            .select_only()
            .column(group::Column::Id)
            .filter(group::Column::Name.eq(name));
        query = query.filter(proxy_key::Column::GroupId.in_subquery(groups.into_query()));
    }
    let columns = Columns {
        id: proxy_key::Column::Id,
        name: proxy_key::Column::Name,
        created_ms: proxy_key::Column::CreatedMs,
        enabled: Some(proxy_key::Column::Enabled),
    };
    let Listed { data, next } = page.named(db, query, columns).await?;
    let data = items(db, data).await?;
    Ok(Listed { data, next })
}

async fn items(db: &impl ConnectionTrait, rows: Vec<proxy_key::Model>) -> Result<Vec<KeyItem>> {
    let ids = rows.iter().map(|row| row.id);
    let secrets = key_secret::Entity::find().filter(key_secret::Column::KeyId.is_in(ids));
    let mut hints: HashMap<Uuid, Vec<(i16, String)>> = HashMap::new();
    for secret in secrets.all(db).await? {
        hints
            .entry(secret.key_id)
            .or_default()
            .push((secret.slot, secret.hint));
    }
    let ids = |of: fn(&proxy_key::Model) -> Option<Uuid>| -> Vec<Uuid> {
        rows.iter().filter_map(of).collect()
    };
    let users = names::of(db, Named::User, &ids(|row| row.user_id)).await?;
    let groups = names::of(db, Named::Group, &ids(|row| row.group_id)).await?;
    let tenants = names::of(db, Named::Tenant, &ids(|row| Some(row.tenant_id))).await?;
    let item = |row: proxy_key::Model| {
        let mut hints = hints.remove(&row.id).unwrap_or_default();
        hints.sort_unstable();
        KeyItem {
            id: row.id,
            tenant: tenants.get(&row.tenant_id).cloned().unwrap_or_default(),
            name: row.name,
            hints: hints.into_iter().map(|(_, hint)| hint).collect(),
            user: row.user_id.and_then(|id| users.get(&id).cloned()),
            group: row.group_id.and_then(|id| groups.get(&id).cloned()),
            enabled: row.enabled,
            expires_at: row.expires_ms.map(moment),
            created_at: moment(row.created_ms),
        }
    };
    Ok(rows.into_iter().map(item).collect())
}

fn row(key: &ProxyKey, now_ms: i64) -> Result<proxy_key::ActiveModel> {
    let (user, group) = match key.owner {
        Owner::Tenant => (None, None),
        Owner::User(id) => (Some(id.0), None),
        Owner::Group(id) => (None, Some(id.0)),
    };
    let preference = |choice: &crate::tenancy::key::ChannelPreference| json!({"channel_id": choice.channel, "priority": choice.priority});
    let channels =
        (!key.channels.is_empty()).then(|| key.channels.iter().map(preference).collect());
    let networks = (!key.ip_allow.is_empty()).then_some(&key.ip_allow);
    Ok(proxy_key::ActiveModel {
        id: Set(key.id.0),
        tenant_id: Set(key.tenant.0),
        name: Set(key.name.clone()),
        user_id: Set(user),
        group_id: Set(group),
        enabled: Set(key.enabled),
        expires_ms: Set(key.expires_ms),
        models: Set(key.models.as_ref().map(document).transpose()?),
        channels: Set(channels),
        ip_allow: Set(networks.map(document).transpose()?),
        created_ms: Set(now_ms),
        updated_ms: Set(now_ms),
    })
}

async fn put_secrets(
    db: &impl ConnectionTrait,
    key: &ProxyKey,
    hints: &HashMap<Digest, String>,
    now_ms: i64,
) -> Result<()> {
    use key_secret::{ActiveModel, Column, Entity};
    let rows = Entity::find()
        .filter(Column::KeyId.eq(key.id.0))
        .all(db)
        .await?;
    let mut free = SLOTS
        .into_iter()
        .filter(|slot| rows.iter().all(|row| row.slot != *slot));
    for secret in &key.secrets {
        if let Some(row) = rows.iter().find(|row| row.digest == secret.digest) {
            if row.expires_ms != secret.expires_ms {
                let update = Entity::update_many()
                    .col_expr(Column::ExpiresMs, secret.expires_ms.into())
                    .filter(Column::Id.eq(row.id));
                update.exec(db).await?;
            }
            continue;
        }
        let slot = free
            .next()
            .ok_or_else(|| Error::other("a key has two secrets at most"))?;
        let row = ActiveModel {
            id: Set(Uuid::new_v4()),
            key_id: Set(key.id.0),
            slot: Set(slot),
            digest: Set(secret.digest.to_vec()),
            hint: Set(hints.get(&secret.digest).cloned().unwrap_or_default()),
            created_ms: Set(now_ms),
            expires_ms: Set(secret.expires_ms),
        };
        Entity::insert(row).exec_without_returning(db).await?;
    }
    Ok(())
}
