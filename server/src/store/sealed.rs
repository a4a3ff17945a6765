//! What is sealed, wherever it stands: for another master key.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, Statement};
use uuid::Uuid;

use super::{Database, Error, Result, Stores};
use crate::secrets::{Place, Sealed, Sealer};

/// A column with something sealed in it, beside `master_key_id`.
struct Column {
    table: &'static str,
    column: &'static str,
    /// The row's id.
    id: &'static str,
    /// The tenant that owns the row, which is part of what was sealed.
    tenant: &'static str,
}

/// All there are of what is set up.
const CONFIG: &[Column] = &[
    Column {
        table: "credentials",
        column: "sealed",
        id: "id",
        tenant: "(SELECT channels.tenant_id FROM channels WHERE channels.id = credentials.channel_id)",
    },
    Column {
        table: "sign_ins",
        column: "totp_sealed",
        id: "user_id",
        tenant: "NULL",
    },
    Column {
        table: "signing_keys",
        column: "sealed",
        id: "id",
        tenant: "NULL",
    },
    Column {
        table: "identity_providers",
        column: "sealed",
        id: "id",
        tenant: "tenant_id",
    },
];

/// All there are of what traffic leaves behind.
const USAGE: &[Column] = &[Column {
    table: "kept_bodies",
    column: "sealed",
    id: "id",
    tenant: "tenant_id",
}];

/// Both databases, which may be one, with their columns.
fn all(stores: &Stores) -> impl Iterator<Item = (&Database, &'static Column)> {
    let config = CONFIG.iter().map(|column| (&stores.config, column));
    config.chain(USAGE.iter().map(|column| (&stores.usage, column)))
}

/// Rows in one question.
const ROWS: usize = 200;

/// How many secrets are sealed under which master key, by the keys' ids.
pub async fn counts(stores: &Stores) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for (db, Column { table, column, .. }) in all(stores) {
        let sql = format!(
            "SELECT master_key_id, COUNT(*) AS count FROM {table}
             WHERE {column} IS NOT NULL GROUP BY master_key_id"
        );
        let statement = Statement::from_string(db.backend(), sql);
        for row in db.read.query_all_raw(statement).await? {
            let key: Option<String> = row.try_get("", "master_key_id")?;
            let count: i64 = row.try_get("", "count")?;
            *counts.entry(key.unwrap_or_default()).or_default() += count.unsigned_abs();
        }
    }
    Ok(counts)
}

/// What [`reseal`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resealed {
    pub resealed: u64,
    /// Secrets that no given key opens: `table id`.
    pub unreadable: Vec<String>,
}

/// Seals everything under the key that seals now. Each row is changed alone, and only if nobody changed it meanwhile: it may be ended at any
/// moment, and begun again.
pub async fn reseal(stores: &Stores, sealer: &Sealer) -> Result<Resealed> {
    let mut done = Resealed::default();
    for (db, column) in all(stores) {
        let db = &db.write;
        let mut after = Uuid::nil();
        loop {
            let rows = rows(db, column, &sealer.key_id(), after).await?;
            let Some(last) = rows.last() else { break };
            after = last.place.row;
            for row in rows {
                match sealer.open(&row.sealed, row.place) {
                    Ok(secret) => {
                        let sealed = sealer.seal(&secret, row.place);
                        let sealed = sealed.map_err(|error| Error::other(error.to_string()))?;
                        done.resealed += put(db, column, &row, sealed).await?;
                    }
                    Err(_) => {
                        let name = format!("{} {}", column.table, row.place.row);
                        done.unreadable.push(name);
                    }
                }
            }
        }
    }
    Ok(done)
}

struct Row {
    place: Place,
    sealed: Sealed,
}

/// Rows under other keys, in the order of their ids.
async fn rows(
    db: &impl ConnectionTrait,
    of: &Column,
    key_id: &str,
    after: Uuid,
) -> Result<Vec<Row>> {
    let Column {
        table,
        column,
        id,
        tenant,
    } = of;
    let sql = format!(
        "SELECT {id} AS id, {column} AS sealed, master_key_id, {tenant} AS tenant FROM {table}
         WHERE {column} IS NOT NULL AND master_key_id <> $1 AND {id} > $2 ORDER BY {id} LIMIT {ROWS}"
    );
    let values = [key_id.into(), after.into()];
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    let mut rows = Vec::new();
    for row in db.query_all_raw(statement).await? {
        let tenant = match *tenant {
            "NULL" => None,
            _ => row.try_get("", "tenant")?,
        };
        rows.push(Row {
            place: Place {
                table,
                column,
                row: row.try_get("", "id")?,
                tenant,
            },
            sealed: Sealed {
                bytes: row.try_get("", "sealed")?,
                master_key_id: row.try_get("", "master_key_id")?,
            },
        });
    }
    Ok(rows)
}

/// Puts what is sealed anew in the place of what was read, if that is still there.
async fn put(db: &impl ConnectionTrait, of: &Column, row: &Row, sealed: Sealed) -> Result<u64> {
    let Column {
        table, column, id, ..
    } = of;
    let sql = format!(
        "UPDATE {table} SET {column} = $1, master_key_id = $2 WHERE {id} = $3 AND {column} = $4"
    );
    let values = [
        sealed.bytes.into(),
        sealed.master_key_id.into(),
        row.place.row.into(),
        row.sealed.bytes.clone().into(),
    ];
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    Ok(db.execute_raw(statement).await?.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing;

    /// A table that a later migration adds has to be listed too.
    #[tokio::test]
    async fn every_column_with_something_sealed_is_known() {
        let test = testing::sqlite().await;
        for (db, columns) in [(&test.stores.config, CONFIG), (&test.stores.usage, USAGE)] {
            let sql =
                "SELECT t.name AS name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
                WHERE t.type = 'table' AND c.name = 'master_key_id' ORDER BY t.name";
            let rows = Statement::from_string(db.backend(), sql);
            let rows = db.read.query_all_raw(rows).await.unwrap();
            let there: Vec<String> = rows
                .iter()
                .map(|row| row.try_get("", "name").unwrap())
                .collect();
            let mut known: Vec<&str> = columns.iter().map(|column| column.table).collect();
            known.sort_unstable();
            assert_eq!(there, known);
        }
    }
}
