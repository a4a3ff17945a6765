//! People in tenants: listed, put into one, changed, taken out of one.
//!
//! A person may be a member of several tenants. Role, groups, limits and budgets are a tenant's, and its people's to change;
//! name, address and the switch are the person's in all of them, so only the platform, or the one tenant that they are in, may.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use sea_orm::ConnectionTrait;
use weir_api_types::{
    manage::{Page, UserItem},
    orders::User as Order,
    resources::{Resources, Tenant, User},
};

use super::{
    State, access, audit,
    body::Order as Body,
    error::{ApiError, Code},
    list,
    thing::{self, IfMatch},
};
use crate::{
    access::{Author, Caller, Reach, of_platform_role},
    catalog::Kind,
    resources::{self, Edit, Picture, export},
    store::{
        self, Change,
        catalog::{Slice, Times},
        roles,
    },
    tenancy::{Person, TenantId, UserId},
};

/// Where the person stands in the file of one.
const PLACE: &str = "tenants[0].users[0]";

/// `GET /v1/admin/users`
pub async fn list(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<web::Json<Page<UserItem>>, ApiError> {
    let (asked, mut words) = list::named(&request)?;
    let role = words.remove("role").map(list::name);
    list::refuse_rest(&words)?;
    let scope = asked.scope(&state, &caller).await?;
    let db = &state.stores.config.read;
    let items = store::users::list(db, scope, role.as_deref(), &asked.page).await?;
    Ok(list::answer(items))
}

/// `GET /v1/admin/users/{id}`, with `tenant` where the person is in several.
pub async fn show(
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let snapshot = state.stores.config.begin_snapshot().await?;
    let (id, named) = (id_of(&id)?, tenant_in(&request)?);
    let person = find(&snapshot, &caller, id).await?;
    let tenant = tenant_of(&state, &caller, &person, named.as_deref()).await?;
    let row = store::catalog::row(&snapshot, Kind::User, id.0).await?;
    let slice = slice(tenant, id);
    let picture = resources::read_slice(&snapshot, &slice, &state.sealer).await?;
    snapshot.rollback().await.map_err(store::Error::from)?;
    answer(&caller, StatusCode::OK, &picture, tenant, id, row.times)
}

/// `POST /v1/admin/users`: a person in a tenant, by the platform. A tenant's people invite instead, as nobody can be made a
/// member without their word.
pub async fn create(
    caller: Caller,
    author: Author,
    order: Body<Order>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let order = order.0;
    let tenant = state.tenant_of(&caller, order.tenant.as_deref()).await?;
    let email = order.email.clone();
    let email = email.ok_or_else(|| ApiError::field("email", "is needed"))?;
    let email = resources::email(&email).map_err(|error| ApiError::field("email", error))?;
    let edit = Edit::begin(&state.stores, &state.sealer, &author).await?;
    let known = store::users::of_email(edit.db(), &email).await?;
    let slice = Slice {
        owner: Some(tenant),
        people: known.into_iter().collect(),
        ..Slice::default()
    };
    let before = edit.read(&slice).await?;
    if member(&before, tenant, &email).is_some() {
        let detail = "The tenant has a user of this address.";
        return Err(ApiError::taken("email", detail));
    }
    let file = file(&before, tenant, order, email.clone());
    let laid = edit.lay(&before, &before, &file, PLACE).await?;
    state.catch_up(laid.version).await;
    let id = member(&laid.picture, tenant, &email);
    let id = id.ok_or_else(|| ApiError::not_found("user"))?;
    let row = store::catalog::row(&state.stores.config.read, Kind::User, id.0).await?;
    answer(
        &caller,
        StatusCode::CREATED,
        &laid.picture,
        tenant,
        id,
        row.times,
    )
}

/// `PATCH /v1/admin/users/{id}`
pub async fn change(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    request: HttpRequest,
    order: Body<Order>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (id, mut order) = (id_of(&id)?, order.0);
    let asked = tenant_in(&request)?;
    let as_kept = |word: &String| crate::tenancy::name::normal(word).ok();
    if let (Some(asked), Some(ordered)) = (&asked, &order.tenant)
        && as_kept(asked) != as_kept(ordered)
    {
        let message = "is another tenant than the query names";
        return Err(ApiError::field("tenant", message));
    }
    order.tenant = order.tenant.or(asked);
    let edit = Edit::begin(&state.stores, &state.sealer, &author).await?;
    let person = find(edit.db(), &caller, id).await?;
    let tenant = tenant_of(&state, &caller, &person, order.tenant.as_deref()).await?;
    let before = edit.read(&slice(tenant, id)).await?;
    if_match.check(&thing::as_known(&caller, stored(&before, tenant, id))?)?;
    may_change(edit.db(), &caller, &person, tenant, &order).await?;
    let mut renamed = before.clone();
    let mut email = person.email.clone();
    if let Some(new) = &order.email {
        email = resources::email(new).map_err(|error| ApiError::field("email", error))?;
        let other = store::users::of_email(edit.db(), &email).await?;
        if other.is_some_and(|other| other != id) {
            return Err(ApiError::taken("email", "The user email is taken."));
        }
        if let Some(person) = renamed.people.get_mut(&id) {
            person.email.clone_from(&email);
        }
    }
    let is_elsewhere = email != person.email;
    if is_elsewhere {
        access::fresh(&caller)?;
    }
    let file = file(&before, tenant, order, email);
    let owned = owned_by(&before, id);
    let laid = edit.lay_if::<ApiError>(&before, &renamed, &file, PLACE, async |db| {
        let after = store::users::one(db, id).await?;
        keep_owners(db, &owned, after.as_ref()).await
    });
    let laid = laid.await?;
    state.catch_up(laid.version).await;
    if is_elsewhere {
        state.tell(
            &person.email,
            "Your account on Weir has another address from now on.",
        );
    }
    let row = store::catalog::row(&state.stores.config.read, Kind::User, id.0).await?;
    answer(
        &caller,
        StatusCode::OK,
        &laid.picture,
        tenant,
        id,
        row.times,
    )
}

/// `DELETE /v1/admin/users/{id}`: out of the tenant, with the keys that are theirs there. By the platform and without `tenant`:
/// the person, out of all of them. Usage stays.
pub async fn delete(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (id, named) = (id_of(&id)?, tenant_in(&request)?);
    let edit = Edit::begin(&state.stores, &state.sealer, &author).await?;
    let person = find(edit.db(), &caller, id).await?;
    let tenant = match (caller.reach, &named) {
        (Reach::Platform, None) if person.platform_role.is_some() => {
            let detail = "They are an operator: take that from them first, at /v1/admin/operators.";
            return Err(ApiError::new(Code::InUse, detail));
        }
        (Reach::Platform, None) => None,
        _ => Some(tenant_of(&state, &caller, &person, named.as_deref()).await?),
    };
    let place = tenant.and_then(|tenant| person.membership(tenant));
    if let (Some(tenant), Some(place)) = (tenant, place)
        && !caller.covers(roles::permissions(edit.db(), tenant, place.role).await?)
    {
        return Err(above());
    }
    let of = tenant.or_else(|| person.memberships.first().map(|place| place.tenant));
    if let Some(of) = of {
        let before = edit.read(&slice(of, id)).await?;
        if_match.check(&thing::as_known(&caller, stored(&before, of, id))?)?;
    }
    let gone: Vec<TenantId> = match tenant {
        Some(tenant) => vec![tenant],
        None => person
            .memberships
            .iter()
            .map(|place| place.tenant)
            .collect(),
    };
    let mut left = person.memberships.iter();
    // Nobody is left over who is nowhere.
    let is_gone = left.all(|place| gone.contains(&place.tenant)) && person.platform_role.is_none();
    let mut done = Vec::new();
    if gone.is_empty() {
        let told = shown_in(&person, &[]);
        done = audit::differs("user", None, &person.email, Some(&told), None)?;
    }
    for tenant in &gone {
        // Each tenant's row says what was its own, and nothing of the others.
        let told = shown_in(&person, &[*tenant]);
        done.extend(audit::differs(
            "user",
            Some(*tenant),
            &person.email,
            Some(&told),
            None,
        )?);
    }
    let owned: Vec<TenantId> = person.owns().filter(|one| gone.contains(one)).collect();
    let deleted = async |change: &mut Change| {
        if is_gone {
            store::users::delete(change, &[id]).await?;
        } else {
            for tenant in &gone {
                for (kind, row) in store::users::theirs(change.transaction(), *tenant, id).await? {
                    change.deletes(kind, row).await?;
                }
                store::users::leave(change.transaction(), *tenant, id).await?;
            }
            change.changed(Kind::User, id.0);
        }
        keep_owners(change.transaction(), &owned, None).await
    };
    state
        .catch_up(edit.delete::<ApiError>(&done, deleted).await?)
        .await;
    Ok(HttpResponse::NoContent().finish())
}

/// What a tenant's people may order of somebody.
async fn may_change(
    db: &impl ConnectionTrait,
    caller: &Caller,
    person: &Person,
    tenant: TenantId,
    order: &Order,
) -> Result<(), ApiError> {
    thing::may_bound(caller, (order.limits.is_some(), order.budgets.is_some()))?;
    let now = person.membership(tenant).map(|place| place.role);
    let then = match &order.role {
        Some(name) => roles::named(db, tenant, name).await?,
        None => None,
    };
    if let Some(then) = then.filter(|then| Some(*then) != now) {
        access::fresh_to_give(caller, roles::permissions(db, tenant, then).await?)?;
    }
    for role in now.into_iter().chain(then) {
        if !caller.may_grant(Some(tenant), roles::permissions(db, tenant, role).await?) {
            return Err(above());
        }
    }
    let own = [&order.name, &order.department, &order.contact];
    let personal = own.iter().any(|field| field.is_some()) || order.enabled.is_some();
    if caller.reaches(None) {
        return match person.platform_role {
            // As where operators are changed.
            Some(role) if personal || order.email.is_some() => {
                access::fresh(caller)?;
                let covers = caller.may_grant(None, of_platform_role(role));
                covers.then_some(()).ok_or_else(above)
            }
            _ => Ok(()),
        };
    }
    if order.email.is_some() {
        let detail = "They sign in with it: only they and the platform's operators change it.";
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    let is_elsewhere = person.memberships.len() > 1 || person.platform_role.is_some();
    if personal && is_elsewhere {
        let detail = "They are in other tenants too: take them out of this one, or ask the platform's operators.";
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    Ok(())
}

fn above() -> ApiError {
    let detail = "Their role allows more than yours.";
    ApiError::new(Code::Forbidden, detail)
}

/// Refuses what would leave a tenant without anybody who can do everything in it. `after` is the person as they are now.
pub async fn keep_owners(
    db: &impl ConnectionTrait,
    owned: &[TenantId],
    after: Option<&Person>,
) -> Result<(), ApiError> {
    for tenant in owned {
        let stays = after.is_some_and(|person| person.owns().any(|owned| owned == *tenant));
        if !stays && store::users::owners(db, *tenant).await? == 0 {
            let detail = "Make somebody else an owner first.";
            return Err(ApiError::new(Code::LastOwner, detail));
        }
    }
    Ok(())
}

fn owned_by(picture: &Picture, id: UserId) -> Vec<TenantId> {
    let person = picture.people.get(&id);
    person
        .map(|person| person.owns().collect())
        .unwrap_or_default()
}

/// What the audit log says of somebody who leaves all that they were in.
pub fn shown_of(person: &Person) -> serde_json::Value {
    let tenants = person.memberships.iter().map(|place| place.tenant);
    shown_in(person, &tenants.collect::<Vec<_>>())
}

/// What it says of somebody who leaves some tenants.
fn shown_in(person: &Person, tenants: &[TenantId]) -> serde_json::Value {
    serde_json::json!({"email": person.email, "name": person.name, "tenants": tenants})
}

fn id_of(text: &str) -> Result<UserId, ApiError> {
    thing::id(Kind::User, text).map(Into::into)
}

/// `tenant` of the query.
fn tenant_in(request: &HttpRequest) -> Result<Option<String>, ApiError> {
    let mut words = list::words(request)?;
    let tenant = words.remove("tenant");
    list::refuse_rest(&words)?;
    Ok(tenant)
}

/// A person whom the caller may know of.
pub async fn find(
    db: &impl ConnectionTrait,
    caller: &Caller,
    id: UserId,
) -> Result<Person, ApiError> {
    let person = store::users::one(db, id).await?;
    let person = person.filter(|person| {
        let mut places = person.memberships.iter();
        caller.reaches(None) || places.any(|place| caller.reaches(Some(place.tenant)))
    });
    person.ok_or_else(|| ApiError::not_found("user"))
}

/// Of which tenant's member a call speaks.
async fn tenant_of(
    state: &State,
    caller: &Caller,
    person: &Person,
    named: Option<&str>,
) -> Result<TenantId, ApiError> {
    let tenant = match (named, caller.reach, person.memberships.as_slice()) {
        (Some(name), ..) => state.tenant_named(caller, name).await?,
        (None, Reach::Tenant(own), _) => Some(own),
        (None, Reach::Platform, [only]) => Some(only.tenant),
        (None, Reach::Platform, _) => {
            return Err(ApiError::field("tenant", "is needed: they are in several"));
        }
    };
    let tenant = tenant.filter(|tenant| person.membership(*tenant).is_some());
    tenant.ok_or_else(|| ApiError::field("tenant", "they are in no tenant of this name"))
}

fn slice(tenant: TenantId, id: UserId) -> Slice {
    Slice {
        owner: Some(tenant),
        people: vec![id],
        ..Slice::default()
    }
}

fn file(picture: &Picture, tenant: TenantId, order: Order, email: String) -> Resources {
    let user = User {
        email,
        name: order.name,
        department: order.department,
        contact: order.contact,
        role: order.role,
        groups: order.groups,
        limits: order.limits,
        budgets: order.budgets,
        enabled: order.enabled,
    };
    let tenant = Tenant {
        name: picture
            .tenant_name(Some(tenant))
            .unwrap_or_default()
            .to_owned(),
        users: Some(vec![user]),
        ..Tenant::default()
    };
    Resources {
        tenants: Some(vec![tenant]),
        ..Resources::default()
    }
}

fn member(picture: &Picture, tenant: TenantId, email: &str) -> Option<UserId> {
    let mut people = picture.people.values();
    let person = people.find(|person| person.email == email && person.membership(tenant).is_some());
    person.map(|person| person.id)
}

fn stored(picture: &Picture, tenant: TenantId, id: UserId) -> Option<Order> {
    let user = export::user(picture, picture.people.get(&id)?, tenant)?;
    Some(Order {
        tenant: picture.tenant_name(Some(tenant)).map(str::to_owned),
        email: Some(user.email),
        name: user.name,
        department: user.department,
        contact: user.contact,
        role: user.role,
        groups: user.groups,
        limits: user.limits,
        budgets: user.budgets,
        enabled: user.enabled,
    })
}

fn answer(
    caller: &Caller,
    status: StatusCode,
    picture: &Picture,
    tenant: TenantId,
    id: UserId,
    times: Times,
) -> Result<HttpResponse, ApiError> {
    let stored = stored(picture, tenant, id).ok_or_else(|| ApiError::not_found("user"))?;
    let known = thing::as_known(caller, &stored)?;
    let seen = thing::as_seen(caller, &stored)?;
    thing::tagged(status, id.0, times, &known, seen)
}
