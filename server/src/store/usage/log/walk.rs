//! A way through the events along one index, and what is tried on the way.

use std::ops::Range;

use sea_orm::{ConnectionTrait, DbBackend, Statement, Value};
use uuid::Uuid;

use super::{COUNTED, Field, Is, MAX_VALUES, Search};
use crate::store::{Result, Scope};

/// A way through the events in the order of their ids.
pub(super) struct Walk {
    ids: Range<Uuid>,
    newest_first: bool,
    /// What the index finds.
    along: Conditions,
    /// What is tried on each row.
    besides: Conditions,
    /// Those of them that have an index, too: what it is asked for.
    also: Vec<String>,
}

/// Conditions, and the values that are bound in them.
#[derive(Default)]
struct Conditions {
    /// The number of the value before the first of these.
    bound_before: usize,
    texts: Vec<String>,
    values: Vec<Value>,
}

impl Walk {
    pub(super) fn of(search: &Search, after: Option<Uuid>) -> Self {
        let tenant = match search.scope {
            Scope::Platform => None,
            Scope::Tenant(tenant) => Some(tenant),
        };
        let conditions = search.conditions.iter().enumerate();
        let ranks = conditions
            .filter_map(|(at, (field, is))| Some((field.narrows(is, tenant.is_some())?, at)));
        let best = ranks.min().map(|(_, at)| at);
        let mut along = Conditions::default();
        if let Some(tenant) = tenant {
            let tenant = along.bound(tenant.0.into());
            along.texts.push(format!("tenant_id = {tenant}"));
        }
        let mut rest: Vec<&(Field, Is)> = search.conditions.iter().collect();
        if let Some(at) = best {
            let (field, is) = &search.conditions[at];
            along
                .texts
                .extend(is_partial(*field, is).map(str::to_owned));
            // Of a class of statuses the index has only that they are failures.
            if *field != Field::Status || is.is_one() {
                rest.remove(at);
                along.add(*field, is);
            }
        }
        let mut besides = Conditions {
            // The two ids between which a step is come first.
            bound_before: along.values.len() + 2,
            ..Conditions::default()
        };
        let mut also = Vec::new();
        let walked = best.map(|at| &search.conditions[at]);
        for condition in rest {
            let (field, is) = condition;
            let asked = besides.add(*field, is);
            let is_walked = walked.is_some_and(|walked| std::ptr::eq(walked, condition));
            if !is_walked && field.narrows(is, tenant.is_some()).is_some() {
                let tenant = tenant.is_some().then(|| along.texts[0].clone());
                let partial = is_partial(*field, is).map(str::to_owned);
                let texts: Vec<String> = tenant.into_iter().chain(partial).chain([asked]).collect();
                also.push(texts.join(" AND "));
            }
        }
        let mut walk = Self {
            ids: search.ids.clone(),
            newest_first: search.newest_first,
            along,
            besides,
            also,
        };
        if let Some(after) = after {
            walk.go_on_behind(after);
        }
        walk
    }

    pub(super) fn go_on_behind(&mut self, id: Uuid) {
        if self.newest_first {
            self.ids.end = self.ids.end.min(id);
        } else {
            self.ids.start = self.ids.start.max(after(id));
        }
    }

