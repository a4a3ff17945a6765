//! Builds everything once, in order; starts it, drains it, stops it.
//!
//! [`start`] gives a running instance, on whatever ports it was given (0 works, so tests start the real thing);
//! [`Running::stop`] ends it: not ready, streams finish up to the deadline, the spool is flushed and booked. `serve` is
//! both, with signals in between. Jobs and stores live on a runtime of their own, requests on actix's workers.

mod build;
pub mod demo;
pub mod keys;
mod listener;
mod memory;
mod outside;
pub mod pages;
mod panics;
mod patience;
mod runtime;
mod tls;

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{ServerHandle, ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    web,
};
use anyhow::Context as _;
use runtime::Jobs;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use build::build;
use listener::Listener;

use crate::{
    admin,
    cli::ServeArgs,
    config::{self, Config},
    proxy::{self, upstream},
    routes,
    secrets::Secret,
    telemetry,
};

/// What `serve` is asked for besides the settings.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A file that the configuration is made to match at the start.
    pub resources: Option<PathBuf>,
    /// Whether the file is applied again when it changes.
    pub watch: bool,
    /// A tenant, a key and a channel to try things with.
    pub demo: bool,
}

/// A running instance.
pub struct Running {
    /// Where programs call.
    pub address: SocketAddr,
    /// Where people and their tools call: the same, unless management has a listener of its own.
    pub admin_address: SocketAddr,
    /// Whether callers speak TLS.
    pub tls: bool,
    /// The management API's token.
    pub admin_token: Secret,
    /// What the demo made, if it was asked for.
    pub demo: Option<demo::Demo>,
    shared: Arc<proxy::Shared>,
    /// How long calls under way may go on when it stops.
    deadline: Duration,
    spool_key_file: PathBuf,
    servers: Vec<ServerHandle>,
    serving: JoinSet<std::io::Result<()>>,
    jobs: Jobs,
    shutdown: CancellationToken,
    working: Option<JoinSet<()>>,
    telemetry: telemetry::Guard,
}

/// Runs an instance until a signal stops it. Blocks; called by `weir serve`.
pub fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let options = Options {
        resources: args.resources,
        watch: args.watch,
        demo: args.demo,
    };
    let loaded = config::load(&args.settings.sources())?;
    let config = loaded.config;
    let telemetry = telemetry::start(&config.logs(), &config.telemetry, &config.instance)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    actix_web::rt::System::new().block_on(async move {
        let running = start(config, options, telemetry).await?;
        running.announce();
        wait_for_signal().await?;
        tracing::info!("stopping: streams under way may finish");
        running.stop().await;
        Ok(())
    })
}

/// Builds and starts everything.
pub async fn start(
    config: Config,
    options: Options,
    telemetry: telemetry::Guard,
) -> anyhow::Result<Running> {
    let jobs = Jobs::start()?;
    let handle = jobs.handle().clone();
    let built = handle
        .spawn(build(config.clone(), options, telemetry.tracer()))
        .await
        .context("the start was interrupted")??;
    let tls = tls::server_config(&config, &handle, &built.shutdown)?;
    let upstream_tls = upstream::tls_config(&tls::extra_roots(&config)?)?;
    let separate = config
        .admin_listen
        .map(listener::bind)
        .transpose()
        .context("admin_listen")?;
    let listener = listener::bind(config.listen)
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    let admin_address = separate
        .as_ref()
        .map_or(Ok(address), TcpListener::local_addr)?;

    if tls.is_none() && config.trusted_proxies.is_empty() {
        warn_in_the_clear(address);
        if admin_address != address {
            warn_in_the_clear(admin_address);
        }
    }

    let mut serving = JoinSet::new();
    let mut servers = Vec::new();
    let mut spawn = |server: actix_web::dev::Server| {
        servers.push(server.handle());
        serving.spawn_local(server);
    };
    let is_public = separate.is_none();
    let pool = upstream::Config {
        keep_alive: config.proxy.upstream_keep_alive,
        lifetime: config.proxy.upstream_lifetime,
        connections: config.proxy.upstream_connections,
    };
    // Management calls upstream too, to try credentials.
    let (admin_pool, admin_tls) = (pool.clone(), Arc::clone(&upstream_tls));
    let public = Listener::public(&config, tls.clone(), &built.state.shared.metrics);
    let state = built.state.clone().on(reach_of(address));
    let limits = Arc::clone(&built.state.shared.limits);
    spawn(public.serve(listener, move || {
        let upstream = upstream::Upstream::new(&pool, Arc::clone(&upstream_tls));
        let limits = Arc::clone(&limits);
        actix_web::rt::spawn(async move { limits.warm().await });
        memory::watch();
        let app = App::new()
            .wrap(from_fn(around))
            .app_data(web::Data::new(outside::prober(&upstream)))
            .app_data(web::Data::new(outside::provider_client(&upstream)))
            .app_data(web::Data::new(upstream))
            .configure(|app| state.configure(app));
        let app = app.configure(routes::open).configure(routes::data_plane);
        if is_public {
            app.configure(routes::management)
        } else {
            app
        }
        .configure(routes::unknown)
    })?);
    let is_tls = tls.is_some();
    if let Some(listener) = separate {
        let state = built.state.clone().on(pages::Reach::Operators);
        let admin = Listener::admin(&config, tls, &built.state.shared.metrics);
        spawn(admin.serve(listener, move || {
            let upstream = upstream::Upstream::new(&admin_pool, Arc::clone(&admin_tls));
            App::new()
                .wrap(from_fn(around))
                .app_data(web::Data::new(outside::prober(&upstream)))
                .app_data(web::Data::new(outside::provider_client(&upstream)))
                .configure(|app| state.configure(app))
                .configure(routes::open)
                .configure(routes::management)
                .configure(routes::unknown)
        })?);
    }
    Ok(Running {
        address,
        admin_address,
        tls: is_tls,
        admin_token: built.admin_token,
        demo: built.demo,
        shared: built.state.shared,
        deadline: config.shutdown_deadline.0,
        spool_key_file: config.data_dir.join(keys::SPOOL_KEY_FILE),
        servers,
        serving,
        jobs,
        shutdown: built.shutdown,
        working: Some(built.working),
        telemetry,
    })
}

