//! The request log: single events, looked for by what people know of them.
//!
//! Like the sums, what is asked meets the tenant's wall here and nowhere else. Each search walks one index in the order of the
//! ids, the one that what is asked narrows most ([`Walk`]); whatever else must hold is tried on the rows on the way; where they
//! are rare, and on PostgreSQL, it is met with the entries of its own index before any row is read. Where that lets few through, a walk could go on for minutes: it looks at a bounded number of rows at a time and stops when its
//! patience is over, telling how far it came.

mod walk;

use std::{
    ops::{Range, RangeInclusive},
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, EntityTrait as _, Statement};
use uuid::Uuid;
use weir_entity::usage_event;

use self::walk::Walk;
use super::event_rows;
use crate::{
    metering::UsageEvent,
    store::{Database, Result, Scope},
};

/// How much of a walk is looked at in a step.
struct Looks {
    /// Rows in the first step; each further step looks at four times as many.
    first: u64,
    /// Before that, where several indexes can be asked: what is not rare is among so few, and no index is needed.
    glance: u64,
    /// At most.
    most: u64,
    /// As many times more entries of indexes are looked at, where these alone tell what is looked for.
    entries_a_row: u64,
}

const LOOKS: Looks = Looks {
    first: 2_000,
    glance: 500,
    most: 50_000,
    entries_a_row: 4,
};
/// Rows of a walk whose values are counted: SQLite sorts them for each column anew, which takes about half a millisecond a thousand.
const COUNTED: u64 = 4_000;
/// Most values that are told of one column.
const MAX_VALUES: u64 = 100;

/// What an event is known by. The word is the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Id,
    Key,
    User,
    Group,
    Model,
    Channel,
    Credential,
    Endpoint,
    Source,
    Outcome,
    Status,
    Error,
    ClientRequestId,
    UpstreamRequestId,
    EndUser,
    /// What was owed, nano-dollars.
    Charge,
    /// Microseconds.
    Total,
}

/// What a field must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Is {
    AnyOf(Vec<Uuid>),
    Word(String),
    Within(RangeInclusive<i64>),
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    pub scope: Scope,
    /// The ids that are looked at, which is a span of time.
    pub ids: Range<Uuid>,
    /// All of it must hold.
    pub conditions: Vec<(Field, Is)>,
    pub newest_first: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    pub events: Vec<UsageEvent>,
    /// The id behind which a further search goes on.
    pub next: Option<Uuid>,
    /// Whether the search stopped there for want of time, and not because the page is full.
    pub ran_out: bool,
}

/// The values of one column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldValue {
    Id(Option<Uuid>),
    Word(String),
}

/// Finds at most `rows` events behind the id `after`.
pub async fn search(
    db: &Database,
    search: &Search,
    after: Option<Uuid>,
    rows: u64,
    patience: Duration,
) -> Result<Found> {
    walked(db, search, after, rows, patience, &LOOKS).await
}

async fn walked(
    db: &Database,
    search: &Search,
    after: Option<Uuid>,
    rows: u64,
    patience: Duration,
    looks: &Looks,
) -> Result<Found> {
    let began = Instant::now();
    let mut found = Found::default();
    if search.finds_nothing() {
        return Ok(found);
    }
    let db = db.begin_planned().await?;
    let narrowed = narrowed(&db, search).await?;
    let search = narrowed.as_ref().unwrap_or(search);
    if search.finds_nothing() {
        return Ok(found);
    }
    let mut walk = Walk::of(search, after);
    let backend = db.get_database_backend();
    let several = walk.has_several(backend);
    let (mut look, mut meets) = match several {
        true => (looks.glance, false),
        false => (looks.first, false),
    };
    loop {
        let wanted = rows - found.events.len() as u64;
        let (statement, known) = match meets {
            true => {
                let entries = match walk.is_indexed() {
                    true => look * looks.entries_a_row,
                    false => look,
                };
                let edge = walk.edge(&db, entries).await?;
                (walk.meet(backend, edge, entries, wanted), Some(edge))
            }
            false => (walk.step(backend, look, wanted), None),
        };
        let models = usage_event::Entity::find().from_raw_sql(statement);
        for model in models.all(&db).await? {
            found.events.push(event_rows::event(model)?);
        }
        if found.events.len() as u64 >= rows {
            found.next = found.events.last().map(|event| event.id.0);
            return Ok(found);
        }
        if walk.is_narrow() {
            return Ok(found);
        }
        let edge = match known {
            Some(edge) => edge,
            None => walk.edge(&db, look).await?,
        };
        let Some(edge) = edge else {
            return Ok(found);
        };
        walk.go_on_behind(edge);
        if began.elapsed() >= patience {
            found.next = Some(edge);
            found.ran_out = true;
            return Ok(found);
        }
        (look, meets) = match several && !meets {
            true => (looks.first, true),
            false => ((look * 4).min(looks.most), meets),
        };
    }
}

