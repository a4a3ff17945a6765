//! The model lists: what the caller may use, in OpenAI's form with Weir's additions.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    billing::Price,
    catalog::{Catalog, Model},
    routing::{self, Asker},
};

/// One model in a list.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
    /// Name of the channel that goes first for the asker.
    provider: Option<&'a str>,
    max_tokens: Option<u64>,
    /// USD per million tokens, as the tenant is charged.
    input_price: Option<Price>,
    output_price: Option<Price>,
    capabilities: &'a [String],
}

/// All models that the asker may use, by name.
pub fn list(catalog: &Catalog, asker: Asker<'_>) -> Value {
    let mut models: Vec<&Arc<Model>> = asker.models(catalog).collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    let entries: Vec<Entry<'_>> = models
        .into_iter()
        .map(|model| entry(catalog, asker, model))
        .collect();
    json!({ "object": "list", "data": entries })
}

/// One model that the asker may use.
pub fn one(catalog: &Catalog, asker: Asker<'_>, name: &str) -> Result<Value, routing::Error> {
    let model = asker.model(catalog, name)?;
    Ok(json!(entry(catalog, asker, model)))
}

fn entry<'a>(catalog: &'a Catalog, asker: Asker<'_>, model: &'a Arc<Model>) -> Entry<'a> {
    let rates = model.rates(asker.now_ms);
    // Only a channel that the asker may use: the others' names are none of its business (threats.md, T11).
    let usable = model
        .routes
        .iter()
        .filter(|route| route.enabled)
        .filter_map(|route| {
            let channel = catalog.channel(route.channel)?;
            asker.may_use(channel).then_some((route, channel))
        });
    let provider = usable
        .max_by_key(|(route, channel)| {
            let own = asker.key.channel_priority(channel.id).flatten();
            (own, route.priority, route.weight)
        })
        .map(|(_, channel)| channel.name.as_str());
    Entry {
        id: &model.name,
        object: "model",
        created: model.created_ms / 1000,
        owned_by: if model.owner.is_some() {
            "tenant"
        } else {
            "weir"
        },
        provider,
        max_tokens: model.max_output_tokens,
        input_price: rates.and_then(|rates| rates.input),
        output_price: rates.and_then(|rates| rates.output),
        capabilities: &model.capabilities,
    }
}
