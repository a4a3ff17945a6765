//! Calls upstream: awc, made safe for callers who share its pool.
//!
//! `forward` decides what to call and whether to call again; this module makes one call and says how it went. One
//! [`Upstream`] a worker, since an `awc::Client` cannot cross threads. What awc would do by itself and must not
//! (redirects, decompression, its own headers and timeouts) is switched off; what it does wrong is mended in `guard`.

mod connect;
mod exchange;
pub mod framing;
mod guard;

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use actix_web::http::{Method, StatusCode, Uri, header::HeaderMap};
use awc::{
    Client, ClientResponse, Connector, FrozenClientRequest,
    body::{BodySize, BoxBody, MessageBody, SizedStream},
    error::{ConnectError, SendRequestError},
};
use bytes::Bytes;
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use weir_api_types::span::Span;

use connect::{Connect, Targets};
pub use connect::{Target, tls_config};
use exchange::Exchange;

use crate::{catalog::channel::Base, tenancy::TenantId};

/// Settings of the connections upstream.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long an idle connection is kept.
    pub keep_alive: Span,
    /// How long a connection is used at all, so that changed addresses are noticed.
    pub lifetime: Span,
    /// Connections in use at a time; further calls wait.
    pub connections: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keep_alive: Span(Duration::from_secs(60)),
            lifetime: Span(Duration::from_secs(3600)),
            connections: 20_000,
        }
    }
}

/// One call.
pub struct Call<'a> {
    pub base: &'a Base,
    /// Whose channel it is: connections are never shared between owners.
    pub owner: Option<TenantId>,
    /// Whether its address is a tenant's word alone, and leads to the public network or nowhere.
    pub is_guarded: bool,
    pub method: Method,
    /// Path and query as they go on the wire, beginning with a slash.
    pub path: &'a str,
    /// Complete: nothing is added but `host` and the body's framing.
    pub headers: HeaderMap,
    pub connect_timeout: Duration,
    /// How long to wait for the answer's head once the request is sent.
    pub head_timeout: Duration,
    /// Set as soon as the request goes out: from then on the vendor may work on it.
    pub reached: Rc<Cell<bool>>,
}

/// The body of a call.
pub enum Body {
    /// Held whole: the call can be made again.
    Whole(Bytes),
    /// Sent as it comes, once.
    Stream {
        length: Option<u64>,
        body: BoxStream,
    },
}

/// An error of whatever a body is made of, as awc wants it.
pub type BoxError = Box<dyn std::error::Error>;

/// A body as it comes from a caller.
pub type BoxStream = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>>>>;

/// An answer whose head is there and whose body is not.
pub type Answer = ClientResponse;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no connection to the upstream: {0}")]
    Connect(String),
    #[error("the upstream could not be reached in time")]
    ConnectTimeout,
    #[error("the upstream did not answer in time")]
    HeadTimeout,
    #[error("the connection to the upstream broke before an answer: {0}")]
    Broken(String),
    #[error("the upstream's answer cannot be relayed: {0}")]
    BadAnswer(String),
    /// The caller's own body failed while it was sent on.
    #[error("the request's body broke off: {0}")]
    RequestBody(String),
}

/// The client of one worker.
#[derive(Clone)]
pub struct Upstream {
    pooled: Client,
    /// Opens a connection for every call: for the one call that is sent again.
    fresh: Client,
    targets: Targets,
}

impl Upstream {
    pub fn new(config: &Config, tls: Arc<rustls::ClientConfig>) -> Self {
        let targets = Targets::default();
        let client = |keep_alive: Duration| {
            let connector = Connector::new()
                .connector(Connect::new(targets.clone(), Arc::clone(&tls)))
                .limit(config.connections)
                // Each call brings its own limit; this one only must not be shorter.
                .timeout(Duration::from_secs(3600))
                .conn_keep_alive(keep_alive)
                .conn_lifetime(config.lifetime.0);
            Client::builder()
                .connector(connector)
                .disable_timeout()
                .disable_redirects()
                .no_default_headers()
                .finish()
        };
        Self {
            pooled: client(config.keep_alive.0),
            fresh: client(Duration::ZERO),
            targets: targets.clone(),
        }
    }

