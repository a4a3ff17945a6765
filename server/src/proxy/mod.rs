//! THE WAY OF A REQUEST, and the only module that knows all its stages.
//!
//! ingress -> identify -> route -> forward -> relay -> settle, as [`handle`] calls them. `routes` calls it for every path
//! of the data plane. What a request may touch is [`Shared`] and the worker's [`Upstream`]: no database, so none can be
//! asked by mistake. Rules, limits, cache and translation take their places here when they are built.

mod account;
mod answer;
mod ending;
pub mod endpoint;
pub mod error;
mod forward;
mod headers;
mod identify;
mod ingress;
mod leash;
mod models;
mod outbound;
mod pace;
mod path;
mod plausible;
mod relay;
mod respond;
mod scrub;
mod stall;
mod strangers;
pub mod upstream;

use std::{
    net::IpAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{self, HeaderMap},
    },
    web,
};
use ipnet::IpNet;
use tokio::sync::watch;
use weir_api_types::channel::Kind;
use weir_dialect::openai::{self, Ask, quote};

use account::{Account, Asked};
use ending::Ending;
pub use endpoint::Endpoint;
use error::{Error, Refusal};
pub use forward::now_ms;
use identify::{Caller, Unidentified};
use ingress::Shape;
use outbound::{OutBody, Outbound};
pub use pace::Pace;
use respond::Common;
pub use stall::Peer;
pub use strangers::Strangers;
use upstream::Upstream;

use crate::{
    catalog::{self, Catalog},
    config::Proxy as Config,
    metering::Recorder,
    routing::{self, Asker, Candidate, Health},
    telemetry::{metrics, repeated::Repeated, span::Tracer},
    tenancy::{RequestId, address},
};

/// All that a request may touch, shared by the workers of an instance.
pub struct Shared {
    /// The present picture of the configuration.
    pub catalog: Arc<catalog::Current>,
    /// Where usage events go.
    pub recorder: Recorder,
    /// What traffic taught about credentials.
    pub health: Health,
    /// How fast models generate.
    pub pace: Pace,
    pub metrics: Arc<metrics::Registry>,
    pub tracer: Tracer,
    pub config: Config,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The instance's name in usage events.
    pub instance: String,
    /// Set when the instance stops: `/ready` says so. Calls on connections that are there still are served.
    pub draining: AtomicBool,
    /// Set when the time of a stopping instance is over: calls that are still under way end now.
    pub out_of_time: watch::Sender<bool>,
    pub repeated: Repeated,
    /// How often addresses came without a valid key.
    pub strangers: Strangers,
}

/// A request of the data plane, with what its path says.
pub struct Call {
    pub request: HttpRequest,
    pub endpoint: Endpoint,
    /// The channel that the path names.
    pub channel: Option<String>,
    /// What follows the channel under `/proxy/`, raw, with its slash; the model's name in a path that has one.
    pub rest: Option<String>,
}

impl Call {
    /// A call whose path says nothing but its endpoint.
    pub fn new(request: HttpRequest, endpoint: Endpoint) -> Self {
        Self {
            request,
            endpoint,
            channel: None,
            rest: None,
        }
    }
}

/// A segment of a raw path as a name.
pub fn decoded_segment(raw: &str) -> String {
    path::name(raw)
}