/// Around the application: one layer for all, as each has its price for every request.
async fn around<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    memory::is_needed();
    patience::count(request, |request| panics::caught(request, next)).await
}

/// Keys, tokens and passwords come there as they are.
fn warn_in_the_clear(address: SocketAddr) {
    if reach_of(address) == pages::Reach::Anybody {
        tracing::warn!(
            %address,
            "whatever comes to this address travels in the clear: set tls_cert and tls_key, or trusted_proxies where a proxy speaks https"
        );
    }
}

fn reach_of(address: SocketAddr) -> pages::Reach {
    if address.ip().to_canonical().is_loopback() {
        pages::Reach::ThisMachine
    } else {
        pages::Reach::Anybody
    }
}

/// What a worker's handlers are given.
#[derive(Clone)]
pub struct State {
    pub shared: Arc<proxy::Shared>,
    pub admin: Arc<admin::State>,
    pub pages: pages::State,
}

impl State {
    /// The same on a listener of this reach.
    fn on(mut self, reach: pages::Reach) -> Self {
        self.pages.reach = reach;
        self
    }

    fn configure(&self, app: &mut web::ServiceConfig) {
        app.app_data(web::Data::from(Arc::clone(&self.shared)))
            .app_data(web::Data::from(Arc::clone(&self.admin)))
            .app_data(web::Data::new(self.pages.clone()));
    }
}

impl Running {
    /// The address that people are told.
    pub fn url(&self) -> String {
        self.url_of(self.address)
    }

    /// The address of management: the same, unless it has a listener of its own.
    pub fn admin_url(&self) -> String {
        self.url_of(self.admin_address)
    }

    fn url_of(&self, address: SocketAddr) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{address}")
    }

    /// What is left on disk binds nobody to the master key of now.
    fn end_spool(&self) {
        let pending = self.shared.recorder.pending();
        let left = pending.spool.pending_events + pending.in_flight + pending.held;
        if left == 0
            && let Err(error) = std::fs::remove_file(&self.spool_key_file)
        {
            tracing::warn!(%error, "the spool's key cannot be forgotten: the next start goes on with it");
        }
    }

    fn announce(&self) {
        tracing::info!(address = %self.address, admin = %self.admin_address, "ready");
        if let Some(demo) = &self.demo {
            demo.print(&self.url());
        }
    }

    /// Drains and stops. All events of finished calls are booked or in the synced spool when this returns.
    pub async fn stop(mut self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        let out_of_time = async {
            tokio::time::sleep(self.deadline).await;
            self.shared.out_of_time.send_replace(true);
            std::future::pending::<()>().await;
        };
        let stopped = async {
            for server in &self.servers {
                server.stop(true).await;
            }
        };
        tokio::select! {
            () = stopped => {}
            () = out_of_time => {}
        }
        while let Some(ended) = self.serving.join_next().await {
            if let Err(error) = ended
                .map_err(anyhow::Error::from)
                .and_then(|ended| ended.map_err(anyhow::Error::from))
            {
                tracing::error!(%error, "a listener ended badly");
            }
        }
        if let Err(error) = self.shared.recorder.flush().await {
            tracing::error!(%error, "the spool could not be flushed; what waits is booked at the next start");
        }
        self.shutdown.cancel();
        if let Some(working) = self.working.take() {
            working.join_all().await;
        }
        self.end_spool();
        drop(self.jobs);
        let telemetry = self.telemetry;
        let flushed =
            tokio::task::spawn_blocking(move || telemetry.shutdown(Duration::from_secs(5))).await;
        if flushed.is_err() {
            tracing::error!("the last traces could not be sent");
        }
    }
}

async fn wait_for_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
