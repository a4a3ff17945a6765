//! The management API under `/v1/admin`: the one way in for CLI, portal and automation.
//!
//! What a route needs stands in one table ([`routes`]); a handler's arguments say who called ([`access`]) and what it reads
//! ([`body`]); it checks, calls `resources`, `store` or `reports`, and answers. All that goes wrong is an [`error::ApiError`], told as a problem document. Around
//! every route stands [`guard`]: foreign hosts are turned away, answers are never kept by a cache. No rule, script or
//! proxy key reaches in here.

pub mod access;
pub mod admin_key;
mod audit;
mod bodies;
mod body;
mod bounds;
mod channels;
pub mod error;
mod granted;
mod groups;
pub mod guard;
mod hosts;
mod idempotency;
mod identities;
mod identity_providers;
mod insight;
mod instances;
mod invitations;
mod keys;
mod limits;
mod list;
pub mod login;
mod me;
mod models;
mod my_keys;
pub mod openapi;
mod operators;
pub mod owners;
pub mod pace;
pub mod password_resets;
mod requests;
mod resources;
mod roles;
mod route;
mod routes;
mod search;
mod service_tokens;
mod settings;
pub mod system;
mod tenants;
mod thing;
mod usage;
mod users;
pub mod view;

use std::{net::IpAddr, sync::Arc, time::Duration};

use actix_web::{
    middleware::from_fn,
    web::{self, ServiceConfig},
};
use futures_util::future::{BoxFuture, LocalBoxFuture};
use ipnet::IpNet;
use uuid::Uuid;
use weir_api_types::{manage::CredentialState, orders::CredentialCheck, system::SystemStatus};

pub use access::{Needs, Token};
pub use admin_key::AdminKey;
pub use guard::panicked;
pub use hosts::Hosts;
pub use route::Route;
pub use routes::TABLE;

use crate::{
    access::{Caller, Reach},
    catalog::{Channel, Credential, Current, Kind},
    limits::Limits,
    mail::Mail,
    oidc::{Ask, Told},
    secrets::{Sealer, Secret},
    store::{self, Stores, catalog::Row},
    tenancy::{TenantId, key::Value, name},
};
use error::ApiError;

/// How long an answer to a change waits for this instance to have it too.
const CATALOG_WAIT: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 2 });

/// Sees to it that what was answered so far is booked, for so long at most; whether it is.
pub type Flush = Box<dyn Fn(Duration) -> BoxFuture<'static, bool> + Send + Sync>;

/// What a credential is good for at present, as traffic has taught.
pub type Health = Box<dyn Fn(&Credential) -> CredentialState + Send + Sync>;

/// Tells what a vendor thinks of a credential, by its status: one that it takes again is used again.
pub type Judge = Box<dyn Fn(&Credential, Option<u16>) + Send + Sync>;

