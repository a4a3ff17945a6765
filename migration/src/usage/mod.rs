//! The steps of what traffic leaves behind: usage events and the sums made of them.
//!
//! Nothing here refers to a row of [`crate::config`]: on SQLite that is another file, and an invoice
//! has to be explained after its tenant's keys and channels are gone.

mod m0001_usage_events;
mod m0002_usage_partitions;
mod m0003_usage_rollups;
mod m0004_usage_histograms;
mod m0005_attempt_rollups;
mod m0006_budget_alerts;
mod m0007_usage_rollups_errors;
mod m0008_usage_events_log;
mod m0009_kept_bodies;
mod m0010_forgotten_bodies;
mod m0011_usage_events_covered;
pub mod partition;

use sea_orm_migration::prelude::*;

/// All steps, in the order in which they run.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_usage_events::Migration),
            Box::new(m0002_usage_partitions::Migration),
            Box::new(m0003_usage_rollups::Migration),
            Box::new(m0004_usage_histograms::Migration),
            Box::new(m0005_attempt_rollups::Migration),
            Box::new(m0006_budget_alerts::Migration),
            Box::new(m0007_usage_rollups_errors::Migration),
            Box::new(m0008_usage_events_log::Migration),
            Box::new(m0009_kept_bodies::Migration),
            Box::new(m0010_forgotten_bodies::Migration),
            Box::new(m0011_usage_events_covered::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        "weir_migrations_usage".into_iden()
    }
}
