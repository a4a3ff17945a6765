//! Signing in by the word of an identity provider.
//!
//! A browser goes to the provider with a state, and comes back with it and a code; between the two a sealed cookie remembers the sign-in,
//! so that no other browser can end it. What the provider's token says of an address counts for nothing but to make somebody who is
//! not known yet: a person is linked to a provider by their own consent, signed in (threats.md, A6).

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use weir_api_types::sign_in::SignInProvider;

use super::{
    super::{
        ProviderClient, State, access, audit,
        error::{ApiError, Code},
        identity_providers::place,
        list,
    },
    Shown, Vouches, begin,
    known::{failed, metadata, refused, unreachable},
    members, safe,
};
use crate::{
    clock::now_ms,
    oidc::{self, Ask, Begun, Claims, Client, Expected, Metadata},
    secrets::{Place, Sealed, Sealer, Secret},
    store::{
        self,
        identities::{self, Provider},
        sessions,
    },
    tenancy::{Person, UserId, name},
};

/// What remembers a sign-in under way. `Lax`, as the browser comes back from another site.
const COOKIE: &str = "__Host-weir_sign_in";
/// Somebody who signs in elsewhere takes no longer.
const UNDER_WAY_MS: i64 = 10 * 60_000;
/// Longest path to come back to, in bytes.
const MAX_RETURN_BYTES: usize = 500;
/// Longest code, in bytes.
const MAX_CODE_BYTES: usize = 4_096;

/// A sign-in under way, as the cookie has it.
#[derive(Serialize, Deserialize)]
struct UnderWay {
    provider: Uuid,
    begun: Begun,
    return_to: String,
    redirect_uri: String,
    expires_ms: i64,
    /// Who wants to be known there, and in which session they said so.
    link: Option<(UserId, Uuid)>,
}

/// `GET /v1/admin/sign-in/providers`: the platform's, or those of the tenant that is named.
pub async fn providers(
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<web::Json<Vec<SignInProvider>>, ApiError> {
    let mut words = list::words(&request)?;
    let tenant = words.remove("tenant");
    list::refuse_rest(&words)?;
    let db = &state.stores.config.read;
    let owner = match tenant.as_deref().map(name::normal) {
        None => None,
        Some(Ok(name)) => match store::tenants::named(db, &name).await? {
            Some(tenant) => Some(tenant),
            None => return Ok(web::Json(Vec::new())),
        },
        Some(Err(_)) => return Ok(web::Json(Vec::new())),
    };
    let usable = identities::usable_providers(db, owner).await?;
    // Where it ends is where it has to begin: the cookie between the two is that host's alone.
    let base = state.public_url.as_deref().unwrap_or_default();
    let base = base.trim_end_matches('/');
    let usable = usable.into_iter().map(|provider| SignInProvider {
        id: provider.id,
        name: provider.name,
        url: format!("{base}/v1/admin/sign-in/with/{}", provider.id),
    });
    Ok(web::Json(usable.collect()))
}

/// `GET /v1/admin/sign-in/with/{id}`: to the provider.
pub async fn start(
    request: HttpRequest,
    id: web::Path<String>,
    providers: web::Data<ProviderClient>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let mut words = list::words(&request)?;
    let return_to = words.remove("return_to");
    let again = match words.remove("again").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            let detail = "again is true or false.";
            return Err(ApiError::new(Code::InvalidQuery, detail));
        }
    };
    list::refuse_rest(&words)?;
    let absent = || ApiError::not_found("identity provider");
    let id = Uuid::parse_str(&id).map_err(|_| absent())?;
    let wish = Wish {
        return_to: return_to.as_deref(),
        again,
        link: None,
    };
    let begun = to_provider(&request, &state, &providers, id, wish);
    let (url, cookie) = begun.await?;
    Ok(HttpResponse::SeeOther()
        .insert_header((header::LOCATION, url))
        .insert_header((header::SET_COOKIE, cookie))
        .finish())
}

/// What somebody wants of a provider.
pub struct Wish<'a> {
    pub return_to: Option<&'a str>,
    /// That it ask who they are, whatever it knows.
    pub again: bool,
    /// To be known there from now on: who, and in which session they say so.
    pub link: Option<(UserId, Uuid)>,
}

/// Where the browser goes, and the cookie that it takes along.
pub async fn to_provider(
    request: &HttpRequest,
    state: &State,
    providers: &ProviderClient,
    id: Uuid,
    wish: Wish<'_>,
) -> Result<(String, String), ApiError> {
    safe(request, state)?;
    let address = access::address(request, state).to_string();
    let paced = state
        .pace
        .admit(address.into_bytes(), "sign-in/with".to_owned());
    paced.map_err(ApiError::too_often)?;
    let return_to = wish.return_to.unwrap_or("/");
    if !is_path_here(return_to) {
        let detail = "return_to is a path of this installation.";
        return Err(ApiError::new(Code::InvalidQuery, detail));
    }
    let provider = usable(state, id).await?;
    let metadata = metadata(state, providers, &provider, false).await?;
    let under_way = UnderWay {
        provider: id,
        begun: Begun::new(),
        return_to: return_to.to_owned(),
        redirect_uri: redirect_uri(&own_url(request, state)),
        expires_ms: now_ms() + UNDER_WAY_MS,
        link: wish.link,
    };
    let client = Client {
        id: &provider.client_id,
        redirect_uri: &under_way.redirect_uri,
    };
    let scopes = &provider.settings.scopes;
    let url = oidc::authorization_url(&metadata, client, scopes, &under_way.begun, wish.again);
    let value = seal(&state.sealer, &under_way)?;
    Ok((url, cookie(&value, UNDER_WAY_MS / 1_000)))
}

