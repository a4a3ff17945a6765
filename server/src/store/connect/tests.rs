use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::store::testing;

#[tokio::test]
async fn a_schema_of_a_newer_binary_is_refused() {
    for test in testing::all().await {
        test.execute("UPDATE installation SET oldest_binary = '999.0.0'", vec![])
            .await;
        let refused = migrate(&test.stores, Migrate::Auto).await;
        assert!(
            matches!(&refused, Err(Error::TooOld { oldest, .. }) if oldest == "999.0.0"),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn without_leave_to_migrate_a_missing_step_stops_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let stores = open(&Config::default(), directory.path())
        .await
        .expect("stores");
    let refused = migrate(&stores, Migrate::Never).await;
    assert!(
        matches!(&refused, Err(Error::Pending(steps)) if !steps.is_empty()),
        "{refused:?}"
    );
    migrate(&stores, Migrate::Auto).await.expect("migrated");
    let again = migrate(&stores, Migrate::Never).await.expect("up to date");
    assert!(again.is_empty());
}

#[tokio::test]
async fn database_files_are_their_owners_alone() {
    let test = testing::sqlite().await;
    for name in ["weir.db", "usage.db", "weir.db-wal", "usage.db-wal"] {
        let mode = std::fs::metadata(test.directory.path().join(name))
            .expect(name)
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn what_reads_cannot_write() {
    let test = testing::sqlite().await;
    let written = sea_orm::ConnectionTrait::execute_unprepared(
        &test.stores.config.read,
        "UPDATE installation SET catalog_version = 9",
    );
    assert!(written.await.is_err());
}

#[tokio::test]
async fn another_kind_of_database_is_refused() {
    let config = Config {
        database_url: Some(Secret::new("mysql://root@localhost/weir")),
        ..Config::default()
    };
    let opened = open(&config, Path::new(".")).await;
    assert!(matches!(opened, Err(Error::BadUrl)));
}

#[test]
fn versions_compare_by_number() {
    assert!(version_numbers("0.10.0") > version_numbers("0.9.12"));
    assert_eq!(version_numbers("1.2.3-rc.1"), version_numbers("1.2.3"));
}
