use sea_orm::{ConnectionTrait as _, Statement};
use uuid::Uuid;

use super::*;
use crate::{
    catalog::Kind,
    jobs::tell_changes,
    store::{
        Change,
        testing::{self, eventually},
    },
    tenancy::TenantId,
};

/// The job at work; stops when dropped.
struct Running {
    current: Arc<Current>,
    health: Arc<Health>,
    shutdown: CancellationToken,
}

impl Running {
    fn start(stores: &Stores, redis: Option<Redis>, poll_ms: u64) -> Self {
        let running = Self {
            current: Arc::default(),
            health: Arc::default(),
            shutdown: CancellationToken::new(),
        };
        let job = RefreshCatalog {
            stores: stores.clone(),
            current: running.current.clone(),
            sealer: Arc::new(Sealer::new(&[7; 32])),
            redis,
            health: running.health.clone(),
            config: Config {
                poll_every: Span(Duration::from_millis(poll_ms)),
            },
        };
        tokio::spawn(job.run(running.shutdown.clone()));
        running
    }

    fn knows(&self, tenant: Uuid) -> bool {
        self.current.load().tenant(TenantId(tenant)).is_some()
    }

    async fn loaded(&self) {
        let known = async || self.current.load().version() != Version::default();
        eventually(5, "the first picture", known).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn add_tenant(stores: &Stores) -> Uuid {
    let mut change = Change::begin(stores).await.expect("begun");
    let id = Uuid::new_v4();
    let insert = Statement::from_sql_and_values(
        stores.config.backend(),
        "INSERT INTO tenants (id, name, created_ms, updated_ms) VALUES ($1, $2, 0, 0)",
        [id.into(), id.to_string().into()],
    );
    let inserted = change.transaction().execute_raw(insert).await;
    inserted.expect("inserted");
    change.changed(Kind::Tenant, id);
    change.commit().await.expect("committed");
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_this_process_is_seen_at_once() {
    for test in testing::all().await {
        let job = Running::start(&test.stores, None, 5_000);
        job.loaded().await;
        let tenant = add_tenant(&test.stores).await;
        eventually(3, "the tenant", async || job.knows(tenant)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_another_process_is_found_by_polling() {
    for test in testing::all().await {
        let job = Running::start(&test.stores, None, 100);
        job.loaded().await;
        let tenant = add_tenant(&test.open_again().await).await;
        eventually(3, "the tenant", async || job.knows(tenant)).await;
        assert!(job.health.catalog_lag().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_another_instance_is_told_over_redis() {
    let Some(redis) = crate::redis::for_test() else {
        return;
    };
    for test in testing::all().await {
        let job = Running::start(&test.stores, Some(redis.clone()), 5_000);
        job.loaded().await;
        // Until the subscription stands, which makes the job look once more.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let other = test.open_again().await;
        tokio::spawn(tell_changes::run(
            &other,
            redis.clone(),
            job.shutdown.clone(),
        ));
        let tenant = add_tenant(&other).await;
        eventually(3, "the tenant", async || job.knows(tenant)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_message_changes_nothing() {
    let Some(redis) = crate::redis::for_test() else {
        return;
    };
    let test = testing::sqlite().await;
    let job = Running::start(&test.stores, Some(redis.clone()), 5_000);
    job.loaded().await;
    for _ in 0..500 {
        redis.publish_changed().await.expect("published");
    }
    assert_eq!(job.health.catalog_swaps.load(Relaxed), 1);
    assert_eq!(job.current.load().version().number, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_outlives_its_database() {
    let Some(test) = testing::postgres().await else {
        return;
    };
    let (stores, proxy) = test.behind_proxy().await.expect("PostgreSQL");
    let before = add_tenant(&test.stores).await;
    let job = Running::start(&stores, None, 100);
    job.loaded().await;
    proxy.cut();
    let down = async || !job.health.store_up.load(Relaxed);
    eventually(15, "the loss", down).await;
    assert!(job.knows(before));
    assert!(job.health.last_error().is_some());
    let during = add_tenant(&test.stores).await;
    proxy.restore();
    eventually(15, "what changed meanwhile", async || job.knows(during)).await;
    assert!(job.health.store_up.load(Relaxed) && job.health.last_error().is_none());
}

#[test]
fn the_poll_is_at_most_five_seconds() {
    let config = |poll_every| Config {
        poll_every: Span(poll_every),
    };
    assert!(config(Duration::from_secs(5)).check().is_ok());
    assert!(config(Duration::from_millis(5_001)).check().is_err());
    assert!(config(Duration::ZERO).check().is_err());
    assert!(Config::default().check().is_ok());
}
