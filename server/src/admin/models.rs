//! Models with their routes and prices: listed, made, changed, deleted.

use std::collections::HashMap;

use actix_web::web;
use sea_orm::ConnectionTrait;
use uuid::Uuid;
use weir_api_types::{
    manage::{ModelItem, Page},
    resources::{Model as Order, Resources, Route},
};

use super::{
    State,
    error::{ApiError, Code},
    list::{self, ByName},
    thing::{Thing, normal_name},
};
use crate::{
    access::Caller,
    catalog::{Kind, Model},
    resources::{NO_CHANNEL, Picture, export},
    store::{
        self,
        names::{self, Named},
    },
    tenancy::{ModelId, TenantId},
};

/// `/v1/admin/models/{id}`
pub struct Models;

/// `GET /v1/admin/models`
pub async fn list(
    caller: Caller,
    ByName(asked): ByName,
    state: web::Data<State>,
) -> Result<web::Json<Page<ModelItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let db = &state.stores.config.read;
    let models = store::models::list(db, scope, &asked.page, &state.sealer).await?;
    let owners: Vec<Uuid> = models
        .data
        .iter()
        .filter_map(|model| Some(model.owner?.0))
        .collect();
    let owners = names::of(db, Named::Tenant, &owners).await?;
    let routes = models.data.iter().flat_map(|model| &model.routes);
    let channels: Vec<Uuid> = routes.map(|route| route.channel.0).collect();
    let channels = names::of(db, Named::Channel, &channels).await?;
    Ok(list::answer(
        models.map(|model| item(model, &owners, &channels)),
    ))
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

/// Whether a tenant's people may change a model of the tenant's.
pub fn is_own(picture: &Picture, id: ModelId) -> Result<(), ApiError> {
    let model = picture.models.get(&id);
    let is_own = model.is_some_and(|model| {
        let mut channels = model.routes.iter().map(|route| route.channel);
        channels.all(|channel| {
            let channel = picture.channels.get(&channel);
            channel.is_some_and(|channel| channel.owner.is_some() && channel.owner == model.owner)
        })
    });
    if is_own {
        return Ok(());
    }
    let detail = "It leads to channels of the platform: its operators change it.";
    Err(ApiError::new(Code::Forbidden, detail))
}

impl Thing for Models {
    type Order = Order;
    type Shown = Order;

    const KIND: Kind = Kind::Model;
    const PLACE: &'static str = "models[0]";

    fn bounds(order: &Order) -> (bool, bool) {
        (order.limits.is_some(), false)
    }

    fn tenant(order: &Order) -> Option<&str> {
        order.tenant.as_deref()
    }

    fn name(order: &Order) -> Option<&str> {
        // A file has no model without a name, an order may say nothing about it.
        Some(order.name.as_str()).filter(|name| !name.is_empty())
    }

    fn normal(name: &str) -> Result<String, ApiError> {
        normal_name(name)
    }

    /// A tenant's own models lead to its own channels. One that leads to a channel of the platform is spent from the platform's
    /// credential, at the model's price: that is for operators to make and to change.
    fn allow(
        caller: &Caller,
        picture: &Picture,
        owner: Option<TenantId>,
        order: &Order,
        id: Option<Uuid>,
    ) -> Result<(), ApiError> {
        if caller.reaches(None) {
            return Ok(());
        }
        if let Some(id) = id {
            is_own(picture, ModelId(id))?;
        }
        for (at, route) in order.routes.iter().flatten().enumerate() {
            if picture.channel_of(owner, &route.channel).is_none() {
                let place = format!("routes[{at}].channel");
                return Err(ApiError::field(&place, NO_CHANNEL));
            }
        }
        Ok(())
    }

    fn allow_delete(caller: &Caller, picture: &Picture, id: Uuid) -> Result<(), ApiError> {
        match caller.reaches(None) {
            true => Ok(()),
            false => is_own(picture, ModelId(id)),
        }
    }

    fn find(picture: &Picture, owner: Option<TenantId>, name: &str) -> Option<Uuid> {
        picture.model_of(owner, name).map(|id| id.0)
    }

    fn name_in(picture: &mut Picture, id: Uuid) -> Option<&mut String> {
        let model = picture.models.get_mut(&ModelId(id))?;
        Some(&mut model.name)
    }

    fn file(order: Order, tenant: Option<String>, name: String) -> Resources {
        let model = Order {
            name,
            tenant,
            ..order
        };
        Resources {
            models: Some(vec![model]),
            ..Resources::default()
        }
    }

    fn stored(picture: &Picture, id: Uuid) -> Option<Order> {
        let model = picture.models.get(&ModelId(id))?;
        Some(export::model(picture, model))
    }

    async fn shown(_: &State, _: &Picture, _: Uuid, stored: Order) -> Result<Order, ApiError> {
        Ok(stored)
    }

    async fn delete(
        db: &impl ConnectionTrait,
        owner: Option<TenantId>,
        id: Uuid,
    ) -> store::Result<()> {
        store::models::delete(db, owner, id.into()).await
    }
}
