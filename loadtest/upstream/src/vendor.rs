//! The handle on a running vendor: it steers, asks and stops it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::behaviour::{Behaviour, Fault};
use crate::bill::{Line, Received, Tokens};
use crate::connection;
use crate::control::Orders;
use crate::state::{ConnectionPolicy, Counters, Options, Record, State};

/// A vendor that runs in threads and a runtime of its own, so that it also serves tests whose
/// own runtime is busy or blocked. Dropping it stops it and cuts its connections.
#[derive(Debug)]
pub struct Vendor {
    /// Where it listens.
    pub addr: SocketAddr,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    secure: bool,
}

impl Vendor {
    /// Starts a vendor for a test: loopback, a free port, everything recorded.
    ///
    /// # Panics
    /// If that fails, as all the `spawn` functions for tests.
    pub fn spawn() -> Self {
        Self::start(Options::default()).expect("a vendor on loopback")
    }

    /// Like [`Vendor::spawn`], but speaking TLS with this certificate.
    #[cfg(feature = "tls")]
    pub fn spawn_tls(identity: crate::Identity) -> Self {
        let options = Options {
            identity: Some(identity),
            ..Options::default()
        };
        Self::start(options).expect("a vendor with TLS on loopback")
    }

    /// Starts the demo channel's vendor: it says that it is no model, repeats the question word
    /// by word, takes any credential, keeps no bodies and a bill of bounded length.
    pub fn spawn_demo(listen: impl ToSocketAddrs) -> anyhow::Result<Self> {
        let listen = listen
            .to_socket_addrs()?
            .next()
            .context("no address to listen on")?;
        Self::start(Options {
            listen,
            record: Record::Bill,
            keep: 1_000,
            demo: true,
            default: Behaviour::default().with_chunk_delay_ms(30),
            recordings: Vec::new(),
            ..Options::default()
        })
    }

