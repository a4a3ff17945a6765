//! How values of the product stand in columns.

use sea_orm::{ColumnTrait, Condition, JsonValue, sea_query::IntoCondition as _};
use serde::Serialize;
use uuid::Uuid;
use weir_api_types::orders::On;

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

/// Which limits or budgets are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct StandingOn {
    /// On things of this kind.
    pub kind: Option<On>,
    /// On the thing of this id.
    pub id: Option<Uuid>,
}

/// Where a table says on what its rows stand.
pub(super) struct PlaceColumns<C> {
    pub tenant: C,
    pub group: C,
    pub user: C,
    pub key: C,
    pub channel: C,
    pub model: C,
}

impl<C: ColumnTrait> PlaceColumns<C> {
    /// The rows that stand there.
    pub fn condition(&self, on: StandingOn) -> Condition {
        let within = [self.group, self.user, self.key, self.channel, self.model];
        let none_within = || {
            let none = Condition::all();
            within
                .iter()
                .fold(none, |none, column| none.add(column.is_null()))
        };
        let mut all = Condition::all();
        if let Some(kind) = on.kind {
            all = all.add(match kind {
                On::Platform => none_within().add(self.tenant.is_null()),
                On::Tenant => none_within().add(self.tenant.is_not_null()),
                On::Group => self.group.is_not_null().into_condition(),
                On::User => self.user.is_not_null().into_condition(),
                On::Key => self.key.is_not_null().into_condition(),
                On::Channel => self.channel.is_not_null().into_condition(),
                On::Model => self.model.is_not_null().into_condition(),
            });
        }
        if let Some(id) = on.id {
            let tenant = none_within().add(self.tenant.eq(id));
            let any = Condition::any().add(tenant);
            let any = within
                .iter()
                .fold(any, |any, column| any.add(column.eq(id)));
            all = all.add(any);
        }
        all
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
