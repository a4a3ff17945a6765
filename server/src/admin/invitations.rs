//! Invitations: how somebody becomes a member of a tenant, by their own word.
//!
//! A link is bound to an address, a tenant and a role, works once and for a week, and goes with whoever made it. Its token is kept
//! as a digest. Where it is shown to a tenant's people, nobody knows that who uses it owns the address: such an account belongs to
//! that tenant alone until an operator says otherwise (threats.md, T9).

use actix_web::{HttpRequest, HttpResponse, web};
use uuid::Uuid;
use weir_api_types::{
    manage::Page,
    people::{Acceptance, CreatedInvitation, Credentials, InvitationItem, NewInvitation},
};

use super::{
    State, access, audit,
    body::Order,
    error::{ApiError, Code},
    list::{self, ByName},
    login,
};
use crate::{
    access::{Author, Caller, Permission, Permissions, Subject, of_platform_role},
    catalog::Kind,
    clock::now_ms,
    mail, resources,
    store::{
        self, Change,
        catalog::Slice,
        one_time_links::{self, Inviter, Link, Purpose},
        roles::{self, RoleNames},
        service_tokens, sign_ins,
    },
    tenancy::{
        GroupId, MemberRole, Membership, Person, TenantId, UserId,
        key::{self, Value},
        name,
    },
};

const VALID_MS: i64 = 7 * 24 * 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// What one tenant may send in a day.
const MAX_A_DAY: u64 = 200;

/// `GET /v1/admin/invitations`: those that wait.
pub async fn list(
    caller: Caller,
    ByName(asked): ByName,
    state: web::Data<State>,
) -> Result<web::Json<Page<InvitationItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let db = &state.stores.config.read;
    let items = one_time_links::list(db, scope, &asked.page, now_ms()).await?;
    Ok(list::answer(items))
}

