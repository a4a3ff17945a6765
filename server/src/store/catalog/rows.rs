//! One row, or a row and its parts, as the catalog's type. No I/O.

use sea_orm::JsonValue;
use serde::{Deserialize, de::DeserializeOwned};
use weir_api_types::{channel as shared, settings::RuntimeSettings};
use weir_entity::{
    budget, channel, credential, group, group_member, key_secret, limit, membership, model, price,
    proxy_key, route, runtime_setting, tenant, user,
};

use crate::{
    billing::{DatedPrice, Rates},
    catalog::{Channel, Credential, Model, Route, channel::Base},
    secrets::{Place, Sealed, Sealer},
    tenancy::{
        Budget, Group, GroupId, Limit, Owner, ProxyKey, Scope, Tenant, TenantId, User, UserId,
        key::{ChannelPreference, KeySecret},
        limit::Amount,
    },
};

/// Why an entry cannot be read.
pub struct Broken(pub String);

type Result<T> = std::result::Result<T, Broken>;

/// A key's channel preference as its row has it.
#[derive(Deserialize)]
struct StoredPreference {
    channel_id: uuid::Uuid,
    priority: i32,
}

/// The ids by which a row says on what it stands.
struct ScopeColumns {
    tenant: Option<uuid::Uuid>,
    group: Option<uuid::Uuid>,
    user: Option<uuid::Uuid>,
    key: Option<uuid::Uuid>,
    channel: Option<uuid::Uuid>,
    model: Option<uuid::Uuid>,
}

/// Two tables have these columns, and no type in common.
macro_rules! columns {
    ($row:ident) => {
        ScopeColumns {
            tenant: $row.tenant_id,
            group: $row.group_id,
            user: $row.user_id,
            key: $row.key_id,
            channel: $row.channel_id,
            model: $row.model_id,
        }
    };
}

pub fn tenant(row: tenant::Model) -> Result<Tenant> {
    Ok(Tenant {
        id: row.id.into(),
        name: row.name,
        enabled: row.enabled,
        time_zone: row.time_zone,
        grants: optional("grants", row.grants)?,
        policies: optional("policies", row.policies)?.unwrap_or_default(),
    })
}

pub fn group(row: group::Model) -> Group {
    Group {
        id: row.id.into(),
        tenant: row.tenant_id.into(),
        name: row.name,
    }
}

pub fn user(
    row: user::Model,
    memberships: Vec<membership::Model>,
    mut groups: Vec<group_member::Model>,
) -> User {
    let mut tenants: Vec<_> = memberships.iter().map(|row| row.tenant_id.into()).collect();
    tenants.sort_unstable();
    groups.sort_unstable_by_key(|row| (row.position, row.group_id));
    User {
        id: row.id.into(),
        email: row.email,
        name: row.name,
        enabled: row.enabled,
        tenants,
        groups: groups.iter().map(|row| row.group_id.into()).collect(),
    }
}

pub fn key(row: proxy_key::Model, mut secrets: Vec<key_secret::Model>) -> Result<ProxyKey> {
    secrets.sort_unstable_by_key(|row| row.slot);
    let owner = match (row.user_id, row.group_id) {
        (None, None) => Owner::Tenant,
        (Some(user), None) => Owner::User(UserId(user)),
        (None, Some(group)) => Owner::Group(GroupId(group)),
        (Some(_), Some(_)) => return Err(Broken("belongs to a user and to a group".to_owned())),
    };
    let channels: Option<Vec<StoredPreference>> = optional("channels", row.channels)?;
    let channels = channels.unwrap_or_default().into_iter();
    let preference = |stored: StoredPreference| ChannelPreference {
        channel: stored.channel_id.into(),
        priority: stored.priority,
    };
    Ok(ProxyKey {
        id: row.id.into(),
        tenant: row.tenant_id.into(),
        name: row.name,
        owner,
        enabled: row.enabled,
        expires_ms: row.expires_ms,
        models: optional("models", row.models)?,
        channels: channels.map(preference).collect(),
        ip_allow: optional("ip_allow", row.ip_allow)?.unwrap_or_default(),
        secrets: secrets.into_iter().map(key_secret).collect::<Result<_>>()?,
    })
}

fn key_secret(row: key_secret::Model) -> Result<KeySecret> {
    let digest = row.digest.try_into();
    Ok(KeySecret {
        digest: digest.map_err(|_| Broken("a digest is not 32 bytes long".to_owned()))?,
        expires_ms: row.expires_ms,
    })
}

pub fn channel(
    row: channel::Model,
    mut pool: Vec<credential::Model>,
    sealer: &Sealer,
) -> Result<Channel> {
    pool.sort_unstable_by_key(|row| (row.position, row.id));
    let base = Base::parse(&row.base_url).map_err(|error| Broken(format!("base_url {error}")))?;
    let origin = base.origin();
    let credentials = pool
        .into_iter()
        .map(|credential| open(credential, row.tenant_id, &origin, sealer))
        .collect();
    Ok(Channel {
        id: row.id.into(),
        owner: row.tenant_id.map(Into::into),
        name: row.name,
        kind: document("kind", JsonValue::String(row.kind))?,
        base,
        auth: optional("auth", row.auth)?.unwrap_or_default(),
        credentials,
        timeouts: document::<shared::Timeouts>("timeouts", row.timeouts)?,
        retry: document::<shared::Retry>("retry", row.retry)?,
        proxy_paths: optional("proxy_paths", row.proxy_paths)?,
        settings: document::<shared::Settings>("settings", row.settings)?,
        weight: count("weight", row.weight)?,
        priority: row.priority,
        enabled: row.enabled,
        allowed_origin: row.allowed_origin,
    })
}