/// `GET /v1/admin/sign-in/callback`: back from the provider, with a code.
pub async fn callback(
    request: HttpRequest,
    providers: web::Data<ProviderClient>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    safe(&request, &state)?;
    let mut words = list::words(&request)?;
    let under_way = shown(&request, &state.sealer);
    let begun_elsewhere = || failed("It was begun elsewhere, or too long ago: begin again.");
    let under_way = under_way.ok_or_else(begun_elsewhere)?;
    let given = words.remove("state").unwrap_or_default();
    let is_same = given.as_bytes().ct_eq(under_way.begun.state.as_bytes());
    if !bool::from(is_same) {
        return Err(begun_elsewhere());
    }
    let address = access::address(&request, &state).to_string();
    let paced = state
        .pace
        .admit(address.into_bytes(), "sign-in/callback".to_owned());
    paced.map_err(ApiError::too_often)?;
    let provider = usable(&state, under_way.provider).await?;
    let known = metadata(&state, &providers, &provider, false).await?;
    // An answer of another provider's is none of this one's (RFC 9207).
    if !known.answered(words.remove("iss").as_deref()) {
        return Err(begun_elsewhere());
    }
    if let Some(error) = words.remove("error") {
        let detail = format!("The provider said {}.", oidc::word(&error));
        return Err(failed(&detail));
    }
    let code = words.remove("code").unwrap_or_default();
    if code.is_empty() || code.len() > MAX_CODE_BYTES {
        return Err(failed("The provider gave no code."));
    }
    let claims = redeem(&state, &providers, &provider, &known, &under_way, &code).await?;
    let person = match under_way.link {
        Some((user, session)) => link(&request, &state, &provider, &claims, user, session).await?,
        None => {
            let person = members::who(&request, &state, &provider, &claims).await?;
            let (db, only) = (&state.stores.config.read, provider.owner);
            if !store::users::is_somewhere(db, &person, only).await? {
                let detail = "Your tenant is suspended.";
                return Err(ApiError::new(Code::Forbidden, detail));
            }
            person
        }
    };
    let gone = cookie("", 0);
    let mut answer = match under_way.link {
        // Whoever linked is signed in already.
        Some(_) => HttpResponse::SeeOther().finish(),
        None => {
            let address = access::address(&request, &state);
            // The provider may have known them for days without asking.
            let shown = Shown {
                by: &provider.name,
                at_ms: claims.auth_time.map_or(0, |at| at.saturating_mul(1_000)),
                voucher: Vouches::Provider(&provider, &claims.subject),
            };
            let begun = begin(&request, &state, &person, address, shown);
            let mut answer = begun.await?;
            *answer.status_mut() = actix_web::http::StatusCode::SEE_OTHER;
            answer.set_body(actix_web::body::BoxBody::new(()))
        }
    };
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for (name, value) in [
        (header::LOCATION, under_way.return_to.as_str()),
        (header::SET_COOKIE, gone.as_str()),
    ] {
        let value = header::HeaderValue::from_str(value);
        let value = value.map_err(|error| store::Error::other(error.to_string()))?;
        headers.append(name, value);
    }
    Ok(answer)
}

/// What the provider says of whoever had this code.
async fn redeem(
    state: &State,
    providers: &ProviderClient,
    provider: &Provider,
    known: &Metadata,
    under_way: &UnderWay,
    code: &str,
) -> Result<Claims, ApiError> {
    let client = Client {
        id: &provider.client_id,
        redirect_uri: &under_way.redirect_uri,
    };
    let secret = match &provider.secret {
        Some(sealed) => {
            let opened = state
                .sealer
                .open(sealed, place(provider.id, provider.owner));
            Some(opened.map_err(|error| store::Error::other(error.to_string()))?)
        }
        None => None,
    };
    let secret = secret.as_ref().map(Secret::expose);
    let (form, authorization) = oidc::token_request(known, client, secret, code, &under_way.begun);
    let ask = Ask {
        endpoint: known.token_endpoint.clone(),
        owner: provider.owner,
        form: Some(form),
        authorization,
    };
    let told = providers
        .ask(ask)
        .await
        .map_err(|error| unreachable(provider, &error))?;
    let token =
        oidc::id_token(told.status, &told.body).map_err(|error| refused(provider, &error))?;
    let expected = Expected {
        client_id: &provider.client_id,
        nonce: &under_way.begun.nonce,
        groups_claim: &provider.settings.groups_claim,
    };
    match oidc::verify(known, &token, expected) {
        Ok(claims) => Ok(claims),
        Err(_) => {
            // Its keys may have changed a moment ago.
            let known = metadata(state, providers, provider, true).await?;
            oidc::verify(&known, &token, expected).map_err(|error| refused(provider, &error))
        }
    }
}

