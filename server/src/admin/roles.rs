//! Roles of a tenant's own: listed, made, changed, deleted; and what all roles and permissions are.
//!
//! Nobody makes a role that allows more than they may, nor touches one that does.

use actix_web::{HttpResponse, web};
use sea_orm::ConnectionTrait;
use uuid::Uuid;
use weir_api_types::{
    manage::{BuiltInRole, Page, PermissionItem, PlatformRole, Rights, RoleItem},
    orders::OwnRole as Order,
    resources::{OwnRole, Resources, Role, Tenant},
};

use super::{
    State, access,
    body::Order as Body,
    error::{ApiError, Code},
    list::{self, ByName},
    thing::{self, Changing, IfMatch, Thing, normal_name},
};
use crate::{
    access::{Author, Caller, Permission, Permissions, of_platform_role, of_role},
    catalog::Kind,
    resources::Picture,
    store::{
        self, identities,
        names::{self, Named},
    },
    tenancy::{MemberRole, RoleId, TenantId},
};

/// `/v1/admin/roles/{id}`
pub struct Roles;

/// `GET /v1/admin/permissions`
pub async fn rights(_: Caller) -> web::Json<Rights> {
    let permission = |one: &Permission| PermissionItem {
        name: one.to_string(),
        meaning: one.meaning().to_owned(),
        for_tenants: one.is_for_tenants(),
    };
    let in_tenants = Role::ALL.into_iter().map(|role| BuiltInRole {
        name: role.as_str().to_owned(),
        for_tenants: true,
        permissions: of_role(role).words(),
    });
    let on_platform = PlatformRole::ALL.into_iter().map(|role| BuiltInRole {
        name: role.as_str().to_owned(),
        for_tenants: false,
        permissions: of_platform_role(role).words(),
    });
    web::Json(Rights {
        permissions: Permission::ALL.iter().map(permission).collect(),
        roles: in_tenants.chain(on_platform).collect(),
    })
}

/// `GET /v1/admin/roles`
pub async fn list(
    caller: Caller,
    ByName(asked): ByName,
    state: web::Data<State>,
) -> Result<web::Json<Page<RoleItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let items = store::roles::list(&state.stores.config.read, scope, &asked.page).await?;
    Ok(list::answer(items))
}

/// `PATCH /v1/admin/roles/{id}`: whoever has it may do what it says with their next call.
pub async fn change(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    order: Body<Order>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let id = thing::id(Kind::Role, &id)?;
    let owner = state.row(&caller, Kind::Role, id).await?.owner;
    let change = Changing::<Roles>::begin(&state, &caller, &author, id, owner, Some(&order.0));
    let change = change.await?;
    if order.0.name.is_some() {
        unmapped(&state, owner, id).await?;
    }
    // Whoever has it has more from now on.
    access::fresh_to_give(&caller, allowed(&order.0))?;
    change
        .lay(if_match, |stored| {
            within(&caller, stored)?;
            Ok(order.0)
        })
        .await
}

/// `DELETE /v1/admin/roles/{id}`: one that nobody has.
pub async fn delete(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let row_id = thing::id(Kind::Role, &id)?;
    let owner = state.row(&caller, Kind::Role, row_id).await?.owner;
    let tenant = owner.ok_or(store::Error::NotFound)?;
    let role = MemberRole::Own(RoleId(row_id));
    let db = &state.stores.config.read;
    let allowed = store::roles::permissions(db, tenant, role).await?;
    if !caller.covers(allowed) {
        return Err(above());
    }
    unmapped(&state, owner, row_id).await?;
    thing::delete::<Roles>(caller, author, id, if_match, state).await
}

/// Refuses what an identity provider would miss: its groups have the role by its name.
async fn unmapped(state: &State, tenant: Option<TenantId>, id: Uuid) -> Result<(), ApiError> {
    let (db, tenant) = (
        &state.stores.config.read,
        tenant.ok_or(store::Error::NotFound)?,
    );
    let names = names::of(db, Named::Role, &[id]).await?;
    let name = names.get(&id).map(String::as_str).unwrap_or_default();
    match identities::giving(db, tenant, name).await? {
        None => Ok(()),
        Some(provider) => {
            let detail = format!("The identity provider {provider} gives it.");
            Err(ApiError::new(Code::InUse, detail))
        }
    }
}

/// What an order says that a role allows.
fn allowed(role: &Order) -> Permissions {
    let words = role.permissions.iter().flatten();
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Whether a role allows nothing that the caller may not do.
fn within(caller: &Caller, role: &Order) -> Result<(), ApiError> {
    if caller.covers(allowed(role)) {
        return Ok(());
    }
    Err(above())
}

fn above() -> ApiError {
    let detail = "The role allows more than yours.";
    ApiError::new(Code::Forbidden, detail)
}

impl Thing for Roles {
    type Order = Order;
    type Shown = Order;

    const KIND: Kind = Kind::Role;
    const PLACE: &'static str = "tenants[0].roles[0]";

    fn tenant(order: &Order) -> Option<&str> {
        order.tenant.as_deref()
    }

    fn name(order: &Order) -> Option<&str> {
        order.name.as_deref()
    }

    fn normal(name: &str) -> Result<String, ApiError> {
        normal_name(name)
    }

    fn allow(
        caller: &Caller,
        _: &Picture,
        _: Option<TenantId>,
        order: &Order,
        _: Option<Uuid>,
    ) -> Result<(), ApiError> {
        within(caller, order)
    }

    fn find(picture: &Picture, owner: Option<TenantId>, name: &str) -> Option<Uuid> {
        picture.role_of(owner?, name).map(|id| id.0)
    }

    fn name_in(picture: &mut Picture, id: Uuid) -> Option<&mut String> {
        let role = picture.roles.get_mut(&RoleId(id))?;
        Some(&mut role.name)
    }

    fn file(order: Order, tenant: Option<String>, name: String) -> Resources {
        let role = OwnRole {
            name,
            permissions: order.permissions,
        };
        let tenant = Tenant {
            name: tenant.unwrap_or_default(),
            roles: Some(vec![role]),
            ..Tenant::default()
        };
        Resources {
            tenants: Some(vec![tenant]),
            ..Resources::default()
        }
    }

    fn stored(picture: &Picture, id: Uuid) -> Option<Order> {
        let role = picture.roles.get(&RoleId(id))?;
        Some(Order {
            tenant: picture.tenant_name(Some(role.tenant)).map(str::to_owned),
            name: Some(role.name.clone()),
            permissions: Some(role.permissions.words()),
        })
    }

    async fn shown(_: &State, _: &Picture, _: Uuid, stored: Order) -> Result<Order, ApiError> {
        Ok(stored)
    }

    async fn needed(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<String>, ApiError> {
        let (people, tokens) = store::roles::holders(db, id).await?;
        Ok(match (people, tokens) {
            (0, 0) => None,
            (people, 0) => Some(format!("place of {people} people")),
            (_, tokens) => Some(format!("right of {tokens} service tokens")),
        })
    }

    async fn delete(
        db: &impl ConnectionTrait,
        owner: Option<TenantId>,
        id: Uuid,
    ) -> store::Result<()> {
        let owner = owner.ok_or(store::Error::NotFound)?;
        store::roles::delete(db, owner, id.into()).await
    }
}
