//! THE WAY OF A REQUEST, and the only module that knows all its stages.
//!
//! ingress -> identify -> route -> admit -> forward -> relay -> settle, as [`handle`] calls them. `routes` calls it for every path
//! of the data plane. What a request may touch is [`Shared`] and the worker's [`Upstream`]: no database, so none can be
//! asked by mistake. Rules, cache and translation take their places here when they are built.

mod account;
mod admit;
mod answer;
mod ending;
pub mod endpoint;
pub mod errand;
pub mod error;
mod forward;
mod header_name;
pub mod headers;
mod identify;
mod ingress;
mod leash;
mod models;
mod outbound;
mod pace;
pub mod path;
mod plausible;
mod prepare;
pub mod probe;
mod relay;
mod respond;
mod scrub;
mod stall;
mod strangers;
pub mod upstream;

use std::{
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use actix_web::{HttpRequest, HttpResponse, http::Method, web};
use futures_util::FutureExt as _;
use ipnet::IpNet;
use tokio::sync::watch;
use weir_dialect::openai::quote;

use account::Account;
use ending::Ending;
pub use endpoint::Endpoint;
use error::{Error, Refusal};
use identify::Unidentified;
pub use pace::Pace;
use prepare::{Prepared, prepare};
use respond::Common;
pub use stall::Peer;
pub use strangers::Strangers;
use upstream::Upstream;

use crate::{
    bodies::Bodies,
    catalog,
    config::Proxy as Config,
    limits::{Limits, busy::Busy},
    metering::Recorder,
    routing::Health,
    telemetry::{metrics, repeated::Repeated, span::Tracer},
    tenancy::{RequestId, address},
};

/// All that a request may touch, shared by the workers of an instance.
pub struct Shared {
    /// The present picture of the configuration.
    pub catalog: Arc<catalog::Current>,
    /// Where usage events go.
    pub recorder: Recorder,
    /// Where what is said goes, of tenants who want it kept.
    pub bodies: Bodies,
    /// What bounds how fast and how much.
    pub limits: Arc<Limits>,
    /// The status of `budget_exceeded`.
    pub budget_exceeded_status: u16,
    /// How many calls each tenant has under way here.
    pub busy: Arc<Busy>,
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
    /// Log lines about callers that nobody knows, by address.
    pub repeated: Arc<Repeated>,
    /// Log lines about refused calls, by key.
    pub refused: Arc<Repeated>,
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

/// Takes a request its whole way. A panic on it is that request's alone: its caller gets a bland 500, its account is
/// closed as interrupted.
pub async fn handle(
    call: Call,
    payload: web::Payload,
    shared: &Arc<Shared>,
    upstream: &Upstream,
) -> HttpResponse {
    let common = Common::of(RequestId::new(), call.request.headers());
    let way = whole_way(call, payload, shared, upstream, common.clone());
    match AssertUnwindSafe(way).catch_unwind().await {
        Ok(response) => response,
        Err(_) => common.error(&Refusal::Panicked.into()),
    }
}

async fn whole_way(
    call: Call,
    payload: web::Payload,
    shared: &Arc<Shared>,
    upstream: &Upstream,
    mut common: Common,
) -> HttpResponse {
    let started = Instant::now();
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
    let at_the_door = admit::at_the_door(shared, &catalog, address, call.endpoint).await;
    let head = account_head(&call.request, &common);
    let caller = match identified {
        Ok(caller) => caller,
        Err(Unidentified::Known(caller, refusal)) => {
            let refusal = at_the_door.err().unwrap_or(refusal);
            Account::open(shared, &caller, call.endpoint, common.id, started, head)
                .refuse(&refusal);
            return common.error(&refusal.into());
        }
        Err(Unidentified::Unknown(refusal)) => {
            let refusal = match (at_the_door, shared.strangers.admit(address, started)) {
                (Err(limited), _) => limited,
                (Ok(()), Err(retry_after)) => Refusal::TooManyStrangers { retry_after },
                (Ok(()), Ok(())) => refusal,
            };
            note_unidentified(shared, &call, address, &common, &refusal, started);
            return common.error(&refusal.into());
        }
    };
    // Boxed: it moves along the whole way, and the future of each stage would have room for it twice.
    let account = Account::open(shared, &caller, call.endpoint, common.id, started, head);
    let mut account = Box::new(account);
    let present = at_the_door.and_then(|()| {
        let present = shared.busy.enter(caller.tenant.id);
        present.ok_or(Refusal::TenantBusy)
    });
    match present {
        Ok(present) => account.present(present),
        Err(refusal) => {
            account.refuse(&refusal);
            return common.error(&refusal.into());
        }
    }
    let peer = call.request.conn_data::<Peer>().cloned();
    let wants_cost = call
        .request
        .headers()
        .get(header_name::X_WEIR_COST)
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
        Ok(Prepared::Here { body, left }) => {
            common.left = left;
            account.close(crate::metering::Outcome::Ok, 200, None).await;
            common
                .start(200)
                .content_type("application/json")
                .body(body)
        }
        Ok(Prepared::Upstream {
            candidates,
            mut outbound,
            asking,
            left,
            adjusted,
        }) => {
            (common.left, common.adjusted) = (left, adjusted);
            let is_head = outbound.method == Method::HEAD;
            let mut ending = Ending::of(shared, &caller, candidates.first(), &catalog);
            let answered = tokio::select! {
                biased;
                refusal = ending.reason() => return cut(&common, account, refusal).await,
                answered = forward::first_success(&candidates, &mut outbound, &asking, shared, upstream, &mut account) => answered,
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

/// Nothing could be relayed: booked, then told.
async fn fail(common: &Common, mut account: Box<Account>, error: Error) -> HttpResponse {
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
async fn cut(common: &Common, mut account: Box<Account>, refusal: Refusal) -> HttpResponse {
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
        method: request.method(),
        traceparent: request
            .headers()
            .get(header_name::TRACEPARENT)
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
        || !shared
            .repeated
            .admit("unidentified", address, Instant::now())
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