    /// Starts a vendor.
    pub fn start(options: Options) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(options.listen)
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        // The standard library lets 128 connections wait: in a burst the rest would knock again seconds later.
        socket2::SockRef::from(&listener).listen(4096)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let mut runtime = match options.workers {
            0 | 1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = runtime
            .worker_threads(options.workers.max(1))
            .enable_all()
            .build()?;
        let acceptor = Acceptor::new(&options)?;
        let secure = acceptor.secure();
        let state = Arc::new(State::new(options)?);
        let (stop, stopped) = oneshot::channel();
        let shared = state.clone();
        let thread = std::thread::Builder::new()
            .name("weir-upstream".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = accept(listener, acceptor, shared) => {}
                    }
                });
                runtime.shutdown_background();
            })?;
        Ok(Self {
            addr,
            state,
            stop: Some(stop),
            thread: Some(thread),
            secure,
        })
    }

    /// Serves until the process ends.
    pub fn join(mut self) -> anyhow::Result<()> {
        let thread = self.thread.take().context("it has stopped")?;
        thread
            .join()
            .map_err(|_| anyhow!("the vendor's thread panicked"))
    }

    /// `http://127.0.0.1:port/v1`, what a client takes as base URL.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.root_url())
    }

    /// `http://127.0.0.1:port`
    pub fn root_url(&self) -> String {
        format!(
            "{}://{}",
            if self.secure { "https" } else { "http" },
            self.addr
        )
    }

    /// The next request without a behaviour of its own gets this one. Behaviours wait in a queue.
    ///
    /// # Panics
    /// If it names a recording that does not exist, as all that take a behaviour.
    pub fn push(&self, behaviour: Behaviour) {
        self.state
            .push(behaviour)
            .expect("a behaviour that can be had");
    }

    /// Requests get this one when neither queue nor model chooses another.
    pub fn set_default(&self, behaviour: Behaviour) {
        self.state
            .set_default(behaviour)
            .expect("a behaviour that can be had");
    }

    /// Requests of this model get this one, unless the queue has one.
    pub fn on_model(&self, model: impl Into<String>, behaviour: Behaviour) {
        self.state
            .on_model(model.into(), behaviour)
            .expect("a behaviour that can be had");
    }

    /// Refuses new connections, or takes them again.
    pub fn refuse(&self, refuse: bool) {
        self.set_default(match refuse {
            true => Behaviour::fault(Fault::Refuse),
            false => self.state.options.default.clone(),
        });
    }

    /// How connections are treated from their next idle time on.
    pub fn set_connections(&self, policy: ConnectionPolicy) {
        *self.state.policy.write() = policy;
    }

    /// Several orders at once, as `POST /_control/behaviours` takes them.
    pub fn order(&self, orders: Orders) -> anyhow::Result<()> {
        orders.apply(&self.state)
    }

    /// Forgets behaviours, bill and stored objects. Counters and serials go on.
    pub fn reset(&self) {
        self.state
            .reset()
            .expect("the first default can be had again");
    }

    /// The bill: one line for each request, in the order of their heads.
    pub fn bill(&self) -> Vec<Line> {
        self.state.book.lines()
    }

    /// The requests as received.
    pub fn requests(&self) -> Vec<Received> {
        self.state.book.requests()
    }

    /// Tokens by the credential presented; `""` where there was none.
    pub fn totals_by_credential(&self) -> BTreeMap<String, Tokens> {
        self.state.book.totals(|line| line.credential.as_deref())
    }

    /// Tokens by model; `""` where none was named.
    pub fn totals_by_model(&self) -> BTreeMap<String, Tokens> {
        self.state.book.totals(|line| line.model.as_deref())
    }

    /// Running totals, which need no record.
    pub fn counters(&self) -> Counters {
        self.state.book.counters()
    }

    /// Waits until the bill fulfils a condition, and gives the bill; an error shows the bill as it
    /// was at the end. Woken by changes, so it costs no time to wait with it.
    pub async fn wait_for(
        &self,
        condition: impl Fn(&[Line]) -> bool,
        timeout: Duration,
    ) -> anyhow::Result<Vec<Line>> {
        self.state.book.wait_for(condition, timeout).await
    }

    /// Waits until a request has ended, and gives its line.
    pub async fn ended(&self, serial: u64, timeout: Duration) -> anyhow::Result<Line> {
        let lines = self
            .wait_for(
                |bill| line(bill, serial).is_some_and(|line| line.end.is_some()),
                timeout,
            )
            .await?;
        line(&lines, serial).cloned().context("its line has gone")
    }

    /// Waits until the client of a request has left, and says when that was seen.
    pub async fn client_left(&self, serial: u64, timeout: Duration) -> anyhow::Result<Instant> {
        let left = |bill: &[Line]| line(bill, serial).and_then(|line| line.client_left_ns);
        let lines = self.wait_for(|bill| left(bill).is_some(), timeout).await?;
        left(&lines)
            .map(|ns| self.instant(ns))
            .context("its line has gone")
    }

    /// The `Instant` of a `..._ns` in the bill or of a stamp in a stream.
    pub fn instant(&self, unix_ns: u64) -> Instant {
        self.state.clock.instant(unix_ns)
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have stopped by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn line(bill: &[Line], serial: u64) -> Option<&Line> {
    bill.iter().find(|line| line.serial == serial)
}

/// Whether connections begin with TLS.
#[derive(Clone)]
struct Acceptor {
    #[cfg(feature = "tls")]
    tls: Option<tokio_rustls::TlsAcceptor>,
}

#[cfg(feature = "tls")]
impl Acceptor {
    fn new(options: &Options) -> anyhow::Result<Self> {
        let config = options
            .identity
            .as_ref()
            .map(|identity| identity.server_config());
        Ok(Self {
            tls: config.transpose()?.map(tokio_rustls::TlsAcceptor::from),
        })
    }

    fn secure(&self) -> bool {
        self.tls.is_some()
    }

    async fn serve(self, socket: TcpStream, state: &State, number: u64) {
        let Some(tls) = self.tls else {
            return connection::serve(socket, state, number).await;
        };
        // A client that does not like the certificate leaves here.
        if let Ok(socket) = tls.accept(socket).await {
            connection::serve(socket, state, number).await;
        }
    }
}

#[cfg(not(feature = "tls"))]
impl Acceptor {
    #[expect(clippy::unnecessary_wraps, reason = "the same shape as with TLS")]
    fn new(_: &Options) -> anyhow::Result<Self> {
        Ok(Self {})
    }

    fn secure(&self) -> bool {
        false
    }

    async fn serve(self, socket: TcpStream, state: &State, number: u64) {
        connection::serve(socket, state, number).await;
    }
}

async fn accept(listener: std::net::TcpListener, acceptor: Acceptor, state: Arc<State>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // Out of files, most likely: let some connections end.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let number = state.book.connections.fetch_add(1, Relaxed) + 1;
        if state.refuses() {
            state.book.refused.fetch_add(1, Relaxed);
            continue;
        }
        // An answer's pieces are the point: none may wait for another.
        drop(socket.set_nodelay(true));
        let (state, acceptor) = (state.clone(), acceptor.clone());
        tokio::spawn(async move { acceptor.serve(socket, &state, number).await });
    }
}
