//! The kinds of column and index that many steps share. As steps never change, neither do these:
//! a new convention gets a new function.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema;

/// A switch that is on unless turned off.
pub fn enabled() -> ColumnDef {
    schema::boolean("enabled").default(true).take()
}

/// A moment: Unix milliseconds, UTC.
pub fn instant(name: &'static str) -> ColumnDef {
    non_negative(schema::big_integer(name), name)
}

/// A moment that may never come.
pub fn instant_null(name: &'static str) -> ColumnDef {
    non_negative(schema::big_integer_null(name), name)
}

/// A whole amount, never below zero: tokens, requests, bytes, microseconds, nano-dollars.
/// Zero unless given.
pub fn amount(name: &'static str) -> ColumnDef {
    non_negative(schema::big_integer(name), name)
        .default(0)
        .take()
}

/// A whole amount, never below zero, that may be unknown.
pub fn amount_null(name: &'static str) -> ColumnDef {
    non_negative(schema::big_integer_null(name), name)
}

/// A small number that orders or weighs, never below zero.
pub fn ordinal(name: &'static str) -> ColumnDef {
    non_negative(schema::integer(name), name)
}

/// One word out of a closed list.
pub fn one_of<const N: usize>(name: &'static str, words: [&'static str; N]) -> ColumnDef {
    schema::text(name)
        .check(Expr::col(name).is_in(words))
        .take()
}

/// A row that goes when its parent goes.
pub fn belongs_to(
    table: &'static str,
    column: &'static str,
    parent: &'static str,
) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(format!("{table}_{column}_fkey"))
        .from(table, column)
        .to(parent, "id")
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned()
}

/// The index of a table on some columns, named after both.
pub fn index<const N: usize>(
    table: &'static str,
    columns: [&'static str; N],
) -> IndexCreateStatement {
    let mut index = Index::create()
        .name(format!("{table}_{}_idx", columns.join("_")))
        .table(table)
        .take();
    for column in columns {
        index.col(column);
    }
    index
}

/// Like [`index`], and no two rows may be alike in these columns.
pub fn unique<const N: usize>(
    table: &'static str,
    columns: [&'static str; N],
) -> IndexCreateStatement {
    index(table, columns)
        .name(format!("{table}_{}_key", columns.join("_")))
        .unique()
        .take()
}

/// The two indexes that make `name` unique in a table whose rows belong to one tenant or, without
/// a `tenant_id`, to the platform. A plain one would let the platform have a name twice, as no
/// NULL equals another.
pub fn unique_names(table: &'static str) -> [IndexCreateStatement; 2] {
    let platform = unique(table, ["name"])
        .and_where(Expr::col("tenant_id").is_null())
        .take();
    let tenant = unique(table, ["tenant_id", "name"])
        .and_where(Expr::col("tenant_id").is_not_null())
        .take();
    [platform, tenant]
}

fn non_negative(mut column: ColumnDef, name: &'static str) -> ColumnDef {
    column.check(Expr::col(name).gte(0)).take()
}