/// Takes a request its whole way.
pub async fn handle(
    call: Call,
    payload: web::Payload,
    shared: &Arc<Shared>,
    upstream: &Upstream,
) -> HttpResponse {
    let started = Instant::now();
    let common = Common::of(RequestId::new(), call.request.headers());
    match *call.request.method() {
        Method::OPTIONS => return respond::preflight(&common, call.request.headers()),
        // Whoever asks: one would show what was sent, the other leads anywhere.
        Method::TRACE | Method::CONNECT => return common.error(&Refusal::MethodNotAllowed.into()),
        _ => {}
    }
    let catalog = shared.catalog.load();
    let (query, query_keys) = path::without_key(call.request.query_string());
    let address = caller_address(&call.request, &shared.trusted_proxies);
    let identified = identify::caller(
        call.request.headers(),
        query_keys,
        address,
        &catalog,
        common.id.at_ms(),
    );
    let head = account_head(&call.request, &common);
    let caller = match identified {
        Ok(caller) => caller,
        Err(Unidentified::Known(caller, refusal)) => {
            Account::open(shared, &caller, call.endpoint, common.id, started, head)
                .refuse(&refusal);
            return common.error(&refusal.into());
        }
        Err(Unidentified::Unknown(refusal)) => {
            let refusal = match shared.strangers.admit(address, started) {
                Ok(()) => refusal,
                Err(retry_after) => Refusal::TooManyStrangers { retry_after },
            };
            note_unidentified(shared, &call, address, &common, &refusal, started);
            return common.error(&refusal.into());
        }
    };
    let mut account = Account::open(shared, &caller, call.endpoint, common.id, started, head);
    let peer = call.request.conn_data::<Peer>().cloned();
    let wants_cost = call
        .request
        .headers()
        .get("x-weir-cost")
        .is_some_and(|value| value.as_bytes() == b"1");
    match prepare(
        call,
        payload,
        query,
        shared,
        &catalog,
        &caller,
        &mut account,
    )
    .await
    {
        Ok(Prepared::Here(body)) => {
            account.close(crate::metering::Outcome::Ok, 200, None).await;
            common
                .start(200)
                .content_type("application/json")
                .body(body)
        }
        Ok(Prepared::Upstream {
            candidates,
            mut outbound,
        }) => {
            let is_head = outbound.method == Method::HEAD;
            let mut ending = Ending::of(shared, &caller, candidates.first());
            let answered = tokio::select! {
                biased;
                refusal = ending.reason() => return cut(&common, account, refusal).await,
                answered = forward::first_success(&candidates, &mut outbound, shared, upstream, &mut account) => answered,
            };
            let context = relay::Context {
                is_head,
                shared: Arc::clone(shared),
                ending,
                common,
                peer,
                wants_cost,
            };
            match answered {
                Ok(answered) => relay::relay(context, answered, account).await,
                Err(error) => fail(&context.common, account, error).await,
            }
        }
        Err(refusal) => {
            account.refuse(&refusal);
            common.error(&refusal.into())
        }
    }
}

/// What a request has become once it may go.
enum Prepared {
    /// Answered by Weir itself.
    Here(Vec<u8>),
    Upstream {
        candidates: Vec<Candidate>,
        outbound: Box<Outbound>,
    },
}

/// Everything before the first attempt: the body, the candidates, the record.
async fn prepare(
    call: Call,
    payload: web::Payload,
    query: String,
    shared: &Arc<Shared>,
    catalog: &Catalog,
    caller: &Caller,
    account: &mut Account,
) -> Result<Prepared, Refusal> {
    let raw_path = call.request.uri().path();
    path::check(raw_path).map_err(|path::BadPath| Refusal::BadPath)?;
    if !call.endpoint.allows(call.request.method()) {
        return Err(Refusal::MethodNotAllowed);
    }
    if wants_websocket(call.request.headers()) {
        return Err(Refusal::NoWebSocket);
    }
    let asker = Asker {
        tenant: &caller.tenant,
        key: &caller.key,
        now_ms: account.id().at_ms(),
    };
    if call.endpoint == Endpoint::Models {
        return answer_models(call.rest.as_deref(), catalog, asker).map(Prepared::Here);
    }
    let headers = call.request.headers().clone();
    let path = match &call.rest {
        Some(rest) if call.endpoint == Endpoint::Proxy => rest.clone(),
        _ => call.endpoint.path_below_base(raw_path),
    };
    let method = call.request.method().clone();
    let channel = match &call.channel {
        Some(name) => Some(named_channel(call.endpoint, name, &path, catalog, asker)?),
        None => None,
    };
    let shape = shape(call.endpoint, channel, &path);
    let body = ingress::read(shape, &headers, payload, &shared.config).await?;
    let (body, ask) = read_body(call.endpoint, shape, body)?;
    let model = match (&ask, &body) {
        (Some(ask), _) => ask.model.clone(),
        (None, OutBody::Form { model, .. }) => model.as_ref().map(|model| model.name.clone()),
        (None, OutBody::Stream(Some(streamed))) => {
            streamed.model.as_ref().map(|model| model.name.clone())
        }
        (None, _) => None,
    };
    let model = match channel {
        Some(channel) => path_model(channel, &path, model)?,
        None => model,
    };
    account.asked(&Asked {
        model: model.as_deref(),
        streamed: ask.as_ref().is_some_and(|ask| ask.stream),
        request_bytes: body_bytes(&body),
        end_user: ask
            .as_ref()
            .and_then(|ask| ask.user_id.as_deref().or(ask.user.as_deref())),
    });
    let keeps = call.endpoint.is_stateful()
        || (call.endpoint.may_keep() && !routing::proxied::is_inference(Kind::Openai, raw_path));
    let candidates = candidates(
        call.endpoint,
        keeps,
        channel,
        model.as_deref(),
        catalog,
        asker,
    )?;
    account.routed(&candidates);
    account.record()?;
    let outbound = Box::new(Outbound {
        endpoint: call.endpoint,
        method,
        path,
        query,
        caller_headers: headers,
        body,
        ask,
    });
    Ok(Prepared::Upstream {
        candidates,
        outbound,
    })
}

