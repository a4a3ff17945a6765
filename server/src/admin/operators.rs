//! The platform's own people: who may do what in every tenant. Making one, and making more of one, is for a session in which its
//! owner showed lately who they are, or for a token (threats.md, A9).

use actix_web::{HttpResponse, http::StatusCode, web};
use sea_orm::ConnectionTrait;
use weir_api_types::{
    manage::{Page, PlatformRole},
    operators::{CreatedOperator, NewOperator, OperatorItem, OperatorPatch},
    people::OneTimeLink,
};

use super::{
    State, audit,
    body::Order,
    error::{ApiError, Code},
    list::{self, ByName},
    password_resets,
    thing::{self, IfMatch},
    users::shown_of,
};
use crate::{
    access::{Author, Caller, of_platform_role},
    catalog::Kind,
    clock::now_ms,
    resources::{self, export::moment},
    store::{self, Change, operators, sign_ins},
    tenancy::{Person, UserId},
};

/// `GET /v1/admin/operators`
pub async fn list(
    caller: Caller,
    ByName(asked): ByName,
    state: web::Data<State>,
) -> Result<web::Json<Page<OperatorItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let items = operators::list(&state.stores.config.read, scope, &asked.page).await?;
    Ok(list::answer(items))
}

/// `GET /v1/admin/operators/{id}`
pub async fn show(
    _: Caller,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (person, _) = find(&state.stores.config.read, &id).await?;
    shown(&state, &person).await
}

/// `POST /v1/admin/operators`: somebody new, or whoever has the address.
pub async fn create(
    caller: Caller,
    author: Author,
    order: Order<NewOperator>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let NewOperator { email, name, role } = order.0;
    let email = resources::email(&email).map_err(|error| ApiError::field("email", error))?;
    may_give(&caller, role)?;
    let mut change = Change::begin(&state.stores).await?;
    let (db, now_ms) = (change.transaction(), now_ms());
    let known = match store::users::of_email(db, &email).await? {
        Some(known) => store::users::one(db, known).await?,
        None => None,
    };
    if known
        .as_ref()
        .is_some_and(|person| person.platform_role.is_some())
    {
        return Err(ApiError::taken("email", "They are an operator already."));
    }
    if known.as_ref().is_some_and(|person| !person.email_proven) {
        let detail = "There is an account of this address, which a tenant let in, and nobody has shown that the address is theirs: delete it first.";
        return Err(ApiError::taken("email", detail));
    }
    let mut person = match known {
        Some(person) => person,
        None => {
            let name = name.as_deref().unwrap_or(&email);
            let name = resources::line(name).map_err(|error| ApiError::field("name", error))?;
            Person {
                name,
                ..Person::new(email)
            }
        }
    };
    person.platform_role = Some(role);
    store::users::put(db, &person, now_ms).await?;
    let has_password = sign_ins::find(db, person.id).await?.password.is_some();
    let link = match has_password {
        true => None,
        false => Some(password_resets::new_link(db, &state, &author, &person).await?),
    };
    let told = serde_json::json!({"platform_role": role, "name": person.name});
    let done = audit::differs("operator", None, &person.email, None, Some(&told))?;
    store::audit::append(db, &state.sealer, &author, &done).await?;
    change.changed(Kind::User, person.id.0);
    state.catch_up(change.commit().await?).await;
    let operator = item(&state, person.id).await?;
    let link = link.map(|(value, expires_ms)| OneTimeLink {
        url: Some(state.link("/reset-password", &value)),
        expires_at: moment(expires_ms),
    });
    Ok(HttpResponse::Created().json(CreatedOperator { operator, link }))
}

/// `PATCH /v1/admin/operators/{id}`
pub async fn change(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    order: Order<OperatorPatch>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let mut change = Change::begin(&state.stores).await?;
    let db = change.transaction();
    let (before, role) = find(db, &id).await?;
    if_match.check(&own(&before))?;
    may_give(&caller, role)?;
    let mut after = before.clone();
    let OperatorPatch {
        name,
        role,
        enabled,
    } = order.0;
    if let Some(name) = name {
        after.name = resources::line(&name).map_err(|error| ApiError::field("name", error))?;
    }
    if let Some(role) = role {
        may_give(&caller, role)?;
        after.platform_role = Some(role);
    }
    after.enabled = enabled.unwrap_or(after.enabled);
    let (old, new) = (own(&before), own(&after));
    let done = audit::differs("operator", None, &before.email, Some(&old), Some(&new))?;
    if !done.is_empty() {
        store::users::put(db, &after, now_ms()).await?;
        super::users::keep_owners(db, &before.owns().collect::<Vec<_>>(), Some(&after)).await?;
        store::audit::append(db, &state.sealer, &author, &done).await?;
        change.changed(Kind::User, after.id.0);
    }
    state.catch_up(change.commit().await?).await;
    shown(&state, &after).await
}

/// `DELETE /v1/admin/operators/{id}`: they are no operator any more. What they are in tenants they stay; whoever is nothing there
/// goes.
pub async fn delete(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let mut change = Change::begin(&state.stores).await?;
    let db = change.transaction();
    let (mut person, role) = find(db, &id).await?;
    if_match.check(&own(&person))?;
    may_give(&caller, role)?;
    let told = own(&person);
    let mut done = audit::differs("operator", None, &person.email, Some(&told), None)?;
    if person.memberships.is_empty() {
        let told = shown_of(&person);
        done.extend(audit::differs(
            "user",
            None,
            &person.email,
            Some(&told),
            None,
        )?);
        store::users::delete(&mut change, &[person.id]).await?;
    } else {
        person.platform_role = None;
        store::users::put(db, &person, now_ms()).await?;
        change.changed(Kind::User, person.id.0);
    }
    store::audit::append(change.transaction(), &state.sealer, &author, &done).await?;
    state.catch_up(change.commit().await?).await;
    Ok(HttpResponse::NoContent().finish())
}

/// What is an operator's to be changed.
fn own(person: &Person) -> OperatorPatch {
    OperatorPatch {
        name: Some(person.name.clone()),
        role: person.platform_role,
        enabled: Some(person.enabled),
    }
}

/// Nobody gives, or takes, what they have not.
fn may_give(caller: &Caller, role: PlatformRole) -> Result<(), ApiError> {
    if caller.may_grant(None, of_platform_role(role)) {
        return Ok(());
    }
    let detail = "The role allows more than yours.";
    Err(ApiError::new(Code::Forbidden, detail))
}

async fn find(db: &impl ConnectionTrait, id: &str) -> Result<(Person, PlatformRole), ApiError> {
    let absent = || ApiError::not_found("operator");
    let id = thing::id(Kind::User, id).map_err(|_| absent())?;
    let person = store::users::one(db, UserId(id)).await?;
    let person = person.ok_or_else(absent)?;
    let role = person.platform_role.ok_or_else(absent)?;
    Ok((person, role))
}

async fn item(state: &State, id: UserId) -> Result<OperatorItem, ApiError> {
    let item = operators::one(&state.stores.config.read, id).await?;
    item.ok_or_else(|| ApiError::not_found("operator"))
}

async fn shown(state: &State, person: &Person) -> Result<HttpResponse, ApiError> {
    thing::under_tag(StatusCode::OK, &own(person), item(state, person.id).await?)
}