    /// Makes the call. A call that dies on a connection used before, without any byte of an answer, most likely met
    /// the upstream's closing of an idle connection: it is sent once more on a fresh one (RFC 9110, section 9.2.2 leaves
    /// this to the client where it knows that nothing was processed; a vendor that bills such a call does so once). A 408
    /// there says the same in words (section 15.5.9): it was on its way before the request was.
    pub async fn send(&self, mut call: Call<'_>, body: Body) -> Result<Answer, Error> {
        let headers = std::mem::take(&mut call.headers);
        let exchange = Exchange::new(call.connect_timeout, &call.reached);
        match body {
            Body::Whole(bytes) => {
                let request = self.request(&self.pooled, &call, headers)?;
                let sent = send_once(&request, &call, whole(bytes.clone()), &exchange).await;
                let met_a_closing = exchange.reused()
                    && match &sent {
                        Ok(answer) => answer.status() == StatusCode::REQUEST_TIMEOUT,
                        Err(Error::Broken(_)) => !exchange.answered(),
                        Err(_) => false,
                    };
                if !met_a_closing {
                    return sent;
                }
                drop(sent);
                let exchange = Exchange::new(call.connect_timeout, &call.reached);
                let again = self.request(&self.fresh, &call, request.headers().clone())?;
                send_once(&again, &call, whole(bytes), &exchange).await
            }
            // A body that can be sent only once goes over a connection that cannot be stale.
            Body::Stream { length, body } => {
                let request = self.request(&self.fresh, &call, headers)?;
                send_once(&request, &call, streamed(length, body), &exchange).await
            }
        }
    }

    /// The request's head, to be sent as often as it takes.
    fn request(
        &self,
        client: &Client,
        call: &Call<'_>,
        headers: HeaderMap,
    ) -> Result<FrozenClientRequest, Error> {
        let authority =
            self.targets
                .authority(&Target::new(call.base, call.owner, call.is_guarded));
        let uri = Uri::builder()
            .scheme("http")
            .authority(&*authority)
            .path_and_query(call.path)
            .build()
            .map_err(|error| Error::BadAnswer(error.to_string()))?;
        let mut request = client.request(call.method.clone(), uri).no_decompress();
        *request.headers_mut() = headers;
        let frozen = request.freeze();
        frozen.map_err(|error| Error::BadAnswer(error.to_string()))
    }
}

async fn send_once(
    request: &FrozenClientRequest,
    call: &Call<'_>,
    body: BoxBody,
    exchange: &Rc<Exchange>,
) -> Result<Answer, Error> {
    let sent = exchange
        .during(timeout(call.head_timeout, request.send_body(body)))
        .await;
    match sent {
        Ok(answer) => answer.map_err(Error::from),
        Err(_) => Err(Error::HeadTimeout),
    }
}

fn whole(bytes: Bytes) -> BoxBody {
    BoxBody::new(bytes)
}

fn streamed(length: Option<u64>, body: BoxStream) -> BoxBody {
    match length {
        Some(length) => BoxBody::new(SizedStream::new(length, body)),
        None => BoxBody::new(Chunked(body)),
    }
}

/// A body of unknown length, which goes chunked.
struct Chunked(BoxStream);

impl MessageBody for Chunked {
    type Error = BoxError;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Bytes, BoxError>>> {
        self.get_mut().0.as_mut().poll_next(cx)
    }
}

impl From<SendRequestError> for Error {
    fn from(error: SendRequestError) -> Self {
        use std::io::ErrorKind;
        match error {
            SendRequestError::Connect(ConnectError::Io(error))
                if error.kind() == ErrorKind::TimedOut =>
            {
                Self::ConnectTimeout
            }
            SendRequestError::Connect(ConnectError::Timeout) => Self::ConnectTimeout,
            // awc says so when a connection ends before the head of an answer.
            SendRequestError::Connect(ConnectError::Disconnected) => {
                Self::Broken("it was closed".to_owned())
            }
            SendRequestError::Connect(error) => Self::Connect(error.to_string()),
            SendRequestError::Timeout => Self::HeadTimeout,
            SendRequestError::Send(error) if error.kind() == ErrorKind::InvalidData => {
                Self::BadAnswer(error.to_string())
            }
            SendRequestError::Send(error) => Self::Broken(error.to_string()),
            SendRequestError::Response(actix_web::error::ParseError::Io(error))
                if error.kind() != ErrorKind::InvalidData =>
            {
                Self::Broken(error.to_string())
            }
            SendRequestError::Body(error) => Self::RequestBody(error.to_string()),
            error => Self::BadAnswer(error.to_string()),
        }
    }
}
