//! What a call is counted by, and the most that it may come to.

use std::{collections::BTreeSet, net::IpAddr};

use jiff::tz::TimeZone;
use weir_api_types::limit::{Each, Metric, Period};

use crate::{
    billing::Rates,
    catalog::{Catalog, Model},
    metering::UsageEvent,
    tenancy::{
        Budget, GroupId, KeyId, Limit, ModelId, ProxyKey, RequestId, Scope, TenantId, UserId,
        address, limit::Spending, name,
    },
};

use super::{
    period::{self, Window},
    rates::CountKey,
};

/// Who calls, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    pub tenant: TenantId,
    pub group: Option<GroupId>,
    pub user: Option<UserId>,
    pub key: KeyId,
    pub address: IpAddr,
    /// The public model, where the call is for one that the catalog knows.
    pub model: Option<&'a Model>,
    /// The endpoint's label.
    pub endpoint: &'a str,
}

/// One call that asks to be let through.
#[derive(Debug)]
pub struct Claim<'c> {
    pub id: RequestId,
    pub limits: Vec<Counted<'c>>,
    pub budgets: Vec<Watched<'c>>,
    /// What limits on tokens count until the truth is known.
    pub estimated_tokens: u64,
    pub most: Most,
}

/// A limit that counts a call, and under which value.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'c> {
    pub limit: &'c Limit,
    pub value: Value,
}

/// A budget that a call spends from, in the window in which it was admitted.
#[derive(Debug, Clone, Copy)]
pub struct Watched<'c> {
    pub budget: &'c Budget,
    pub window: Window,
}

/// The value under which a limit with `each` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value {
    /// One count for all.
    All,
    Key(KeyId),
    User(UserId),
    /// The network of an address, as [`address::network`] cuts it.
    Network(IpAddr),
    Model(ModelId),
}

/// The most that a call may come to: what hard budgets reserve.
#[derive(Debug, Clone, Default)]
pub struct Most {
    /// Input tokens; `None` where nothing bounds them.
    pub input: Option<u64>,
    pub output: Output,
    /// What it is priced by; `None` is unpriced.
    pub rates: Option<Rates>,
}

/// How many tokens a call may generate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Output {
    /// It generates none.
    #[default]
    None,
    /// The caller said so, over all choices.
    Bounded(u64),
    /// The caller did not say, and Weir may, for each of so many choices; at most the model's ceiling.
    Open { ceiling: Option<u64>, choices: u64 },
    /// Nobody can say.
    Unbounded,
}

impl Most {
    /// The most of one kind, for a call that generates at most so many tokens. `None` where it cannot be told.
    pub fn of(&self, spending: Spending, output: u64) -> Option<u64> {
        match spending {
            Spending::Requests => Some(1),
            Spending::Tokens => Some(self.input?.saturating_add(output)),
            Spending::Money => {
                let most = self.rates.as_ref()?.most(self.input?, output);
                u64::try_from(most.nanos()).ok()
            }
        }
    }

    /// How many output tokens so much of one kind is enough for; `None` where any number is.
    pub fn output_for(&self, spending: Spending, units: u64) -> Option<u64> {
        match spending {
            Spending::Requests => None,
            Spending::Tokens => Some(units),
            Spending::Money => self.rates.as_ref()?.output_for(units),
        }
    }
}

impl<'c> Claim<'c> {
    /// Everything that counts a call.
    pub fn of(catalog: &'c Catalog, who: &Who<'_>, id: RequestId) -> Self {
        Self {
            id,
            limits: limits(catalog, who),
            budgets: budgets(catalog, who, id.at_ms()),
            estimated_tokens: 0,
            most: Most::default(),
        }
    }
}

impl Counted<'_> {
    /// The count that it goes to.
    pub fn key(&self) -> CountKey {
        CountKey {
            limit: self.limit.id,
            value: self.value,
        }
    }
}

/// The limits that count before anybody is identified: the platform's on requests of each address.
pub fn at_the_door<'c>(catalog: &'c Catalog, address: IpAddr, endpoint: &str) -> Vec<Counted<'c>> {
    let limits = catalog.limits(Scope::Platform).iter();
    let counted = limits.filter(|limit| is_at_the_door(limit) && is_for(limit, None, endpoint));
    counted
        .map(|limit| Counted {
            limit,
            value: Value::Network(address::network(address)),
        })
        .collect()
}

fn is_at_the_door(limit: &Limit) -> bool {
    let rule = &limit.rule;
    limit.scope == Scope::Platform
        && rule.each == Some(Each::Ip)
        && rule.metric == Metric::Requests
        && rule.model.is_none()
}

fn limits<'c>(catalog: &'c Catalog, who: &Who<'_>) -> Vec<Counted<'c>> {
    let scopes = [
        Some(Scope::Platform),
        who.model.map(|model| Scope::Model(model.id)),
        Some(Scope::Tenant(who.tenant)),
        who.group.map(|group| Scope::Group(who.tenant, group)),
        who.user.map(|user| Scope::User(who.tenant, user)),
        Some(Scope::Key(who.tenant, who.key)),
    ];
    let scopes = scopes.into_iter().flatten();
    let counted = scopes.flat_map(|scope| of_scope(catalog, who, scope));
    counted.collect()
}

