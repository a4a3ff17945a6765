//! Models of a file, with their routes and prices.

use weir_api_types::resources::{DatedRates, Model as Given, Prices, Route as GivenRoute};

use super::{Merge, NO_CHANNEL, checks};
use crate::{
    billing::{DatedPrice, Rates, price},
    catalog::{Model, Route},
    tenancy::{ModelId, RouteId, Scope, TenantId, name},
};

const MAX_ROUTES: usize = 200;
const MAX_PRICES: usize = 1_000;

/// Tokenizers that estimates can use.
const TOKENIZERS: &[&str] = &["o200k", "cl100k"];

impl Merge<'_> {
    /// Merges all models.
    pub(super) fn models(&mut self, given: &[Given]) {
        let mut named = Vec::new();
        for (at, given) in given.iter().enumerate() {
            let path = format!("models[{at}]");
            let owner = self.owner(&path, given.tenant.as_deref());
            let name = self.accept(&format!("{path}.name"), name::normal(&given.name));
            let (Ok(owner), Some(name)) = (owner, name) else {
                continue;
            };
            if named.contains(&(owner, name.clone())) {
                self.refuse(format!("{path}.name"), "stands in this file twice");
                continue;
            }
            named.push((owner, name.clone()));
            let model = self.model(&path, owner, name, given);
            let scope = Scope::Model(model.id);
            self.merged.picture.models.insert(model.id, model);
            self.limits(&path, scope, given.limits.as_deref());
        }
    }

    fn model(&mut self, path: &str, owner: Option<TenantId>, name: String, given: &Given) -> Model {
        let stored = self.merged.picture.model_of(owner, &name);
        let stored = stored.and_then(|id| self.merged.picture.models.get(&id).cloned());
        let mut model = stored.unwrap_or_else(|| Model {
            id: ModelId::random(),
            owner,
            name,
            enabled: true,
            ..Model::default()
        });
        model.enabled = given.enabled.unwrap_or(model.enabled);
        if let Some(words) = &given.capabilities {
            model.capabilities = self.list(&format!("{path}.capabilities"), words, name::normal);
        }
        if let Some(count) = given.context_tokens {
            model.context_tokens = self.tokens(&format!("{path}.context_tokens"), count);
        }
        if let Some(count) = given.max_output_tokens {
            model.max_output_tokens = self.tokens(&format!("{path}.max_output_tokens"), count);
        }
        if let Some(count) = given.max_image_tokens {
            model.max_image_tokens = self.tokens(&format!("{path}.max_image_tokens"), count);
        }
        if let Some(tokenizer) = &given.tokenizer {
            let unknown = |name: &String| !TOKENIZERS.contains(&name.as_str());
            if tokenizer.as_ref().is_some_and(unknown) {
                let message = format!("is none of {}", TOKENIZERS.join(", "));
                self.refuse(format!("{path}.tokenizer"), message);
            }
            model.tokenizer.clone_from(tokenizer);
        }
        if let Some(prices) = &given.prices {
            self.prices(&format!("{path}.prices"), &mut model, prices);
        }
        if let Some(routes) = &given.routes {
            self.routes(&format!("{path}.routes"), &mut model, routes);
        }
        model
    }

    fn tokens(&mut self, path: &str, count: Option<u64>) -> Option<u64> {
        self.accept(path, checks::tokens(count?))
    }

    /// A plain price holds from now on: what was before stays on record, what was planned for later goes.
    fn prices(&mut self, path: &str, model: &mut Model, given: &Prices) {
        match given {
            Prices::Now(rates) => {
                let Some(rates) = self.accept(path, checks::rates(rates)) else {
                    return;
                };
                let now_ms = self.now_ms;
                model.prices.retain(|price| price.effective_ms <= now_ms);
                if price::in_force(&model.prices, now_ms).unwrap_or(&Rates::default()) == &rates {
                    return;
                }
                // What was never priced has this price since ever: usage on its way is not free.
                let first = model.prices.is_empty();
                let effective_ms = if first { 0 } else { now_ms };
                model
                    .prices
                    .retain(|price| price.effective_ms != effective_ms);
                model.prices.push(DatedPrice {
                    effective_ms,
                    rates,
                });
            }
            Prices::Dated(list) if list.len() > MAX_PRICES => {
                self.refuse(path, format!("has more than {MAX_PRICES} prices"));
            }
            Prices::Dated(list) => model.prices = self.dated(path, list),
        }
    }

    fn dated(&mut self, path: &str, given: &[DatedRates]) -> Vec<DatedPrice> {
        let mut prices: Vec<DatedPrice> = Vec::new();
        for (at, given) in given.iter().enumerate() {
            let path = format!("{path}[{at}]");
            let from = given.from.as_deref().map_or(Ok(0), checks::instant);
            let from = self.accept(&format!("{path}.from"), from);
            let rates = self.accept(&path, checks::rates(&given.rates));
            let (Some(effective_ms), Some(rates)) = (from, rates) else {
                continue;
            };
            if prices
                .iter()
                .any(|price| price.effective_ms == effective_ms)
            {
                self.refuse(path, "begins at the moment of an earlier one");
                continue;
            }
            prices.push(DatedPrice {
                effective_ms,
                rates,
            });
        }
        prices.sort_by_key(|price| price.effective_ms);
        prices
    }

    fn routes(&mut self, path: &str, model: &mut Model, given: &[GivenRoute]) {
        if given.len() > MAX_ROUTES {
            self.refuse(path, format!("has more than {MAX_ROUTES} routes"));
            return;
        }
        let stored = std::mem::take(&mut model.routes);
        for (at, given) in given.iter().enumerate() {
            let path = format!("{path}[{at}]");
            let Some(mut route) = self.route(&path, model, given) else {
                continue;
            };
            let same = |other: &&Route| {
                other.channel == route.channel && other.upstream_model == route.upstream_model
            };
            if model.routes.iter().any(|earlier| same(&earlier)) {
                self.refuse(path, "goes to the channel and model of an earlier one");
                continue;
            }
            if let Some(stored) = stored.iter().find(same) {
                route.id = stored.id;
            }
            model.routes.push(route);
        }
    }

    fn route(&mut self, path: &str, model: &Model, given: &GivenRoute) -> Option<Route> {
        let channel = self
            .merged
            .picture
            .channel_named(model.owner, &given.channel);
        let channel = self.accept(&format!("{path}.channel"), channel.ok_or(NO_CHANNEL))?;
        let upstream_model = given.model.as_deref().unwrap_or(&model.name);
        let upstream_model = checks::upstream_model(upstream_model);
        Some(Route {
            id: RouteId::random(),
            channel,
            upstream_model: self.accept(&format!("{path}.model"), upstream_model)?,
            weight: self.accept(
                &format!("{path}.weight"),
                checks::weight(given.weight.unwrap_or(1)),
            )?,
            priority: given.priority.unwrap_or(0),
            max_rps: match given.max_rps.flatten() {
                Some(rps) => Some(self.accept(&format!("{path}.max_rps"), checks::max_rps(rps))?),
                None => None,
            },
            enabled: given.enabled.unwrap_or(true),
        })
    }
}
