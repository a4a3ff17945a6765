//! Providers of identities, and who is who there.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::OnConflict,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use weir_api_types::sign_in::{GroupRole, IdentityItem};
use weir_entity::{identity, identity_provider, session};

use super::{Columns, Error, Listed, Page, Result, Scope, document, moment};
use crate::{
    secrets::Sealed,
    tenancy::{TenantId, UserId},
};

/// A provider of identities.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    pub id: Uuid,
    /// The tenant whose members alone it signs in; none: the platform's.
    pub owner: Option<TenantId>,
    pub name: String,
    pub issuer: String,
    pub client_id: String,
    pub secret: Option<Sealed>,
    pub settings: Settings,
    /// The origin that an operator vouches for though a tenant gave it.
    pub allowed_origin: Option<String>,
    pub enabled: bool,
    pub created_ms: i64,
    pub updated_ms: i64,
}

/// What a provider is asked for, and what its words mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub scopes: Vec<String>,
    pub groups_claim: String,
    pub roles: Vec<GroupRole>,
    pub creates_people: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            scopes: ["openid", "email", "profile"].map(str::to_owned).into(),
            groups_claim: "groups".to_owned(),
            roles: Vec::new(),
            creates_people: false,
        }
    }
}

/// Makes a provider, or brings its row up to date.
pub async fn put_provider(
    db: &impl ConnectionTrait,
    provider: &Provider,
    now_ms: i64,
) -> Result<()> {
    use identity_provider::{ActiveModel, Column, Entity};
    let sealed = provider.secret.clone();
    let row = ActiveModel {
        id: Set(provider.id),
        tenant_id: Set(provider.owner.map(|tenant| tenant.0)),
        name: Set(provider.name.clone()),
        issuer: Set(provider.issuer.clone()),
        client_id: Set(provider.client_id.clone()),
        master_key_id: Set(sealed.as_ref().map(|sealed| sealed.master_key_id.clone())),
        sealed: Set(sealed.map(|sealed| sealed.bytes)),
        settings: Set(document(&provider.settings)?),
        allowed_origin: Set(provider.allowed_origin.clone()),
        enabled: Set(provider.enabled),
        created_ms: Set(now_ms),
        updated_ms: Set(now_ms),
    };
    let changed = [
        Column::Name,
        Column::Issuer,
        Column::ClientId,
        Column::Sealed,
        Column::MasterKeyId,
        Column::Settings,
        Column::AllowedOrigin,
        Column::Enabled,
        Column::UpdatedMs,
    ];
    let known = OnConflict::column(Column::Id)
        .update_columns(changed)
        .to_owned();
    let insert = Entity::insert(row).on_conflict(known);
    insert.exec_without_returning(db).await?;
    Ok(())
}

/// Deletes a provider with all that it said, and ends the sessions that came of it.
pub async fn delete_provider(db: &impl ConnectionTrait, id: Uuid) -> Result<()> {
    end_sessions(db, id, None).await?;
    identity_provider::Entity::delete_by_id(id).exec(db).await?;
    Ok(())
}

/// Ends the sessions that a provider has vouched for: somebody's, or all.
pub async fn end_sessions(
    db: &impl ConnectionTrait,
    provider: Uuid,
    user: Option<UserId>,
) -> Result<()> {
    let mut ended = session::Entity::delete_many().filter(session::Column::ProviderId.eq(provider));
    if let Some(user) = user {
        ended = ended.filter(session::Column::UserId.eq(user.0));
    }
    ended.exec(db).await?;
    Ok(())
}

/// How many providers a tenant, or the platform, has.
pub async fn count_providers(db: &impl ConnectionTrait, owner: Option<TenantId>) -> Result<u64> {
    use identity_provider::{Column, Entity};
    let own = match owner {
        Some(tenant) => Column::TenantId.eq(tenant.0),
        None => Column::TenantId.is_null(),
    };
    Ok(Entity::find().filter(own).count(db).await?)
}

/// The name of a provider that gives a role of a tenant's own.
pub async fn giving(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    role: &str,
) -> Result<Option<String>> {
    use identity_provider::{Column, Entity};
    let own = Condition::any()
        .add(Column::TenantId.eq(tenant.0))
        .add(Column::TenantId.is_null());
    for row in Entity::find().filter(own).all(db).await? {
        let provider = read(row)?;
        let (owner, id) = (provider.owner, tenant.to_string());
        let mut roles = provider.settings.roles.iter();
        let gives = roles.any(|one| {
            let there = one
                .tenant
                .as_ref()
                .map_or(owner == Some(tenant), |named| *named == id);
            there && one.role.as_str() == role
        });
        if gives {
            return Ok(Some(provider.name));
        }
    }
    Ok(None)
}

