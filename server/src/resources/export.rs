//! The stored picture as a file: what `weir export` writes, and in what words a plan speaks.
//!
//! A secret is `{keep: id}`. Every field stands there, `null` included, so that the file is the whole truth and putting
//! it back undoes every change made since.

use jiff::Timestamp;
use weir_api_types::{
    resources::{
        Channel, DatedRates, Grants, Group, Key, KeyChannel, Model, OwnRole, Platform, Prices,
        Rates, Resources, Route, Tenant, User,
    },
    secret::{Credential, Secret},
};

use super::Picture;
use crate::{
    billing::{self, DatedPrice},
    catalog,
    tenancy::{self, GroupId, Owner, Person, ProxyKey, Scope, TenantId},
};

/// Everything, sorted by owner and name.
pub fn all(picture: &Picture) -> Resources {
    let mut channels: Vec<Channel> = picture
        .channels
        .values()
        .map(|value| channel(picture, value))
        .collect();
    channels.sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
    let mut models: Vec<Model> = picture
        .models
        .values()
        .map(|value| model(picture, value))
        .collect();
    models.sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
    let mut tenants: Vec<Tenant> = picture
        .tenants
        .values()
        .map(|value| whole_tenant(picture, value))
        .collect();
    tenants.sort_by(|a, b| a.name.cmp(&b.name));
    Resources {
        platform: Some(Platform {
            limits: Some(limits(picture, Scope::Platform)),
        }),
        channels: Some(channels),
        models: Some(models),
        tenants: Some(tenants),
    }
}

/// A channel.
pub fn channel(picture: &Picture, channel: &catalog::Channel) -> Channel {
    Channel {
        name: channel.name.clone(),
        tenant: owner_name(picture, channel.owner),
        kind: Some(channel.kind),
        base_url: Some(channel.base.to_string()),
        allowed_origin: channel.owner.map(|_| channel.allowed_origin.clone()),
        auth: Some((channel.auth != Default::default()).then(|| channel.auth.clone())),
        credentials: Some(channel.credentials.iter().map(credential).collect()),
        timeouts: Some(channel.timeouts),
        retry: Some(channel.retry.clone()),
        proxy_paths: Some(channel.proxy_paths.clone()),
        settings: Some(channel.settings),
        weight: Some(channel.weight),
        priority: Some(channel.priority),
        limits: Some(limits(picture, Scope::Channel(channel.id))),
        budgets: Some(budgets(picture, Scope::Channel(channel.id))),
        enabled: Some(channel.enabled),
    }
}

/// A model with its routes and prices.
pub fn model(picture: &Picture, model: &catalog::Model) -> Model {
    Model {
        name: model.name.clone(),
        tenant: owner_name(picture, model.owner),
        capabilities: Some(model.capabilities.clone()),
        context_tokens: Some(model.context_tokens),
        max_output_tokens: Some(model.max_output_tokens),
        max_image_tokens: Some(model.max_image_tokens),
        tokenizer: Some(model.tokenizer.clone()),
        prices: Some(prices(&model.prices)),
        routes: Some(
            model
                .routes
                .iter()
                .map(|value| route(picture, model, value))
                .collect(),
        ),
        limits: Some(limits(picture, Scope::Model(model.id))),
        enabled: Some(model.enabled),
    }
}

/// A tenant without what it owns.
pub fn tenant(tenant: &tenancy::Tenant) -> Tenant {
    let grants = tenant.grants.as_ref().map(|grants| Grants {
        models: grants.models.clone(),
        channels: grants.channels.clone(),
    });
    Tenant {
        name: tenant.name.clone(),
        time_zone: Some(tenant.time_zone.clone()),
        grants: Some(grants),
        policies: Some(tenant.policies),
        enabled: Some(tenant.enabled),
        ..Tenant::default()
    }
}

/// A key, its value kept.
pub fn key(picture: &Picture, key: &ProxyKey) -> Key {
    let (user, group) = match key.owner {
        Owner::Tenant => (None, None),
        Owner::User(id) => (
            picture.people.get(&id).map(|person| person.email.clone()),
            None,
        ),
        Owner::Group(id) => (None, group_name(picture, id)),
    };
    let channels = key.channels.iter().filter_map(|choice| {
        Some(KeyChannel {
            channel: picture.channel_reference(Some(key.tenant), choice.channel)?,
            priority: Some(choice.priority),
        })
    });
    Key {
        name: key.name.clone(),
        user: Some(user),
        group: Some(group),
        value: Some(Secret::Keep(key.id.0)),
        sha256: None,
        models: Some(key.models.clone()),
        ip_allow: Some(key.ip_allow.iter().map(ToString::to_string).collect()),
        channels: Some(channels.collect()),
        expires_at: Some(key.expires_ms.map(moment)),
        limits: Some(limits(picture, Scope::Key(key.tenant, key.id))),
        budgets: Some(budgets(picture, Scope::Key(key.tenant, key.id))),
        enabled: Some(key.enabled),
    }
}