/// Notes that the person who asked for it, in a session that still lives, is whom the provider knows.
async fn link(
    request: &HttpRequest,
    state: &State,
    provider: &Provider,
    claims: &Claims,
    user: UserId,
    session: Uuid,
) -> Result<Person, ApiError> {
    access::may_change(state)?;
    let transaction = state.stores.config.begin_write().await?;
    members::still(&transaction, provider).await?;
    let now_ms = now_ms();
    let living = sessions::living(&transaction, session, now_ms).await?;
    let is_theirs =
        living.is_some_and(|living| living.user == user && living.voucher.tenant.is_none());
    let person = store::users::one(&transaction, user).await?;
    let person = person.filter(|person| is_theirs && person.enabled);
    let person = person.ok_or_else(|| ApiError::new(Code::SessionOver, "Sign in again."))?;
    if claims.email.as_deref().map(str::to_lowercase).as_ref() != Some(&person.email) {
        let detail = "The provider does not know your address to be yours.";
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    if identities::of_subject(&transaction, provider.id, &claims.subject)
        .await?
        .is_some()
    {
        let detail = "The provider knows somebody here by this identity already.";
        return Err(ApiError::new(Code::NameTaken, detail));
    }
    identities::link(&transaction, provider.id, user, &claims.subject, now_ms).await?;
    let author = access::author_of(request, state, "user", Some(user.0), &person.email);
    let told = serde_json::json!({"provider": provider.name, "subject": claims.subject});
    let done = audit::differs("identity", provider.owner, &person.email, None, Some(&told))?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(person)
}

/// A provider that signs people in now.
async fn usable(state: &State, id: Uuid) -> Result<Provider, ApiError> {
    let db = &state.stores.config.read;
    let absent = || ApiError::not_found("identity provider");
    let provider = match identities::provider(db, id).await {
        Ok(provider) if provider.enabled => provider,
        Ok(_) | Err(store::Error::NotFound) => return Err(absent()),
        Err(error) => return Err(error.into()),
    };
    if let Some(tenant) = provider.owner
        && !store::tenants::is_enabled(db, tenant).await?
    {
        return Err(absent());
    }
    Ok(provider)
}

/// Where a provider sends browsers back to.
pub fn redirect_uri(own_url: &str) -> String {
    format!(
        "{}/v1/admin/sign-in/callback",
        own_url.trim_end_matches('/')
    )
}

/// This installation's URL: as it is set, or as the request came, whose host is one of ours.
fn own_url(request: &HttpRequest, state: &State) -> String {
    if let Some(url) = &state.public_url {
        return url.clone();
    }
    let is_https = state.login.has_tls || access::came_by_https(request, state);
    let scheme = if is_https { "https" } else { "http" };
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    format!("{scheme}://{host}")
}

/// No address of somebody else's: not `//host`, and not what a browser takes for it.
fn is_path_here(path: &str) -> bool {
    let plain = path
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    plain && path.len() <= MAX_RETURN_BYTES && path.starts_with('/') && !path.starts_with("//")
}

fn cookie(value: &str, seconds: i64) -> String {
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Lax")
}

const IN_COOKIE: Place = Place {
    table: "cookies",
    column: "sign_in",
    row: Uuid::nil(),
    tenant: None,
};

fn seal(sealer: &Sealer, under_way: &UnderWay) -> Result<String, ApiError> {
    let failed = |error: String| store::Error::other(error);
    let text = serde_json::to_string(under_way).map_err(|error| failed(error.to_string()))?;
    let sealed = sealer.seal(&Secret::new(text), IN_COOKIE);
    let sealed = sealed.map_err(|error| failed(error.to_string()))?;
    Ok(sealed.to_text())
}

/// The sign-in that the request's cookie says, while it may go on.
fn shown(request: &HttpRequest, sealer: &Sealer) -> Option<UnderWay> {
    let value = super::cookie_of(request, COOKIE)?;
    let text = sealer.open(&Sealed::from_text(value)?, IN_COOKIE).ok()?;
    let under_way: UnderWay = serde_json::from_str(text.expose()).ok()?;
    (under_way.expires_ms > now_ms()).then_some(under_way)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_come_back_to_this_installation_alone() {
        for path in ["/", "/keys?tenant=acme#top"] {
            assert!(is_path_here(path), "{path}");
        }
        for path in [
            "",
            "keys",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nb",
            "/ ",
        ] {
            assert!(!is_path_here(path), "{path}");
        }
    }
}