/// The same search where it looks for a class of statuses that are no failures, such as 3xx, and the tenant has one of them or none: for
/// a status there is an index, and for the class there is none.
async fn narrowed(db: &impl ConnectionTrait, search: &Search) -> Result<Option<Search>> {
    let Scope::Tenant(tenant) = search.scope else {
        return Ok(None);
    };
    let class = search.conditions.iter().enumerate();
    let mut class = class.filter_map(|(at, condition)| match condition {
        (Field::Status, is @ Is::Within(range))
            if !is.is_one() && *range.end() < 400 && !range.contains(&200) =>
        {
            Some((at, range.clone()))
        }
        _ => None,
    });
    let Some((at, range)) = class.next() else {
        return Ok(None);
    };
    let (least, most) = (range.start(), range.end());
    let next = async |order: &str| -> Result<Option<i64>> {
        let sql = format!(
            "SELECT status FROM usage_events WHERE tenant_id = $1 AND status <> 200 AND status BETWEEN {least} AND {most}
             ORDER BY status {order} LIMIT 1"
        );
        let backend = db.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, [tenant.0.into()]);
        let row = db.query_one_raw(statement).await?;
        let status = row
            .map(|row| row.try_get::<i16>("", "status"))
            .transpose()?;
        Ok(status.map(i64::from))
    };
    let found = match (next("ASC").await?, next("DESC").await?) {
        (Some(first), Some(last)) if first == last => Is::Within(first..=last),
        (Some(_), Some(_)) => return Ok(None),
        _ => Is::AnyOf(Vec::new()),
    };
    let mut narrowed = search.clone();
    narrowed.conditions[at].1 = found;
    Ok(Some(narrowed))
}

/// The values of a column, and how many events have each; the most frequent first.
pub type Counts = Vec<(FieldValue, i64)>;

/// How many of the events that are looked for have which value in each of some columns; and the last id looked at, where only the newest
/// were.
pub async fn count_by(
    db: &Database,
    search: &Search,
    fields: &[Field],
) -> Result<(Vec<Counts>, Option<Uuid>)> {
    if search.finds_nothing() {
        return Ok((vec![Counts::new(); fields.len()], None));
    }
    let db = db.begin_planned().await?;
    let narrowed = narrowed(&db, search).await?;
    let search = narrowed.as_ref().unwrap_or(search);
    let mut all = vec![Counts::new(); fields.len()];
    if search.finds_nothing() {
        return Ok((all, None));
    }
    let walk = Walk::of(search, None);
    let rows = db.query_all_raw(walk.count(db.get_database_backend(), fields));
    for row in rows.await? {
        let at = usize::try_from(row.try_get::<i32>("", "field")?).unwrap_or(usize::MAX);
        let (Some(field), Some(counts)) = (fields.get(at), all.get_mut(at)) else {
            continue;
        };
        let value: Option<String> = row.try_get("", "value")?;
        let value = match field.is_id() {
            true => FieldValue::Id(value.and_then(|text| Uuid::parse_str(&text).ok())),
            false => FieldValue::Word(value.unwrap_or_default()),
        };
        counts.push((value, row.try_get("", "requests")?));
    }
    for counts in &mut all {
        counts.sort_by(|(one, of_one), (other, of_other)| {
            of_other.cmp(of_one).then_with(|| one.cmp(other))
        });
    }
    Ok((all, walk.edge(&db, COUNTED).await?))
}

impl Search {
    /// Whether something must be what nothing is.
    fn finds_nothing(&self) -> bool {
        let nothing = |is: &Is| match is {
            Is::AnyOf(ids) => ids.is_empty(),
            Is::Within(range) => range.is_empty(),
            Is::Word(_) => false,
        };
        self.conditions.iter().any(|(_, is)| nothing(is))
    }
}

impl Is {
    fn is_one(&self) -> bool {
        match self {
            Self::AnyOf(ids) => ids.len() == 1,
            Self::Word(_) => true,
            Self::Within(range) => range.start() == range.end(),
        }
    }
}

impl Field {
    fn column(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Key => "key_id",
            Self::User => "user_id",
            Self::Group => "group_id",
            Self::Model => "model",
            Self::Channel => "channel_id",
            Self::Credential => "credential_id",
            Self::Endpoint => "endpoint",
            Self::Source => "source",
            Self::Outcome => "outcome",
            Self::Status => "status",
            Self::Error => "error_code",
            Self::ClientRequestId => "client_request_id",
            Self::UpstreamRequestId => "upstream_request_id",
            Self::EndUser => "end_user",
            Self::Charge => "charge_nanos",
            Self::Total => "total_us",
        }
    }

    fn is_id(self) -> bool {
        matches!(
            self,
            Self::Id | Self::Key | Self::User | Self::Group | Self::Channel | Self::Credential
        )
    }

    /// How well an index finds it, the best 0; `None`: there is none.
    fn narrows(self, is: &Is, in_tenant: bool) -> Option<u8> {
        let one = is.is_one();
        match (self, is) {
            (Self::Id, _) => Some(0),
            (Self::Key, _) if one => Some(1),
            (Self::Error, _) if in_tenant => Some(2),
            (Self::Status, Is::Within(range)) if in_tenant && one && *range.start() != 200 => {
                Some(3)
            }
            (Self::User, _) if one => Some(4),
            (Self::Status, Is::Within(range)) if in_tenant && *range.start() >= 400 => Some(5),
            (Self::Channel, _) if in_tenant && one => Some(6),
            (Self::Model, _) if in_tenant => Some(7),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
