//! Pages of lists: a bounded number of rows after a place.
//!
//! Lists are in the order of their ids, unless another is asked for: that one stays while things come and go. The cursor says
//! where the page before ended, not how many were on it, and gives nothing: every query starts from the tenant anyway.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbBackend, EntityTrait, ModelTrait, Order,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Select, Value,
    sea_query::{Expr, SimpleExpr, ValueType},
};
use uuid::Uuid;

use super::Result;

/// Most rows of one page.
pub const MAX_ROWS: u64 = 1_000;

/// What a list may be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    /// The order that stays.
    #[default]
    Id,
    Name,
    Created,
}

/// Which part of a list is asked for.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Where the page before ended.
    pub after: Option<Cursor>,
    /// At most [`MAX_ROWS`].
    pub rows: u64,
    pub by: By,
    /// From the end of the order.
    pub is_descending: bool,
    /// What is in the name, whatever the case of its letters (of SQLite the ASCII ones).
    pub piece: Option<String>,
    /// Whether it is switched on.
    pub enabled: Option<bool>,
}

/// The columns of a table that its lists go by.
pub(super) struct Columns<C> {
    pub id: C,
    pub name: C,
    pub created_ms: C,
    /// None where nothing is ever switched off.
    pub enabled: Option<C>,
}

/// One page.
#[derive(Debug)]
pub struct Listed<T> {
    pub data: Vec<T>,
    /// The cursor of the next one, which may be empty; none after the last one.
    pub next: Option<String>,
}

impl<T> Listed<T> {
    /// The same page of what was made of its rows.
    pub fn map<U>(self, made: impl FnMut(T) -> U) -> Listed<U> {
        Listed {
            data: self.data.into_iter().map(made).collect(),
            next: self.next,
        }
    }
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// The last row's value of what the list is sorted by; none where that is the id.
    value: Option<Value>,
    id: Uuid,
}

impl Cursor {
    /// What a page in this order said was the next one. None if it says nothing of the kind.
    pub fn parse(text: &str, by: By) -> Option<Self> {
        let decoded = || BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        let (value, id) = match by {
            By::Id => (None, Uuid::parse_str(text).ok()?),
            By::Name => {
                let (name, id): (String, Uuid) = serde_json::from_slice(&decoded()?).ok()?;
                (Some(name.into()), id)
            }
            By::Created => {
                let (at_ms, id): (i64, Uuid) = serde_json::from_slice(&decoded()?).ok()?;
                (Some(at_ms.into()), id)
            }
        };
        let is_kept =
            |value: &Value| !matches!(value, Value::String(Some(text)) if text.contains('\0'));
        value
            .as_ref()
            .is_none_or(is_kept)
            .then_some(Self { value, id })
    }

    fn text(&self) -> String {
        let id = self.id.to_string();
        let value = match &self.value {
            None => return id,
            Some(Value::String(Some(name))) => serde_json::Value::from(name.as_str()),
            Some(Value::BigInt(Some(at_ms))) => serde_json::Value::from(*at_ms),
            Some(_) => serde_json::Value::Null,
        };
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::json!([value, id]).to_string())
    }
}

impl Page {
    /// The rows of a query on this page, by their id alone.
    pub(super) async fn of<E: EntityTrait>(
        &self,
        db: &impl ConnectionTrait,
        query: Select<E>,
        id: E::Column,
    ) -> Result<Listed<E::Model>> {
        self.rows(db, query, id, None).await
    }

    /// The rows of a query on this page, of things that have names.
    pub(super) async fn named<E: EntityTrait>(
        &self,
        db: &impl ConnectionTrait,
        mut query: Select<E>,
        columns: Columns<E::Column>,
    ) -> Result<Listed<E::Model>> {
        if let Some(piece) = &self.piece {
            query = query.filter(contains(db.get_database_backend(), columns.name, piece));
        }
        query = match (self.enabled, columns.enabled) {
            (Some(enabled), Some(column)) => query.filter(column.eq(enabled)),
            // What is never switched off is always on.
            (Some(false), None) => query.filter(Expr::value(false)),
            _ => query,
        };
        let by = match self.by {
            By::Id => None,
            By::Name => Some(columns.name),
            By::Created => Some(columns.created_ms),
        };
        self.rows(db, query, columns.id, by).await
    }

