//! What all lists share: their query and their pages.

use std::{collections::HashMap, time::Duration};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use serde::de::DeserializeOwned;
use std::future::{Ready, ready};
use unicode_normalization::UnicodeNormalization as _;
use weir_api_types::{manage::Page as Items, span::Span};

use super::{
    State, body,
    error::{ApiError, Code},
};
use crate::{
    access::{Caller, Reach},
    resources,
    store::{
        Listed, Page, Scope,
        page::{By, Cursor, MAX_ROWS},
    },
    tenancy::{TenantId, name},
};

const DEFAULT_ROWS: u64 = 100;
/// Longest piece of a name that is looked for.
const MAX_PIECE_BYTES: usize = 200;
/// Longest wait for what is still on its way to the books.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Which part of a list is asked for, and whose.
pub struct Asked {
    pub page: Page,
    tenant: Option<String>,
}

/// The same of a list of things that have names, which may be asked for by them and in another order.
pub struct ByName(pub Asked);

impl FromRequest for ByName {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(named(request).and_then(|(asked, words)| {
            refuse_rest(&words)?;
            Ok(Self(asked))
        }))
    }
}

impl FromRequest for Asked {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(paged(request).and_then(|(asked, words)| {
            refuse_rest(&words)?;
            Ok(asked)
        }))
    }
}

impl Asked {
    /// Whose rows are asked for: all that the caller reaches, unless a tenant is named.
    pub async fn scope(&self, state: &State, caller: &Caller) -> Result<Scope, ApiError> {
        scope(state, caller, self.tenant.as_deref()).await
    }
}

/// A page as it is answered.
pub fn answer<T>(listed: Listed<T>) -> web::Json<Items<T>> {
    web::Json(Items {
        data: listed.data,
        next_cursor: listed.next,
    })
}

/// Whose rows are asked for: all that the caller reaches, unless a tenant is named.
pub async fn scope(
    state: &State,
    caller: &Caller,
    tenant: Option<&str>,
) -> Result<Scope, ApiError> {
    let Some(tenant) = tenant else {
        return Ok(scope_of(caller));
    };
    let id = state.tenant_named(caller, tenant).await?;
    id.map(Scope::Tenant)
        .ok_or_else(|| ApiError::not_found("tenant"))
}

/// The one tenant that a query without other words names; to callers of a tenant their own.
pub async fn tenant(
    state: &State,
    caller: &Caller,
    request: &HttpRequest,
) -> Result<TenantId, ApiError> {
    let mut words = words(request)?;
    let named = words.remove("tenant");
    refuse_rest(&words)?;
    let Some(name) = named else {
        return state.tenant_of(caller, None).await;
    };
    let name = name::normal(&name).map_err(|error| ApiError::field("tenant", error))?;
    let tenant = state.tenant_named(caller, &name).await?;
    tenant.ok_or_else(|| ApiError::not_found("tenant"))
}

/// Whose rows a caller may see.
pub fn scope_of(caller: &Caller) -> Scope {
    match caller.reach {
        Reach::Platform => Scope::Platform,
        Reach::Tenant(tenant) => Scope::Tenant(tenant),
    }
}

/// The query's words, each once; two of one kind would leave open which counts.
pub fn words(request: &HttpRequest) -> Result<HashMap<String, String>, ApiError> {
    let bad = |detail: String| ApiError::new(Code::InvalidQuery, detail);
    let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
    let pairs = pairs.map_err(|_| bad("The query cannot be read.".to_owned()))?;
    let mut words = HashMap::new();
    for (word, value) in pairs.into_inner() {
        let shown: String = word.chars().take(64).collect();
        if word.contains('\0') || value.contains('\0') {
            return Err(bad(format!("{shown} has the character U+0000.")));
        }
        if words.insert(word, value).is_some() {
            return Err(bad(format!("{shown} stands there twice.")));
        }
    }
    Ok(words)
}

/// Refuses what no word of the path's took.
pub fn refuse_rest(words: &HashMap<String, String>) -> Result<(), ApiError> {
    match words.keys().min() {
        Some(word) => {
            let shown: String = word.chars().take(64).collect();
            let detail = format!("{shown} means nothing here.");
            Err(ApiError::new(Code::InvalidQuery, detail))
        }
        None => Ok(()),
    }
}

/// How many rows a page has at most.
pub fn rows(words: &mut HashMap<String, String>) -> Result<u64, ApiError> {
    match words.remove("limit").map(|text| text.parse()) {
        None => Ok(DEFAULT_ROWS),
        Some(Ok(rows @ 1..=MAX_ROWS)) => Ok(rows),
        Some(_) => {
            let detail = "limit is a number from 1 to 1000.";
            Err(ApiError::new(Code::InvalidQuery, detail))
        }
    }
}

