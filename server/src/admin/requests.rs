//! The request log.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, web};
use uuid::Uuid;
use weir_api_types::log::{Facet, Order, RequestQuery};

use super::{
    State,
    error::{ApiError, Code},
    list,
    usage::told,
};
use crate::{
    access::Caller,
    clock::now_ms,
    reports::log::{self, Part},
};

/// What counts are told of where the query does not say.
const FACETS: [Facet; 6] = [
    Facet::Outcome,
    Facet::Status,
    Facet::Error,
    Facet::Model,
    Facet::Key,
    Facet::Channel,
];

/// `GET /v1/admin/requests`: the newest first, unless `order=oldest_first`.
pub async fn list(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let mut words = list::words(&request)?;
    let complete = list::wait(&state, &mut words).await?;
    let after = words.remove("cursor").map(|text| Uuid::parse_str(&text));
    let part = Part {
        after: after
            .transpose()
            .map_err(|_| bad("cursor is what next_cursor said."))?,
        rows: list::rows(&mut words)?,
        newest_first: newest_first(&mut words)?,
    };
    let query: RequestQuery = list::rest(words)?;
    let scope = list::scope_of(&caller);
    let page = log::page(&state.stores, scope, &query, part, now_ms()).await?;
    Ok(told(complete).json(page))
}

/// `GET /v1/admin/requests/{id}`
pub async fn show(
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let mut words = list::words(&request)?;
    let complete = list::wait(&state, &mut words).await?;
    list::refuse_rest(&words)?;
    let scope = list::scope_of(&caller);
    let shown = log::one(&state.stores, scope, self::id(&id)?).await?;
    Ok(told(complete).json(shown.ok_or_else(absent)?))
}

/// `GET /v1/admin/requests/{id}/neighbours`: what stands next to it among those that the query looks for.
pub async fn neighbours(
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let query: RequestQuery = list::rest(list::words(&request)?)?;
    let (id, scope) = (self::id(&id)?, list::scope_of(&caller));
    let found = log::neighbours(&state.stores, scope, id, &query, now_ms()).await?;
    Ok(HttpResponse::Ok().json(found.ok_or_else(absent)?))
}

/// `GET /v1/admin/requests/facets`: how many of those that the query looks for have which value, for the facets that `by` names.
pub async fn facets(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let mut words = list::words(&request)?;
    let by = match words.remove("by") {
        None => FACETS.to_vec(),
        Some(by) => by.split(',').map(facet).collect::<Result<Vec<_>, _>>()?,
    };
    // Each costs.
    let mut each = by.iter().enumerate();
    if let Some((_, facet)) = each.find(|(at, facet)| by[..*at].contains(facet)) {
        return Err(bad(&format!("{} stands in by twice.", facet.as_str())));
    }
    let query: RequestQuery = list::rest(words)?;
    let scope = list::scope_of(&caller);
    let facets = log::facets(&state.stores, scope, &query, &by, now_ms()).await?;
    Ok(HttpResponse::Ok().json(facets))
}

fn newest_first(words: &mut HashMap<String, String>) -> Result<bool, ApiError> {
    let order = words.remove("order").map(serde_json::Value::from);
    match order.map(serde_json::from_value::<Order>) {
        None | Some(Ok(Order::NewestFirst)) => Ok(true),
        Some(Ok(Order::OldestFirst)) => Ok(false),
        Some(Err(_)) => Err(bad("order is newest_first or oldest_first.")),
    }
}

fn facet(word: &str) -> Result<Facet, ApiError> {
    let word = word.trim();
    let facet = Facet::ALL.into_iter().find(|one| one.as_str() == word);
    let words: Vec<&str> = Facet::ALL.into_iter().map(Facet::as_str).collect();
    facet.ok_or_else(|| bad(&format!("by is a list of {}.", words.join(", "))))
}

fn id(text: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(text).map_err(|_| absent())
}

fn absent() -> ApiError {
    ApiError::not_found("request")
}

fn bad(detail: &str) -> ApiError {
    ApiError::new(Code::InvalidQuery, detail)
}
