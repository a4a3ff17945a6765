//! Models with their routes and prices.

use std::collections::HashMap;

use actix_web::web;
use uuid::Uuid;
use weir_api_types::{
    manage::{ModelItem, Page},
    resources::Route,
};

use super::{State, error::ApiError, list::Asked};
use crate::{
    access::Caller,
    catalog::Model,
    resources::export,
    store::{
        self,
        names::{self, Named},
    },
};

/// `GET /v1/admin/models`
pub async fn list(
    caller: Caller,
    asked: Asked,
    state: web::Data<State>,
) -> Result<web::Json<Page<ModelItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let db = &state.stores.config.read;
    let models = store::models::list(db, scope, asked.page, &state.sealer).await?;
    let owners: Vec<Uuid> = models
        .iter()
        .filter_map(|model| Some(model.owner?.0))
        .collect();
    let owners = names::of(db, Named::Tenant, &owners).await?;
    let routes = models.iter().flat_map(|model| &model.routes);
    let channels: Vec<Uuid> = routes.map(|route| route.channel.0).collect();
    let channels = names::of(db, Named::Channel, &channels).await?;
    let items = models
        .into_iter()
        .map(|model| item(model, &owners, &channels));
    Ok(asked.answer(items.collect(), |item| item.id))
}

fn item(
    model: Model,
    owners: &HashMap<Uuid, String>,
    channels: &HashMap<Uuid, String>,
) -> ModelItem {
    let routes = model.routes.iter().map(|route| Route {
        channel: channels.get(&route.channel.0).cloned().unwrap_or_default(),
        model: Some(route.upstream_model.clone()),
        weight: Some(route.weight),
        priority: Some(route.priority),
        max_rps: Some(route.max_rps),
        enabled: Some(route.enabled),
    });
    ModelItem {
        id: model.id.0,
        tenant: model.owner.and_then(|owner| owners.get(&owner.0).cloned()),
        routes: routes.collect(),
        prices: export::prices(&model.prices),
        name: model.name,
        enabled: model.enabled,
        capabilities: model.capabilities,
        context_tokens: model.context_tokens,
        max_output_tokens: model.max_output_tokens,
        max_image_tokens: model.max_image_tokens,
    }
}