/// What is left of the query as a type whose fields are its words; one that has no such field is refused by name.
pub fn rest<T: DeserializeOwned>(words: HashMap<String, String>) -> Result<T, ApiError> {
    let words = words.into_iter().map(|(word, value)| (word, value.into()));
    let words = serde_json::Value::Object(words.collect());
    serde_path_to_error::deserialize(words)
        .map_err(|error| body::refused(&error.path().to_string(), error.inner()))
}

/// Waits, where the query says `wait=5s`, until what was answered before is booked, at most so long; whether it all is.
pub async fn wait(
    state: &State,
    words: &mut HashMap<String, String>,
) -> Result<Option<bool>, ApiError> {
    match words.remove("wait").map(|text| text.parse::<Span>()) {
        None => Ok(None),
        Some(Ok(Span(wait))) => Ok(Some((state.flush)(wait.min(MAX_WAIT)).await)),
        Some(Err(error)) => Err(ApiError::field("wait", error)),
    }
}

/// Which part of a list that is nobody's but the caller's, the latest first.
pub struct Latest(pub Page);

impl FromRequest for Latest {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(of_nobody(request, By::Created, true).map(Self))
    }
}

/// Which part of a list that is no tenant's, in the order of ids.
pub struct Unsorted(pub Page);

impl FromRequest for Unsorted {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(of_nobody(request, By::Id, false).map(Self))
    }
}

/// A query of a list that knows of no tenants.
fn of_nobody(request: &HttpRequest, by: By, is_descending: bool) -> Result<Page, ApiError> {
    let mut words = words(request)?;
    let asked = asked_in(&mut words, by, is_descending)?;
    if asked.tenant.is_some() {
        let detail = "tenant means nothing here.";
        return Err(ApiError::new(Code::InvalidQuery, detail));
    }
    refuse_rest(&words)?;
    Ok(asked.page)
}

/// What all lists take, and the words that are left.
pub fn paged(request: &HttpRequest) -> Result<(Asked, HashMap<String, String>), ApiError> {
    let mut words = words(request)?;
    let asked = asked(&mut words)?;
    Ok((asked, words))
}

/// What all lists take, out of the words of a query.
fn asked(words: &mut HashMap<String, String>) -> Result<Asked, ApiError> {
    asked_in(words, By::Id, false)
}

/// What lists of things with names take, and the words that are left.
pub fn named(request: &HttpRequest) -> Result<(Asked, HashMap<String, String>), ApiError> {
    let bad = |detail: &str| ApiError::new(Code::InvalidQuery, detail);
    let mut words = words(request)?;
    let piece = words.remove("q");
    if piece
        .as_ref()
        .is_some_and(|q| q.is_empty() || q.len() > MAX_PIECE_BYTES)
    {
        return Err(bad("q is a text of 1 to 200 bytes."));
    }
    let (by, is_descending) = match words.remove("sort").as_deref() {
        // Names are what is looked through then.
        None if piece.is_some() => (By::Name, false),
        None => (By::Id, false),
        Some("name") => (By::Name, false),
        Some("-name") => (By::Name, true),
        Some("created_at") => (By::Created, false),
        Some("-created_at") => (By::Created, true),
        Some(_) => return Err(bad("sort is name, -name, created_at or -created_at.")),
    };
    let enabled = match words.remove("enabled").map(|text| text.parse()) {
        None => None,
        Some(Ok(enabled)) => Some(enabled),
        Some(Err(_)) => return Err(bad("enabled is true or false.")),
    };
    let mut asked = asked_in(&mut words, by, is_descending)?;
    // As names are kept.
    asked.page.piece = piece.map(|piece| piece.nfc().collect());
    asked.page.enabled = enabled;
    Ok((asked, words))
}

/// A name that a query asks for as it would be kept. What can be no name is nobody's.
pub fn name(text: String) -> String {
    name::normal(&text).unwrap_or(text)
}

/// The same of an address.
pub fn email(text: String) -> String {
    resources::email(&text).unwrap_or(text)
}

fn asked_in(
    words: &mut HashMap<String, String>,
    by: By,
    is_descending: bool,
) -> Result<Asked, ApiError> {
    let rows = rows(words)?;
    let cursor = words.remove("cursor");
    let after = cursor.map(|text| Cursor::parse(&text, by));
    if matches!(after, Some(None)) {
        let detail = "cursor is what next_cursor said, of a list in the same order.";
        return Err(ApiError::new(Code::InvalidQuery, detail));
    }
    Ok(Asked {
        page: Page {
            after: after.flatten(),
            rows,
            by,
            is_descending,
            ..Page::default()
        },
        tenant: words.remove("tenant"),
    })
}