/// Whether the connection is to become a WebSocket: actix then reads all that follows as the body, whatever its length.
fn wants_websocket(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::UPGRADE)
        .any(|value| value.as_bytes().to_ascii_lowercase().trim_ascii() == b"websocket")
}

/// The channel that the path names, if the caller may reach the path through it.
fn named_channel<'a>(
    endpoint: Endpoint,
    name: &str,
    path: &str,
    catalog: &'a Catalog,
    asker: Asker<'_>,
) -> Result<&'a Arc<catalog::Channel>, Refusal> {
    use routing::proxied;
    let channel = asker
        .channel(catalog, name)
        .map_err(|error| refusal(error, None, Some(name)))?;
    let is_administration = || {
        path::forms(path)
            .iter()
            .any(|form| proxied::is_administration(form))
    };
    if endpoint == Endpoint::Proxy
        && (is_administration() || !proxied::may_reach(channel, &path::decoded(path)))
    {
        return Err(Refusal::NotOnSharedChannel);
    }
    Ok(channel)
}

/// The model of a call whose vendor reads it from the path; a body that names another has two meanings.
fn path_model(
    channel: &catalog::Channel,
    path: &str,
    in_body: Option<String>,
) -> Result<Option<String>, Refusal> {
    let path = path::decoded(path);
    let Some(in_path) = routing::proxied::model_in_path(channel.kind, &path) else {
        return Ok(in_body);
    };
    match in_body {
        Some(other) if other.strip_prefix("models/").unwrap_or(&other) != in_path => {
            Err(Refusal::BadBody {
                code: "invalid_json",
                message: "The path and the body name different models.".to_owned(),
                param: Some("model".to_owned()),
            })
        }
        _ => Ok(Some(in_path.to_owned())),
    }
}

/// What the body may be. Under `/proxy/` a model is looked for wherever the tenant does not pay the vendor itself.
fn shape(endpoint: Endpoint, channel: Option<&Arc<catalog::Channel>>, path: &str) -> Shape {
    match channel {
        Some(channel) if endpoint == Endpoint::Proxy => {
            if routing::proxied::is_inference(channel.kind, &path::decoded(path)) {
                Shape::JsonOrForm
            } else if channel.owner.is_none() {
                Shape::Shared
            } else {
                Shape::Dedicated
            }
        }
        _ => endpoint.shape(),
    }
}

/// Reads of a body what Weir acts on.
fn read_body(
    endpoint: Endpoint,
    shape: Shape,
    body: ingress::Body,
) -> Result<(OutBody, Option<Ask>), Refusal> {
    match body {
        ingress::Body::Form { bytes, model } => Ok((OutBody::Form { bytes, model }, None)),
        ingress::Body::Stream(streamed) => Ok((OutBody::Stream(Some(streamed)), None)),
        ingress::Body::Opaque(bytes) => Ok((OutBody::Whole(bytes), None)),
        ingress::Body::Json(bytes) if bytes.is_empty() && !endpoint.needs_model() => {
            Ok((OutBody::Whole(bytes), None))
        }
        ingress::Body::Json(bytes) => match Ask::read(&bytes, endpoint.reads()) {
            Ok(ask) => Ok((OutBody::Whole(bytes), Some(ask))),
            // What is no object names no model.
            Err(openai::Error::NotAnObject)
                if matches!(shape, Shape::Shared | Shape::Dedicated) =>
            {
                Ok((OutBody::Whole(bytes), None))
            }
            Err(error) => Err(error.into()),
        },
    }
}

fn body_bytes(body: &OutBody) -> u64 {
    match body {
        OutBody::Whole(bytes) | OutBody::Form { bytes, .. } => bytes.len() as u64,
        OutBody::Stream(streamed) => streamed
            .as_ref()
            .and_then(|streamed| streamed.length)
            .unwrap_or(0),
    }
}

/// Where the request may go, best first.
fn candidates(
    endpoint: Endpoint,
    keeps: bool,
    channel: Option<&Arc<catalog::Channel>>,
    model: Option<&str>,
    catalog: &Catalog,
    asker: Asker<'_>,
) -> Result<Vec<Candidate>, Refusal> {
    let refused = |error| refusal(error, model, None);
    if endpoint.needs_model() && model.is_none() {
        return Err(Refusal::MissingModel);
    }
    if let Some(channel) = channel {
        let found = if endpoint == Endpoint::Proxy {
            routing::as_named_upstream(catalog, asker, channel, model)
        } else {
            routing::on_channel(catalog, asker, channel, model)
        };
        return found.map(|candidate| vec![candidate]).map_err(refused);
    }
    let found = match model {
        Some(model) => routing::candidates(catalog, asker, model).map_err(refused)?,
        None => routing::without_model(catalog, asker),
    };
    if keeps {
        let (dedicated, shared): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|candidate| candidate.channel.owner.is_some());
        return if dedicated.is_empty() && !shared.is_empty() {
            Err(Refusal::NotOnSharedChannel)
        } else {
            some(dedicated)
        };
    }
    some(found)
}