    /// The same in the order of ids, of rows that are few and read all at once; names, times and switches are not looked at.
    pub(super) fn among<T>(&self, mut all: Vec<T>, id: impl Fn(&T) -> Uuid) -> Listed<T> {
        let after = self.after.as_ref().map(|cursor| cursor.id);
        all.retain(|one| after.is_none_or(|after| id(one) > after));
        all.sort_by_key(&id);
        let rows = usize::try_from(self.rows.min(MAX_ROWS)).unwrap_or(usize::MAX);
        let is_full = all.len() >= rows;
        all.truncate(rows);
        let next = all.last().filter(|_| is_full);
        Listed {
            next: next.map(|last| id(last).to_string()),
            data: all,
        }
    }

    async fn rows<E: EntityTrait>(
        &self,
        db: &impl ConnectionTrait,
        mut query: Select<E>,
        id: E::Column,
        by: Option<E::Column>,
    ) -> Result<Listed<E::Model>> {
        let beyond = |column: E::Column, value: Value| match self.is_descending {
            true => column.lt(value),
            false => column.gt(value),
        };
        if let Some(Cursor { value, id: after }) = &self.after {
            let next = beyond(id, (*after).into());
            query = query.filter(match (by, value) {
                // The first says nothing new; it is what an index is entered by, which PostgreSQL does not see in the others.
                (Some(by), Some(value)) => {
                    let from = match self.is_descending {
                        true => by.lte(value.clone()),
                        false => by.gte(value.clone()),
                    };
                    let later = Condition::any().add(by.ne(value.clone())).add(next);
                    Condition::all().add(from).add(later)
                }
                _ => Condition::all().add(next),
            });
        }
        let order = match self.is_descending {
            true => Order::Desc,
            false => Order::Asc,
        };
        for column in by.into_iter().chain([id]) {
            query = query.order_by(column, order.clone());
        }
        let rows = self.rows.min(MAX_ROWS);
        let data = query.limit(rows).all(db).await?;
        let last = data.last().filter(|_| data.len() as u64 >= rows);
        let next = last.and_then(|row| {
            let cursor = Cursor {
                value: by.map(|by| row.get(by)),
                id: <Uuid as ValueType>::try_from(row.get(id)).ok()?,
            };
            Some(cursor.text())
        });
        Ok(Listed { data, next })
    }
}

/// Whether a column has a text in it, whatever the case of its letters.
pub(super) fn contains<C: ColumnTrait>(backend: DbBackend, column: C, piece: &str) -> SimpleExpr {
    let column = Expr::col((column.entity_name(), column));
    let both: [SimpleExpr; 2] = [column, Expr::val(pattern(piece))];
    match backend {
        DbBackend::Postgres => Expr::cust_with_exprs("$1 ILIKE $2 ESCAPE '!'", both),
        // SQLite's LIKE takes no notice of the case of ASCII letters, and of others always.
        _ => Expr::cust_with_exprs("? LIKE ? ESCAPE '!'", both),
    }
}

/// Whether a column begins with a text, by the case of its letters as SQL has it.
pub(super) fn begins<C: ColumnTrait>(backend: DbBackend, column: C, text: &str) -> SimpleExpr {
    let column = Expr::col((column.entity_name(), column));
    let pattern = pattern(text);
    let both: [SimpleExpr; 2] = [column, Expr::val(pattern.trim_start_matches('%'))];
    match backend {
        DbBackend::Postgres => Expr::cust_with_exprs("$1 LIKE $2 ESCAPE '!'", both),
        _ => Expr::cust_with_exprs("? LIKE ? ESCAPE '!'", both),
    }
}

/// What `LIKE` takes for a piece of text as it stands, with `ESCAPE '!'` behind it.
pub(super) fn pattern(piece: &str) -> String {
    let mut pattern = String::from("%");
    for character in piece.chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_like_would_read_stands_for_itself() {
        assert_eq!(pattern("50%_Off!"), "%50!%!_Off!!%");
    }

    #[test]
    fn a_cursor_comes_back_in_its_own_order_alone() {
        let id = Uuid::from_u128(7);
        for (by, value) in [
            (By::Id, None),
            (By::Name, Some("Ärzte \"x\"".into())),
            (By::Created, Some(1_700_000_000_000_i64.into())),
        ] {
            let cursor = Cursor { value, id };
            let text = cursor.text();
            for other in [By::Id, By::Name, By::Created] {
                let read = Cursor::parse(&text, other);
                assert_eq!(read, (other == by).then(|| cursor.clone()), "{text}");
            }
        }
        let nul = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"["a\u0000", "{id}"]"#));
        assert_eq!(Cursor::parse(&nul, By::Name), None);
    }
}