/// One provider.
pub async fn provider(db: &impl ConnectionTrait, id: Uuid) -> Result<Provider> {
    let row = identity_provider::Entity::find_by_id(id).one(db).await?;
    read(row.ok_or(Error::NotFound)?)
}

/// The same, to be changed: nobody signs in by it, or changes it, until the transaction is over.
pub async fn provider_held(db: &impl ConnectionTrait, id: Uuid) -> Result<Provider> {
    let row = identity_provider::Entity::find_by_id(id).lock_exclusive();
    read(row.one(db).await?.ok_or(Error::NotFound)?)
}

/// The same, as nobody changes it until the transaction is over.
pub async fn provider_kept(db: &impl ConnectionTrait, id: Uuid) -> Result<Provider> {
    let row = identity_provider::Entity::find_by_id(id).lock_shared();
    read(row.one(db).await?.ok_or(Error::NotFound)?)
}

/// A page of the providers of one tenant, or of all.
pub async fn providers(
    db: &impl ConnectionTrait,
    scope: Scope,
    page: &Page,
) -> Result<Listed<Provider>> {
    use identity_provider::{Column, Entity};
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
    let data = data.into_iter().map(read).collect::<Result<_>>()?;
    Ok(Listed { data, next })
}

/// Those that sign people in: the platform's, or a tenant's; by name.
pub async fn usable_providers(
    db: &impl ConnectionTrait,
    owner: Option<TenantId>,
) -> Result<Vec<Provider>> {
    use identity_provider::{Column, Entity};
    let own = match owner {
        Some(tenant) => Column::TenantId.eq(tenant.0),
        None => Column::TenantId.is_null(),
    };
    let query = Entity::find()
        .filter(own)
        .filter(Column::Enabled.eq(true))
        .order_by_asc(Column::Name);
    query.all(db).await?.into_iter().map(read).collect()
}

/// Who it is that a provider calls so.
pub async fn of_subject(
    db: &impl ConnectionTrait,
    provider: Uuid,
    subject: &str,
) -> Result<Option<UserId>> {
    let row = identity::Entity::find()
        .filter(identity::Column::ProviderId.eq(provider))
        .filter(identity::Column::Subject.eq(subject))
        .one(db)
        .await?;
    Ok(row.map(|row| row.user_id.into()))
}

/// Whether a provider still calls somebody so; it does until the transaction is over.
pub async fn is_kept(
    db: &impl ConnectionTrait,
    provider: Uuid,
    subject: &str,
    user: UserId,
) -> Result<bool> {
    let row = identity::Entity::find()
        .filter(identity::Column::ProviderId.eq(provider))
        .filter(identity::Column::Subject.eq(subject))
        .filter(identity::Column::UserId.eq(user.0))
        .lock_shared();
    Ok(row.one(db).await?.is_some())
}

