//! Many rows in one statement.
//!
//! To PostgreSQL a column travels as one array, which it unpacks by itself: so many values are bound as there are columns,
//! whatever the number of rows, so there is one plan to prepare and no limit to meet. (A JSON document of all rows costs it
//! twice as much to book; measured, 58 and 25 us an event.) SQLite has no arrays: there each cell is bound.

use std::borrow::Cow;

use sea_orm::{
    ConnectionTrait, DbBackend, Statement, Value,
    sea_query::{ArrayType, Nullable},
};
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
    pub columns: &'static [Column],
}

/// A column, and what it holds.
pub struct Column {
    name: &'static str,
    kind: Kind,
    is_optional: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Id,
    Text,
    /// Not negative.
    Amount,
    Truth,
    /// A document, written out.
    Json,
    /// A number that is added to the one that is there.
    Sum,
}

impl Column {
    pub const fn id(name: &'static str) -> Self {
        Self::new(name, Kind::Id)
    }

    pub const fn text(name: &'static str) -> Self {
        Self::new(name, Kind::Text)
    }

    /// Of numbers that are not negative.
    pub const fn amount(name: &'static str) -> Self {
        Self::new(name, Kind::Amount)
    }

    pub const fn truth(name: &'static str) -> Self {
        Self::new(name, Kind::Truth)
    }

    /// Of documents, written out.
    pub const fn json(name: &'static str) -> Self {
        Self::new(name, Kind::Json)
    }

    /// Of numbers that are added to those that are there.
    pub const fn sum(name: &'static str) -> Self {
        Self::new(name, Kind::Sum)
    }

    const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            is_optional: false,
        }
    }

    /// Cells of ids, texts, amounts and documents may be empty.
    pub const fn or_empty(self) -> Self {
        Self {
            is_optional: true,
            ..self
        }
    }
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
        .filter(|column| column.kind == Kind::Sum);
    let sums: Vec<String> = sums
        .map(|Column { name, .. }| format!("{name} = {}.{name} + excluded.{name}", table.name))
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
        // The largest power of two that there are rows for; of arrays, all of them.
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
    let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    let names = names.join(", ");
    if rows.iter().any(|row| row.len() != table.columns.len()) {
        return Err(Error::other(format!(
            "a row of {name} has other cells than columns"
        )));
    }
    let (source, values) = match backend {
        DbBackend::Postgres => (unpacked(table, &names), arrays(table, rows)?),
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

/// What takes [`arrays`] apart.
fn unpacked(table: &Table, names: &str) -> String {
    let columns = || table.columns.iter();
    let cells: Vec<Cow<'_, str>> = columns().map(Column::unpacked).collect();
    let arrays = (1..).zip(columns());
    let arrays: Vec<String> = arrays
        .map(|(at, column)| format!("${at}::{}[]", column.packed_type().1))
        .collect();
    let (cells, arrays) = (cells.join(", "), arrays.join(", "));
    format!("SELECT {cells} FROM UNNEST({arrays}) AS packed ({names})")
}

/// Rows as an array for each column. Arrays cannot have empty cells on their way: something that the column cannot hold
/// stands in for them.
fn arrays(table: &Table, rows: Vec<Row>) -> Result<Vec<Value>> {
    let mut arrays: Vec<Vec<Value>> = Vec::new();
    arrays.resize_with(table.columns.len(), || Vec::with_capacity(rows.len()));
    for row in rows {
        for ((column, array), cell) in table.columns.iter().zip(&mut arrays).zip(row) {
            let packed = column.packed(cell).map_err(|cell| {
                let (table, column) = (table.name, column.name);
                Error::other(format!("no cell of {table}.{column}: {cell:?}"))
            })?;
            array.push(packed);
        }
    }
    let arrays = table.columns.iter().zip(arrays);
    let arrays =
        arrays.map(|(column, array)| Value::Array(column.packed_type().0, Some(Box::new(array))));
    Ok(arrays.collect())
}

impl Column {
    /// What an array of its cells is made of.
    fn packed_type(&self) -> (ArrayType, &'static str) {
        match self.kind {
            Kind::Id => (ArrayType::Uuid, "uuid"),
            Kind::Text | Kind::Json => (ArrayType::String, "text"),
            Kind::Amount | Kind::Sum => (ArrayType::BigInt, "bigint"),
            Kind::Truth => (ArrayType::Bool, "boolean"),
        }
    }

    /// A cell on its way.
    fn packed(&self, cell: Value) -> std::result::Result<Value, Value> {
        match (self.kind, self.is_optional, cell) {
            (Kind::Id, true, Value::Uuid(None)) => Ok(Uuid::nil().into()),
            (Kind::Amount, true, Value::BigInt(None)) => Ok((-1_i64).into()),
            (Kind::Text | Kind::Json, true, Value::String(None)) => Ok("".into()),
            // Before each text stands a sign, so that none is empty.
            (Kind::Text, true, Value::String(Some(text))) => Ok(format!("-{text}").into()),
            (Kind::Id, _, cell @ Value::Uuid(Some(_)))
            | (Kind::Text | Kind::Json, _, cell @ Value::String(Some(_)))
            | (Kind::Amount | Kind::Sum, _, cell @ Value::BigInt(Some(_)))
            | (Kind::Truth, _, cell @ Value::Bool(Some(_))) => Ok(cell),
            (.., cell) => Err(cell),
        }
    }

    /// The cell as it was before it was packed.
    fn unpacked(&self) -> Cow<'static, str> {
        let name = self.name;
        match (self.kind, self.is_optional) {
            (Kind::Json, false) => format!("{name}::jsonb").into(),
            (_, false) | (Kind::Sum | Kind::Truth, true) => name.into(),
            (Kind::Id, true) => format!("NULLIF({name}, '{}')", Uuid::nil()).into(),
            (Kind::Amount, true) => format!("NULLIF({name}, -1)").into(),
            (Kind::Text, true) => format!("SUBSTR(NULLIF({name}, ''), 2)").into(),
            (Kind::Json, true) => format!("NULLIF({name}, '')::jsonb").into(),
        }
    }
}
