//! Which channels may take a call, in which order, and with which of their credentials.
//!
//! [`candidates`] reads the catalog: model -> routes by priority and weight, less what the key or the tenant may not
//! use. [`Health`] remembers what traffic taught: credentials that were refused or must rest. No I/O and no store.

pub mod health;
pub mod proxied;
pub mod strategy;

use std::sync::Arc;

use weir_api_types::channel::Kind;

use crate::{
    billing::Rates,
    catalog::{Catalog, Channel, Model},
    tenancy::{ProxyKey, RouteId, Tenant},
};

pub use health::Health;

/// One way to serve a call.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub channel: Arc<Channel>,
    /// The model's name there; `None` where the call names none.
    pub upstream_model: Option<String>,
    /// The public model, for which the call is priced and booked.
    pub model: Option<Arc<Model>>,
    /// The rates in force when the call began; `None` is unpriced.
    pub rates: Option<Rates>,
    /// The route, and the most requests a second that may take it.
    pub max_rps: Option<(RouteId, u32)>,
}

/// Why a call has no candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Unknown, or not granted to the tenant: the two must not be told apart.
    ModelNotFound,
    /// The tenant may use it, this key may not.
    ModelNotAllowed,
    ChannelNotFound,
    /// Known and allowed, but no channel of it is enabled and allowed.
    NoChannel,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    pub tenant: &'a Tenant,
    pub key: &'a ProxyKey,
    pub now_ms: i64,
}

impl Asker<'_> {
    /// The model that a name means to the asker.
    pub fn model<'c>(&self, catalog: &'c Catalog, name: &str) -> Result<&'c Arc<Model>, Error> {
        let granted = |model: &&Arc<Model>| {
            model.enabled && (model.owner.is_some() || self.tenant.may_use_model(&model.name))
        };
        let model = catalog
            .model_named(self.tenant.id, name)
            .filter(granted)
            .ok_or(Error::ModelNotFound)?;
        if self.key.may_use_model(&model.name) {
            Ok(model)
        } else {
            Err(Error::ModelNotAllowed)
        }
    }

    /// All models that the asker may use: those that their names mean to it, and not what these shadow.
    pub fn models(self, catalog: &Catalog) -> impl Iterator<Item = &Arc<Model>> {
        catalog.models().filter(move |model| {
            self.model(catalog, &model.name)
                .is_ok_and(|found| found.id == model.id)
        })
    }

    /// The channel that a name means to the asker.
    pub fn channel<'c>(&self, catalog: &'c Catalog, name: &str) -> Result<&'c Arc<Channel>, Error> {
        let channel = catalog
            .channel_named(self.tenant.id, name)
            .filter(|channel| self.may_use(channel));
        channel.ok_or(Error::ChannelNotFound)
    }

    /// Whether the channel is enabled and both tenant and key may use it.
    pub fn may_use(&self, channel: &Channel) -> bool {
        let granted = is_granted(self.tenant, channel);
        channel.enabled && granted && self.key.channel_priority(channel.id).is_some()
    }
}

/// Whether the tenant is granted the channel, whatever a key of its may use.
pub fn is_granted(tenant: &Tenant, channel: &Channel) -> bool {
    match channel.owner {
        None => tenant.may_use_channel(&channel.name),
        Some(owner) => owner == tenant.id,
    }
}

/// The candidates for a model, best first.
pub fn candidates(
    catalog: &Catalog,
    asker: Asker<'_>,
    name: &str,
) -> Result<Vec<Candidate>, Error> {
    let model = asker.model(catalog, name)?;
    let routes = model.routes.iter().filter(|route| route.enabled);
    let weighed = routes.filter_map(|route| {
        let channel = catalog
            .channel(route.channel)
            .filter(|channel| asker.may_use(channel) && speaks_openai(channel))?;
        // The key's own order goes before the routes'.
        let own = asker.key.channel_priority(channel.id).flatten();
        let mut candidate = candidate(
            channel,
            Some(route.upstream_model.clone()),
            Some(model),
            asker.now_ms,
        );
        candidate.max_rps = route.max_rps.map(|rps| (route.id, rps));
        Some(strategy::Weighed {
            rank: (own, route.priority),
            weight: route.weight,
            item: candidate,
        })
    });
    let strategy = catalog.settings().strategy;
    let ordered = strategy::order_by(strategy, weighed.collect(), &mut rand::rng());
    if ordered.is_empty() {
        Err(Error::NoChannel)
    } else {
        Ok(ordered)
    }
}

