//! Groups of users in a tenant: listed, made, changed, deleted.

use actix_web::web;
use sea_orm::ConnectionTrait;
use uuid::Uuid;
use weir_api_types::{
    manage::{GroupItem, Page},
    orders::Group as Order,
    resources::{Group, Resources, Tenant},
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
    resources::{Picture, export},
    store,
    tenancy::{GroupId, Scope, TenantId},
};

/// `/v1/admin/groups/{id}`
pub struct Groups;

/// `GET /v1/admin/groups`
pub async fn list(
    caller: Caller,
    ByName(asked): ByName,
    state: web::Data<State>,
) -> Result<web::Json<Page<GroupItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let items = store::groups::list(&state.stores.config.read, scope, &asked.page).await?;
    Ok(list::answer(items))
}

impl Thing for Groups {
    type Order = Order;
    type Shown = Order;

    const KIND: Kind = Kind::Group;
    const PLACE: &'static str = "tenants[0].groups[0]";

    fn bounds(order: &Order) -> (bool, bool) {
        (order.limits.is_some(), order.budgets.is_some())
    }

    fn tenant(order: &Order) -> Option<&str> {
        order.tenant.as_deref()
    }

    fn name(order: &Order) -> Option<&str> {
        order.name.as_deref()
    }

    fn normal(name: &str) -> Result<String, ApiError> {
        normal_name(name)
    }

    fn find(picture: &Picture, owner: Option<TenantId>, name: &str) -> Option<Uuid> {
        picture.group_named(owner?, name).map(|id| id.0)
    }

    fn name_in(picture: &mut Picture, id: Uuid) -> Option<&mut String> {
        let group = picture.groups.get_mut(&GroupId(id))?;
        Some(&mut group.name)
    }

    fn file(order: Order, tenant: Option<String>, name: String) -> Resources {
        let group = Group {
            name,
            limits: order.limits,
            budgets: order.budgets,
        };
        let tenant = Tenant {
            name: tenant.unwrap_or_default(),
            groups: Some(vec![group]),
            ..Tenant::default()
        };
        Resources {
            tenants: Some(vec![tenant]),
            ..Resources::default()
        }
    }

    fn stored(picture: &Picture, id: Uuid) -> Option<Order> {
        let group = picture.groups.get(&GroupId(id))?;
        let scope = Scope::Group(group.tenant, group.id);
        Some(Order {
            tenant: picture.tenant_name(Some(group.tenant)).map(str::to_owned),
            name: Some(group.name.clone()),
            limits: Some(export::limits(picture, scope)),
            budgets: Some(export::budgets(picture, scope)),
        })
    }

    async fn shown(_: &State, _: &Picture, _: Uuid, stored: Order) -> Result<Order, ApiError> {
        Ok(stored)
    }

    async fn delete(
        db: &impl ConnectionTrait,
        owner: Option<TenantId>,
        id: Uuid,
    ) -> store::Result<()> {
        let owner = owner.ok_or(store::Error::NotFound)?;
        store::groups::delete(db, owner, id.into()).await
    }
}
