//! Who it is that an identity provider knows, and what they are here by the groups that they are in there.

use actix_web::HttpRequest;
use weir_api_types::{
    manage::{AnyRole, PlatformRole},
    sign_in::GroupRole,
};

use super::super::{
    State, access, audit,
    error::{ApiError, Code},
    users::keep_owners,
};
use crate::{
    catalog::Kind,
    clock::now_ms,
    oidc::Claims,
    resources,
    store::{
        self, Change,
        identities::{self, Provider},
        roles::{self, RoleNames},
    },
    tenancy::{MemberRole, Membership, Person, TenantId},
};

/// Whoever the provider knows by this subject, with the places that their groups give. Somebody new is made where the provider may do that.
/// Whose groups give nothing any longer has nothing of it any longer, and does not come in.
pub async fn who(
    request: &HttpRequest,
    state: &State,
    provider: &Provider,
    claims: &Claims,
) -> Result<Person, ApiError> {
    let change = Change::begin(&state.stores).await?;
    let db = change.transaction();
    still(db, provider).await?;
    let known = identities::of_subject(db, provider.id, &claims.subject).await?;
    let before = match known {
        Some(known) => store::users::one(db, known).await?,
        None => None,
    };
    let mut person = match &before {
        Some(person) if !person.enabled => return Err(refused("You are switched off.")),
        Some(person) => person.clone(),
        None => newcomer(db, provider, claims).await?,
    };
    let places = places(db, provider, claims).await?;
    let refusal = settle(provider, &places, &mut person, before.is_none());
    let Some(before) = before else {
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let now_ms = now_ms();
        store::users::put(db, &person, now_ms).await?;
        identities::link(db, provider.id, person.id, &claims.subject, now_ms).await?;
        commit(request, state, provider, change, None, &person).await?;
        return Ok(person);
    };
    if person != before {
        store::users::put(db, &person, now_ms()).await?;
        if keep_owned(db, &before, &mut person).await? {
            store::users::put(db, &person, now_ms()).await?;
        }
    }
    match &refusal {
        Some(_) => identities::end_sessions(db, provider.id, Some(person.id)).await?,
        None if person == before => {
            change.rollback().await?;
            return Ok(person);
        }
        None => {}
    }
    commit(request, state, provider, change, Some(&before), &person).await?;
    refusal.map_or(Ok(person), Err)
}

/// Refuses what a provider said that is not any more what it was when it was asked. It stays so until the transaction is over.
pub async fn still(
    db: &impl sea_orm::ConnectionTrait,
    provider: &Provider,
) -> Result<(), ApiError> {
    match identities::provider_kept(db, provider.id).await {
        Ok(now) if now.enabled && now.updated_ms == provider.updated_ms => Ok(()),
        Ok(_) | Err(store::Error::NotFound) => {
            let detail = "The identity provider was changed meanwhile: begin again.";
            Err(ApiError::new(Code::SignInFailed, detail))
        }
        Err(error) => Err(error.into()),
    }
}

