//! How values of the product stand in columns.

use sea_orm::JsonValue;
use serde::Serialize;

use uuid::Uuid;

use super::{Error, Result};
use crate::tenancy::{Scope, TenantId};

/// The columns by which a limit or budget says on what it stands.
#[derive(Debug, Default)]
pub struct Place {
    pub tenant: Option<Uuid>,
    pub group: Option<Uuid>,
    pub user: Option<Uuid>,
    pub key: Option<Uuid>,
    pub channel: Option<Uuid>,
    pub model: Option<Uuid>,
}

impl Place {
    /// `owner` is the tenant of a channel or model that is not the platform's.
    pub fn of(scope: Scope, owner: Option<TenantId>) -> Self {
        let place = Self {
            tenant: scope.tenant().or(owner).map(|tenant| tenant.0),
            ..Self::default()
        };
        match scope {
            Scope::Platform | Scope::Tenant(_) => place,
            Scope::Group(_, id) => Self {
                group: Some(id.0),
                ..place
            },
            Scope::User(_, id) => Self {
                user: Some(id.0),
                ..place
            },
            Scope::Key(_, id) => Self {
                key: Some(id.0),
                ..place
            },
            Scope::Channel(id) => Self {
                channel: Some(id.0),
                ..place
            },
            Scope::Model(id) => Self {
                model: Some(id.0),
                ..place
            },
        }
    }
}

/// A document.
pub fn document(value: &impl Serialize) -> Result<JsonValue> {
    serde_json::to_value(value).map_err(|error| Error::other(error.to_string()))
}

/// A small count.
pub fn count(value: u32) -> Result<i32> {
    i32::try_from(value).map_err(|_| Error::other("a count is out of range"))
}

/// A moment, as lists show it: RFC 3339.
pub fn moment(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| ms.to_string(), |moment| moment.to_string())
}