/// Where limits and budgets stand that calls with a key have to pass, the widest first; those of models and channels aside.
pub fn scopes_of_key(catalog: &Catalog, key: &ProxyKey) -> impl Iterator<Item = Scope> {
    let (user, group) = catalog.owners(key);
    let own = spending_scopes(key.tenant, group, user, key.id);
    [Scope::Platform].into_iter().chain(own)
}

/// The value under which a limit counts all calls of a key; `None` where it depends on the call.
pub fn value_of_key(catalog: &Catalog, key: &ProxyKey, limit: &Limit) -> Option<Value> {
    let (user, _) = catalog.owners(key);
    match limit.rule.each {
        None => Some(Value::All),
        Some(Each::Key) => Some(Value::Key(key.id)),
        Some(Each::User) => Some(user.map_or(Value::Key(key.id), Value::User)),
        Some(Each::Ip | Each::Model) => None,
    }
}

/// The limits of a channel that count an attempt.
pub fn of_channel<'c>(catalog: &'c Catalog, who: &Who<'_>, scope: Scope) -> Vec<Counted<'c>> {
    of_scope(catalog, who, scope).collect()
}

/// The limits of one thing that count a call, but for those that have counted it at the door.
fn of_scope<'c>(
    catalog: &'c Catalog,
    who: &Who<'_>,
    scope: Scope,
) -> impl Iterator<Item = Counted<'c>> {
    let limits = catalog.limits(scope).iter();
    let counts =
        limits.filter(|limit| !is_at_the_door(limit) && is_for(limit, who.model, who.endpoint));
    counts.map(|limit| Counted {
        limit,
        value: value(limit.rule.each, who),
    })
}

fn is_for(limit: &Limit, model: Option<&Model>, endpoint: &str) -> bool {
    let rule = &limit.rule;
    let of_model = match (&rule.model, model) {
        (None, _) => true,
        (Some(pattern), Some(model)) => name::matches(pattern, &model.name),
        (Some(_), None) => false,
    };
    of_model && rule.endpoint.as_deref().is_none_or(|only| only == endpoint)
}

fn value(each: Option<Each>, who: &Who<'_>) -> Value {
    match each {
        None => Value::All,
        Some(Each::Key) => Value::Key(who.key),
        Some(Each::User) => who.user.map_or(Value::Key(who.key), Value::User),
        Some(Each::Ip) => Value::Network(address::network(who.address)),
        Some(Each::Model) => who.model.map_or(Value::All, |model| Value::Model(model.id)),
    }
}

fn budgets<'c>(catalog: &'c Catalog, who: &Who<'_>, at_ms: i64) -> Vec<Watched<'c>> {
    spending_scopes(who.tenant, who.group, who.user, who.key)
        .flat_map(|scope| watched(catalog, scope, at_ms))
        .collect()
}

/// Everything of a tenant that a call may spend from, the widest first.
pub fn spending_scopes(
    tenant: TenantId,
    group: Option<GroupId>,
    user: Option<UserId>,
    key: KeyId,
) -> impl Iterator<Item = Scope> {
    let scopes = [
        Some(Scope::Tenant(tenant)),
        group.map(|group| Scope::Group(tenant, group)),
        user.map(|user| Scope::User(tenant, user)),
        Some(Scope::Key(tenant, key)),
    ];
    scopes.into_iter().flatten()
}

/// Everything that a call has spent from: its tenant's, and the channels of its attempts.
pub fn scopes_of(event: &UsageEvent) -> impl Iterator<Item = Scope> {
    let mut channels: Vec<Scope> = event
        .attempts
        .iter()
        .map(|attempt| Scope::Channel(attempt.channel))
        .collect();
    channels.dedup();
    spending_scopes(event.tenant, event.group, event.user, event.key).chain(channels)
}

/// All budgets there are, in the windows that a moment is in.
pub fn all_watched(catalog: &Catalog, at_ms: i64) -> Vec<Watched<'_>> {
    let scopes: BTreeSet<Scope> = catalog.all_budgets().map(|budget| budget.scope).collect();
    let watched = scopes
        .into_iter()
        .flat_map(|scope| watched(catalog, scope, at_ms));
    watched.collect()
}

/// The budgets of one thing, in the windows that a moment is in.
pub fn watched(catalog: &Catalog, scope: Scope, at_ms: i64) -> Vec<Watched<'_>> {
    let budgets = catalog.budgets(scope);
    if budgets.is_empty() {
        return Vec::new();
    }
    let zone = zone_of(catalog, scope);
    let watched = budgets.iter().map(|budget| Watched {
        budget,
        window: period::window(budget.period, &zone, at_ms),
    });
    watched.collect()
}

/// The window of a thing's period that a moment is in.
pub fn window_of(catalog: &Catalog, scope: Scope, period: Period, at_ms: i64) -> Window {
    period::window(period, &zone_of(catalog, scope), at_ms)
}

/// The zone whose calendar a thing's budgets go by: the tenant's, or UTC for what is the platform's.
fn zone_of(catalog: &Catalog, scope: Scope) -> TimeZone {
    let tenant = catalog
        .owner_of(scope)
        .and_then(|tenant| catalog.tenant(tenant));
    period::zone(tenant.map_or("UTC", |tenant| &tenant.time_zone))
}
