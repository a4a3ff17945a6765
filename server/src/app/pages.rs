//! What is open to anybody: health, readiness, metrics (by token where they are not on loopback), the front page, the
//! documents.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderName},
    web,
};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use time::OffsetDateTime;
use weir_api_types::{
    settings::Mode,
    system::{Check, SystemChecks, SystemStatus},
};
use weir_frontend::Asset;

use crate::{
    access::Permission,
    admin,
    clock::now_ms,
    jobs, proxy,
    redis::Redis,
    resources::export::moment,
    store::Stores,
    telemetry::{
        health::{Health, Providers, Store},
        machine, metrics,
    },
};

/// How long a store may take to answer, to count as there.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// What the pages tell about.
#[derive(Clone)]
pub struct State {
    pub shared: Arc<proxy::Shared>,
    pub stores: Stores,
    pub jobs: Arc<jobs::Health>,
    pub redis: Option<Redis>,
    /// What opens the metrics where they are not on loopback.
    pub metrics_token: Option<admin::Token>,
    pub reach: Reach,
}

/// Who can reach a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Anybody,
    /// It listens on loopback.
    ThisMachine,
    /// It is management's own.
    Operators,
}

/// One document: its name in the URL, its title, its Markdown.
type Document = (&'static str, &'static str, &'static str);

const DOCUMENTS: &[Document] = &[
    ("readme", "README", include_str!("../../../README.md")),
    (
        "settings",
        "Settings",
        include_str!("../../../docs/settings.md"),
    ),
    (
        "permissions",
        "Permissions",
        include_str!("../../../docs/permissions.md"),
    ),
    (
        "api",
        "Management API",
        include_str!("../../../docs/api.md"),
    ),
    ("cli", "Command line", include_str!("../../../docs/cli.md")),
    (
        "metrics",
        "Metrics",
        include_str!("../../../docs/metrics.md"),
    ),
    (
        "errors",
        "Error codes",
        include_str!("../../../docs/errors.md"),
    ),
    (
        "configuration",
        "Configuration as code",
        include_str!("../../../docs/configuration.md"),
    ),
    (
        "operations",
        "Operations",
        include_str!("../../../docs/operations.md"),
    ),
    (
        "security",
        "Security",
        include_str!("../../../docs/security.md"),
    ),
    (
        "changelog",
        "Changelog",
        include_str!("../../../CHANGELOG.md"),
    ),
];

impl State {
    async fn health(&self) -> Health {
        let store = |is_up| if is_up { Store::Up } else { Store::Down };
        let database =
            store(self.jobs.store_up.load(Ordering::Relaxed) && self.jobs.usage_store_up());
        let redis = match &self.redis {
            None => Store::Unused,
            Some(redis) => store(redis.ping().await.is_ok()),
        };
        Health::new(database, redis, self.providers(), OffsetDateTime::now_utc())
    }

    /// How this instance is, for operators.
    pub async fn system(&self, instance: String, started_ms: i64, data_dir: &Path) -> SystemStatus {
        let (database, usage) = (&self.stores.config.read, &self.stores.usage.read);
        let (database, usage_database, redis) = tokio::join!(
            check(async { database.ping().await.is_ok() }),
            check(async { usage.ping().await.is_ok() }),
            async {
                match &self.redis {
                    Some(redis) => check(async { redis.ping().await.is_ok() }).await,
                    None => Check {
                        status: "unused".to_owned(),
                        ms: None,
                    },
                }
            },
        );
        let Providers { up, total } = self.providers();
        let spool = self.shared.recorder.pending().spool;
        let catalog = self.shared.catalog.load();
        let is_down = |check: &Check| check.status == "down";
        let is_degraded = [&database, &usage_database, &redis]
            .into_iter()
            .any(is_down)
            || (up == 0 && total > 0);
        let in_flight = self.shared.metrics.requests_in_flight();
        SystemStatus {
            status: if is_degraded { "degraded" } else { "ok" }.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance,
            started_at: moment(started_ms),
            now: moment(now_ms()),
            mode: catalog.settings().mode,
            checks: SystemChecks {
                database,
                usage_database,
                redis,
                channels_up: up as u64,
                channels: total as u64,
                catalog_version: catalog.version().number,
                catalog_lag_ms: self.jobs.catalog_lag().map(|lag| lag.as_millis() as u64),
                spool_events: spool.pending_events,
                spool_bytes: spool.pending_bytes,
                last_error: self.jobs.last_error(),
            },
            process: machine::process(in_flight, self.shared.metrics.connections()),
            machine: machine::machine(data_dir),
        }
    }

    fn providers(&self) -> Providers {
        let catalog = self.shared.catalog.load();
        let now_ms = now_ms();
        let enabled = catalog.channels().filter(|channel| channel.enabled);
        let (mut up, mut total) = (0, 0);
        for channel in enabled {
            total += 1;
            up += usize::from(self.shared.health.is_up(channel, now_ms));
        }
        Providers { up, total }
    }

    fn measure_books(&self) {
        let registry = &self.shared.metrics;
        let figures = self.shared.recorder.pending();
        let spool = &figures.spool;
        registry.set_spool(spool.pending_events, spool.pending_bytes);
        registry.set_attention([
            ("held", figures.held),
            ("unwritable", figures.unwritable),
            (
                "unbookable",
                self.jobs.unbookable_events.load(Ordering::Relaxed),
            ),
            ("damaged_slots", figures.damaged_slots),
            ("set_aside", figures.set_aside + spool.set_aside),
            ("skipped", spool.skipped),
            ("torn", spool.torn),
            ("sync_failures", spool.sync_failures),
            (
                "broken_entries",
                self.jobs.broken_entries.load(Ordering::Relaxed),
            ),
        ]);
    }

    /// Brings the gauges up to date, which nobody else does between scrapes.
    async fn measure(&self) {
        let registry = &self.shared.metrics;
        let catalog = self.shared.catalog.load();
        let now_ms = now_ms();
        let channels: Vec<(&str, bool)> = catalog
            .channels()
            .map(|channel| {
                (
                    channel.name.as_str(),
                    self.shared.health.is_up(channel, now_ms),
                )
            })
            .collect();
        registry.set_channels(channels);
        self.measure_books();
        if let Some(lag) = self.jobs.catalog_lag() {
            registry.set_catalog_lag(lag);
        }
        let health = self.health().await;
        registry.set_store(
            metrics::Store::Database,
            health.checks.database.status == Store::Up,
        );
        if self.redis.is_some() {
            registry.set_store(
                metrics::Store::Redis,
                health.checks.redis.status == Store::Up,
            );
        }
    }
}

/// Whether something answers in time, and how long it took.
async fn check(answers: impl Future<Output = bool>) -> Check {
    let began = Instant::now();
    let is_up = tokio::time::timeout(CHECK_TIMEOUT, answers)
        .await
        .unwrap_or(false);
    Check {
        status: if is_up { "up" } else { "down" }.to_owned(),
        ms: Some(began.elapsed().as_secs_f64() * 1_000.0),
    }
}

/// `GET /health`: 200 also while a store is gone, since it says whether the process lives.
pub async fn health(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(state.health().await)
}

/// `GET /ready`: 503 before the first picture of the configuration and while stopping.
pub async fn ready(state: web::Data<State>) -> HttpResponse {
    let told = state.shared.catalog.peek().settings().mode == Mode::Drain;
    let draining = told || state.shared.draining.load(Ordering::Relaxed);
    let loaded = !state.shared.catalog.peek().version().epoch.is_nil();
    let mut answer = if loaded && !draining {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    let word = if draining {
        "draining"
    } else if loaded {
        "ready"
    } else {
        "starting"
    };
    answer
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(serde_json::json!({ "status": word }))
}

/// `GET /metrics`: open where only this machine or an operator can ask, elsewhere by token.
pub async fn metrics(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    if !may_read_metrics(&request, &state) && !is_let_in(&request).await {
        return HttpResponse::Unauthorized()
            .insert_header((header::WWW_AUTHENTICATE, "Bearer"))
            .finish();
    }
    state.measure().await;
    match state.shared.metrics.render() {
        Ok(text) => HttpResponse::Ok()
            .content_type(metrics::Registry::content_type())
            .body(text),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// Whether the request shows a token that may scrape.
async fn is_let_in(request: &HttpRequest) -> bool {
    let caller = admin::access::known(request).await;
    caller.is_ok_and(|caller| caller.may(Permission::MetricsRead))
}

/// A listener on loopback is asked by this machine alone, unless a proxy stands before it and says so, or a browser that a page of a
/// name of its own leads here (threats.md, H5).
fn may_read_metrics(request: &HttpRequest, state: &State) -> bool {
    let is_forwarded = request.headers().contains_key("x-forwarded-for")
        || request.headers().contains_key("forwarded");
    let is_ours = admin::guard::is_ours(request);
    match state.reach {
        Reach::Operators if is_ours => return true,
        Reach::ThisMachine if is_ours && !is_forwarded => return true,
        Reach::Operators | Reach::ThisMachine | Reach::Anybody => {}
    }
    let presented = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .and_then(|token| std::str::from_utf8(token).ok());
    match (&state.metrics_token, presented) {
        (Some(token), Some(presented)) => token.is(presented),
        _ => false,
    }
}

/// A file of the front page.
pub fn asset(asset: &'static Asset) -> HttpResponse {
    page(asset.content_type, asset.bytes)
}

/// `GET /docs`: what there is to read.
pub async fn documents() -> HttpResponse {
    let items: String = DOCUMENTS
        .iter()
        .map(|(name, title, _)| format!("<li><a href=\"/docs/{name}\">{title}</a></li>"))
        .collect();
    let api = "<li><a href=\"/docs/api/\">The management API, operation by operation</a></li>";
    html(
        "Documents",
        &format!("<h1>Documents</h1><ul>{items}{api}</ul>"),
    )
}

/// `GET /docs/{name}`.
pub async fn document(name: web::Path<String>) -> HttpResponse {
    match DOCUMENTS.iter().find(|(known, ..)| *known == name.as_str()) {
        Some((_, title, markdown)) => {
            html(title, &rendered(markdown))
        }
        None => HttpResponse::NotFound().json(serde_json::json!({ "error": { "message": "There is no such document. GET /docs lists them." } })),
    }
}

fn rendered(markdown: &str) -> String {
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
    for at in 0..events.len() {
        let name = anchor(&events[at + 1..]);
        if let Event::Start(Tag::Heading { id, .. }) = &mut events[at] {
            *id = Some(name.into());
        }
    }
    let events = events.into_iter().map(|event| match event {
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => Event::Start(Tag::Link {
            link_type,
            dest_url: served_at(&dest_url).map_or(dest_url, Into::into),
            title,
            id,
        }),
        event => event,
    });
    let mut body = String::new();
    pulldown_cmark::html::push_html(&mut body, events);
    body
}

/// What a heading is called in links, as the places where Markdown is read have it: its words in lower case, joined by dashes.
fn anchor(behind: &[Event<'_>]) -> String {
    let within = behind
        .iter()
        .take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    let words = within.filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(text.to_lowercase()),
        _ => None,
    });
    let words: String = words.collect();
    let kept = words.chars().filter_map(|character| match character {
        ' ' => Some('-'),
        character if character.is_alphanumeric() || "-_".contains(character) => Some(character),
        _ => None,
    });
    kept.collect()
}

/// Where a document is served that others link to by its place in the repository, or beside them.
fn served_at(link: &str) -> Option<String> {
    let name = link.strip_prefix("docs/").unwrap_or(link);
    let name = name.strip_suffix(".md")?;
    let is_served = DOCUMENTS.iter().any(|(served, ..)| *served == name);
    is_served.then(|| format!("/docs/{name}"))
}

fn html(title: &str, body: &str) -> HttpResponse {
    let page_text = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} · Weir</title><link rel=\"stylesheet\" href=\"/assets/style.css\"></head>\
         <body><main class=\"document\"><p><a href=\"/\">Weir</a> · <a href=\"/docs\">Documents</a></p>{body}</main></body></html>"
    );
    page("text/html; charset=utf-8", page_text)
}

fn page(
    content_type: &'static str,
    body: impl Into<actix_web::web::Bytes> + actix_web::body::MessageBody + 'static,
) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, content_type))
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            weir_frontend::CONTENT_SECURITY_POLICY,
        ))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(body)
}
