//! What the platform grants a tenant: its models with what they cost, and its channels by their names. What lies behind those is the
//! platform's business (threats.md, T11).

use actix_web::{HttpRequest, web};
use weir_api_types::manage::{Granted, GrantedChannel, GrantedModel};

use super::{State, error::ApiError, list};
use crate::{
    access::Caller,
    catalog::{Catalog, Channel, Model},
    resources::export,
    routing,
    tenancy::Tenant,
};

/// `GET /v1/admin/granted`
pub async fn show(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<web::Json<Granted>, ApiError> {
    let id = list::tenant(&state, &caller, &request).await?;
    let catalog = state.catalog.load();
    let tenant = catalog
        .tenant(id)
        .ok_or_else(|| ApiError::not_found("tenant"))?;
    let channels = catalog
        .channels()
        .filter(|channel| is_granted(tenant, channel));
    let mut channels: Vec<GrantedChannel> = channels
        .map(|channel| GrantedChannel {
            name: channel.name.clone(),
            kind: channel.kind,
            up: (state.is_up)(channel),
        })
        .collect();
    channels.sort_by(|a, b| a.name.cmp(&b.name));
    let models = catalog.models().filter(|model| {
        let is_granted = model.enabled && tenant.may_use_model(&model.name);
        let found = catalog.model_named(id, &model.name);
        // One of the tenant's own goes before it.
        model.owner.is_none() && is_granted && found.is_some_and(|found| found.id == model.id)
    });
    let mut models: Vec<GrantedModel> = models
        .map(|model| granted_model(&catalog, tenant, model))
        .collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(web::Json(Granted { models, channels }))
}

fn is_granted(tenant: &Tenant, channel: &Channel) -> bool {
    channel.owner.is_none() && channel.enabled && routing::is_granted(tenant, channel)
}

fn granted_model(catalog: &Catalog, tenant: &Tenant, model: &Model) -> GrantedModel {
    let channels = catalog.channels_of(model);
    let channels = channels.filter(|channel| is_granted(tenant, channel));
    let mut channels: Vec<String> = channels.map(|channel| channel.name.clone()).collect();
    channels.sort();
    channels.dedup();
    GrantedModel {
        name: model.name.clone(),
        capabilities: model.capabilities.clone(),
        context_tokens: model.context_tokens,
        max_output_tokens: model.max_output_tokens,
        prices: export::prices(&model.prices),
        channels,
    }
}
