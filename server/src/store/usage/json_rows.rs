//! Many rows in one statement: they travel as one JSON document, which both stores unpack by themselves.
//!
//! One value is bound whatever the number of rows and columns, so there is one plan to prepare and no limit to meet.

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::store::{Error, Result};

/// A table as it is written to.
pub struct Table {
    pub name: &'static str,
    /// What a conflict is looked for in.
    pub key: &'static [&'static str],
    pub columns: &'static [(&'static str, Column)],
}

/// How a column's value stands in the document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// A UUID in hexadecimal.
    Id,
    /// A document; left out where there is none.
    Json,
    /// A number, text or truth value.
    Plain,
    /// A number that is added to the one that is there.
    Sum,
}

/// A UUID as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hex(pub Uuid);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digits = [0; uuid::fmt::Simple::LENGTH];
        serializer.serialize_str(self.0.simple().encode_lower(&mut digits))
    }
}

/// Inserts the rows that are not there yet, in their order, and returns their `id`s.
pub fn insert_new(
    db: &impl ConnectionTrait,
    table: &Table,
    rows: &[impl Serialize],
) -> Result<Statement> {
    insert(db, table, rows, "DO NOTHING RETURNING id")
}

/// Inserts rows, in their order, and adds those to what is there that are there already.
pub async fn add(db: &impl ConnectionTrait, table: &Table, rows: &[impl Serialize]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let sums = table
        .columns
        .iter()
        .filter(|(_, kind)| *kind == Column::Sum);
    let sums: Vec<String> = sums
        .map(|(column, _)| format!("{column} = {}.{column} + excluded.{column}", table.name))
        .collect();
    let on_conflict = format!("DO UPDATE SET {}", sums.join(", "));
    db.execute_raw(insert(db, table, rows, &on_conflict)?)
        .await?;
    Ok(())
}

fn insert(
    db: &impl ConnectionTrait,
    table: &Table,
    rows: &[impl Serialize],
    on_conflict: &str,
) -> Result<Statement> {
    let backend = db.get_database_backend();
    let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
    let source = match backend {
        DbBackend::Postgres => format!(
            "SELECT {} FROM jsonb_populate_recordset(NULL::{}, $1::jsonb)",
            names.join(", "),
            table.name
        ),
        // Materialised, because `value` would be written out as text anew for every column that is taken from it.
        // Without WHERE, SQLite would take ON for the beginning of a join.
        _ => format!(
            "WITH rows(value) AS MATERIALIZED (SELECT jsonb(value) FROM json_each($1)) SELECT {} FROM rows WHERE true",
            unpacked(table.columns)
        ),
    };
    let sql = format!(
        "INSERT INTO {} ({}) {source} ON CONFLICT ({}) {on_conflict}",
        table.name,
        names.join(", "),
        table.key.join(", ")
    );
    let document = serde_json::to_string(rows)
        .map_err(|error| Error::other(format!("rows of {}: {error}", table.name)))?;
    Ok(Statement::from_sql_and_values(
        backend,
        sql,
        [document.into()],
    ))
}

/// The columns out of a row's `value`, for SQLite.
fn unpacked(columns: &[(&str, Column)]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|(name, kind)| match kind {
            Column::Id => format!("unhex(value->>'{name}')"),
            Column::Json => format!("value->'{name}'"),
            Column::Plain | Column::Sum => format!("value->>'{name}'"),
        })
        .collect();
    columns.join(", ")
}