    fn order(&self) -> &'static str {
        if self.newest_first { "DESC" } else { "ASC" }
    }

    /// The rows of the index from where the walk is.
    fn rows(&self, columns: &str) -> String {
        let mut along = self.along.texts.clone();
        let bound = self.along.values.len();
        along.push(format!("id >= ${} AND id < ${}", bound + 1, bound + 2));
        let (along, order) = (along.join(" AND "), self.order());
        format!("SELECT {columns} FROM usage_events WHERE {along} ORDER BY id {order}")
    }

    fn values(&self) -> Vec<Value> {
        self.values_within(&self.ids)
    }

    fn values_within(&self, ids: &Range<Uuid>) -> Vec<Value> {
        let mut values = self.along.values.clone();
        values.extend([ids.start.into(), ids.end.into()]);
        values
    }

    /// The same, of those of the next `look` rows that hold.
    fn looked(&self, backend: DbBackend, select: &str, look: u64, then: &str) -> Statement {
        let tried = match self.besides.texts.as_slice() {
            [] => String::new(),
            texts => format!("WHERE {}", texts.join(" AND ")),
        };
        let rows = self.rows("*");
        let sql = format!("SELECT {select} FROM ({rows} LIMIT {look}) AS looked {tried} {then}");
        let mut values = self.values();
        values.extend(self.besides.values.iter().cloned());
        Statement::from_sql_and_values(backend, sql, values)
    }

    /// The first rows of the next step that hold, at most `wanted`.
    pub(super) fn step(&self, backend: DbBackend, look: u64, wanted: u64) -> Statement {
        if self.is_narrow() {
            let sql = format!("{} LIMIT {wanted}", self.rows("*"));
            return Statement::from_sql_and_values(backend, sql, self.values());
        }
        let then = format!("ORDER BY id {} LIMIT {wanted}", self.order());
        self.looked(backend, "*", look, &then)
    }

    /// Whether several indexes find what is looked for: PostgreSQL asks them all before it reads a row.
    pub(super) fn has_several(&self, backend: DbBackend) -> bool {
        backend == DbBackend::Postgres && !self.also.is_empty()
    }

    /// Whether the indexes alone tell what is looked for.
    pub(super) fn is_indexed(&self) -> bool {
        self.also.len() == self.besides.texts.len()
    }

    /// The first rows that hold up to an id and with it, which so many entries of the walk's own index lead to: at most `wanted`, by
    /// all indexes that there are. Each has the ids in their order
    /// behind what it is asked for, so that one is merged with the other, or looked up in it, whichever the database thinks quicker.
    pub(super) fn meet(
        &self,
        backend: DbBackend,
        until: Option<Uuid>,
        entries: u64,
        wanted: u64,
    ) -> Statement {
        let bound = self.along.values.len();
        let within = format!("id >= ${} AND id < ${}", bound + 1, bound + 2);
        let along = self.along.texts.join(" AND ");
        let also = self.also.iter().enumerate();
        let also = also.map(|(at, texts)| {
            format!("JOIN (SELECT id FROM usage_events WHERE {texts} AND {within}) AS also{at} USING (id)")
        });
        let (also, order) = (also.collect::<Vec<_>>().join(" "), self.order());
        let enough = match self.is_indexed() {
            true => format!("ORDER BY id {order} LIMIT {wanted}"),
            false => String::new(),
        };
        let besides = self.besides.texts.join(" AND ");
        let sql = format!(
            "SELECT * FROM usage_events WHERE {within} AND {besides} AND id IN (
                SELECT id FROM (
                    SELECT id FROM usage_events WHERE {along} AND {within} ORDER BY id {order} LIMIT {entries}
                ) AS walked {also} {enough}
             ) ORDER BY id {order} LIMIT {wanted}"
        );
        let mut ids = self.ids.clone();
        match until {
            Some(until) if self.newest_first => ids.start = ids.start.max(until),
            Some(until) => ids.end = ids.end.min(after(until)),
            None => {}
        }
        let mut values = self.values_within(&ids);
        values.extend(self.besides.values.iter().cloned());
        Statement::from_sql_and_values(backend, sql, values)
    }

    /// How often which value of which field is there among the next rows, which are read once for all of them.
    pub(super) fn count(&self, backend: DbBackend, fields: &[Field]) -> Statement {
        let columns = fields.iter().enumerate();
        let columns = columns.map(|(at, field)| format!("{} AS f{at}, ", field.column()));
        let columns: String = columns.collect();
        let looked = self.looked(backend, &format!("{columns}count"), COUNTED, "");
        let counts = fields.iter().enumerate().map(|(at, field)| {
            let value = match (field.is_id(), backend) {
                (true, DbBackend::Sqlite) => format!("HEX(f{at})"),
                _ => format!("CAST(f{at} AS text)"),
            };
            format!(
                "SELECT * FROM (SELECT {at} AS field, {value} AS value, CAST(SUM(count) AS bigint) AS requests FROM tried
                 GROUP BY f{at} ORDER BY requests DESC, f{at} LIMIT {MAX_VALUES}) AS of_{at}"
            )
        });
        let counts: Vec<String> = counts.collect();
        let sql = format!(
            "WITH tried AS MATERIALIZED ({}) {}",
            looked.sql,
            counts.join(" UNION ALL ")
        );
        Statement { sql, ..looked }
    }

    /// Whether the index finds just what is looked for.
    pub(super) fn is_narrow(&self) -> bool {
        self.besides.texts.is_empty()
    }

    /// The last id of the next step, if it is full.
    pub(super) async fn edge(&self, db: &impl ConnectionTrait, look: u64) -> Result<Option<Uuid>> {
        let sql = format!("{} LIMIT 1 OFFSET {}", self.rows("id"), look - 1);
        let backend = db.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, self.values());
        let row = db.query_one_raw(statement).await?;
        Ok(row.map(|row| row.try_get("", "id")).transpose()?)
    }
}

impl Conditions {
    fn bound(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.bound_before + self.values.len())
    }

    /// Adds a condition, and returns it.
    fn add(&mut self, field: Field, is: &Is) -> String {
        let column = field.column();
        let text = match is {
            Is::Word(word) => format!("{column} = {}", self.bound(word.as_str().into())),
            Is::AnyOf(ids) => {
                let ids: Vec<String> = ids.iter().map(|id| self.bound((*id).into())).collect();
                format!("{column} IN ({})", ids.join(", "))
            }
            // A number needs no binding, and so the database sees what it is.
            Is::Within(range) => {
                let (least, most) = (range.start(), range.end());
                match is.is_one() {
                    true => format!("{column} = {least}"),
                    false => format!("{column} BETWEEN {least} AND {most}"),
                }
            }
        };
        self.texts.push(text.clone());
        text
    }
}

/// What a partial index has its rows by: written out, so that the database sees that it has them.
fn is_partial(field: Field, is: &Is) -> Option<&'static str> {
    match (field, is.is_one()) {
        (Field::Status, true) => Some("status <> 200"),
        (Field::Status, false) => Some("status >= 400"),
        (Field::Error, _) => Some("error_code IS NOT NULL"),
        _ => None,
    }
}

/// The id that comes next.
fn after(id: Uuid) -> Uuid {
    Uuid::from_u128(id.as_u128().saturating_add(1))
}
