//! What all questions share: why there is no answer, times as people write them, things by their names.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use uuid::Uuid;

use crate::store::{
    self, Scope, Stores,
    names::{self, Named},
    usage::ask,
};

/// Things of one name that a filter may mean.
const MAX_MEANINGS: usize = 1_000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{field} {reason}")]
    BadQuery { field: &'static str, reason: String },
    #[error(
        "the answer would have more than {} rows: ask for fewer dimensions or less time",
        ask::MAX_LINES
    )]
    TooMuch,
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The time zone of a question: the one it names, else the tenant's, else UTC.
pub(super) async fn zone(
    named: &Option<String>,
    stores: &Stores,
    scope: Scope,
) -> Result<TimeZone, Error> {
    let name = match (named, scope) {
        (Some(name), _) => Some(name.clone()),
        (None, Scope::Tenant(tenant)) => names::time_zone(&stores.config.read, tenant).await?,
        (None, Scope::Platform) => None,
    };
    match name.as_deref() {
        None | Some("UTC") => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name)
            .map_err(|_| bad("time_zone", "is not an IANA name such as Asia/Shanghai")),
    }
}

/// A moment in RFC 3339, or the first one of a date.
pub(super) fn moment(field: &'static str, text: &str, zone: &TimeZone) -> Result<i64, Error> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment.as_millisecond());
    }
    let date: Option<Date> = (text.len() == 10).then(|| text.parse().ok()).flatten();
    let start = date.and_then(|date| date.to_zoned(zone.clone()).ok());
    start
        .map(|start| start.timestamp().as_millisecond())
        .ok_or_else(|| {
            bad(
                field,
                "is neither a date such as 2026-01-31 nor a moment such as 2026-01-31T14:00:00Z",
            )
        })
}

/// The ids of what is called so, by name or id.
pub(super) async fn ids_called(
    stores: &Stores,
    scope: Scope,
    word: &'static str,
    named: Named,
    text: &str,
) -> Result<Vec<Uuid>, Error> {
    let mut ids = names::meaning(&stores.config.read, scope, named, text).await?;
    ids.extend(text.parse::<Uuid>().ok());
    if ids.len() > MAX_MEANINGS {
        return Err(bad(word, "means too many: add a tenant, or give an id"));
    }
    Ok(ids)
}

pub(super) fn bad(field: &'static str, reason: impl Into<String>) -> Error {
    Error::BadQuery {
        field,
        reason: reason.into(),
    }
}
