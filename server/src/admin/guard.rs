//! What stands around every management route: the host check, the request id and the headers of every answer.

use actix_web::{
    Error, HttpMessage as _, HttpRequest, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};

use super::{
    State,
    error::{ApiError, Code},
};
use crate::tenancy::RequestId;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What a page of another origin may read besides the body.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("etag, retry-after, x-request-id, x-weir-usage-complete");

/// Lets a request to one of our own names through, and gives every answer its id; errors carry it in their body too.
pub async fn guard<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let id = RequestId::new();
    request.extensions_mut().insert(id);
    let id = id.to_string();
    let origin = allowed_origin(&request);
    let answered = if is_ours(request.request()) {
        if let (Some(origin), true) = (&origin, is_preflight(&request)) {
            let (request, _) = request.into_parts();
            let answered = ServiceResponse::new(request, preflight(origin));
            return Ok(finish(answered.map_into_right_body(), &id));
        }
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
    let mut answered = finish(answered, &id);
    if let Some(origin) = origin {
        let headers = answered.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    Ok(answered)
}

/// The request's origin, if operators let its pages call. No cookie is theirs: they call with a token.
fn allowed_origin(request: &ServiceRequest) -> Option<HeaderValue> {
    let state = request.app_data::<web::Data<State>>()?;
    let origin = request.headers().get(header::ORIGIN)?;
    let catalog = state.catalog.peek();
    let mut allowed = catalog.settings().cors_origins.iter();
    let is_allowed = allowed.any(|allowed| allowed.as_bytes() == origin.as_bytes());
    is_allowed.then(|| origin.clone())
}

fn is_preflight(request: &ServiceRequest) -> bool {
    let asked = header::ACCESS_CONTROL_REQUEST_METHOD;
    request.method() == Method::OPTIONS && request.headers().contains_key(asked)
}

fn preflight(origin: &HeaderValue) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()))
        .insert_header((
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, POST, PATCH, DELETE",
        ))
        .insert_header((
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, if-match, idempotency-key, x-weir-tenant, x-weir-view-as",
        ))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "600"))
        .finish()
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
pub fn is_ours(request: &HttpRequest) -> bool {
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
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}
