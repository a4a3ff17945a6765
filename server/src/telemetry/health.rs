//! The answer of `/health`: plain inputs in, JSON out.
//!
//! It is open to everybody, so it says that something is away and never what it is called or where it stands. A store
//! that is gone makes it `degraded`, not failed: requests go on without stores, and a restart would not bring one back.

use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Whether a store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    Up,
    Down,
    /// This installation runs without it.
    Unused,
}

/// How many channels could serve now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Providers {
    pub up: usize,
    pub total: usize,
}

/// What `/health` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    pub status: Status,
    pub version: &'static str,
    /// RFC 3339, UTC.
    pub timestamp: String,
    pub checks: Checks,
}

/// The sum of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Ok,
    Degraded,
}

/// One entry for each thing Weir leans on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Checks {
    pub database: StoreCheck,
    pub redis: StoreCheck,
    pub providers: ProvidersCheck,
}

/// One store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StoreCheck {
    pub status: Store,
}

/// All channels together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ProvidersCheck {
    pub status: Status,
    pub up: usize,
    pub total: usize,
}

impl Health {
    /// The picture at a moment.
    pub fn new(database: Store, redis: Store, providers: Providers, now: OffsetDateTime) -> Self {
        let Providers { up, total } = providers;
        // One broken channel may be one tenant's own, and says nothing of the platform.
        let providers = ProvidersCheck {
            status: Status::degraded_if(up == 0 && total > 0),
            up,
            total,
        };
        let store_is_gone = database == Store::Down || redis == Store::Down;
        let is_degraded = store_is_gone || providers.status == Status::Degraded;
        Self {
            status: Status::degraded_if(is_degraded),
            version: env!("CARGO_PKG_VERSION"),
            timestamp: now.format(&Rfc3339).unwrap_or_default(),
            checks: Checks {
                database: StoreCheck { status: database },
                redis: StoreCheck { status: redis },
                providers,
            },
        }
    }
}

impl Status {
    fn degraded_if(is_degraded: bool) -> Self {
        if is_degraded {
            Self::Degraded
        } else {
            Self::Ok
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_UP: Providers = Providers { up: 2, total: 2 };

    #[test]
    fn health_has_the_agreed_shape() {
        let health = Health::new(Store::Up, Store::Unused, ALL_UP, OffsetDateTime::UNIX_EPOCH);
        let expected = serde_json::json!({
            "status": "ok",
            "version": env!("CARGO_PKG_VERSION"),
            "timestamp": "1970-01-01T00:00:00Z",
            "checks": {
                "database": {"status": "up"},
                "redis": {"status": "unused"},
                "providers": {"status": "ok", "up": 2, "total": 2},
            },
        });
        assert_eq!(serde_json::to_value(health).expect("JSON"), expected);
    }

    #[test]
    fn what_is_gone_degrades() {
        let status = |database, redis, providers| {
            Health::new(database, redis, providers, OffsetDateTime::UNIX_EPOCH).status
        };
        assert_eq!(status(Store::Down, Store::Up, ALL_UP), Status::Degraded);
        assert_eq!(status(Store::Up, Store::Down, ALL_UP), Status::Degraded);
        assert_eq!(
            status(Store::Up, Store::Up, Providers { up: 0, total: 2 }),
            Status::Degraded
        );
        assert_eq!(
            status(Store::Up, Store::Up, Providers { up: 1, total: 2 }),
            Status::Ok
        );
        assert_eq!(
            status(Store::Up, Store::Up, Providers::default()),
            Status::Ok
        );
    }
}
