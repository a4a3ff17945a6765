//! The months of `usage_events` on PostgreSQL.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{
    DatabaseConnection, DbBackend, RuntimeErr, Statement, TransactionTrait,
};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;
use weir_migration::testing::TestDatabase;
use weir_migration::usage::partition;

async fn migrated() -> Option<(TestDatabase, DatabaseConnection)> {
    let database = TestDatabase::create().await?;
    let db = database.connect().await;
    weir_migration::up(&db, &db).await.unwrap();
    Some((database, db))
}

#[tokio::test]
async fn an_event_of_today_goes_to_the_partition_of_its_month() {
    let Some((_database, db)) = migrated().await else {
        return;
    };
    let now = OffsetDateTime::now_utc();
    let id = Uuid::now_v7();
    add_event(&db, id).await.unwrap();
    assert_eq!(partition_of(&db, id).await, name_of(now));
}

#[tokio::test]
async fn an_event_of_a_month_without_partition_is_refused_until_it_is_made() {
    let Some((_database, db)) = migrated().await else {
        return;
    };
    let later = OffsetDateTime::now_utc() + Duration::days(150);
    let later_ms = later.unix_timestamp() * 1000;
    let bounds = partition::uuid_bounds(later.year(), later.month()).unwrap();

    let error = add_event(&db, bounds.start).await.unwrap_err();
    assert_eq!(sql_state(&error).as_deref(), Some("23514"), "{error}");

    assert!(partition::make(&db, later_ms).await.unwrap());
    assert!(!partition::make(&db, later_ms).await.unwrap());
    // Both ends: the database computes the same bounds as `uuid_bounds`.
    let last = Uuid::from_u128(bounds.end.as_u128() - 1);
    for id in [bounds.start, last] {
        add_event(&db, id).await.unwrap();
        assert_eq!(partition_of(&db, id).await, name_of(later));
    }
    add_event(&db, bounds.end).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_all_miss_a_month_neither_fail_nor_deadlock() {
    let Some((database, db)) = migrated().await else {
        return;
    };
    let later = OffsetDateTime::now_utc() + Duration::days(200);
    let later_ms = later.unix_timestamp() * 1000;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let db = database.connect().await;
        writers.spawn(async move {
            let transaction = db.begin().await.unwrap();
            add_event(&transaction, Uuid::now_v7()).await.unwrap();
            let made = partition::make(&transaction, later_ms).await.unwrap();
            transaction.commit().await.unwrap();
            made
        });
    }
    let made = writers.join_all().await;
    assert_eq!(made.iter().filter(|made| **made).count(), 1);
    add_event(&db, partition::first_id(later_ms)).await.unwrap();
}

#[tokio::test]
async fn a_month_that_no_event_can_be_of_is_not_made() {
    let Some((_database, db)) = migrated().await else {
        return;
    };
    let ten_years_ms = 10 * 366 * 86_400_000;
    let now_ms = OffsetDateTime::now_utc().unix_timestamp() * 1000;
    for at_ms in [0, -1, now_ms + ten_years_ms] {
        let error = partition::make(&db, at_ms).await.unwrap_err();
        assert_eq!(sql_state(&error).as_deref(), Some("22023"), "{error}");
    }
}

#[tokio::test]
async fn a_role_that_may_not_change_the_schema_can_have_a_month_made() {
    let Some((_database, db)) = migrated().await else {
        return;
    };
    // Roles belong to the server, not to the database: this one ends with its transaction.
    let transaction = db.begin().await.unwrap();
    let role = format!("weir_test_{}", Uuid::new_v4().simple());
    let setup = format!(
        "CREATE ROLE {role};
         REVOKE CREATE ON SCHEMA public FROM PUBLIC;
         GRANT SELECT, INSERT ON usage_events TO {role};
         SET LOCAL ROLE {role};"
    );
    transaction.execute_unprepared(&setup).await.unwrap();
    let later = OffsetDateTime::now_utc() + Duration::days(250);
    let later_ms = later.unix_timestamp() * 1000;

    for forbidden in ["SELECT weir_make_usage_partition(0)", "CREATE TABLE t ()"] {
        let savepoint = transaction.begin().await.unwrap();
        let error = savepoint.execute_unprepared(forbidden).await.unwrap_err();
        assert_eq!(sql_state(&error).as_deref(), Some("42501"), "{error}");
        savepoint.rollback().await.unwrap();
    }

    let grant = format!(
        "RESET ROLE;
         GRANT EXECUTE ON FUNCTION weir_make_usage_partition TO {role};
         SET LOCAL ROLE {role};"
    );
    transaction.execute_unprepared(&grant).await.unwrap();
    assert!(partition::make(&transaction, later_ms).await.unwrap());
    let id = partition::first_id(later_ms);
    add_event(&transaction, id).await.unwrap();
    assert_eq!(partition_of(&transaction, id).await, name_of(later));
    transaction.rollback().await.unwrap();
}

async fn add_event(db: &impl ConnectionTrait, id: Uuid) -> Result<(), DbErr> {
    let event = "
        INSERT INTO usage_events
            (id, tenant_id, key_id, started_ms, source, endpoint, dialect, model, outcome, status,
             streamed, estimated, unpriced, attempts, instance)
        VALUES ($1, $1, $1, 0, 'api', '/v1/chat/completions', 'openai', 'm', 'ok', 200,
                false, false, false, '[]', 'test')";
    db.execute_raw(Statement::from_sql_and_values(
        DbBackend::Postgres,
        event,
        [id.into()],
    ))
    .await
    .map(drop)
}

async fn partition_of(db: &impl ConnectionTrait, id: Uuid) -> String {
    let question = "SELECT tableoid::regclass::text AS name FROM usage_events WHERE id = $1";
    let question = Statement::from_sql_and_values(DbBackend::Postgres, question, [id.into()]);
    let row = db.query_one_raw(question).await.unwrap().unwrap();
    row.try_get("", "name").unwrap()
}

fn name_of(month: OffsetDateTime) -> String {
    let (year, month) = (month.year(), u8::from(month.month()));
    format!("usage_events_{year}{month:02}")
}

fn sql_state(error: &DbErr) -> Option<String> {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) =
        error
    else {
        return None;
    };
    Some(error.as_database_error()?.code()?.into_owned())
}