/// What operators have set.
pub fn settings(row: runtime_setting::Model) -> Result<RuntimeSettings> {
    document("settings", row.settings)
}

/// Opens a credential, in its own place and for its own origin alone. One that does not open stays in the pool, so that
/// people see it, without a secret, so that it is never used.
fn open(
    row: credential::Model,
    tenant: Option<uuid::Uuid>,
    origin: &str,
    sealer: &Sealer,
) -> Credential {
    let place = Place {
        table: "credentials",
        column: "sealed",
        row: row.id,
        tenant,
    };
    let sealed = Sealed {
        bytes: row.sealed,
        master_key_id: row.master_key_id,
    };
    let secret = if row.origin == origin {
        sealer
            .open(&sealed, place)
            .inspect_err(|error| tracing::warn!(%error, "a credential is not used"))
            .ok()
    } else {
        tracing::warn!(
            credential = %row.id,
            "a credential is not used: it was given for another origin than its channel's"
        );
        None
    };
    Credential {
        id: row.id.into(),
        name: row.name,
        enabled: row.enabled,
        secret,
    }
}

pub fn model(
    row: model::Model,
    mut routes: Vec<route::Model>,
    mut prices: Vec<price::Model>,
) -> Result<Model> {
    routes.sort_unstable_by_key(|row| (row.position, row.id));
    prices.sort_unstable_by_key(|row| row.effective_ms);
    Ok(Model {
        id: row.id.into(),
        owner: row.tenant_id.map(Into::into),
        name: row.name,
        enabled: row.enabled,
        created_ms: row.created_ms,
        capabilities: document("capabilities", row.capabilities)?,
        context_tokens: amount("context_tokens", row.context_tokens)?,
        max_output_tokens: amount("max_output_tokens", row.max_output_tokens)?,
        max_image_tokens: amount("max_image_tokens", row.max_image_tokens)?,
        tokenizer: row.tokenizer,
        routes: routes.into_iter().map(route).collect::<Result<_>>()?,
        prices: prices.into_iter().map(price).collect::<Result<_>>()?,
    })
}

fn route(row: route::Model) -> Result<Route> {
    Ok(Route {
        id: row.id.into(),
        channel: row.channel_id.into(),
        upstream_model: row.upstream_model,
        weight: count("a route's weight", row.weight)?,
        priority: row.priority,
        max_rps: row
            .max_rps
            .map(|rps| count("a route's max_rps", rps))
            .transpose()?,
        enabled: row.enabled,
    })
}

pub fn limit(row: limit::Model) -> Result<Limit> {
    Ok(Limit {
        id: row.id.into(),
        scope: scope(&columns!(row))?,
        rule: document("rule", row.rule)?,
        position: count("position", row.position)?,
    })
}

pub fn budget(row: budget::Model) -> Result<Budget> {
    let scope = scope(&columns!(row))?;
    let rule: weir_api_types::limit::Budget = document("rule", row.rule)?;
    Ok(Budget {
        id: row.id.into(),
        scope,
        amount: Amount::of(&rule).map_err(|error| Broken(format!("rule: {error}")))?,
        period: rule.period,
        mode: rule.mode,
        alert_at: rule.alert_at,
        position: count("position", row.position)?,
    })
}

/// The thing that a limit's or budget's row stands on.
fn scope(row: &ScopeColumns) -> Result<Scope> {
    let odd = || Broken("stands on two things, or on a tenant's one without the tenant".to_owned());
    let tenant = row.tenant.map(TenantId);
    match (row.group, row.user, row.key, row.channel, row.model) {
        (None, None, None, None, None) => Ok(tenant.map_or(Scope::Platform, Scope::Tenant)),
        (Some(group), None, None, None, None) => {
            Ok(Scope::Group(tenant.ok_or_else(odd)?, group.into()))
        }
        (None, Some(user), None, None, None) => {
            Ok(Scope::User(tenant.ok_or_else(odd)?, user.into()))
        }
        (None, None, Some(key), None, None) => Ok(Scope::Key(tenant.ok_or_else(odd)?, key.into())),
        (None, None, None, Some(channel), None) => Ok(Scope::Channel(channel.into())),
        (None, None, None, None, Some(model)) => Ok(Scope::Model(model.into())),
        _ => Err(odd()),
    }
}

fn price(row: price::Model) -> Result<DatedPrice> {
    Ok(DatedPrice {
        effective_ms: row.effective_ms,
        rates: document::<Rates>("rates", row.rates)?,
    })
}

fn document<T: DeserializeOwned>(column: &str, value: JsonValue) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Broken(format!("{column}: {error}")))
}

/// As [`document`]; a JSON `null` is as good as none.
fn optional<T: DeserializeOwned>(column: &str, value: Option<JsonValue>) -> Result<Option<T>> {
    value.map_or(Ok(None), |value| document(column, value))
}

fn count(column: &str, value: i32) -> Result<u32> {
    u32::try_from(value).map_err(|_| Broken(format!("{column} is negative")))
}

fn amount(column: &str, value: Option<i64>) -> Result<Option<u64>> {
    let amount = value.map(u64::try_from).transpose();
    amount.map_err(|_| Broken(format!("{column} is negative")))
}