/// A person as one tenant's user.
pub fn user(picture: &Picture, person: &Person, tenant: TenantId) -> Option<User> {
    let membership = person.membership(tenant)?;
    let groups = membership
        .groups
        .iter()
        .filter_map(|id| group_name(picture, *id));
    Some(User {
        email: person.email.clone(),
        name: Some(person.name.clone()),
        department: Some(person.department.clone()),
        contact: Some(person.contact.clone()),
        role: Some(picture.role_name(membership.role)),
        groups: Some(groups.collect()),
        limits: Some(limits(picture, Scope::User(tenant, person.id))),
        budgets: Some(budgets(picture, Scope::User(tenant, person.id))),
        enabled: Some(person.enabled),
    })
}

/// A moment in RFC 3339, to the millisecond where it has one.
pub fn moment(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |moment| moment.to_string())
}

fn whole_tenant(picture: &Picture, value: &tenancy::Tenant) -> Tenant {
    let mut roles: Vec<OwnRole> = picture
        .roles
        .values()
        .filter(|role| role.tenant == value.id)
        .map(|role| OwnRole {
            name: role.name.clone(),
            permissions: Some(role.permissions.words()),
        })
        .collect();
    roles.sort_by(|a, b| a.name.cmp(&b.name));
    let mut groups: Vec<Group> = picture
        .groups
        .values()
        .filter(|group| group.tenant == value.id)
        .map(|group| Group {
            name: group.name.clone(),
            limits: Some(limits(picture, Scope::Group(value.id, group.id))),
            budgets: Some(budgets(picture, Scope::Group(value.id, group.id))),
        })
        .collect();
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    let people = picture.people.values();
    let mut users: Vec<User> = people
        .filter_map(|person| user(picture, person, value.id))
        .collect();
    users.sort_by(|a, b| a.email.cmp(&b.email));
    let owned = picture.keys.values().filter(|key| key.tenant == value.id);
    let mut keys: Vec<Key> = owned.map(|value| key(picture, value)).collect();
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    Tenant {
        roles: Some(roles),
        groups: Some(groups),
        users: Some(users),
        keys: Some(keys),
        limits: Some(limits(picture, Scope::Tenant(value.id))),
        budgets: Some(budgets(picture, Scope::Tenant(value.id))),
        ..tenant(value)
    }
}

fn credential(credential: &catalog::Credential) -> Credential {
    Credential {
        secret: Secret::Keep(credential.id.0),
        name: credential.name.clone(),
        enabled: credential.enabled,
    }
}

fn route(picture: &Picture, model: &catalog::Model, route: &catalog::Route) -> Route {
    let channel = picture.channel_reference(model.owner, route.channel);
    Route {
        channel: channel.unwrap_or_default(),
        model: Some(route.upstream_model.clone()),
        weight: Some(route.weight),
        priority: Some(route.priority),
        max_rps: Some(route.max_rps),
        enabled: Some(route.enabled),
    }
}

/// One price since ever is written plainly; everything else with its dates.
pub fn prices(prices: &[DatedPrice]) -> Prices {
    match prices {
        [] => Prices::Dated(Vec::new()),
        [only] if only.effective_ms == 0 => Prices::Now(rates(&only.rates)),
        all => Prices::Dated(
            all.iter()
                .map(|price| DatedRates {
                    from: (price.effective_ms != 0).then(|| moment(price.effective_ms)),
                    rates: rates(&price.rates),
                })
                .collect(),
        ),
    }
}

fn rates(rates: &billing::Rates) -> Rates {
    let object = serde_json::to_value(rates).unwrap_or_default();
    serde_json::from_value(object).unwrap_or_default()
}

/// The limits that stand on a thing.
pub fn limits(picture: &Picture, scope: Scope) -> Vec<weir_api_types::limit::Limit> {
    let limits = picture.limits_on(scope).into_iter();
    limits.map(|limit| limit.rule.clone()).collect()
}

/// The budgets that stand on a thing.
pub fn budgets(picture: &Picture, scope: Scope) -> Vec<weir_api_types::limit::Budget> {
    let budgets = picture.budgets_on(scope).into_iter();
    budgets.map(tenancy::Budget::rule).collect()
}

fn owner_name(picture: &Picture, owner: Option<TenantId>) -> Option<String> {
    picture.tenant_name(owner).map(str::to_owned)
}

fn group_name(picture: &Picture, id: GroupId) -> Option<String> {
    picture.groups.get(&id).map(|group| group.name.clone())
}
