//! Providers of identities (OpenID Connect): listed, made, changed, deleted.
//!
//! A tenant's provider signs in members of that tenant, and gives no role that whoever set it up does not have. The platform's may do
//! both in every tenant, and on the platform. Another issuer is somebody else: secret, sessions and who is who are forgotten.

use std::collections::HashMap;

use actix_web::{HttpResponse, http::StatusCode, web};
use uuid::Uuid;
use weir_api_types::{
    manage::{AnyRole, Page, PlatformRole},
    resources::Role,
    sign_in::{GroupRole, IdentityProviderItem, IdentityProviderOrder as Given},
};

use super::{
    State, audit,
    body::Order,
    error::{ApiError, Code},
    list::{self, ByName},
    login::redirect_uri,
    thing::{self, IfMatch},
};
use crate::{
    access::{Author, Caller, Permissions, of_platform_role, of_role},
    catalog::channel::Base,
    clock::now_ms,
    oidc::{Metadata, Trust},
    resources::export::moment,
    secrets::{Place, Sealer, Secret},
    store::{
        self,
        identities::{self, Provider, Settings},
        names::{self, Named},
        roles,
    },
    tenancy::{TenantId, name},
};

/// Most providers of one tenant, or of the platform.
const MAX_PROVIDERS: u64 = 20;
/// Most groups that a provider may map, and most scopes.
const MAX_GROUPS: usize = 1_000;
/// Longest text in a provider's settings, in bytes.
const MAX_BYTES: usize = 1_000;

/// `GET /v1/admin/identity-providers`
pub async fn list(
    caller: Caller,
    ByName(asked): ByName,
    state: web::Data<State>,
) -> Result<web::Json<Page<IdentityProviderItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let db = &state.stores.config.read;
    let found = identities::providers(db, scope, &asked.page).await?;
    let tenants: Vec<Uuid> = found.data.iter().flat_map(tenants_of).collect();
    let tenants = names::of(db, Named::Tenant, &tenants).await?;
    Ok(list::answer(found.map(|one| item(&state, one, &tenants))))
}

/// `GET /v1/admin/identity-providers/{id}`
pub async fn show(
    caller: Caller,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let found = identities::provider(&state.stores.config.read, id_of(&id)?).await;
    let provider = within(&caller, found)?;
    answer(&state, StatusCode::OK, provider).await
}

/// `POST /v1/admin/identity-providers`
pub async fn create(
    caller: Caller,
    author: Author,
    order: Order<Given>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let order = order.0;
    let owner = match &order.tenant {
        None if caller.reaches(None) => None,
        named => Some(state.tenant_of(&caller, named.as_deref()).await?),
    };
    let needed = |field: &str| ApiError::field(field, "is needed");
    let provider = Provider {
        id: Uuid::new_v4(),
        owner,
        name: order.name.clone().ok_or_else(|| needed("name"))?,
        issuer: order.issuer.clone().ok_or_else(|| needed("issuer"))?,
        client_id: order.client_id.clone().ok_or_else(|| needed("client_id"))?,
        secret: None,
        settings: Settings::default(),
        allowed_origin: None,
        enabled: true,
        created_ms: now_ms(),
        updated_ms: now_ms(),
    };
    let db = &state.stores.config.read;
    let provider = laid(db, &state, &caller, provider, order).await?;
    may_map(&caller, None, &provider)?;
    let transaction = state.stores.config.begin_write().await?;
    if identities::count_providers(&transaction, owner).await? >= MAX_PROVIDERS {
        let detail =
            format!("There are {MAX_PROVIDERS} identity providers, which is all there can be.");
        return Err(ApiError::new(Code::InUse, detail));
    }
    identities::put_provider(&transaction, &provider, provider.created_ms).await?;
    let after = shown(&state, &provider);
    let done = audit::differs(KIND, owner, &provider.name, None, Some(&after))?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    answer(&state, StatusCode::CREATED, provider).await
}

