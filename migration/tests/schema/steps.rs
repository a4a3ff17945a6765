//! Up, down, both at once, and beside newer binaries.

use sea_orm_migration::MigratorTrait;
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use weir_migration::testing::TestDatabase;
use weir_migration::{config, usage};

use crate::Embedded;

#[tokio::test]
async fn sqlite_goes_up_and_down_and_up_again() {
    let embedded = Embedded::new();
    let (config_db, usage_db) = embedded.connect().await;
    goes_up_and_down_and_up_again(&config_db, &usage_db).await;
}

#[tokio::test]
async fn postgres_goes_up_and_down_and_up_again() {
    let Some(database) = TestDatabase::create().await else {
        return;
    };
    let db = database.connect().await;
    goes_up_and_down_and_up_again(&db, &db).await;
}

async fn goes_up_and_down_and_up_again(
    config_db: &DatabaseConnection,
    usage_db: &DatabaseConnection,
) {
    let steps = all_steps();
    let pending = || async {
        weir_migration::pending(config_db, usage_db)
            .await
            .unwrap()
            .len()
    };
    let up = || async { weir_migration::up(config_db, usage_db).await.unwrap().len() };
    let oldest = || async { weir_migration::oldest_binary(config_db).await.unwrap() };

    assert_eq!((pending().await, oldest().await), (steps, None));
    assert_eq!(up().await, steps);
    assert_eq!((pending().await, oldest().await), (0, Some("0.1.0".into())));
    let first_epoch = epoch(config_db).await;
    assert_eq!(up().await, 0, "a second run has nothing to do");

    weir_migration::down(config_db, usage_db).await.unwrap();
    assert_eq!((pending().await, oldest().await), (steps, None));

    assert_eq!(up().await, steps);
    assert_ne!(epoch(config_db).await, first_epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_together_on_sqlite_migrate_once() {
    let embedded = Embedded::new();
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (config_db, usage_db) = embedded.connect().await;
        processes.spawn(async move {
            let applied = weir_migration::up(&config_db, &usage_db).await;
            applied.unwrap().len()
        });
    }
    let applied: usize = processes.join_all().await.iter().sum();
    assert_eq!(applied, all_steps());
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_start_together_on_postgres_migrate_once() {
    let Some(database) = TestDatabase::create().await else {
        return;
    };
    let mut instances = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let db = database.connect().await;
        instances.spawn(async move { weir_migration::up(&db, &db).await.unwrap().len() });
    }
    let applied: usize = instances.join_all().await.iter().sum();
    assert_eq!(applied, all_steps());
}

#[tokio::test]
async fn a_schema_that_a_newer_binary_migrated_further_is_left_alone() {
    let embedded = Embedded::new();
    let (config_db, usage_db) = embedded.connect().await;
    weir_migration::up(&config_db, &usage_db).await.unwrap();
    config_db
        .execute_unprepared("INSERT INTO weir_migrations_config VALUES ('m9999_of_tomorrow', 0)")
        .await
        .unwrap();

    let applied = weir_migration::up(&config_db, &usage_db).await;
    assert_eq!(applied.unwrap(), Vec::<String>::new());
}

fn all_steps() -> usize {
    config::Migrator::migrations().len() + usage::Migrator::migrations().len()
}

async fn epoch(db: &DatabaseConnection) -> uuid::Uuid {
    let question = Statement::from_string(
        db.get_database_backend(),
        "SELECT epoch FROM installation WHERE id = 1",
    );
    let row = db.query_one_raw(question).await.unwrap().unwrap();
    row.try_get("", "epoch").unwrap()
}
