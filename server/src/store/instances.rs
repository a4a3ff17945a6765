//! The living instances, and who of them leads.
//!
//! All times are the database's own, so that instances whose clocks differ agree on who lives.

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use uuid::Uuid;
use weir_api_types::manage::InstanceItem;

use super::{Database, Error, Listed, Page, Result, catalog, moment};

/// An instance that was not heard of for so long has ended, whatever became of it.
pub const SILENCE_MS: i64 = 15_000;
/// For so long one that has ended without a word is remembered: it may live, and spend what it holds of budgets.
pub const REMEMBERED_MS: i64 = 900_000;
/// For how long a leader leads after its last word.
const LEADS_MS: i64 = 10_000;

/// What an instance says of itself.
#[derive(Debug, Clone)]
pub struct Me {
    /// Another one with each start.
    pub id: Uuid,
    pub name: String,
    pub version: String,
}

/// Says that an instance lives, and forgets those that do not. Returns how many live, this one included.
pub async fn beat(db: &Database, me: &Me, catalog_version: i64) -> Result<u32> {
    let connection = &db.write;
    let backend = connection.get_database_backend();
    let now = now(backend);
    let sql = format!(
        "INSERT INTO instances (id, name, version, catalog_version, started_ms, seen_ms) VALUES ($1, $2, $3, $4, {now}, {now})
         ON CONFLICT (id) DO UPDATE SET seen_ms = {now}, catalog_version = $4"
    );
    let values = [
        me.id.into(),
        me.name.clone().into(),
        me.version.clone().into(),
        catalog_version.into(),
    ];
    connection
        .execute_raw(Statement::from_sql_and_values(backend, sql, values))
        .await?;
    let sql = format!("DELETE FROM instances WHERE seen_ms < {now} - $1");
    let values = [REMEMBERED_MS.into()];
    connection
        .execute_raw(Statement::from_sql_and_values(backend, sql, values))
        .await?;
    let sql = format!(
        "SELECT CAST(COUNT(*) AS bigint) AS living FROM instances WHERE seen_ms >= {now} - {SILENCE_MS}"
    );
    let row = connection
        .query_one_raw(Statement::from_string(backend, sql))
        .await?;
    let living: i64 = row
        .ok_or_else(|| Error::other("a count has no row"))?
        .try_get("", "living")?;
    Ok(u32::try_from(living).unwrap_or(u32::MAX))
}

/// The instances that were heard of within so many milliseconds and have not said that they end.
pub async fn heard_of(db: &Database, within_ms: i64) -> Result<Vec<Uuid>> {
    let backend = db.backend();
    let sql = format!(
        "SELECT id FROM instances WHERE seen_ms >= {} - $1",
        now(backend)
    );
    let ask = Statement::from_sql_and_values(backend, sql, [within_ms.into()]);
    let rows = db.write.query_all_raw(ask).await?;
    let id = |row: sea_orm::QueryResult| Ok(row.try_get("", "id")?);
    rows.into_iter().map(id).collect()
}

/// The instances that may have usage to book, and whether each lives: those that were heard of not long ago, have not said that they
/// end, and have not been followed by one of their name, which books what they left before it says that it lives.
pub async fn booking(db: &Database) -> Result<Vec<(Uuid, bool)>> {
    let backend = db.backend();
    let now = now(backend);
    let sql = format!(
        "SELECT i.id AS id, i.seen_ms >= {now} - {SILENCE_MS} AS lives FROM instances AS i
         WHERE i.seen_ms >= {now} - {REMEMBERED_MS} AND NOT EXISTS (SELECT 1 FROM instances AS next
             WHERE next.name = i.name AND next.id <> i.id AND next.started_ms >= i.seen_ms AND next.seen_ms >= {now} - {SILENCE_MS})"
    );
    let rows = db.write.query_all_raw(Statement::from_string(backend, sql));
    let one = |row: sea_orm::QueryResult| Ok((row.try_get("", "id")?, row.try_get("", "lives")?));
    rows.await?.into_iter().map(one).collect()
}

/// Says that an instance has ended.
pub async fn leave(db: &Database, id: Uuid) -> Result<()> {
    let backend = db.backend();
    for sql in [
        "DELETE FROM leaders WHERE instance_id = $1",
        "DELETE FROM instances WHERE id = $1",
    ] {
        let gone = Statement::from_sql_and_values(backend, sql, [id.into()]);
        db.write.execute_raw(gone).await?;
    }
    Ok(())
}

