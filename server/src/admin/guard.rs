//! What stands around every management route: the host check, the request id and the headers of every answer.

use actix_web::{
    Error, HttpMessage as _, HttpRequest, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{self, HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    web,
};

use super::{
    State,
    error::{ApiError, Code},
};
use crate::tenancy::RequestId;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Lets a request to one of our own names through, and gives every answer its id; errors carry it in their body too.
pub async fn guard<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let id = RequestId::new();
    request.extensions_mut().insert(id);
    let id = id.to_string();
    let answered = if is_ours(&request) {
        next.call(request).await?
    } else {
        let detail = "Management answers to loopback, public_url and configured hosts only.";
        let refused = ApiError::new(Code::Misdirected, detail);
        let request = request.request().clone();
        return Ok(finish(refuse(request, &refused, &id), &id));
    };
    let failed = answered.response().error();
    let problem = failed.and_then(|error| error.as_error::<ApiError>());
    let answered = match problem.map(|problem| problem.respond(&id)) {
        Some(response) => {
            let (request, _) = answered.into_parts();
            ServiceResponse::new(request, response).map_into_right_body()
        }
        None => answered.map_into_left_body(),
    };
    Ok(finish(answered, &id))
}

/// The answer to a request whose handler panicked, outside of the guard.
pub fn panicked(id: &str) -> HttpResponse {
    let mut response = ApiError::logged().respond(id);
    head(response.headers_mut(), id);
    response
}

fn refuse<B>(request: HttpRequest, error: &ApiError, id: &str) -> ServiceResponse<EitherBody<B>> {
    ServiceResponse::new(request, error.respond(id)).map_into_right_body()
}

/// One `Host`, and a name of ours. A request without any was refused before, as HTTP/1.1 demands one.
fn is_ours(request: &ServiceRequest) -> bool {
    let Some(state) = request.app_data::<web::Data<State>>() else {
        return false;
    };
    let mut hosts = request.headers().get_all(header::HOST);
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    host.to_str().is_ok_and(|host| state.hosts.has(host))
}

fn finish<B>(mut answered: ServiceResponse<B>, id: &str) -> ServiceResponse<B> {
    head(answered.headers_mut(), id);
    answered
}

/// What every answer carries.
fn head(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}
