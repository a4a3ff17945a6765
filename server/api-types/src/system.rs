//! How an instance is, for operators.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{channel::Kind, manage::CredentialItem, settings::Mode, usage::Percentiles};

/// How the asked instance is, with each thing that it leans on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SystemStatus {
    /// `ok`, or `degraded` while something that it leans on is gone.
    pub status: String,
    pub version: String,
    pub instance: String,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub now: String,
    pub mode: Mode,
    pub checks: SystemChecks,
    pub process: ProcessFigures,
    pub machine: MachineFigures,
}

/// Each thing that an instance leans on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SystemChecks {
    pub database: Check,
    pub usage_database: Check,
    pub redis: Check,
    /// Channels that could serve now, and how many there are.
    pub channels_up: u64,
    pub channels: u64,
    /// The version of the configuration that this instance serves.
    pub catalog_version: i64,
    /// Milliseconds since it was last known to be the newest one.
    pub catalog_lag_ms: Option<u64>,
    /// Events that wait to be booked, and the bytes of their segments.
    pub spool_events: u64,
    pub spool_bytes: u64,
    /// What a store said when it last failed; absent while all is well.
    pub last_error: Option<String>,
}

/// One store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Check {
    /// `up`, `down` or `unused`.
    pub status: String,
    /// How long it took to answer.
    pub ms: Option<f64>,
}

/// What the process has; absent where the system does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProcessFigures {
    /// Seconds of CPU since its start.
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub threads: Option<u64>,
    pub open_files: Option<u64>,
    pub max_open_files: Option<u64>,
    /// Calls of programs that are under way.
    pub requests_in_flight: u64,
    /// Connections of callers that are open.
    pub connections: u64,
}

/// What its machine has; absent where the system does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MachineFigures {
    pub cpus: u64,
    /// Of the last minute.
    pub load: Option<f64>,
    pub memory_bytes: Option<u64>,
    pub memory_available_bytes: Option<u64>,
    /// Of the file system with the data directory.
    pub disk_bytes: Option<u64>,
    pub disk_free_bytes: Option<u64>,
    /// Over all network devices but loopback, since the machine's start.
    pub received_bytes: Option<u64>,
    pub sent_bytes: Option<u64>,
}

/// A channel, as the asked instance sees it now, and how it did in the last hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProviderItem {
    pub id: Uuid,
    /// The owner; absent is the platform.
    pub tenant: Option<String>,
    pub name: String,
    pub kind: Kind,
    pub enabled: bool,
    /// Whether any of its credentials could take a call now.
    pub up: bool,
    pub credentials: Vec<CredentialItem>,
    /// Requests that it answered in the last hour; absent, as all below, for those who have no `usage:read`.
    pub requests: Option<i64>,
    /// Those of them that failed.
    pub errors: Option<i64>,
    /// From 0 to 1; absent where there was no request.
    pub success_rate: Option<f64>,
    pub total_ms: Option<Percentiles>,
    pub first_byte_ms: Option<Percentiles>,
}

/// What there is, and what went through today.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stats {
    pub tenants: u64,
    pub users: u64,
    pub groups: u64,
    pub keys: u64,
    pub channels: u64,
    pub models: u64,
    pub instances: u64,
    /// Since midnight in the time zone of the question (UTC for operators).
    pub requests_today: i64,
    pub errors_today: i64,
    pub input_tokens_today: i64,
    pub output_tokens_today: i64,
    /// US dollars, an exact decimal.
    pub cost_usd_today: String,
    /// Calls of programs that are under way on the asked instance; for operators.
    pub requests_in_flight: Option<u64>,
}