/// Where nobody else owns a tenant, an owner stays one, whatever the groups say. Whether anything was put back.
async fn keep_owned(
    db: &impl sea_orm::ConnectionTrait,
    before: &Person,
    person: &mut Person,
) -> Result<bool, ApiError> {
    let mut is_back = false;
    for tenant in before.owns() {
        match keep_owners(db, &[tenant], Some(person)).await {
            Ok(()) => {}
            Err(error) if error.code() == Code::LastOwner => {
                tracing::warn!(user = %person.email, "groups would leave a tenant without an owner: the role stays");
                let mut places = person.memberships.iter_mut();
                if let Some(place) = places.find(|place| place.tenant == tenant) {
                    place.role = MemberRole::BuiltIn(weir_api_types::resources::Role::Owner);
                    is_back = true;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(is_back)
}

async fn commit(
    request: &HttpRequest,
    state: &State,
    provider: &Provider,
    mut change: Change,
    before: Option<&Person>,
    person: &Person,
) -> Result<(), ApiError> {
    access::may_change(state)?;
    let db = change.transaction();
    let author = access::author_of(request, state, "user", Some(person.id.0), &person.email);
    let old = match before {
        Some(before) => Some(told(db, provider, before).await?),
        None => None,
    };
    let new = told(db, provider, person).await?;
    let done = audit::differs(
        "user",
        provider.owner,
        &person.email,
        old.as_ref(),
        Some(&new),
    )?;
    store::audit::append(db, &state.sealer, &author, &done).await?;
    change.changed(Kind::User, person.id.0);
    state.catch_up(change.commit().await?).await;
    Ok(())
}

/// A place that groups give: on the platform, or in a tenant.
struct Given {
    tenant: Option<TenantId>,
    /// The first role that fits; none, where the mapping speaks of the place and no group fits.
    role: Option<Role>,
}

#[derive(Clone, Copy)]
enum Role {
    Platform(PlatformRole),
    Tenant(MemberRole),
}

/// What the mapping says of each place that it speaks of.
async fn places(
    db: &impl sea_orm::ConnectionTrait,
    provider: &Provider,
    claims: &Claims,
) -> Result<Vec<Given>, ApiError> {
    let mut places: Vec<Given> = Vec::new();
    for one in &provider.settings.roles {
        let tenant = match (&one.tenant, provider.owner) {
            // By its id: another tenant that takes the name has nothing of it.
            (Some(id), None) => match uuid::Uuid::parse_str(id) {
                Ok(id) if store::tenants::is_there(db, id.into()).await? => Some(id.into()),
                _ => continue,
            },
            (_, owner) => owner,
        };
        let fits = fits(one, claims);
        let at = places.iter().position(|place| place.tenant == tenant);
        let at = at.unwrap_or_else(|| {
            places.push(Given { tenant, role: None });
            places.len() - 1
        });
        if !fits || places[at].role.is_some() {
            continue;
        }
        places[at].role = match (tenant, &one.role) {
            (None, AnyRole::Platform(role)) => Some(Role::Platform(*role)),
            (Some(tenant), AnyRole::Tenant(name)) => {
                roles::named(db, tenant, name).await?.map(Role::Tenant)
            }
            // A tenant's provider gives nothing of the platform's, whatever its row says.
            _ => None,
        };
    }
    Ok(places)
}

fn fits(one: &GroupRole, claims: &Claims) -> bool {
    one.group == "*" || claims.groups.contains(&one.group)
}

/// Gives the person what their groups say, and takes what they say no longer. Why they do not come in, where no group of theirs has a role.
fn settle(
    provider: &Provider,
    places: &[Given],
    person: &mut Person,
    is_new: bool,
) -> Option<ApiError> {
    for place in places {
        match (place.tenant, place.role) {
            (None, role) => {
                person.platform_role = role.and_then(|role| match role {
                    Role::Platform(role) => Some(role),
                    Role::Tenant(_) => None,
                });
            }
            (Some(tenant), Some(Role::Tenant(role))) => {
                let mut known = person.memberships.iter_mut();
                match known.find(|known| known.tenant == tenant) {
                    Some(known) => known.role = role,
                    None if provider.settings.creates_people => {
                        person.memberships.push(Membership {
                            tenant,
                            role,
                            groups: Vec::new(),
                        });
                    }
                    // Its groups make nobody a member.
                    None => {}
                }
            }
            // A place that no group gives any longer: they may look, until somebody takes it away.
            (Some(tenant), _) => {
                let mut known = person.memberships.iter_mut();
                if let Some(known) = known.find(|known| known.tenant == tenant) {
                    known.role = MemberRole::default();
                }
            }
        }
    }
    person.memberships.sort_by_key(|place| place.tenant);
    if places.iter().all(|place| place.role.is_none()) && (is_new || !places.is_empty()) {
        return Some(refused("None of your groups has a role here."));
    }
    let owner = provider.owner?;
    let is_member = person.membership(owner).is_some();
    (!is_member).then(|| refused("You are no member of the tenant."))
}

/// Somebody of whom nothing was known, if the provider may make them.
async fn newcomer(
    db: &impl sea_orm::ConnectionTrait,
    provider: &Provider,
    claims: &Claims,
) -> Result<Person, ApiError> {
    let email = claims.email.as_deref().map(resources::email);
    let Some(Ok(email)) = email else {
        return Err(refused(
            "The provider does not know your address to be yours.",
        ));
    };
    if store::users::of_email(db, &email).await?.is_some() {
        let detail =
            "There is an account of your address: sign in to it, and add the provider to it there.";
        return Err(ApiError::new(Code::LinkNeeded, detail));
    }
    if !provider.settings.creates_people {
        return Err(refused("You are nobody here yet: ask to be invited."));
    }
    let called = claims.name.as_deref().map(resources::line);
    Ok(Person {
        name: match called {
            Some(Ok(name)) if !name.is_empty() => name,
            _ => email.clone(),
        },
        // A tenant's provider may call anybody's address verified.
        email_proven: provider.owner.is_none(),
        ..Person::new(email)
    })
}

/// What the audit log says of somebody's places.
async fn told(
    db: &impl sea_orm::ConnectionTrait,
    provider: &Provider,
    person: &Person,
) -> Result<serde_json::Value, ApiError> {
    let names = RoleNames::of(db, person.memberships.iter().map(|place| place.role)).await?;
    let places: Vec<serde_json::Value> = person
        .memberships
        .iter()
        .filter(|place| provider.owner.is_none_or(|owner| owner == place.tenant))
        .map(|place| serde_json::json!({"tenant": place.tenant, "role": names.name(place.role)}))
        .collect();
    let platform = person.platform_role.filter(|_| provider.owner.is_none());
    Ok(serde_json::json!({"by": provider.name, "places": places, "platform_role": platform}))
}

fn refused(detail: &str) -> ApiError {
    ApiError::new(Code::Forbidden, detail)
}