/// `PATCH /v1/admin/identity-providers/{id}`
pub async fn change(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    order: Order<Given>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let order = order.0;
    let named = match &order.tenant {
        Some(tenant) => Some(state.tenant_named(&caller, tenant).await?),
        None => None,
    };
    let transaction = state.stores.config.begin_write().await?;
    let before = within(
        &caller,
        identities::provider_held(&transaction, id_of(&id)?).await,
    )?;
    if_match.check(&shown(&state, &before))?;
    if named.is_some_and(|named| named != before.owner) {
        return Err(ApiError::field("tenant", "never changes"));
    }
    may_touch(&transaction, &caller, &before).await?;
    let has_secret = order.client_secret.is_some();
    let mut after = laid(&transaction, &state, &caller, before.clone(), order).await?;
    may_map(&caller, Some(&before), &after)?;
    after.updated_ms = now_ms();
    if after.issuer != before.issuer {
        identities::forget_all(&transaction, after.id).await?;
        if !has_secret {
            after.secret = None;
        }
    }
    if after.issuer != before.issuer || !after.enabled {
        identities::end_sessions(&transaction, after.id, None).await?;
    }
    identities::put_provider(&transaction, &after, after.updated_ms).await?;
    let (old, new) = (shown(&state, &before), shown(&state, &after));
    let done = audit::differs(KIND, after.owner, &after.name, Some(&old), Some(&new))?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    answer(&state, StatusCode::OK, after).await
}

/// `DELETE /v1/admin/identity-providers/{id}`: nobody signs in with it, and the sessions that it began end.
pub async fn delete(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let transaction = state.stores.config.begin_write().await?;
    let before = within(
        &caller,
        identities::provider_held(&transaction, id_of(&id)?).await,
    )?;
    if_match.check(&shown(&state, &before))?;
    may_touch(&transaction, &caller, &before).await?;
    identities::delete_provider(&transaction, before.id).await?;
    let old = shown(&state, &before);
    let done = audit::differs(KIND, before.owner, &before.name, Some(&old), None)?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(HttpResponse::NoContent().finish())
}

const KIND: &str = "identity_provider";

/// On whose word a provider's addresses rest.
pub fn trust(provider: &Provider) -> Trust {
    match provider.owner {
        None => Trust::Operator,
        Some(_) => Trust::Tenant {
            allowed_origin: provider.allowed_origin.clone(),
        },
    }
}

/// Where its client secret belongs.
pub fn place(id: Uuid, owner: Option<TenantId>) -> Place {
    Place {
        table: "identity_providers",
        column: "sealed",
        row: id,
        tenant: owner.map(|owner| owner.0),
    }
}

/// What a role of a provider's mapping allows; nothing, where there is no such role any longer.
pub async fn permissions(
    db: &impl sea_orm::ConnectionTrait,
    tenant: Option<TenantId>,
    role: &AnyRole,
) -> Result<Option<Permissions>, store::Error> {
    Ok(match (tenant, role) {
        (None, AnyRole::Platform(role)) => Some(of_platform_role(*role)),
        (Some(tenant), AnyRole::Tenant(name)) => match roles::named(db, tenant, name).await? {
            Some(role) => Some(roles::permissions(db, tenant, role).await?),
            None => None,
        },
        _ => None,
    })
}

/// A provider that gives roles beyond the caller's is not theirs to touch.
async fn may_touch(
    db: &impl sea_orm::ConnectionTrait,
    caller: &Caller,
    provider: &Provider,
) -> Result<(), ApiError> {
    for given in &provider.settings.roles {
        let tenant = match (&given.tenant, provider.owner) {
            (Some(id), None) => Uuid::parse_str(id).ok().map(TenantId),
            (_, owner) => owner,
        };
        let allowed = permissions(db, tenant, &given.role).await?;
        if allowed.is_some_and(|allowed| !caller.may_grant(tenant, allowed)) {
            return Err(above());
        }
    }
    Ok(())
}

