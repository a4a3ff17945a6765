//! Usage: questions, answered from what is booked.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use weir_api_types::{problem::FieldError, span::Span, usage::UsageQuery};

use super::{State, error::ApiError, list};
use crate::{access::Caller, clock::now_ms, reports};

/// Longest wait for what is still on its way to the books.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Says whether everything that was answered before the question is in the answer.
const COMPLETE: &str = "x-weir-usage-complete";

/// `GET /v1/admin/usage`: rows, and with `wait=5s` first what was answered before the call.
pub async fn ask(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let mut words = list::words(&request)?;
    let wait = match words.remove("wait").map(|text| text.parse::<Span>()) {
        None => None,
        Some(Ok(Span(wait))) => Some(wait.min(MAX_WAIT)),
        Some(Err(error)) => return Err(ApiError::field("wait", error)),
    };
    let query = words.into_iter().map(|(word, value)| (word, value.into()));
    let query: UsageQuery = serde_path_to_error::deserialize(serde_json::Value::Object(
        query.collect(),
    ))
    .map_err(|error| {
        let path = error.path().to_string();
        ApiError::fields(vec![FieldError::new(path, error.inner())])
    })?;
    let complete = match wait {
        Some(wait) => (state.flush)(wait).await,
        None => false,
    };
    let rows =
        reports::usage::usage(&state.stores, list::scope_of(&caller), &query, now_ms()).await?;
    let mut response = HttpResponse::Ok();
    if wait.is_some() {
        response.insert_header((COMPLETE, if complete { "true" } else { "false" }));
    }
    Ok(response.json(rows))
}
