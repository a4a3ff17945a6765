//! Usage: questions, answered from what is booked.

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use weir_api_types::usage::UsageQuery;

use super::{State, error::ApiError, list};
use crate::{access::Caller, clock::now_ms, reports};

/// Says whether everything that was answered before the question is in the answer.
const COMPLETE: &str = "x-weir-usage-complete";

/// `GET /v1/admin/usage`: rows, and with `wait=5s` first what was answered before the call.
pub async fn ask(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let mut words = list::words(&request)?;
    let complete = list::wait(&state, &mut words).await?;
    let query: UsageQuery = list::rest(words)?;
    let scope = list::scope_of(&caller);
    let rows = reports::usage::usage(&state.stores, scope, &query, now_ms()).await?;
    Ok(told(complete).json(rows))
}

/// An answer that tells whether it is complete, if it waited to be.
pub(super) fn told(complete: Option<bool>) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    if let Some(complete) = complete {
        response.insert_header((COMPLETE, if complete { "true" } else { "false" }));
    }
    response
}