/// Calls a vendor with a secret. One a worker, as is what it calls with.
pub struct Prober(Box<dyn Fn(Channel, Secret) -> LocalBoxFuture<'static, CredentialCheck>>);

impl Prober {
    pub fn new(
        probe: impl Fn(Channel, Secret) -> LocalBoxFuture<'static, CredentialCheck> + 'static,
    ) -> Self {
        Self(Box::new(probe))
    }

    /// Whether the channel's vendor takes the secret.
    async fn probe(&self, channel: Channel, secret: Secret) -> CredentialCheck {
        (self.0)(channel, secret).await
    }
}

/// Asks identity providers. One a worker, as is what it asks with.
pub struct ProviderClient(Box<dyn Fn(Ask) -> LocalBoxFuture<'static, Result<Told, String>>>);

impl ProviderClient {
    pub fn new(
        ask: impl Fn(Ask) -> LocalBoxFuture<'static, Result<Told, String>> + 'static,
    ) -> Self {
        Self(Box::new(ask))
    }

    /// What the provider answers; why not, in words for whoever may know.
    async fn ask(&self, ask: Ask) -> Result<Told, String> {
        (self.0)(ask).await
    }
}

/// How this instance is.
pub type System = Box<dyn Fn() -> BoxFuture<'static, SystemStatus> + Send + Sync>;

/// Whether any credential of a channel could take a call now.
pub type IsUp = Box<dyn Fn(&Channel) -> bool + Send + Sync>;

/// Counts, where they are, whoever shows a token that lets nobody in; once there are too many, how long until the next.
pub type Stranger = Box<dyn Fn(IpAddr) -> Result<(), Duration> + Send + Sync>;

/// All that a management request may touch.
pub struct State {
    /// Both databases.
    pub stores: Stores,
    /// Opens and seals credentials.
    pub sealer: Arc<Sealer>,
    /// The picture that requests of this instance read: an answer to a change waits until it shows the change.
    pub catalog: Arc<Current>,
    /// What is left of limits and budgets, as far as this instance knows.
    pub limits: Arc<Limits>,
    /// What `WEIR_ADMIN_TOKEN` is compared with.
    pub token: AdminKey,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The names that management answers to.
    pub hosts: Hosts,
    /// For `wait` in questions about usage.
    pub flush: Flush,
    /// For the list of channels.
    pub health: Health,
    /// For credentials that were tried.
    pub judge: Judge,
    pub is_up: IsUp,
    /// Counts calls with a token that is none.
    pub stranger: Stranger,
    pub system: System,
    /// How often callers may use a route.
    pub pace: pace::Pace,
    /// Who views as a tenant.
    pub looks: view::Looks,
    /// What owners were told.
    pub told: owners::Told,
    /// The way to people, if there is one.
    pub mail: Option<Mail>,
    pub login: login::Login,
    /// What links begin with; without it they are paths.
    pub public_url: Option<String>,
}

impl State {
    /// Waits until this instance has the version, so that a call right after an answer meets what the answer said.
    async fn catch_up(&self, version: i64) {
        let mut versions = self.catalog.subscribe();
        let caught_up = versions.wait_for(|seen| seen.number >= version);
        if tokio::time::timeout(CATALOG_WAIT, caught_up).await.is_err() {
            tracing::warn!(version, "this instance lags behind the configuration");
        }
    }

    /// Tells somebody by mail that their way in is another now, where mail is sent; behind the answer (threats.md, A5).
    fn tell(&self, email: &str, what: &str) {
        let Some(mail) = self.mail.clone() else {
            return;
        };
        let (to, letter) = (email.to_owned(), crate::mail::changed(what));
        actix_web::rt::spawn(async move {
            if let Err(error) = mail.send(&to, letter).await {
                tracing::error!(%error, "somebody could not be told of a change by mail");
            }
        });
    }

    /// A link that works once: behind `#`, so that no server on the way, no log and no `Referer` has its token.
    fn link(&self, path: &str, value: &Value) -> String {
        let base = self.public_url.as_deref().unwrap_or_default();
        format!("{}{path}#{}", base.trim_end_matches('/'), value.reveal())
    }

    /// The row of an id, if the caller may know of it.
    async fn row(&self, caller: &Caller, kind: Kind, id: Uuid) -> Result<Row, ApiError> {
        let absent = || ApiError::not_found(kind.as_str());
        match store::catalog::row(&self.stores.config.read, kind, id).await {
            Ok(row) if caller.reaches(row.owner) => Ok(row),
            Ok(_) | Err(store::Error::NotFound) => Err(absent()),
            Err(error) => Err(error.into()),
        }
    }

    /// The tenant that an order names, or that its caller is in anyway.
    async fn tenant_of(&self, caller: &Caller, named: Option<&str>) -> Result<TenantId, ApiError> {
        let absent = || ApiError::field("tenant", "there is no tenant of this name");
        match (named, caller.reach) {
            (Some(name), _) => self.tenant_named(caller, name).await?.ok_or_else(absent),
            (None, Reach::Tenant(own)) => Ok(own),
            (None, Reach::Platform) => Err(ApiError::field("tenant", "is needed")),
        }
    }

    /// The tenant of a name, if the caller may know of it.
    async fn tenant_named(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<Option<TenantId>, ApiError> {
        let Ok(name) = name::normal(name) else {
            return Ok(None);
        };
        let id = store::tenants::named(&self.stores.config.read, &name).await?;
        Ok(id.filter(|id| caller.reaches(Some(*id))))
    }
}

/// Mounts the management API. The application holds a `web::Data<State>`.
pub fn configure(config: &mut ServiceConfig) {
    let scope = routes::mount(web::scope("/v1/admin"))
        .default_service(web::to(error::not_found))
        .wrap(from_fn(guard::guard));
    let status = web::resource("/health/detailed")
        .route(web::get().to(system::status))
        .default_service(web::to(error::method_not_allowed))
        .wrap(from_fn(|request, next| {
            access::needs(
                access::Needs::To(crate::access::Permission::SystemRead),
                access::Mark::Plain,
                request,
                next,
            )
        }))
        .wrap(from_fn(guard::guard));
    config.service(scope).service(status);
}

#[cfg(test)]
mod tests;
