//! Many rows in one statement.
//!
//! To PostgreSQL they travel as one JSON document, which it unpacks by itself: one value is bound whatever the number of
//! rows and columns, so there is one plan to prepare and no limit to meet. SQLite takes a column out of a document by
//! walking over all before it, so there each cell is bound.

use std::fmt::Write as _;

use sea_orm::{ConnectionTrait, DbBackend, Statement, Value, sea_query::Nullable};
use uuid::Uuid;

use crate::store::{Error, Result};

/// Rows in one statement at most, on SQLite: so many that what a statement costs by itself does not count, and so few that
/// their cells stay in the processor's cache on their way. Fewer go in statements of half as many, and so on: each of
/// these texts is prepared once and kept.
const MOST_ROWS: usize = 64;

/// A table as it is written to.
pub struct Table {
    pub name: &'static str,
    /// What a conflict is looked for in.
    pub key: &'static [&'static str],
    /// In the order of the cells of its rows.
    pub columns: &'static [(&'static str, Column)],
}

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// An id, a number, a text or a truth value.
    Plain,
    /// A document, written out.
    Json,
    /// A number that is added to the one that is there.
    Sum,
}

/// A row: a cell for each column of its table, in their order.
pub type Row = Vec<Value>;

/// A cell that may be empty.
pub fn maybe<T: Into<Value> + Nullable>(value: Option<T>) -> Value {
    value.map_or_else(T::null, Into::into)
}

/// A cell of a number that the tables can hold; see `event_rows::bookable`.
pub fn number(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

/// How many rows are best made at a time.
pub fn rows_at_once(backend: DbBackend) -> usize {
    match backend {
        DbBackend::Postgres => usize::MAX,
        _ => MOST_ROWS,
    }
}

/// Inserts the rows that are not there yet, in their order, and returns how many these were.
pub async fn insert(db: &impl ConnectionTrait, table: &Table, rows: Vec<Row>) -> Result<u64> {
    let mut inserted = 0;
    for statement in inserts(db.get_database_backend(), table, rows, "DO NOTHING") {
        inserted += db.execute_raw(statement?).await?.rows_affected();
    }
    Ok(inserted)
}

/// Inserts the rows that are not there yet, in their order, and returns their `id`s.
pub async fn insert_new(
    db: &impl ConnectionTrait,
    table: &Table,
    rows: Vec<Row>,
) -> Result<Vec<Uuid>> {
    let mut inserted = Vec::with_capacity(rows.len());
    for statement in inserts(
        db.get_database_backend(),
        table,
        rows,
        "DO NOTHING RETURNING id",
    ) {
        for row in db.query_all_raw(statement?).await? {
            inserted.push(row.try_get("", "id")?);
        }
    }
    Ok(inserted)
}

/// Inserts rows, in their order, and adds those to what is there that are there already.
pub async fn add(db: &impl ConnectionTrait, table: &Table, rows: Vec<Row>) -> Result<()> {
    let sums = table
        .columns
        .iter()
        .filter(|(_, kind)| *kind == Column::Sum);
    let sums: Vec<String> = sums
        .map(|(column, _)| format!("{column} = {}.{column} + excluded.{column}", table.name))
        .collect();
    let on_conflict = format!("DO UPDATE SET {}", sums.join(", "));
    for statement in inserts(db.get_database_backend(), table, rows, &on_conflict) {
        db.execute_raw(statement?).await?;
    }
    Ok(())
}

/// The statements that insert all rows, in their order.
fn inserts<'a>(
    backend: DbBackend,
    table: &'a Table,
    rows: Vec<Row>,
    on_conflict: &'a str,
) -> impl Iterator<Item = Result<Statement>> + 'a {
    let most = rows_at_once(backend);
    let mut rest = rows.into_iter();
    std::iter::from_fn(move || {
        // The largest power of two that there are rows for; of a document, all of them.
        let count = match rest.len().min(most) {
            0 => return None,
            count if most == usize::MAX => count,
            count => 1 << count.ilog2(),
        };
        let rows = rest.by_ref().take(count).collect();
        Some(insert_statement(backend, table, rows, on_conflict))
    })
}

fn insert_statement(
    backend: DbBackend,
    table: &Table,
    rows: Vec<Row>,
    on_conflict: &str,
) -> Result<Statement> {
    let name = table.name;
    let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    if rows.iter().any(|row| row.len() != table.columns.len()) {
        return Err(Error::other(format!(
            "a row of {name} has other cells than columns"
        )));
    }
    let (source, values) = match backend {
        DbBackend::Postgres => {
            let source =
                format!("SELECT {names} FROM jsonb_populate_recordset(NULL::{name}, $1::jsonb)");
            (source, vec![document(table, &rows)?.into()])
        }
        _ => {
            let row = format!("({})", vec!["?"; table.columns.len()].join(","));
            let source = format!("VALUES {}", vec![row; rows.len()].join(","));
            let mut cells = Vec::with_capacity(rows.len() * table.columns.len());
            for row in rows {
                cells.extend(row);
            }
            (source, cells)
        }
    };
    let key = table.key.join(", ");
    let sql = format!("INSERT INTO {name} ({names}) {source} ON CONFLICT ({key}) {on_conflict}");
    Ok(Statement::from_sql_and_values(backend, sql, values))
}

/// Rows as a JSON document: a list of objects.
fn document(table: &Table, rows: &[Row]) -> Result<String> {
    let mut document = String::with_capacity(rows.len() * 1024);
    for row in rows {
        document.push_str(if document.is_empty() { "[{" } else { "},{" });
        for (at, ((name, column), cell)) in table.columns.iter().zip(row).enumerate() {
            // The first column is part of the key, so it is there.
            let comma = if at == 0 { "" } else { "," };
            // Into a string nothing fails.
            let _ = match cell {
                Value::String(Some(text)) if *column == Column::Json => {
                    write!(document, "{comma}\"{name}\":{text}")
                }
                Value::String(Some(text)) => {
                    let text = serde_json::Value::from(text.as_str());
                    write!(document, "{comma}\"{name}\":{text}")
                }
                Value::Uuid(Some(id)) => write!(document, "{comma}\"{name}\":\"{id}\""),
                Value::BigInt(Some(number)) => write!(document, "{comma}\"{name}\":{number}"),
                Value::Bool(Some(value)) => write!(document, "{comma}\"{name}\":{value}"),
                Value::String(None) | Value::Uuid(None) | Value::BigInt(None) => Ok(()),
                other => {
                    let name = table.name;
                    return Err(Error::other(format!("no cell of {name}: {other:?}")));
                }
            };
        }
    }
    document.push_str("}]");
    Ok(document)
}
