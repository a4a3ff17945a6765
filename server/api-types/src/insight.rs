//! What helps to decide: what binds a key, what hangs on a thing, where something is.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::manage::{BudgetItem, LimitItem};

/// All limits and budgets that calls with a key have to pass, from the platform's to its own, with those of the models that they may
/// name and of the channels that these go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EffectiveBounds {
    pub limits: Vec<LimitItem>,
    pub budgets: Vec<BudgetItem>,
    /// The one with the least share left: the id of a limit or budget. Absent where nothing was counted yet.
    pub binding: Option<Uuid>,
}

/// What would go, or be missed, with a thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Impact {
    /// Requests of the last seven days; absent for those who have no `usage:read`, and of a role, with which nothing is called.
    pub requests: Option<i64>,
    /// When it was last used, RFC 3339; absent: not in the last 30 days, of a role, or for those who
    /// have no `requests:read`.
    pub last_used_at: Option<String>,
    /// What goes along with it.
    pub goes_along: Vec<Dependants>,
    /// What stands in the way: it has to go first.
    pub needed_by: Option<String>,
}

/// So many things of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Dependants {
    /// `key`, `group`, `user`, `channel`, `model`, `limit` or `budget`.
    pub kind: String,
    pub count: u64,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hit {
    /// `tenant`, `user`, `invitation`, `role`, `group`, `key`, `service_token`, `channel`, `model`, `identity_provider`, `limit`,
    /// `budget` or `request`.
    pub kind: String,
    pub id: Uuid,
    /// Its name; of a user and an invitation the e-mail address, of a limit and a budget what it stands on, of a request its model.
    pub name: String,
    /// The tenant that it is in; absent is the platform, or a user of several.
    pub tenant: Option<String>,
}
