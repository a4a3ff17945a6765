//! What is there before any listener: stores, catalog, recorder, jobs and the state that handlers are given.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_api_types::manage::CredentialState;
use zeroize::Zeroizing;

use super::{
    Options, State, demo,
    keys::{self, SPOOL_KEY_FILE},
    pages,
};
use crate::{
    admin,
    bodies::Bodies,
    catalog::Current,
    clock::now_ms,
    config::{self, Config},
    jobs::{
        self, Beat, BuildAccounts, FillBudgets, Fleet, FlushUsage, Health, RefreshCatalog,
        ShareBudgets, WriteUsage, share_budgets,
    },
    limits::{self, Limits, Local, busy::Busy},
    mail::Mail,
    metering::{Recorder, UsageEvent, recorder::Recovered, spool},
    private_file, proxy,
    redis::Redis,
    resources, routing,
    secrets::{Sealer, Secret},
    store::{self, Stores},
    telemetry::{self, metrics, repeated::Repeated},
};

/// What is there before any listener.
pub struct Built {
    pub state: State,
    pub admin_token: Secret,
    pub demo: Option<demo::Demo>,
    pub shutdown: CancellationToken,
    pub working: JoinSet<()>,
}

/// Opens the stores, books what a former process left, and starts the jobs.
pub async fn build(
    config: Config,
    options: Options,
    tracer: telemetry::span::Tracer,
) -> anyhow::Result<Built> {
    let keys = keys::load(&config)?;
    let sealer = Arc::new(keys.sealer);
    let stores = store::connect::open(&store_config(&config), &config.data_dir).await?;
    let steps = store::connect::migrate(&stores, migrate(config.migrate)).await?;
    if let Some(last) = steps.last() {
        tracing::info!(steps = steps.len(), last, "the schema was migrated");
    }
    let redis = Redis::open(&config.redis())?;
    let current = Arc::new(Current::default());
    let health = Arc::new(Health::default());
    let limits_config = limits::Config {
        reserved_wait: config.limits.reserved_wait.0,
        are_shared: redis.is_some(),
    };
    let id = uuid::Uuid::new_v4();
    let shared_limits = redis
        .clone()
        .map(|redis| Arc::new(limits::Shared::new(redis, config.redis.timeout.0, id)));
    let rates: Box<dyn limits::Rates> = match &shared_limits {
        Some(shared) => Box::new(Arc::clone(shared)),
        None => Box::new(Local::default()),
    };
    let (limits, noticed) = Limits::new(limits_config, Arc::clone(&current), rates);
    let (recorder, recovered) = open_recorder(&config, &sealer, &current, &limits)?;

    let refresh = RefreshCatalog {
        stores: stores.clone(),
        current: Arc::clone(&current),
        sealer: Arc::clone(&sealer),
        redis: redis.clone(),
        health: Arc::clone(&health),
        config: jobs::refresh_catalog::Config {
            poll_every: config.catalog.poll,
        },
    };
    refresh
        .look()
        .await
        .context("the configuration cannot be read")?;
    let write = WriteUsage {
        stores: stores.clone(),
        recorder: recorder.clone(),
        health: Arc::clone(&health),
        data_dir: config.data_dir.clone(),
        turn: Arc::default(),
    };
    let turn = Arc::clone(&write.turn);
    let shutdown = CancellationToken::new();
    settle_past(&recorder, recovered, &write, &shutdown).await;

    let fleet = Arc::new(Fleet::default());
    let beat = Beat {
        stores: stores.clone(),
        current: Arc::clone(&current),
        me: store::instances::Me {
            id,
            name: config.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        fleet: Arc::clone(&fleet),
    };
    beat.beat()
        .await
        .context("this instance cannot say that it lives")?;

    let demo = if options.demo {
        Some(demo::set_up(&stores, &sealer, &config.data_dir).await?)
    } else {
        None
    };
    if let Some(file) = &options.resources {
        let applied = resources::apply_file(&stores, &sealer, file).await?;
        tracing::info!(file = %file.display(), changes = applied.changes.len(), "applied");
    }
    refresh.look().await?;
    let fill = FillBudgets {
        limits: Arc::clone(&limits),
        current: Arc::clone(&current),
        stores: stores.clone(),
        recorder: recorder.clone(),
    };
    fill.fill_all()
        .await
        .context("what budgets have spent cannot be read")?;

    let metrics = Arc::new(metrics::Registry::new(config.telemetry.max_series)?);
    let (bodies, captured) = Bodies::new();
    let shared = Arc::new(proxy::Shared {
        catalog: Arc::clone(&current),
        bodies,
        recorder: recorder.clone(),
        limits: Arc::clone(&limits),
        budget_exceeded_status: config.limits.budget_exceeded_status,
        busy: Busy::new(config.limits.tenant_requests),
        health: routing::Health::default(),
        pace: proxy::Pace::default(),
        metrics: Arc::clone(&metrics),
        tracer,
        config: config.proxy.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        instance: config.instance.clone(),
        draining: false.into(),
        out_of_time: tokio::sync::watch::Sender::new(false),
        repeated: Arc::new(Repeated::default()),
        refused: Arc::new(Repeated::new(100, Duration::from_secs(10))),
        strangers: proxy::Strangers::new(config.proxy.unidentified_per_minute),
    });
    let pages = pages::State {
        shared: Arc::clone(&shared),
        stores: stores.clone(),
        jobs: Arc::clone(&health),
        redis: redis.clone(),
        metrics_token: config
            .metrics_token
            .as_ref()
            .map(|token| admin::Token::new(token.expose()))
            .transpose()?,
        reach: pages::Reach::Anybody,
    };
    let (started_ms, instance) = (now_ms(), config.instance.clone());
    let (watched, data_dir) = (pages.clone(), config.data_dir.clone());
    let system: admin::System = Box::new(move || {
        let (watched, instance, data_dir) = (watched.clone(), instance.clone(), data_dir.clone());
        Box::pin(async move { Box::pin(watched.system(instance, started_ms, &data_dir)).await })
    });
    let (flushed, told) = (recorder.clone(), redis.clone());
    let flush = Arc::new(FlushUsage::new(id, stores.clone(), told, flushed));
    let admin = Arc::new(admin_state(
        &config,
        &stores,
        &sealer,
        &shared,
        &keys.admin_token,
        Arc::clone(&flush),
        system,
    )?);
    let mut working = JoinSet::new();
    working.spawn(refresh.run(shutdown.clone()));
    let (still, last) = tokio::sync::mpsc::channel(1);
    working.spawn(outlived(write.run(shutdown.clone()), still.clone()));
    if let Some(shared) = shared_limits {
        let share = ShareBudgets {
            limits: Arc::clone(&limits),
            shared: Arc::clone(&shared),
            current: Arc::clone(&current),
            stores: stores.clone(),
            sign: share_budgets::Sign::put_up(&config.data_dir, id)
                .context("the data directory cannot be written")?,
        };
        working.spawn(outlived(share.run(shutdown.clone()), still.clone()));
        let build = BuildAccounts {
            limits: Arc::clone(&limits),
            shared: Arc::clone(&shared),
            stores: stores.clone(),
            recorder: recorder.clone(),
            turn,
        };
        working.spawn(build.run(shutdown.clone()));
        let fleet = Arc::clone(&fleet);
        working.spawn(jobs::share_limits::run(shared, fleet, shutdown.clone()));
    } else {
        working.spawn(fill.run(shutdown.clone()));
    }
    working.spawn(jobs::keep_bodies::run(
        stores.clone(),
        Arc::clone(&sealer),
        captured,
        Arc::clone(&metrics),
        shutdown.clone(),
    ));
    working.spawn(jobs::write_alerts::run(
        stores.clone(),
        noticed,
        metrics,
        Arc::clone(&current),
        shutdown.clone(),
    ));
    drop(still);
    working.spawn(beat.run(shutdown.clone(), last));
    let (db, led) = (stores.clone(), Arc::clone(&fleet));
    working.spawn(jobs::partitions::run(db, led, shutdown.clone()));
    working.spawn(jobs::apply_settings::run(
        Arc::clone(&current),
        config.logs(),
        config.telemetry.trace_sample,
        shared.tracer.clone(),
        shutdown.clone(),
    ));
    let (db, led) = (stores.clone(), Arc::clone(&fleet));
    working.spawn(jobs::prune::run(
        db,
        Arc::clone(&current),
        led,
        shutdown.clone(),
    ));
    let (db, led) = (stores.clone(), Arc::clone(&fleet));
    working.spawn(jobs::tell_audit_head::run(db, led, shutdown.clone()));
    let bounded = vec![Arc::clone(&shared.repeated), Arc::clone(&shared.refused)];
    working.spawn(telemetry::flood::tell(bounded, shutdown.clone()));
    if let Some(redis) = redis {
        working.spawn(flush.run(redis.clone(), shutdown.clone()));
        working.spawn(jobs::tell_changes::run(&stores, redis, shutdown.clone()));
    }
    if let (Some(file), true) = (options.resources, options.watch) {
        working.spawn(resources::watch(
            stores.clone(),
            Arc::clone(&sealer),
            file,
            shutdown.clone(),
        ));
    }
    Ok(Built {
        state: State {
            shared,
            admin,
            pages,
        },
        admin_token: keys.admin_token,
        demo,
        shutdown,
        working,
    })
}

/// Runs a job, and lets go of something when it has ended.
async fn outlived<T>(job: impl Future<Output = ()>, until_then: T) {
    job.await;
    drop(until_then);
}

fn admin_state(
    config: &Config,
    stores: &Stores,
    sealer: &Arc<Sealer>,
    shared: &Arc<proxy::Shared>,
    token: &Secret,
    flush: Arc<FlushUsage>,
    system: admin::System,
) -> anyhow::Result<admin::State> {
    let (health, judged, up) = (Arc::clone(shared), Arc::clone(shared), Arc::clone(shared));
    // Apart from the programs': a job with an old key keeps nobody from management.
    let strangers = proxy::Strangers::new(config.proxy.unidentified_per_minute);
    let metrics = Arc::clone(&shared.metrics);
    Ok(admin::State {
        stores: stores.clone(),
        sealer: Arc::clone(sealer),
        catalog: Arc::clone(&shared.catalog),
        limits: Arc::clone(&shared.limits),
        token: admin::AdminKey::new(
            token.expose(),
            match config.admin_token {
                Some(_) => None,
                None => Some(config.data_dir.join(super::keys::ADMIN_TOKEN_FILE)),
            },
        )?,
        trusted_proxies: config.trusted_proxies.clone(),
        hosts: admin::Hosts::new(
            config
                .public_url
                .iter()
                .chain(&config.management_hosts)
                .map(String::as_str),
        ),
        flush: Box::new(move |at_most| {
            let flush = Arc::clone(&flush);
            Box::pin(async move { flush.everywhere(at_most).await })
        }),
        health: Box::new(move |credential| {
            credential_state(health.health.condition(credential, now_ms()))
        }),
        judge: Box::new(move |credential, status| match status {
            Some(200..=299) => judged.health.forgive(credential.id),
            Some(status @ (401 | 403)) => judged.health.refused(credential.id, status, now_ms()),
            _ => {}
        }),
        stranger: Box::new(move |address| {
            let admitted = strangers.admit(address, Instant::now());
            metrics.unidentified(match admitted {
                Ok(()) => "unauthorized",
                Err(_) => "rate_limit_exceeded",
            });
            admitted
        }),
        is_up: Box::new(move |channel| up.health.is_up(channel, now_ms())),
        system,
        pace: admin::pace::Pace::new(config.management.calls_per_minute),
        looks: admin::view::Looks::default(),
        told: admin::owners::Told::default(),
        mail: match &config.smtp_url {
            Some(url) => Some(Mail::over(url, &config.mail_from)?),
            None => None,
        },
        login: admin::login::Login {
            passwords: admin::login::Passwords::new()?,
            tokens: admin::login::Tokens::default(),
            providers: admin::login::Known::default(),
            has_tls: config.tls_cert.is_some(),
        },
        public_url: config.public_url.clone(),
    })
}

fn credential_state(condition: routing::health::Condition) -> CredentialState {
    use routing::health::Condition;
    match condition {
        Condition::Good => CredentialState::Ready,
        Condition::Resting(until_ms) => CredentialState::Resting {
            until: resources::export::moment(until_ms),
        },
        Condition::SetAside { status, .. } => CredentialState::SetAside { status },
        Condition::Unusable => CredentialState::Unusable,
    }
}

/// What a former process left is priced, written and booked before this one is ready.
async fn settle_past(
    recorder: &Recorder,
    recovered: Recovered,
    write: &WriteUsage,
    shutdown: &CancellationToken,
) {
    let (segments, interrupted) = (recovered.segments.len(), recovered.interrupted.len());
    if segments + interrupted > 0 {
        tracing::info!(segments, interrupted, "booking what the last process left");
    }
    if let Err(error) = recorder.settle_interrupted(recovered.interrupted) {
        tracing::error!(%error, "interrupted calls wait in memory");
    }
    if let Err(error) = recorder.flush().await {
        tracing::error!(%error, "the spool cannot be flushed");
    }
    write.book_waiting(shutdown).await;
}

fn open_recorder(
    config: &Config,
    sealer: &Sealer,
    current: &Arc<Current>,
    limits: &Arc<Limits>,
) -> anyhow::Result<(Recorder, Recovered)> {
    let spool = spool::Config {
        sync_every: config.spool.sync_every,
        segment_bytes: config.spool.segment_bytes.0,
        segment_age: config.spool.segment_age,
        max_bytes: config.spool.max_bytes.0,
        on_full: match config.spool.on_full {
            config::OnFull::Refuse => spool::OnFull::Refuse,
            config::OnFull::GoOn => spool::OnFull::GoOn,
        },
        ..spool::Config::default()
    };
    let catalog = Arc::clone(current);
    let pricer = move |event: &mut UsageEvent| {
        if event.rates.is_none() {
            let catalog = catalog.peek();
            let model = catalog.model_named(event.tenant, &event.model);
            event.rates = model
                .and_then(|model| model.rates(event.started_ms))
                .cloned();
        }
        event.price();
    };
    let limits = Arc::clone(limits);
    let opened = Recorder::open(
        &config.data_dir,
        &*spool_key(config, sealer)?,
        spool,
        &config.instance,
        Arc::new(pricer),
        Arc::new(move |event| limits.settle(event)),
    );
    opened.with_context(|| format!("the spool in {}", config.data_dir.display()))
}

/// The key of what metering leaves on disk. What a process left that ended badly is under the master key of that time: so this one goes
/// on with that, and the next one after a good end begins with the present one.
fn spool_key(config: &Config, sealer: &Sealer) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let path = config.data_dir.join(SPOOL_KEY_FILE);
    let id = private_file::kept(&path, || sealer.key_id())?;
    let key = sealer.spool_key(id.expose());
    if key.is_none() {
        tracing::error!(
            key = id.expose(),
            "the spool was written under a master key that is not given: its files are set aside"
        );
        private_file::replace(&path, &sealer.key_id())?;
    }
    let key = key.or_else(|| sealer.spool_key(&sealer.key_id()));
    key.context("the master key is gone")
}

fn store_config(config: &Config) -> store::Config {
    store::Config {
        database_url: config.database_url.clone(),
        migrate: migrate(config.migrate),
        ..store::Config::default()
    }
}

fn migrate(setting: config::Migrate) -> store::Migrate {
    match setting {
        config::Migrate::Auto => store::Migrate::Auto,
        config::Migrate::Never => store::Migrate::Never,
    }
}