/// The one candidate on a channel that the caller named. A model that the catalog does not know there is refused if it
/// is known elsewhere and not allowed, and unpriced otherwise.
pub fn on_channel(
    catalog: &Catalog,
    asker: Asker<'_>,
    channel: &Arc<Channel>,
    name: Option<&str>,
) -> Result<Candidate, Error> {
    let Some(name) = name else {
        return Ok(candidate(channel, None, None, asker.now_ms));
    };
    match asker.model(catalog, name) {
        Ok(model) => {
            let route = model
                .routes
                .iter()
                .find(|route| route.enabled && route.channel == channel.id);
            match route {
                Some(route) => Ok(candidate(
                    channel,
                    Some(route.upstream_model.clone()),
                    Some(model),
                    asker.now_ms,
                )),
                None => by_upstream_name(catalog, asker, channel, name),
            }
        }
        Err(Error::ModelNotAllowed) => Err(Error::ModelNotAllowed),
        Err(_) => by_upstream_name(catalog, asker, channel, name),
    }
}

/// The one candidate for a call that goes through untouched: the vendor reads the model's name as the caller wrote it,
/// so that is the name that is looked for, among the channel's routes.
pub fn as_named_upstream(
    catalog: &Catalog,
    asker: Asker<'_>,
    channel: &Arc<Channel>,
    name: Option<&str>,
) -> Result<Candidate, Error> {
    match name {
        Some(name) => by_upstream_name(catalog, asker, channel, name),
        None => Ok(candidate(channel, None, None, asker.now_ms)),
    }
}

/// A model by the name that it has at the vendor. Only a dedicated channel serves one that no route names: on a shared
/// one it would be free and ungranted.
fn by_upstream_name(
    catalog: &Catalog,
    asker: Asker<'_>,
    channel: &Arc<Channel>,
    name: &str,
) -> Result<Candidate, Error> {
    let routed = |model: &&Arc<Model>| {
        model.routes.iter().any(|route| {
            route.enabled && route.channel == channel.id && route.upstream_model == name
        })
    };
    let mut refused = Error::ModelNotFound;
    // Several may lead there: the one of the same name, else the first by name, whatever the map's order.
    let mut models: Vec<&Arc<Model>> = catalog.models().filter(routed).collect();
    models.sort_by(|a, b| (a.name != name, &a.name).cmp(&(b.name != name, &b.name)));
    for model in models {
        match asker.model(catalog, &model.name) {
            Ok(found) if found.id == model.id => {
                return Ok(candidate(
                    channel,
                    Some(name.to_owned()),
                    Some(model),
                    asker.now_ms,
                ));
            }
            Err(Error::ModelNotAllowed) => refused = Error::ModelNotAllowed,
            _ => {}
        }
    }
    match (refused, channel.owner) {
        (Error::ModelNotFound, Some(_)) if asker.key.may_use_model(name) => Ok(candidate(
            channel,
            Some(name.to_owned()),
            None,
            asker.now_ms,
        )),
        (Error::ModelNotFound, Some(_)) => Err(Error::ModelNotAllowed),
        (refused, _) => Err(refused),
    }
}

/// The channels for a call that names no model: those that the asker may use, best first.
pub fn without_model(catalog: &Catalog, asker: Asker<'_>) -> Vec<Candidate> {
    let settings = catalog.settings();
    let usable = catalog
        .channels()
        .filter(|channel| asker.may_use(channel) && speaks_openai(channel));
    let weighed = usable.map(|channel| {
        let own = asker.key.channel_priority(channel.id).flatten();
        let is_default = channel.owner.is_none()
            && settings.default_channel.as_deref() == Some(channel.name.as_str());
        let item = candidate(channel, None, None, asker.now_ms);
        strategy::Weighed {
            rank: (own, is_default, channel.priority),
            weight: channel.weight,
            item,
        }
    });
    strategy::order_by(settings.strategy, weighed.collect(), &mut rand::rng())
}

/// Whether a call in OpenAI's dialect can be relayed there without translation.
pub fn speaks_openai(channel: &Channel) -> bool {
    matches!(
        channel.kind,
        Kind::Openai | Kind::AzureOpenai | Kind::Custom
    )
}

fn candidate(
    channel: &Arc<Channel>,
    upstream_model: Option<String>,
    model: Option<&Arc<Model>>,
    now_ms: i64,
) -> Candidate {
    let rates = model.and_then(|model| model.rates(now_ms)).cloned();
    Candidate {
        channel: Arc::clone(channel),
        upstream_model,
        model: model.cloned(),
        rates,
        max_rps: None,
    }
}