fn some(found: Vec<Candidate>) -> Result<Vec<Candidate>, Refusal> {
    if found.is_empty() {
        Err(no_channel())
    } else {
        Ok(found)
    }
}

fn no_channel() -> Refusal {
    Refusal::NoHealthyUpstream("no channel that you may use is enabled for it".to_owned())
}

fn refusal(error: routing::Error, model: Option<&str>, channel: Option<&str>) -> Refusal {
    let model = || model.unwrap_or_default().to_owned();
    match error {
        routing::Error::ModelNotFound => Refusal::ModelNotFound(model()),
        routing::Error::ModelNotAllowed => Refusal::ModelNotAllowed(model()),
        routing::Error::ChannelNotFound => {
            Refusal::ChannelNotFound(channel.unwrap_or_default().to_owned())
        }
        routing::Error::NoChannel => no_channel(),
    }
}

fn answer_models(
    name: Option<&str>,
    catalog: &Catalog,
    asker: Asker<'_>,
) -> Result<Vec<u8>, Refusal> {
    let answer = match name {
        None => models::list(catalog, asker),
        Some(name) => {
            models::one(catalog, asker, name).map_err(|error| refusal(error, Some(name), None))?
        }
    };
    Ok(answer.to_string().into_bytes())
}

/// Nothing could be relayed: booked, then told.
async fn fail(common: &Common, mut account: Account, error: Error) -> HttpResponse {
    let outcome = match &error {
        Error::Refusal(_) | Error::Failure(error::Failure::Request(_)) => {
            crate::metering::Outcome::Refused
        }
        Error::Failure(_) => crate::metering::Outcome::UpstreamError,
    };
    account
        .close(outcome, error.status(), Some(error.code()))
        .await;
    common.error(&error)
}

/// Weir itself ends a call that nothing has been relayed of: what its attempts came to is booked.
async fn cut(common: &Common, mut account: Account, refusal: Refusal) -> HttpResponse {
    let outcome = crate::metering::Outcome::CutByWeir;
    account
        .close(outcome, refusal.status(), Some(refusal.code()))
        .await;
    common.error(&refusal.into())
}

/// The caller's address: the TCP peer, or what a configured proxy says of it.
fn caller_address(request: &HttpRequest, proxies: &[IpNet]) -> IpAddr {
    let peer = request
        .peer_addr()
        .map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
    let lines = request
        .headers()
        .get_all("x-forwarded-for")
        .filter_map(|line| line.to_str().ok());
    address::caller(peer, proxies, lines.collect::<Vec<_>>().into_iter())
}

fn account_head<'a>(request: &'a HttpRequest, common: &'a Common) -> account::Head<'a> {
    account::Head {
        method: request.method().as_str(),
        traceparent: request
            .headers()
            .get("traceparent")
            .and_then(|value| value.to_str().ok()),
        client_request_id: common.client_request_id.as_deref(),
    }
}

/// A caller that nobody knows: in metrics and the access log only, a flood of them with a count.
fn note_unidentified(
    shared: &Shared,
    call: &Call,
    address: IpAddr,
    common: &Common,
    refusal: &Refusal,
    started: Instant,
) {
    use crate::telemetry::access_log;
    shared.metrics.unidentified(refusal.code());
    if !access_log::is_on()
        || shared
            .repeated
            .allow("unidentified", address, Instant::now())
            .is_none()
    {
        return;
    }
    access_log::write(&access_log::Line {
        id: &common.id,
        tenant: None,
        key: None,
        method: call.request.method().as_str(),
        endpoint: call.endpoint.label(),
        model: None,
        channel: None,
        status: refusal.status(),
        input_tokens: None,
        output_tokens: None,
        charge: None,
        first_byte: None,
        total: started.elapsed(),
        overhead: None,
        attempts: 0,
        outcome: "refused",
        code: Some(refusal.code()),
        client: address,
    });
}

/// The answer to a path that does not exist: a program that left out `/v1` is told so.
pub fn unknown_path(request: &HttpRequest) -> HttpResponse {
    let common = Common::of(RequestId::new(), request.headers());
    if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
        return common.error(&Refusal::MethodNotAllowed.into());
    }
    let path = request.path();
    let known = [
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/models",
        "/responses",
        "/messages",
    ];
    let hint = known
        .iter()
        .find(|known| path == **known || path.ends_with(&format!("/v1{known}")));
    let hint = hint.map(|known| format!("/v1{known}"));
    tracing::debug!(path = %quote(path), "an unknown path");
    common.error(&Refusal::UnknownPath { hint }.into())
}
