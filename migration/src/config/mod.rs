//! The steps of what is set up: the installation, its tenants, users, keys, channels, models, prices.
//!
//! Deleting a row deletes what belongs to it. A step that an older binary cannot live with also sets
//! `installation.oldest_binary`, for the steps of [`crate::usage`] too, whose file on SQLite has no
//! such row.

mod m0001_installation;
mod m0002_catalog_changes;
mod m0003_tenants;
mod m0004_users;
mod m0005_memberships;
mod m0006_groups;
mod m0007_group_members;
mod m0008_proxy_keys;
mod m0009_key_secrets;
mod m0010_channels;
mod m0011_credentials;
mod m0012_models;
mod m0013_routes;
mod m0014_prices;
mod m0015_limits;
mod m0016_budgets;
mod m0017_routes_max_rps;
mod m0018_instances;
mod m0019_models_max_image_tokens;
mod m0020_service_tokens;
mod m0021_audit_log;
mod m0022_tenants_policies;
mod m0023_sign_ins;
mod m0024_sessions;
mod m0025_signing_keys;
mod m0026_sign_in_failures;
mod m0027_one_time_links;
mod m0028_channels_allowed_origin;
mod m0029_runtime_settings;
mod m0030_idempotency_keys;
mod m0031_roles;
mod m0032_identity_providers;
mod m0033_lists;
mod m0034_links;
mod m0035_known_places;

use sea_orm_migration::prelude::*;

/// All steps, in the order in which they run.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_installation::Migration),
            Box::new(m0002_catalog_changes::Migration),
            Box::new(m0003_tenants::Migration),
            Box::new(m0004_users::Migration),
            Box::new(m0005_memberships::Migration),
            Box::new(m0006_groups::Migration),
            Box::new(m0007_group_members::Migration),
            Box::new(m0008_proxy_keys::Migration),
            Box::new(m0009_key_secrets::Migration),
            Box::new(m0010_channels::Migration),
            Box::new(m0011_credentials::Migration),
            Box::new(m0012_models::Migration),
            Box::new(m0013_routes::Migration),
            Box::new(m0014_prices::Migration),
            Box::new(m0015_limits::Migration),
            Box::new(m0016_budgets::Migration),
            Box::new(m0017_routes_max_rps::Migration),
            Box::new(m0018_instances::Migration),
            Box::new(m0019_models_max_image_tokens::Migration),
            Box::new(m0020_service_tokens::Migration),
            Box::new(m0021_audit_log::Migration),
            Box::new(m0022_tenants_policies::Migration),
            Box::new(m0023_sign_ins::Migration),
            Box::new(m0024_sessions::Migration),
            Box::new(m0025_signing_keys::Migration),
            Box::new(m0026_sign_in_failures::Migration),
            Box::new(m0027_one_time_links::Migration),
            Box::new(m0028_channels_allowed_origin::Migration),
            Box::new(m0029_runtime_settings::Migration),
            Box::new(m0030_idempotency_keys::Migration),
            Box::new(m0031_roles::Migration),
            Box::new(m0032_identity_providers::Migration),
            Box::new(m0033_lists::Migration),
            Box::new(m0034_links::Migration),
            Box::new(m0035_known_places::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        "weir_migrations_config".into_iden()
    }
}
