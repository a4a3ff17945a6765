//! The management API under `/v1/admin`: the one way in for CLI, portal and automation.
//!
//! A handler's arguments say who may call it ([`access`]) and what it reads ([`body`]); it checks, calls `resources`,
//! `store` or `reports`, and answers. All that goes wrong is an [`error::ApiError`], told as a problem document. Around
//! every route stands [`guard`]: foreign hosts are turned away, answers are never kept by a cache. No rule, script or
//! proxy key reaches in here.

pub mod access;
mod body;
mod channels;
pub mod error;
mod guard;
mod hosts;
mod instances;
mod keys;
mod limits;
mod list;
mod models;
mod resources;
mod tenants;
mod usage;
mod users;

use std::{sync::Arc, time::Duration};

use actix_web::{
    Resource,
    middleware::from_fn,
    web::{self, ServiceConfig},
};
use futures_util::future::BoxFuture;
use weir_api_types::manage::CredentialState;

pub use access::Token;
pub use guard::panicked;
pub use hosts::Hosts;

use crate::{
    catalog::{Credential, Current},
    limits::Limits,
    secrets::Sealer,
    store::Stores,
};

/// How long an answer to a change waits for this instance to have it too.
const CATALOG_WAIT: Duration = Duration::from_secs(2);

/// Sees to it that what was answered so far is booked, for so long at most; whether it is.
pub type Flush = Box<dyn Fn(Duration) -> BoxFuture<'static, bool> + Send + Sync>;

/// What a credential is good for at present, as traffic has taught.
pub type Health = Box<dyn Fn(&Credential) -> CredentialState + Send + Sync>;

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
    pub token: Token,
    /// The names that management answers to.
    pub hosts: Hosts,
    /// For `wait` in questions about usage.
    pub flush: Flush,
    /// For the list of channels.
    pub health: Health,
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
}

/// Mounts the management API. The application holds a `web::Data<State>`.
pub fn configure(config: &mut ServiceConfig) {
    let scope = web::scope("/v1/admin")
        .wrap(from_fn(guard::guard))
        .service(resource("/resources").route(web::get().to(resources::export)))
        .service(resource("/resources/apply").route(web::post().to(resources::apply)))
        .service(resource("/tenants").route(web::get().to(tenants::list)))
        .service(resource("/users").route(web::get().to(users::list)))
        .service(resource("/models").route(web::get().to(models::list)))
        .service(resource("/instances").route(web::get().to(instances::list)))
        .service(resource("/limits").route(web::get().to(limits::limits)))
        .service(resource("/budgets").route(web::get().to(limits::budgets)))
        .service(resource("/alerts").route(web::get().to(limits::alerts)))
        .service(resource("/channels").route(web::get().to(channels::list)))
        .service(
            resource("/keys")
                .route(web::get().to(keys::list))
                .route(web::post().to(keys::create)),
        )
        .service(
            resource("/keys/{id}")
                .route(web::get().to(keys::show))
                .route(web::patch().to(keys::change))
                .route(web::delete().to(keys::delete)),
        )
        .service(resource("/usage").route(web::get().to(usage::ask)))
        .default_service(web::to(error::not_found));
    config.service(scope);
}

/// A path that says 405 to every method it has no route for.
fn resource(path: &str) -> Resource {
    web::resource(path).default_service(web::to(error::method_not_allowed))
}

#[cfg(test)]
mod tests;
