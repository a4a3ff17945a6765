//! Makes connections for awc: resolves, dials, shakes hands, and puts the guard on top.
//!
//! awc pools by authority alone, across tenants and checks. So it is given an authority that stands for a whole
//! [`Target`], and everything that decides where bytes go is looked up here by that name. TLS happens below the guard,
//! so that awc sees plain HTTP and the guard sees every byte.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_rt::net::{ActixStream, Ready};
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::future::LocalBoxFuture;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{exchange, guard::Guard};
use crate::{
    catalog::channel::Base,
    tenancy::{TenantId, reach},
};

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;
/// For a name that does not resolve in time.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Where no call says how long (there is none such today).
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What connections are pooled by: an origin, and whose word allowed it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    tls: bool,
    host: Arc<str>,
    port: u16,
    owner: Option<TenantId>,
    /// Whether it may lead to the public network alone.
    is_guarded: bool,
}

impl Target {
    pub fn new(base: &Base, owner: Option<TenantId>, is_guarded: bool) -> Self {
        Self {
            tls: base.tls,
            host: base.host.clone(),
            port: base.port,
            owner,
            is_guarded,
        }
    }
}

/// The names under which awc knows targets, one table a worker.
#[derive(Debug, Clone, Default)]
pub struct Targets(
    Rc<RefCell<HashMap<Target, Rc<str>>>>,
    Rc<RefCell<HashMap<Rc<str>, Target>>>,
);

impl Targets {
    /// The authority that stands for the target.
    pub fn authority(&self, target: &Target) -> Rc<str> {
        if let Some(name) = self.0.borrow().get(target) {
            return name.clone();
        }
        let name: Rc<str> = format!("target-{}", self.0.borrow().len()).into();
        self.0.borrow_mut().insert(target.clone(), name.clone());
        self.1.borrow_mut().insert(name.clone(), target.clone());
        name
    }

    fn find(&self, authority: &str) -> Option<Target> {
        self.1.borrow().get(authority).cloned()
    }
}

/// The service that awc asks for connections.
#[derive(Clone)]
pub struct Connect {
    targets: Targets,
    tls: Arc<rustls::ClientConfig>,
}

impl Connect {
    pub fn new(targets: Targets, tls: Arc<rustls::ClientConfig>) -> Self {
        Self { targets, tls }
    }
}

impl Service<ConnectInfo<Uri>> for Connect {
    type Response = Connection<Uri, Guard<Wire>>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, ConnectError>>;

    actix_service::always_ready!();

    fn call(&self, asked: ConnectInfo<Uri>) -> Self::Future {
        let uri = asked.request().clone();
        let target = uri
            .authority()
            .and_then(|authority| self.targets.find(authority.as_str()));
        let tls = Arc::clone(&self.tls);
        Box::pin(async move {
            let target = target.ok_or(ConnectError::Unresolved)?;
            let limit = exchange::connect_timeout().unwrap_or(DEFAULT_CONNECT_TIMEOUT);
            let wire = timeout(limit, open(&target, tls, resolve))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let wire = wire.map_err(ConnectError::Io)?;
            exchange::note_connected();
            Ok(Connection::new(uri, Guard::new(wire)))
        })
    }
}

/// A connection to the target. `resolve` is asked once, and what it says is what is checked and dialled.
async fn open(
    target: &Target,
    tls: Arc<rustls::ClientConfig>,
    resolve: impl AsyncFnOnce(&Target) -> io::Result<Vec<SocketAddr>>,
) -> io::Result<Wire> {
    let addresses = permitted(target, resolve(target).await?)?;
    let stream = dial(&addresses).await?;
    stream.set_nodelay(true)?;
    if !target.tls {
        return Ok(Wire::Plain(stream));
    }
    let name = ServerName::try_from(target.host.to_string())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let stream = TlsConnector::from(tls).connect(name, stream).await?;
    Ok(Wire::Tls(Box::new(stream)))
}

/// The addresses of a target, resolved once for one connection.
async fn resolve(target: &Target) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = target.host.parse() {
        return Ok(vec![SocketAddr::new(address, target.port)]);
    }
    let looked_up = timeout(
        RESOLVE_TIMEOUT,
        tokio::net::lookup_host((target.host.as_ref(), target.port)),
    );
    let found: Vec<SocketAddr> = looked_up
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??
        .take(MAX_ADDRESSES)
        .collect();
    if found.is_empty() {
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ))
    } else {
        Ok(found)
    }
}