/// Notes who it is that a provider calls so. Of two at once, one succeeds.
pub async fn link(
    db: &impl ConnectionTrait,
    provider: Uuid,
    user: UserId,
    subject: &str,
    now_ms: i64,
) -> Result<()> {
    let row = identity::ActiveModel {
        id: Set(Uuid::new_v4()),
        provider_id: Set(provider),
        user_id: Set(user.0),
        subject: Set(subject.to_owned()),
        created_ms: Set(now_ms),
    };
    identity::Entity::insert(row)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Forgets who is who at a provider.
pub async fn forget_all(db: &impl ConnectionTrait, provider: Uuid) -> Result<()> {
    identity::Entity::delete_many()
        .filter(identity::Column::ProviderId.eq(provider))
        .exec(db)
        .await?;
    Ok(())
}

/// Forgets whom providers know as somebody.
pub async fn forget_user(db: &impl ConnectionTrait, user: UserId) -> Result<()> {
    identity::Entity::delete_many()
        .filter(identity::Column::UserId.eq(user.0))
        .exec(db)
        .await?;
    Ok(())
}

/// How providers know somebody.
pub async fn of_user(
    db: &impl ConnectionTrait,
    user: UserId,
    page: &Page,
) -> Result<Listed<IdentityItem>> {
    let query = identity::Entity::find().filter(identity::Column::UserId.eq(user.0));
    let columns = Columns {
        id: identity::Column::Id,
        name: identity::Column::Subject,
        created_ms: identity::Column::CreatedMs,
        enabled: None,
    };
    let rows = page.named(db, query, columns).await?;
    let providers = rows.data.iter().map(|row| row.provider_id);
    let providers = identity_provider::Entity::find()
        .filter(identity_provider::Column::Id.is_in(providers))
        .all(db)
        .await?;
    let name = |id: Uuid| providers.iter().find(|provider| provider.id == id);
    Ok(rows.map(|row: identity::Model| IdentityItem {
        id: row.id,
        provider: name(row.provider_id).map_or_else(String::new, |known| known.name.clone()),
        created_at: moment(row.created_ms),
    }))
}

/// Forgets one of somebody's identities; at which provider.
pub async fn unlink(db: &impl ConnectionTrait, user: UserId, id: Uuid) -> Result<Option<Uuid>> {
    let own = identity::Column::UserId.eq(user.0);
    let row = identity::Entity::find_by_id(id).filter(own).one(db).await?;
    let Some(row) = row else { return Ok(None) };
    identity::Entity::delete_by_id(id).exec(db).await?;
    Ok(Some(row.provider_id))
}

fn read(row: identity_provider::Model) -> Result<Provider> {
    let settings = serde_json::from_value(row.settings);
    let broken = |error| Error::other(format!("identity_providers.settings: {error}"));
    let secret = row.sealed.zip(row.master_key_id);
    Ok(Provider {
        id: row.id,
        owner: row.tenant_id.map(Into::into),
        name: row.name,
        issuer: row.issuer,
        client_id: row.client_id,
        secret: secret.map(|(bytes, master_key_id)| Sealed {
            bytes,
            master_key_id,
        }),
        settings: settings.map_err(broken)?,
        allowed_origin: row.allowed_origin,
        enabled: row.enabled,
        created_ms: row.created_ms,
        updated_ms: row.updated_ms,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::{
        store::{testing, users},
        tenancy::Person,
    };

    /// Nothing happens for so long where somebody waits.
    const A_WHILE: Duration = Duration::from_millis(300);

    /// Somebody signs in, and meanwhile the provider is switched off, or forgets them: that waits, and so finds the session.
    // Threats: A6, T7.
    #[tokio::test]
    async fn whoever_changes_a_provider_waits_for_those_who_are_signing_in() {
        for test in testing::all().await {
            let stores = &test.stores;
            let db = &stores.config.write;
            let person = Person::new("a@acme.example".to_owned());
            users::put(db, &person, 1).await.expect("a person");
            let provider = Provider {
                id: Uuid::new_v4(),
                owner: None,
                name: "id".to_owned(),
                issuer: "https://id.example".to_owned(),
                client_id: "weir".to_owned(),
                secret: None,
                settings: Settings::default(),
                allowed_origin: None,
                enabled: true,
                created_ms: 1,
                updated_ms: 1,
            };
            put_provider(db, &provider, 1).await.expect("a provider");
            link(db, provider.id, person.id, "sub", 1)
                .await
                .expect("an identity");
            let listed = identity::Entity::find().one(db).await.expect("a look");
            let identity = listed.expect("an identity").id;

            let signing_in = stores.config.begin_write().await.expect("a transaction");
            provider_kept(&signing_in, provider.id)
                .await
                .expect("it is there");
            let is_kept = is_kept(&signing_in, provider.id, "sub", person.id).await;
            assert!(is_kept.expect("a look"));
            let changing = async {
                let changing = stores.config.begin_write().await.expect("a transaction");
                let held = provider_held(&changing, provider.id).await;
                held.expect("it is there");
                changing.commit().await.expect("committed");
            };
            let unlinking = async {
                let unlinking = stores.config.begin_write().await.expect("a transaction");
                let gone = unlink(&unlinking, person.id, identity).await;
                assert_eq!(gone.expect("a look"), Some(provider.id));
                unlinking.commit().await.expect("committed");
            };
            let mut changing = Box::pin(changing);
            let mut unlinking = Box::pin(unlinking);
            assert!(timeout(A_WHILE, &mut changing).await.is_err());
            assert!(timeout(A_WHILE, &mut unlinking).await.is_err());
            signing_in.commit().await.expect("committed");
            futures_util::future::join(changing, unlinking).await;
        }
    }
}
