use super::*;
use crate::store::testing;

async fn insert_tenant(change: &Change, name: &str) -> Result<Uuid> {
    let id = Uuid::new_v4();
    let statement = Statement::from_sql_and_values(
        change.transaction().get_database_backend(),
        "INSERT INTO tenants (id, name, created_ms, updated_ms) VALUES ($1, $2, 0, 0)",
        [id.into(), name.into()],
    );
    change.transaction().execute_raw(statement).await?;
    Ok(id)
}

/// Versions and sequence numbers as kept.
async fn kept(stores: &Stores) -> Vec<(i64, i32)> {
    let statement = Statement::from_string(
        stores.config.backend(),
        "SELECT version, seq FROM catalog_changes ORDER BY version, seq",
    );
    let rows = stores.config.read.query_all_raw(statement).await;
    rows.expect("rows")
        .iter()
        .map(|row| {
            (
                row.try_get("", "version").expect("a version"),
                row.try_get("", "seq").expect("a number"),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_get_versions_in_the_order_they_become_visible() {
    for test in testing::all().await {
        let reader = {
            let stores = test.stores.clone();
            tokio::spawn(async move {
                let mut seen = 0;
                while seen < 20 {
                    let rows = kept(&stores).await;
                    let versions: Vec<i64> = rows.iter().map(|(version, _)| *version).collect();
                    let last = versions.last().copied().unwrap_or(0);
                    assert_eq!(
                        versions,
                        (1..=last).collect::<Vec<_>>(),
                        "no gap is ever seen"
                    );
                    assert!(last >= seen);
                    seen = last;
                }
            })
        };
        let writers: Vec<_> = (0..20)
            .map(|number| {
                let stores = test.stores.clone();
                tokio::spawn(async move {
                    let mut change = Change::begin(&stores).await?;
                    let id = insert_tenant(&change, &format!("tenant {number}")).await?;
                    tokio::time::sleep(std::time::Duration::from_millis(number % 5)).await;
                    change.changed(Kind::Tenant, id);
                    change.commit().await
                })
            })
            .collect();
        let mut versions = Vec::new();
        for writer in writers {
            versions.push(writer.await.expect("a writer").expect("a version"));
        }
        versions.sort_unstable();
        assert_eq!(versions, (1..=20).collect::<Vec<_>>());
        reader.await.expect("what was seen was in order");
    }
}

#[tokio::test]
async fn a_change_that_named_nothing_keeps_the_version() {
    for test in testing::all().await {
        let change = Change::begin(&test.stores).await.expect("begun");
        assert_eq!(change.version(), 1);
        assert_eq!(change.commit().await.expect("nothing"), 0);
        let mut change = Change::begin(&test.stores).await.expect("begun");
        assert_eq!(change.version(), 1);
        change.changed(Kind::Key, Uuid::new_v4());
        assert_eq!(change.commit().await.expect("a version"), 1);
    }
}

#[tokio::test]
async fn a_dropped_change_leaves_nothing() {
    for test in testing::all().await {
        let mut change = Change::begin(&test.stores).await.expect("begun");
        let id = insert_tenant(&change, "acme").await.expect("inserted");
        change.changed(Kind::Tenant, id);
        drop(change);
        let change = Change::begin(&test.stores).await.expect("begun");
        assert_eq!(change.version(), 1);
        insert_tenant(&change, "acme")
            .await
            .expect("the name is free");
    }
}

#[tokio::test]
async fn a_taken_name_is_told_as_such() {
    for test in testing::all().await {
        let change = Change::begin(&test.stores).await.expect("begun");
        insert_tenant(&change, "acme").await.expect("inserted");
        let taken = insert_tenant(&change, "acme").await;
        assert!(
            matches!(
                taken,
                Err(Error::Taken {
                    what: "tenant name"
                })
            ),
            "{taken:?}"
        );
    }
}

#[tokio::test]
async fn an_entry_named_twice_is_kept_once_and_many_are_kept_all() {
    for test in testing::all().await {
        let mut change = Change::begin(&test.stores).await.expect("begun");
        let committed = test.stores.committed();
        let id = Uuid::new_v4();
        change.changed(Kind::Key, id);
        change.deletes(Kind::Key, id).await.expect("named");
        for _ in 0..ROWS_PER_INSERT {
            change.changed(Kind::Key, Uuid::new_v4());
        }
        let version = change.commit().await.expect("committed");
        let rows = kept(&test.stores).await;
        assert_eq!(rows.len(), ROWS_PER_INSERT + 1);
        assert!(committed.has_changed().expect("stores live"));
        assert_eq!(*committed.borrow(), version);
    }
}
