//! One listener: HTTP/1.1, with TLS or without, its bounds and deadlines.
//!
//! It does not use `HttpServer`, for two reasons. With TLS that offers HTTP/2 before everything else as soon as any crate
//! of the build has it (awc does), and actix's h2 has no release with the fix for its floods (threats.md, H8). And it
//! lets nobody stand between the socket and the parser, where [`Patient`] times every head.

use std::{fmt, io, net::SocketAddr, net::TcpListener, sync::Arc, time::Duration};

use actix_http::{
    HttpService, Request, Response,
    body::MessageBody,
    error::{DispatchError, ParseError},
};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_tls::accept::{TlsError, rustls_0_23::Acceptor};
use actix_web::{dev::AppConfig, rt::net::TcpStream};
use rustls::ServerConfig;
use socket2::SockRef;

use super::patience::{Deadlines, Patient};
use crate::{config::Config, telemetry::metrics::Registry};

/// How long a connection that has been answered may take to end.
const DISCONNECT: Duration = Duration::from_secs(1);

/// How far behind the clock may be that actix sets its deadlines by.
const CLOCK_TICK: Duration = Duration::from_millis(500);

/// How many connections may wait to be accepted; the system may let fewer (`net.core.somaxconn`).
const WAITING: i32 = 8192;

/// What differs between listeners.
#[derive(Clone)]
pub struct Listener {
    pub workers: usize,
    pub max_connections: usize,
    pub deadlines: Deadlines,
    /// How long open streams may go on when the instance stops.
    pub shutdown: Duration,
    pub tls: Option<ServerConfig>,
    pub metrics: Arc<Registry>,
}

/// Listens on an address. The standard library lets 128 connections wait, and actix leaves a given socket as it is: in a
/// burst, callers beyond those would knock again after a second, then two, then four.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // To listen once more changes the number, and nothing else.
    SockRef::from(&listener).listen(WAITING)?;
    Ok(listener)
}

impl Listener {
    /// The one that programs call.
    pub fn public(config: &Config, tls: Option<ServerConfig>, metrics: &Arc<Registry>) -> Self {
        Self {
            workers: config.worker_count(),
            max_connections: config.proxy.max_connections,
            deadlines: Deadlines {
                head: config.proxy.head_timeout.0,
                idle: config.proxy.keep_alive.0,
            },
            // Calls end themselves at the deadline; what is left then is for those that cannot.
            shutdown: config.shutdown_deadline.0 + config.proxy.cut_grace.0 + DISCONNECT * 2,
            tls,
            metrics: Arc::clone(metrics),
        }
    }

    /// The one for people and their tools, where they have one of their own.
    pub fn admin(config: &Config, tls: Option<ServerConfig>, metrics: &Arc<Registry>) -> Self {
        Self {
            workers: 1,
            shutdown: Duration::from_secs(5),
            ..Self::public(config, tls, metrics)
        }
    }

    /// A server of an application on this listener. The application counts its requests with `patience::count`.
    pub fn serve<F, I, S, B>(self, socket: TcpListener, application: F) -> io::Result<Server>
    where
        F: Fn() -> I + Send + Clone + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<actix_web::Error> + 'static,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>> + 'static,
        <S::Service as Service<Request>>::Future: 'static,
        S::Service: 'static,
        B: MessageBody + 'static,
    {
        let address = socket.local_addr()?;
        let builder = Server::build()
            .workers(self.workers)
            .max_concurrent_connections(self.max_connections)
            .shutdown_timeout(self.shutdown.as_secs().max(1))
            .disable_signals();
        let stopping = builder.graceful_shutdown_signal();
        let deadlines = self.deadlines;
        let metrics = self.metrics;
        macro_rules! http {
            ($is_tls:expr) => {{
                let stopping = stopping.clone();
                let metrics = Arc::clone(&metrics);
                let application = application()
                    .into_factory()
                    .map_err(|error| error.into().error_response());
                let http = HttpService::build()
                    .graceful_shutdown_signal(move || {
                        let stopping = stopping.clone();
                        async move { stopping.notified().await }
                    })
                    // actix's clock moves twice a second: a deadline may begin half a second in the past, and one that
                    // is over when it is set is never looked at again.
                    .keep_alive(deadlines.idle + CLOCK_TICK)
                    .client_request_timeout(deadlines.head + CLOCK_TICK)
                    .client_disconnect_timeout(DISCONNECT)
                    // A caller's FIN is its leaving: without this it goes unseen in a silent second.
                    .h1_allow_half_closed(false)
                    .local_addr(address)
                    .on_connect_ext(|stream: &Patient<_>, data| {
                        data.insert(stream.requests());
                        data.insert(stream.peer());
                    });
                let http = if $is_tls { http.secure() } else { http };
                http.h1(map_config(application, |()| AppConfig::default()))
                    .map_err(move |error| {
                        count_refused(&metrics, &error);
                        error
                    })
            }};
        }
        let builder = match self.tls {
            None => builder.listen("http", socket, move || {
                let timed = Arc::clone(&metrics);
                fn_service(move |stream: TcpStream| {
                    let peer = prepare(&stream);
                    let stream = Patient::new(stream, deadlines, &timed);
                    async move { Ok((stream, peer)) }
                })
                .and_then(http!(false))
            })?,
            Some(tls) => builder.listen("https", socket, move || {
                let timed = Arc::clone(&metrics);
                let mut handshake = Acceptor::new(tls.clone());
                handshake.set_handshake_timeout(deadlines.head);
                handshake
                    .map_init_err(|_| ())
                    .map_err(TlsError::into_service_error)
                    .map(move |stream| {
                        let peer = prepare(stream.get_ref().0);
                        (Patient::new(stream, deadlines, &timed), peer)
                    })
                    .and_then(http!(true).map_err(TlsError::Service))
            })?,
        };
        Ok(builder.run())
    }
}

/// What actix answers itself, below any handler, nobody else sees. Its 408 comes without an error: [`Patient`] sees it.
fn count_refused(metrics: &Registry, error: &DispatchError) {
    match error {
        DispatchError::Parse(ParseError::Io(_) | ParseError::Incomplete) => {}
        DispatchError::Parse(ParseError::TooLarge) => metrics.bad_head("too_large"),
        DispatchError::Parse(_) => metrics.bad_head("malformed"),
        _ => {}
    }
}

/// Small chunks must not wait for an ACK: actix leaves Nagle on. The peer.
fn prepare(socket: &TcpStream) -> Option<SocketAddr> {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps Nagle's algorithm");
    }
    socket.peer_addr().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hundreds_of_connections_wait_to_be_accepted() {
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let patience = Duration::from_millis(500);
        let connect = |_| std::net::TcpStream::connect_timeout(&address, patience).unwrap();
        // None of them is accepted.
        let waiting: Vec<_> = (0..600).map(connect).collect();
        assert_eq!(waiting.len(), 600);
    }
}