/// A mapping takes roles, too, from whoever is in none of its groups: so it is for those alone who may give them all.
fn may_map(caller: &Caller, before: Option<&Provider>, after: &Provider) -> Result<(), ApiError> {
    let decides = |provider: &Provider| {
        let Settings {
            groups_claim,
            roles,
            scopes,
            creates_people: _,
        } = provider.settings.clone();
        let at = (provider.issuer.clone(), provider.client_id.clone());
        (roles, groups_claim, scopes, at)
    };
    let is_as_before = before.is_some_and(|before| decides(before) == decides(after));
    let all = match after.owner {
        Some(_) => of_role(Role::Owner),
        None => of_platform_role(PlatformRole::PlatformAdmin),
    };
    if is_as_before || after.settings.roles.is_empty() || caller.may_grant(after.owner, all) {
        return Ok(());
    }
    let detail = "By groups roles are taken as well as given: that needs all that an owner may do.";
    Err(ApiError::new(Code::Forbidden, detail))
}

fn above() -> ApiError {
    let detail = "It gives roles that allow more than yours.";
    ApiError::new(Code::Forbidden, detail)
}

/// The provider with what is ordered laid over it.
async fn laid(
    db: &impl sea_orm::ConnectionTrait,
    state: &State,
    caller: &Caller,
    mut provider: Provider,
    order: Given,
) -> Result<Provider, ApiError> {
    if order.allowed_origin.is_some() && !caller.reaches(None) {
        let detail = "allowed_origin is an operator's word.";
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    if let Some(given) = &order.name {
        provider.name = thing::normal_name(given)?;
    }
    if let Some(issuer) = order.issuer {
        provider.issuer = issuer;
    }
    if let Some(client_id) = order.client_id {
        provider.client_id = text("client_id", client_id)?;
    }
    if let Some(enabled) = order.enabled {
        provider.enabled = enabled;
    }
    if let Some(origin) = order.allowed_origin {
        let base = origin.as_deref().map(Base::parse).transpose();
        let base = base.map_err(|error| ApiError::field("allowed_origin", error))?;
        provider.allowed_origin = base.map(|base| base.origin());
    }
    text("issuer", provider.issuer.clone())?;
    Metadata::place(&provider.issuer, &trust(&provider))
        .map_err(|error| ApiError::field("issuer", error))?;
    if let Some(secret) = order.client_secret {
        let secret = secret.map(|secret| text("client_secret", secret.expose().to_owned()));
        let secret = secret.transpose()?.map(Secret::new);
        provider.secret = match secret {
            Some(secret) => Some(sealed(&state.sealer, &secret, &provider)?),
            None => None,
        };
    }
    let settings = &mut provider.settings;
    if let Some(scopes) = order.scopes {
        settings.scopes = words(scopes)?;
    }
    if let Some(claim) = order.groups_claim {
        settings.groups_claim = text("groups_claim", claim)?;
    }
    if let Some(creates) = order.creates_people {
        settings.creates_people = creates;
    }
    if let Some(given) = order.roles {
        provider.settings.roles = mapped(db, caller, provider.owner, given).await?;
    }
    Ok(provider)
}

/// What each group is, as far as the caller may give it.
async fn mapped(
    db: &impl sea_orm::ConnectionTrait,
    caller: &Caller,
    owner: Option<TenantId>,
    mut given: Vec<GroupRole>,
) -> Result<Vec<GroupRole>, ApiError> {
    if given.len() > MAX_GROUPS {
        return Err(ApiError::field(
            "roles",
            format!("are {MAX_GROUPS} at most"),
        ));
    }
    for (at, one) in given.iter_mut().enumerate() {
        let path = |field: &str| format!("roles[{at}].{field}");
        one.group = text(&path("group"), std::mem::take(&mut one.group))?;
        let tenant = match (&mut one.tenant, owner) {
            (None, owner) => owner,
            (Some(_), Some(_)) => {
                return Err(ApiError::field(&path("tenant"), "is the provider's own"));
            }
            (Some(named), None) => {
                let absent = || ApiError::field(&path("tenant"), "there is no tenant of this name");
                let name = name::normal(named).map_err(|_| absent())?;
                let tenant = store::tenants::named(db, &name).await?.ok_or_else(absent)?;
                // Kept by its id: names pass from one tenant to another.
                *named = tenant.to_string();
                Some(tenant)
            }
        };
        let allowed = permissions(db, tenant, &one.role).await?;
        let allowed = allowed.ok_or_else(|| ApiError::field(&path("role"), "is no role there"))?;
        if !caller.may_grant(tenant, allowed) {
            return Err(above());
        }
    }
    Ok(given)
}

/// Scopes: without `openid` there would be no token.
fn words(scopes: Vec<String>) -> Result<Vec<String>, ApiError> {
    let is_word = |scope: &String| {
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        !scope.is_empty() && scope.len() <= MAX_BYTES && scope.bytes().all(plain)
    };
    if scopes.len() > MAX_GROUPS || !scopes.iter().all(is_word) {
        return Err(ApiError::field("scopes", "are words without blanks"));
    }
    if !scopes.iter().any(|scope| scope == "openid") {
        return Err(ApiError::field("scopes", "must have openid among them"));
    }
    Ok(scopes)
}

fn text(field: &str, text: String) -> Result<String, ApiError> {
    let is_fine = !text.is_empty() && text.len() <= MAX_BYTES && !name::misleads(&text);
    match is_fine {
        true => Ok(text),
        false => {
            let message = format!(
                "is a text of 1 to {MAX_BYTES} bytes without control or invisible characters"
            );
            Err(ApiError::field(field, message))
        }
    }
}

fn sealed(
    sealer: &Sealer,
    secret: &Secret,
    provider: &Provider,
) -> Result<crate::secrets::Sealed, ApiError> {
    let sealed = sealer.seal(secret, place(provider.id, provider.owner));
    Ok(sealed.map_err(|error| store::Error::other(error.to_string()))?)
}

fn absent() -> ApiError {
    ApiError::not_found("identity provider")
}

fn id_of(text: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(text).map_err(|_| absent())
}

/// What was found, if it is within reach.
fn within(caller: &Caller, found: store::Result<Provider>) -> Result<Provider, ApiError> {
    match found {
        Ok(provider) if caller.reaches(provider.owner) => Ok(provider),
        Ok(_) | Err(store::Error::NotFound) => Err(absent()),
        Err(error) => Err(error.into()),
    }
}

async fn answer(
    state: &State,
    status: StatusCode,
    provider: Provider,
) -> Result<HttpResponse, ApiError> {
    let stored = shown(state, &provider);
    let tenants: Vec<Uuid> = tenants_of(&provider).collect();
    let tenants = names::of(&state.stores.config.read, Named::Tenant, &tenants).await?;
    thing::under_tag(status, &stored, item(state, provider, &tenants))
}

/// What its tag and the audit log are made of.
fn shown(state: &State, provider: &Provider) -> IdentityProviderItem {
    let mut item = item(state, provider.clone(), &HashMap::new());
    // Only orders change what a tag is made of.
    item.created_at = String::new();
    item.updated_at = String::new();
    item
}

/// The tenants that it speaks of.
fn tenants_of(provider: &Provider) -> impl Iterator<Item = Uuid> {
    let roles = provider.settings.roles.iter();
    let mapped = roles.filter_map(|one| Uuid::parse_str(one.tenant.as_deref()?).ok());
    mapped.chain(provider.owner.map(|owner| owner.0))
}

fn item(
    state: &State,
    mut provider: Provider,
    tenants: &HashMap<Uuid, String>,
) -> IdentityProviderItem {
    for one in &mut provider.settings.roles {
        let id = one.tenant.as_deref().map(Uuid::parse_str);
        if let Some(Ok(id)) = id
            && let Some(name) = tenants.get(&id)
        {
            one.tenant = Some(name.clone());
        }
    }
    let tenant = provider
        .owner
        .and_then(|owner| tenants.get(&owner.0).cloned());
    IdentityProviderItem {
        id: provider.id,
        tenant,
        name: provider.name,
        issuer: provider.issuer,
        client_id: provider.client_id,
        has_secret: provider.secret.is_some(),
        scopes: provider.settings.scopes,
        groups_claim: provider.settings.groups_claim,
        roles: provider.settings.roles,
        creates_people: provider.settings.creates_people,
        allowed_origin: provider.allowed_origin,
        enabled: provider.enabled,
        redirect_uri: redirect_uri(state.public_url.as_deref().unwrap_or_default()),
        created_at: moment(provider.created_ms),
        updated_at: moment(provider.updated_ms),
    }
}