/// `POST /v1/admin/invitations`: the one answer that shows the link.
pub async fn create(
    caller: Caller,
    author: Author,
    order: Order<NewInvitation>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let order = order.0;
    let tenant = state.tenant_of(&caller, order.tenant.as_deref()).await?;
    let db = &state.stores.config.read;
    let role = roles::named(db, tenant, &order.role).await?;
    let role = role.ok_or_else(|| ApiError::field("role", "is no role that the tenant has"))?;
    let given = roles::permissions(db, tenant, role).await?;
    if !caller.may_grant(Some(tenant), given) {
        let detail = "The role allows more than yours.";
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    access::fresh_to_give(&caller, given)?;
    let email = resources::email(&order.email).map_err(|error| ApiError::field("email", error))?;
    let (value, now_ms) = (Value::of_link(), now_ms());
    let transaction = state.stores.config.begin_write().await?;
    if let Some(known) = store::users::of_email(&transaction, &email).await?
        && let Some(known) = store::users::one(&transaction, known).await?
        && known.membership(tenant).is_some()
    {
        return Err(ApiError::taken("email", "They are a member already."));
    }
    let invited = one_time_links::invited_since(&transaction, tenant, now_ms - DAY_MS).await?;
    if invited >= MAX_A_DAY {
        let detail = format!("A tenant invites {MAX_A_DAY} people in a day.");
        return Err(ApiError::wait(DAY_MS / 24, &detail));
    }
    let inviter = match &caller.subject {
        Subject::User { id, .. } => Inviter::Person(*id),
        Subject::ServiceToken { id, .. } => Inviter::Token(*id),
        Subject::AdminToken => Inviter::Operator,
    };
    let link = Link {
        id: Uuid::new_v4(),
        email,
        purpose: Purpose::Invitation {
            tenant,
            role,
            groups: groups(&state, tenant, &order.groups).await?,
            inviter,
            invited_by: match author.name.as_str() {
                "" => author.kind.to_owned(),
                name => name.to_owned(),
            },
            // A link that is not mailed the tenant's people see, and could use it themselves.
            proves_email: state.mail.is_some() || caller.reaches(None),
        },
        expires_ms: now_ms + VALID_MS,
    };
    one_time_links::insert(&transaction, &link, &value.digest(), now_ms).await?;
    let (_, invitation) = one_time_links::find(&transaction, link.id, now_ms).await?;
    let done = audit::differs("invitation", tenant, &link.email, None, Some(&invitation))?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    let url = state.link("/invitation", &value);
    let Some(mail) = &state.mail else {
        return Ok(HttpResponse::Created().json(CreatedInvitation {
            invitation,
            url: Some(url),
            mailed: false,
        }));
    };
    let inviter = match author.name.as_str() {
        "" => "An operator",
        name => name,
    };
    let letter = mail::invitation(&invitation.tenant, inviter, &url);
    if let Err(error) = mail.send(&link.email, letter).await {
        tracing::error!(%error, "an invitation could not be mailed");
        withdraw(&state, &author, tenant, &link, &invitation).await?;
        let detail = "The invitation is withdrawn; the log has the reason.";
        return Err(ApiError::new(Code::MailFailed, detail));
    }
    Ok(HttpResponse::Created().json(CreatedInvitation {
        invitation,
        url: None,
        mailed: true,
    }))
}

/// Takes back an invitation that came to nobody.
async fn withdraw(
    state: &State,
    author: &Author,
    tenant: TenantId,
    link: &Link,
    invitation: &InvitationItem,
) -> Result<(), ApiError> {
    let transaction = state.stores.config.begin_write().await?;
    one_time_links::take(&transaction, link.id, now_ms()).await?;
    let done = audit::differs("invitation", tenant, &link.email, Some(invitation), None)?;
    store::audit::append(&transaction, &state.sealer, author, &done).await?;
    Ok(transaction.commit().await.map_err(store::Error::from)?)
}

/// `DELETE /v1/admin/invitations/{id}`
pub async fn delete(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let absent = || ApiError::not_found("invitation");
    let (id, now_ms) = (Uuid::parse_str(&id).map_err(|_| absent())?, now_ms());
    let transaction = state.stores.config.begin_write().await?;
    let (tenant, invitation) = match one_time_links::find(&transaction, id, now_ms).await {
        Ok(found) if caller.reaches(Some(found.0)) => found,
        Ok(_) | Err(store::Error::NotFound) => return Err(absent()),
        Err(error) => return Err(error.into()),
    };
    let role = roles::named(&transaction, tenant, &invitation.role).await?;
    let allowed = match role {
        Some(role) => roles::permissions(&transaction, tenant, role).await?,
        None => Permissions::default(),
    };
    if !caller.covers(allowed) {
        let detail = "The role allows more than yours.";
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    one_time_links::take(&transaction, id, now_ms).await?;
    let email = &invitation.email;
    let done = audit::differs("invitation", tenant, email, Some(&invitation), None)?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /v1/admin/invitations/accept`
pub async fn accept(
    request: HttpRequest,
    order: Order<Acceptance>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let Acceptance {
        token,
        name,
        password,
        code,
    } = order.0;
    let over = || ApiError::new(Code::LinkOver, "Ask for another one.");
    let digest = key::digest(token.expose().as_bytes());
    let db = &state.stores.config.read;
    let link = one_time_links::usable(db, &digest, now_ms()).await?;
    let link = link.ok_or_else(over)?;
    let known = store::users::of_email(db, &link.email).await?;
    // Hashing takes its time, and nobody waits for it in a transaction.
    let (shown, hashed, evidence) = match (known, password) {
        (None, None) => return Err(ApiError::field("password", "is needed for a new account")),
        (_, password) if code.is_some() && (known.is_none() || password.is_none()) => {
            let message = "goes with the password of an account that there is";
            return Err(ApiError::field("code", message));
        }
        (None, Some(password)) => {
            let hashed = state.login.passwords.hash("password", &password).await?;
            ("new password", Some(hashed), None)
        }
        (Some(known), None) => {
            is_themselves(&request, known).await?;
            ("session", None, None)
        }
        // Whoever is nowhere else cannot sign in before.
        (Some(known), Some(password)) => {
            // Before a code is spent on it.
            let person = joined(db, &link, Some(known), name.as_deref()).await?;
            person.ok_or_else(over)?;
            let shown = Credentials {
                email: link.email.clone(),
                password,
                code,
            };
            let coming = login::Place::Coming;
            let proven = login::proven(&request, &state, shown, coming).await?;
            if proven.person.id != known {
                return Err(over());
            }
            (proven.by, None, Some(proven.evidence))
        }
    };
    let mut change = Change::begin(&state.stores).await?;
    let db = change.transaction();
    // Of two at once, one.
    if !one_time_links::take(db, link.id, now_ms()).await? {
        return Err(over());
    }
    let person = joined(db, &link, known, name.as_deref()).await?;
    let Some((tenant, person)) = person else {
        return Err(over());
    };
    let now_ms = now_ms();
    store::users::put(db, &person, now_ms).await?;
    if let Some(hashed) = hashed {
        sign_ins::put_password(db, person.id, hashed, now_ms).await?;
    }
    if let Some(evidence) = evidence {
        evidence.still_holds(db, person.id).await?;
    }
    let place = person.membership(tenant);
    let role_names = RoleNames::of(db, place.map(|place| place.role)).await?;
    let role = place.map(|place| role_names.name(place.role));
    let told = serde_json::json!({"role": role, "by": "invitation", "shown": shown});
    let done = audit::differs("membership", tenant, &person.email, None, Some(&told))?;
    let author = access::author_of(&request, &state, "user", Some(person.id.0), &person.email);
    store::audit::append(db, &state.sealer, &author, &done).await?;
    change.changed(Kind::User, person.id.0);
    state.catch_up(change.commit().await?).await;
    Ok(HttpResponse::NoContent().finish())
}

/// An invitation is theirs alone to take whose account it is for.
async fn is_themselves(request: &HttpRequest, known: UserId) -> Result<(), ApiError> {
    let caller = access::known(request).await?;
    match caller.subject {
        Subject::User { id, is_lent, .. } if id == known && !is_lent => Ok(()),
        _ => {
            let detail = "The invitation is for somebody else.";
            Err(ApiError::new(Code::Forbidden, detail))
        }
    }
}

/// The person with the place that a link gives them; nobody, where whoever made it may not give it any more, or whom it is for is
/// switched off or has another address by now.
async fn joined(
    db: &impl sea_orm::ConnectionTrait,
    link: &Link,
    known: Option<UserId>,
    called: Option<&str>,
) -> Result<Option<(TenantId, Person)>, ApiError> {
    let Purpose::Invitation {
        tenant,
        role,
        groups,
        inviter,
        proves_email,
        ..
    } = &link.purpose
    else {
        return Ok(None);
    };
    if !still_may(db, *inviter, *tenant, *role).await? {
        return Ok(None);
    }
    let stored = match known {
        Some(known) => store::users::one(db, known).await?,
        None => None,
    };
    let mut person = match stored {
        Some(person) if !person.enabled || person.email != link.email => return Ok(None),
        Some(person) if person.membership(*tenant).is_some() => {
            let detail = "You are a member of this tenant already.";
            return Err(ApiError::new(Code::NameTaken, detail));
        }
        Some(person) if !person.email_proven && !person.memberships.is_empty() => {
            let detail =
                "Nobody has shown yet that your address is yours: ask the platform's operators.";
            return Err(ApiError::new(Code::Forbidden, detail));
        }
        Some(person) => person,
        None => {
            let called = called.unwrap_or(&link.email);
            let called = resources::line(called).map_err(|error| ApiError::field("name", error))?;
            Person {
                name: called,
                email_proven: *proves_email,
                ..Person::new(link.email.clone())
            }
        }
    };
    person.memberships.push(Membership {
        tenant: *tenant,
        role: *role,
        // Those that are gone by now, so are their places.
        groups: store::groups::those_of(db, *tenant, groups).await?,
    });
    person.memberships.sort_by_key(|place| place.tenant);
    Ok(Some((*tenant, person)))
}

/// Whether whoever invited is still there, and may still give the role.
async fn still_may(
    db: &impl sea_orm::ConnectionTrait,
    inviter: Inviter,
    tenant: TenantId,
    role: MemberRole,
) -> Result<bool, ApiError> {
    // One of the tenant's own may be gone.
    let names = RoleNames::of(db, [role]).await?;
    if !names.has(role) {
        return Ok(false);
    }
    let wanted = roles::permissions(db, tenant, role).await?;
    let gives = |rights: Permissions| rights.has(Permission::UsersWrite) && rights.covers(wanted);
    let inviter = match inviter {
        Inviter::Operator => return Ok(true),
        Inviter::Person(id) => id,
        Inviter::Token(id) => {
            let token = service_tokens::usable_by_id(db, id, now_ms()).await?;
            let Some(token) = token else {
                return Ok(false);
            };
            let is_there = token.role.tenant().is_none_or(|own| own == tenant);
            return Ok(is_there && gives(token.role.permissions(db).await?));
        }
    };
    let person = store::users::one(db, inviter).await?;
    let Some(person) = person.filter(|person| person.enabled) else {
        return Ok(false);
    };
    let here = match person.membership(tenant) {
        Some(place) => Some(roles::permissions(db, tenant, place.role).await?),
        None => None,
    };
    let mut rights = person
        .platform_role
        .map(of_platform_role)
        .into_iter()
        .chain(here);
    Ok(rights.any(gives))
}

async fn groups(
    state: &State,
    tenant: TenantId,
    names: &[String],
) -> Result<Vec<GroupId>, ApiError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let slice = Slice {
        owner: Some(tenant),
        ..Slice::default()
    };
    let snapshot = state.stores.config.begin_snapshot().await?;
    let picture = resources::read_slice(&snapshot, &slice, &state.sealer).await?;
    snapshot.rollback().await.map_err(store::Error::from)?;
    let group = |(at, text): (usize, &String)| {
        let absent = || ApiError::field(&format!("groups[{at}]"), "there is no such group");
        let name = name::normal(text).map_err(|_| absent())?;
        picture.group_named(tenant, &name).ok_or_else(absent)
    };
    names.iter().enumerate().map(group).collect()
}
