//! Tenants: listed, made, changed, suspended, deleted.

use actix_web::web;
use sea_orm::ConnectionTrait;
use uuid::Uuid;
use weir_api_types::{
    manage::{Page, TenantItem},
    orders::Tenant as Order,
    resources::{Resources, Tenant},
};

use super::{
    State,
    error::ApiError,
    list::{self, ByName},
    thing::{Thing, normal_name},
};
use crate::{
    access::Caller,
    catalog::Kind,
    clock::now_ms,
    resources::{Picture, export},
    store::{self, catalog::Slice, usage::bodies},
    tenancy::{Person, Scope, TenantId},
};

/// `/v1/admin/tenants/{id}`
pub struct Tenants;

/// `GET /v1/admin/tenants`
pub async fn list(
    caller: Caller,
    ByName(asked): ByName,
    state: web::Data<State>,
) -> Result<web::Json<Page<TenantItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let items = store::tenants::list(&state.stores.config.read, scope, &asked.page).await?;
    Ok(list::answer(items))
}

impl Thing for Tenants {
    type Order = Order;
    type Shown = Order;

    const KIND: Kind = Kind::Tenant;
    const PLACE: &'static str = "tenants[0]";

    fn tenant(_: &Order) -> Option<&str> {
        None
    }

    fn name(order: &Order) -> Option<&str> {
        order.name.as_deref()
    }

    fn normal(name: &str) -> Result<String, ApiError> {
        normal_name(name)
    }

    /// A tenant that is made may meet another one of its name.
    async fn slice(
        db: &impl ConnectionTrait,
        _: Option<TenantId>,
        id: Option<Uuid>,
        order: Option<&Order>,
    ) -> Result<Slice, ApiError> {
        let name = order.and_then(|order| order.name.as_deref());
        let name = name.map(normal_name).transpose()?;
        let namesake = match name {
            Some(name) => store::tenants::named(db, &name).await?,
            None => None,
        };
        Ok(Slice {
            owner: id.map(Into::into),
            tenants: namesake.into_iter().collect(),
            ..Slice::default()
        })
    }

    fn find(picture: &Picture, _: Option<TenantId>, name: &str) -> Option<Uuid> {
        picture.tenant_named(name).map(|id| id.0)
    }

    fn name_in(picture: &mut Picture, id: Uuid) -> Option<&mut String> {
        let tenant = picture.tenants.get_mut(&TenantId(id))?;
        Some(&mut tenant.name)
    }

    fn file(order: Order, _: Option<String>, name: String) -> Resources {
        let tenant = Tenant {
            name,
            time_zone: order.time_zone,
            grants: order.grants,
            policies: order.policies,
            limits: order.limits,
            budgets: order.budgets,
            enabled: order.enabled,
            ..Tenant::default()
        };
        Resources {
            tenants: Some(vec![tenant]),
            ..Resources::default()
        }
    }

    fn stored(picture: &Picture, id: Uuid) -> Option<Order> {
        let id = TenantId(id);
        let tenant = export::tenant(picture.tenants.get(&id)?);
        Some(Order {
            name: Some(tenant.name),
            time_zone: tenant.time_zone,
            grants: tenant.grants,
            policies: tenant.policies,
            limits: Some(export::limits(picture, Scope::Tenant(id))),
            budgets: Some(export::budgets(picture, Scope::Tenant(id))),
            enabled: tenant.enabled,
        })
    }

    async fn shown(_: &State, _: &Picture, _: Uuid, stored: Order) -> Result<Order, ApiError> {
        Ok(stored)
    }

    async fn people(db: &impl ConnectionTrait, id: Uuid) -> store::Result<Vec<Person>> {
        store::users::only_in(db, id.into()).await
    }

    async fn gone(state: &State, id: Uuid) {
        let forgotten = bodies::forget(&state.stores.usage, id.into(), now_ms()).await;
        if let Err(error) = forgotten {
            tracing::warn!(%error, tenant = %id, "what was said in a deleted tenant's calls is forgotten later");
        }
    }

    async fn delete(db: &impl ConnectionTrait, _: Option<TenantId>, id: Uuid) -> store::Result<()> {
        store::tenants::delete(db, id.into()).await
    }
}