/// The addresses, if all of them may be dialled. Where some may and others not, the name is not what it claims to be.
fn permitted(target: &Target, addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let is_public = |address: &SocketAddr| reach::is_public(address.ip());
    if target.is_guarded && !addresses.iter().all(is_public) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the address is not one of the public network",
        ));
    }
    Ok(addresses)
}

/// Dials exactly the given addresses, one after the other.
async fn dial(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// A connection on the wire.
#[derive(Debug)]
pub enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl ActixStream for Guard<Wire> {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.wire()
            .tcp()
            .poll_read_ready(cx)
            .map_ok(|()| Ready::READABLE)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.wire()
            .tcp()
            .poll_write_ready(cx)
            .map_ok(|()| Ready::WRITABLE)
    }
}

/// The TLS settings of calls upstream: the system's roots, TLS 1.2 and 1.3, HTTP/1.1 alone.
pub fn tls_config(
    extra_roots: &[rustls_pki_types::CertificateDer<'static>],
) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "some of the system's root certificates cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    for root in extra_roots {
        roots.add(root.clone())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn target(host: &str, port: u16, is_guarded: bool) -> Target {
        let base = Base {
            tls: false,
            host: host.into(),
            port,
            path: "".into(),
        };
        Target::new(&base, Some(TenantId::random()), is_guarded)
    }

    /// However it is spelled: the decision is made on what is dialled, and nothing is dialled.
    /// Threats: S1, S2.
    #[tokio::test]
    async fn a_tenant_s_word_leads_to_no_private_address() {
        let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = trap.local_addr().unwrap().port();
        let tls = tls_config(&[]).unwrap();
        for host in [
            "127.0.0.1",
            "localhost",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.1",
            "0.0.0.0",
            "0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "64:ff9b::7f00:1",
            "10.0.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
        ] {
            let opened = open(&target(host, port, true), Arc::clone(&tls), resolve).await;
            // Some spellings are no address to some resolvers.
            assert!(opened.is_err(), "{host}");
        }
        let silent = timeout(Duration::from_millis(50), trap.accept()).await;
        assert!(silent.is_err(), "somebody came");
        // An operator's word leads anywhere.
        let opened = open(&target("127.0.0.1", port, false), tls, resolve).await;
        assert!(opened.is_ok());
    }

    /// A name server that says something else each time it is asked (TTL 0) is asked once for a connection, and again for the next.
    /// Threats: S2.
    #[tokio::test]
    async fn a_name_that_flips_between_checks_leads_nowhere_else() {
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good_address = good.local_addr().unwrap();
        let trap = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let trap_address = trap.local_addr().unwrap();
        let tls = tls_config(&[]).unwrap();
        let asked = std::cell::Cell::new(0);
        let flips = async |_: &Target| {
            asked.set(asked.get() + 1);
            Ok(match asked.get() % 2 {
                1 => vec![good_address],
                _ => vec![trap_address],
            })
        };
        let trusted = target("flips.example", good_address.port(), false);
        let wire = open(&trusted, Arc::clone(&tls), flips).await.unwrap();
        assert_eq!(asked.get(), 1);
        assert_eq!(wire.tcp().peer_addr().unwrap(), good_address);
        // Public while it was checked first, private now: the next connection asks again, and is refused before anything is dialled.
        let public = "1.1.1.1:443".parse().unwrap();
        let guarded = target("flips.example", 443, true);
        assert!(permitted(&guarded, vec![public]).is_ok());
        let inward = async |_: &Target| Ok(vec![trap_address]);
        let opened = open(&guarded, tls, inward).await;
        let refused = opened.expect_err("it is refused").kind();
        assert_eq!(refused, io::ErrorKind::PermissionDenied);
        let silent = timeout(Duration::from_millis(50), trap.accept()).await;
        assert!(silent.is_err(), "somebody came");
    }

    /// A name that leads to a public and to a private address is refused whole.
    /// Threats: S2.
    #[test]
    fn one_private_address_among_public_ones_is_one_too_many() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let guarded = target("rebinding.example", 443, true);
        let mixed = addresses(&["1.1.1.1:443", "127.0.0.1:443"]);
        assert!(permitted(&guarded, mixed.clone()).is_err());
        let public = addresses(&["1.1.1.1:443", "[2606:4700::1]:443"]);
        assert_eq!(permitted(&guarded, public.clone()).unwrap(), public);
        let trusted = target("rebinding.example", 443, false);
        assert_eq!(permitted(&trusted, mixed.clone()).unwrap(), mixed);
    }
}
