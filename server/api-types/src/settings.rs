//! Settings that operators change while Weir runs, on every instance at once.

use serde::{Deserialize, Serialize};

use crate::resources::given;

/// What is in force. Where something is not set here, the settings of each instance's own file or environment hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RuntimeSettings {
    pub mode: Mode,
    /// What is logged: a level, or a list such as `info,weir::proxy=debug`; absent: what the setting `log` says.
    pub log: Option<String>,
    /// The share of requests that are traced, from 0 to 1; absent: what the setting `telemetry.trace_sample` says.
    pub trace_sample: Option<f64>,
    /// Origins, such as `https://tools.example`, whose pages may call management with a token; nobody else's may.
    pub cors_origins: Vec<String>,
    /// The platform channel for calls that name no model, where the caller may use it.
    pub default_channel: Option<String>,
    pub strategy: Strategy,
    /// Days for which single requests are kept, 30 at least; their sums stay. Absent: for ever.
    pub request_days: Option<u32>,
}

/// What may be done at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = RunMode))]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    #[default]
    Normal,
    /// Management changes nothing but these settings; calls of programs go on.
    // What an earlier build may have stored.
    #[serde(alias = "read_only")]
    ReadOnly,
    /// As `read-only`, and every instance says on `/ready` that it takes no calls, so that whatever stands before it sends none; calls
    /// that come all the same are served.
    Drain,
}

/// Which of several routes of one priority goes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// At random, by their weights.
    #[default]
    Weighted,
    /// The one with the greatest weight; the others only when it fails.
    Failover,
}

/// A change of the settings; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SettingsPatch {
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// `null`: as each instance's own setting says.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub log: Option<Option<String>>,
    /// `null`: as each instance's own setting says.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub trace_sample: Option<Option<f64>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub cors_origins: Option<Vec<String>>,
    /// `null`: none.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub default_channel: Option<Option<String>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// `null`: for ever.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub request_days: Option<Option<u32>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_build_stored_is_read() {
        for word in ["read-only", "read_only"] {
            let stored = serde_json::json!({"mode": word, "strategy": "failover"});
            let read: RuntimeSettings = serde_json::from_value(stored).expect("settings");
            assert_eq!(
                (read.mode, read.strategy),
                (Mode::ReadOnly, Strategy::Failover)
            );
        }
        assert_eq!(serde_json::json!(Mode::ReadOnly), "read-only");
    }
}
