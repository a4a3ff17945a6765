//! Channels and their sealed credentials, as they are written and listed.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _,
    Statement, sea_query::OnConflict,
};
use weir_entity::{channel, credential};

use super::{Columns, Error, Listed, Page, Result, Scope, catalog, count, document};
use crate::{
    catalog::{Channel, Credential, Entry, Kind},
    secrets::{Place, Sealer, Secret},
    tenancy::{ChannelId, TenantId},
};

/// Makes a channel, or brings its row and its pool up to date. `before` is what is stored of it: a credential whose
/// secret is the same there keeps its sealed form, any other is sealed for this channel's owner and origin.
pub async fn put(
    db: &impl ConnectionTrait,
    channel: &Channel,
    before: Option<&Channel>,
    sealer: &Sealer,
    now_ms: i64,
) -> Result<()> {
    use channel::Column;
    let changed = [
        Column::Name,
        Column::Kind,
        Column::BaseUrl,
        Column::Auth,
        Column::Timeouts,
        Column::Retry,
        Column::ProxyPaths,
        Column::Settings,
        Column::Weight,
        Column::Priority,
        Column::Enabled,
        Column::Origin,
        Column::AllowedOrigin,
        Column::UpdatedMs,
    ];
    let known = OnConflict::column(Column::Id)
        .update_columns(changed)
        .to_owned();
    let insert = channel::Entity::insert(row(channel, now_ms)?).on_conflict(known);
    insert.exec_without_returning(db).await?;
    put_pool(db, channel, before, sealer, now_ms).await
}

/// Deletes an owner's channel with its credentials; routes to it go along.
pub async fn delete(
    db: &impl ConnectionTrait,
    owner: Option<TenantId>,
    id: ChannelId,
) -> Result<()> {
    let own = match owner {
        Some(tenant) => channel::Column::TenantId.eq(tenant.0),
        None => channel::Column::TenantId.is_null(),
    };
    channel::Entity::delete_by_id(id.0)
        .filter(own)
        .exec(db)
        .await?;
    Ok(())
}

/// What a channel cannot be taken from: a model that is routed to it, or a key that may use it alone.
pub async fn needed(db: &impl ConnectionTrait, id: ChannelId) -> Result<Option<String>> {
    let sql = "SELECT 'model ' || models.name AS what FROM routes JOIN models ON models.id = routes.model_id \
               WHERE routes.channel_id = $1 \
               UNION ALL SELECT 'key ' || name FROM proxy_keys WHERE CAST(channels AS TEXT) LIKE $2 LIMIT 1";
    let values = [id.0.into(), format!("%{id}%").into()];
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    let row = db.query_one_raw(statement).await?;
    Ok(row.map(|row| row.try_get("", "what")).transpose()?)
}

/// A page of the channels of one tenant, or of all, credentials opened.
pub async fn list(
    db: &impl ConnectionTrait,
    scope: Scope,
    page: &Page,
    sealer: &Sealer,
) -> Result<Listed<Channel>> {
    let mut query = channel::Entity::find();
    if let Scope::Tenant(tenant) = scope {
        query = query.filter(channel::Column::TenantId.eq(tenant.0));
    }
    let columns = Columns {
        id: channel::Column::Id,
        name: channel::Column::Name,
        created_ms: channel::Column::CreatedMs,
        enabled: Some(channel::Column::Enabled),
    };
    let rows = page.named(db, query, columns).await?;
    let ids = rows.map(|row| row.id);
    catalog::listed(db, Kind::Channel, ids, sealer, |entry| match entry {
        Entry::Channel(channel) => Some((channel.id.0, channel)),
        _ => None,
    })
    .await
}

/// Whether the platform has a channel of this name.
pub async fn of_platform(db: &impl ConnectionTrait, name: &str) -> Result<bool> {
    let found = channel::Entity::find()
        .filter(channel::Column::TenantId.is_null())
        .filter(channel::Column::Name.eq(name));
    Ok(found.one(db).await?.is_some())
}