/// Takes a task that nobody has, or goes on having it. Whether this instance has it now.
pub async fn lead(db: &Database, task: &str, me: &Me) -> Result<bool> {
    let backend = db.backend();
    let now = now(backend);
    let sql = format!(
        "INSERT INTO leaders (task, instance_id, until_ms) VALUES ($1, $2, {now} + $3)
         ON CONFLICT (task) DO UPDATE SET instance_id = $2, until_ms = {now} + $3
         WHERE leaders.instance_id = $2 OR leaders.until_ms < {now}
         RETURNING instance_id"
    );
    let values = [task.into(), me.id.into(), LEADS_MS.into()];
    let row = db
        .write
        .query_one_raw(Statement::from_sql_and_values(backend, sql, values))
        .await?;
    Ok(row.is_some())
}

/// A page of the living instances, in the order of their ids.
pub async fn list(db: &Database, page: &Page) -> Result<Listed<InstanceItem>> {
    Ok(page.among(living(db).await?, |item| item.id))
}

/// The living instances, with how many versions of the catalog each is behind.
pub async fn living(db: &Database) -> Result<Vec<InstanceItem>> {
    let connection = &db.read;
    let backend = connection.get_database_backend();
    let newest = catalog::version(connection).await?.number;
    let sql = format!(
        "SELECT i.id AS id, i.name AS name, i.version AS version, i.catalog_version AS catalog_version, i.started_ms AS started_ms,
            {now} - i.seen_ms AS silent_ms, EXISTS (SELECT 1 FROM leaders AS l WHERE l.instance_id = i.id AND l.until_ms >= {now}) AS leads
         FROM instances AS i WHERE i.seen_ms >= {now} - {SILENCE_MS} ORDER BY i.name, i.id",
        now = now(backend)
    );
    let rows = connection
        .query_all_raw(Statement::from_string(backend, sql))
        .await?;
    let item = |row: sea_orm::QueryResult| {
        let version: i64 = row.try_get("", "catalog_version")?;
        let silent_ms: i64 = row.try_get("", "silent_ms")?;
        Ok(InstanceItem {
            id: row.try_get("", "id")?,
            name: row.try_get("", "name")?,
            version: row.try_get("", "version")?,
            started_at: moment(row.try_get("", "started_ms")?),
            silent_ms: u64::try_from(silent_ms).unwrap_or(0),
            catalog_version: version,
            behind: u64::try_from(newest - version).unwrap_or(0),
            leads: row.try_get("", "leads")?,
        })
    };
    rows.into_iter().map(item).collect()
}

/// The present millisecond by the database's clock.
fn now(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Sqlite => "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
        _ => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS bigint)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing;

    fn me(name: &str) -> Me {
        Me {
            id: Uuid::new_v4(),
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
        }
    }

    #[tokio::test]
    async fn one_leads_until_it_leaves_and_the_silent_are_forgotten() {
        for test in testing::all().await {
            let db = &test.stores.config;
            let (one, two) = (me("one"), me("two"));
            assert_eq!(beat(db, &one, 0).await.expect("a beat"), 1);
            assert_eq!(beat(db, &two, 0).await.expect("a beat"), 2);
            assert!(lead(db, "jobs", &one).await.expect("asked"));
            assert!(!lead(db, "jobs", &two).await.expect("asked"));
            assert!(lead(db, "jobs", &one).await.expect("asked"), "it goes on");
            assert!(lead(db, "other", &two).await.expect("asked"));
            let found = living(db).await.expect("a list");
            let found: Vec<_> = found
                .iter()
                .map(|item| (item.name.as_str(), item.leads, item.behind))
                .collect();
            assert_eq!(found, [("one", true, 0), ("two", true, 0)]);
            leave(db, one.id).await.expect("left");
            assert!(lead(db, "jobs", &two).await.expect("asked"));
            // One that died without a word.
            let long_ago = "UPDATE instances SET seen_ms = seen_ms - 20000";
            db.write
                .execute_unprepared(long_ago)
                .await
                .expect("updated");
            assert_eq!(heard_of(db, 60_000).await.expect("a list"), [two.id]);
            assert_eq!(booking(db).await.expect("a list"), [(two.id, false)]);
            let again = me("two");
            assert_eq!(beat(db, &again, 0).await.expect("a beat"), 1);
            let books = booking(db).await.expect("a list");
            assert_eq!(books, [(again.id, true)], "it has booked what was left");
            leave(db, again.id).await.expect("left");
            assert!(living(db).await.expect("a list").is_empty());
            let three = me("three");
            assert_eq!(beat(db, &three, 0).await.expect("a beat"), 1);
            let expired = "UPDATE leaders SET until_ms = until_ms - 20000";
            db.write.execute_unprepared(expired).await.expect("updated");
            assert!(lead(db, "jobs", &three).await.expect("asked"));
        }
    }
}