/// One channel, credentials opened.
pub async fn one(
    db: &impl ConnectionTrait,
    id: ChannelId,
    sealer: &Sealer,
) -> Result<Option<Channel>> {
    let entries = catalog::entries(db, Kind::Channel, &[id.0], sealer).await?;
    let channel = entries.into_iter().find_map(|entry| match entry {
        Entry::Channel(channel) => Some(channel),
        _ => None,
    });
    Ok(channel)
}

fn row(channel: &Channel, now_ms: i64) -> Result<channel::ActiveModel> {
    let auth = (channel.auth != Default::default()).then_some(&channel.auth);
    Ok(channel::ActiveModel {
        id: Set(channel.id.0),
        tenant_id: Set(channel.owner.map(|tenant| tenant.0)),
        name: Set(channel.name.clone()),
        kind: Set(channel.kind.as_str().to_owned()),
        base_url: Set(channel.base.to_string()),
        auth: Set(auth.map(document).transpose()?),
        timeouts: Set(document(&channel.timeouts)?),
        retry: Set(document(&channel.retry)?),
        proxy_paths: Set(channel.proxy_paths.as_ref().map(document).transpose()?),
        settings: Set(document(&channel.settings)?),
        weight: Set(count(channel.weight)?),
        priority: Set(channel.priority),
        enabled: Set(channel.enabled),
        origin: Set(channel.base.origin()),
        allowed_origin: Set(channel.allowed_origin.clone()),
        created_ms: Set(now_ms),
        updated_ms: Set(now_ms),
    })
}

async fn put_pool(
    db: &impl ConnectionTrait,
    channel: &Channel,
    before: Option<&Channel>,
    sealer: &Sealer,
    now_ms: i64,
) -> Result<()> {
    use credential::{Column, Entity};
    let kept = channel.credentials.iter().map(|credential| credential.id.0);
    Entity::delete_many()
        .filter(Column::ChannelId.eq(channel.id.0))
        .filter(Column::Id.is_not_in(kept))
        .exec(db)
        .await?;
    let stored = before
        .map(|channel| channel.credentials.as_slice())
        .unwrap_or_default();
    for (position, credential) in channel.credentials.iter().enumerate() {
        let position = position as i32;
        if stored.iter().any(|stored| stored.id == credential.id) {
            Entity::update_many()
                .col_expr(Column::Position, position.into())
                .col_expr(Column::Name, credential.name.clone().into())
                .col_expr(Column::Enabled, credential.enabled.into())
                .col_expr(Column::UpdatedMs, now_ms.into())
                .filter(Column::Id.eq(credential.id.0))
                .exec(db)
                .await?;
        } else if let Some(secret) = &credential.secret {
            let row = sealed(channel, credential, secret, position, sealer, now_ms)?;
            Entity::insert(row).exec_without_returning(db).await?;
        }
    }
    Ok(())
}

fn sealed(
    channel: &Channel,
    credential: &Credential,
    secret: &Secret,
    position: i32,
    sealer: &Sealer,
    now_ms: i64,
) -> Result<credential::ActiveModel> {
    let place = Place {
        table: "credentials",
        column: "sealed",
        row: credential.id.0,
        tenant: channel.owner.map(|tenant| tenant.0),
    };
    let sealed = sealer
        .seal(secret, place)
        .map_err(|error| Error::other(error.to_string()))?;
    Ok(credential::ActiveModel {
        id: Set(credential.id.0),
        channel_id: Set(channel.id.0),
        position: Set(position),
        name: Set(credential.name.clone()),
        sealed: Set(sealed.bytes),
        master_key_id: Set(sealed.master_key_id),
        origin: Set(channel.base.origin()),
        enabled: Set(credential.enabled),
        created_ms: Set(now_ms),
        updated_ms: Set(now_ms),
    })
}
