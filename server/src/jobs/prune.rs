//! Deletes what is too old: changes of the catalog for a delta, sessions and links that are over, failed sign-ins, single requests beyond the
//! days that operators keep them for, and what was said in calls beyond those of their tenants.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Fleet, repeat_leading};
use crate::{
    catalog::Current,
    clock::now_ms,
    store::{self, Stores, catalog, sign_in_failures::FORGOTTEN_MS},
};

const PERIOD: Duration = Duration::from_secs(3_600);
const DAY_MS: i64 = 24 * 3_600_000;

/// Prunes every hour, where this instance leads.
pub async fn run(
    stores: Stores,
    current: Arc<Current>,
    fleet: Arc<Fleet>,
    shutdown: CancellationToken,
) {
    let days = || current.peek().settings().request_days;
    let hourly = repeat_leading("prune", PERIOD, &fleet, &shutdown, || {
        prune(stores.clone(), days())
    });
    // Where operators say another number of days, that is in force now.
    let at_once = async {
        let mut versions = current.subscribe();
        let mut known = days();
        while versions.changed().await.is_ok() {
            if std::mem::replace(&mut known, days()) == days() || !fleet.leads() {
                continue;
            }
            if let Err(error) = prune(stores.clone(), known).await {
                tracing::error!(%error, "single requests are not deleted yet; it is tried again within the hour");
            }
        }
    };
    tokio::select! {
        () = hourly => {}
        () = at_once => shutdown.cancelled().await,
    }
}

async fn prune(stores: Stores, request_days: Option<u32>) -> store::Result<()> {
    let pruned = catalog::prune(&stores.config).await?;
    if pruned > 0 {
        tracing::info!(pruned, "old changes of the catalog were deleted");
    }
    let (db, now_ms) = (&stores.config.write, now_ms());
    let sessions = store::sessions::prune(db, now_ms).await?;
    if sessions > 0 {
        tracing::info!(sessions, "sessions that were over were deleted");
    }
    // How many were made in the last day is counted.
    let links = store::one_time_links::prune(db, now_ms - DAY_MS, now_ms).await?;
    if links > 0 {
        tracing::info!(
            links,
            "invitations and password links that were over were deleted"
        );
    }
    store::sign_in_failures::prune(db, now_ms - FORGOTTEN_MS).await?;
    store::known_places::prune(db, now_ms - store::known_places::FORGOTTEN_MS).await?;
    store::idempotency::forget_older(db, now_ms - store::idempotency::KEPT_MS, None).await?;
    let bodies = store::usage::bodies::prune(&stores, now_ms).await?;
    if bodies > 0 {
        tracing::info!(
            bodies,
            "what was said in calls was deleted, as its time was over"
        );
    }
    if let Some(days) = request_days {
        let before_ms = now_ms - i64::from(days) * DAY_MS;
        let requests = store::usage::prune::events(&stores.usage, before_ms).await?;
        if requests > 0 {
            tracing::info!(
                requests,
                days,
                "single requests were deleted; their sums stay"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::{
            one_time_links::{Link, Purpose},
            testing,
            usage::book,
        },
        tenancy::{Person, key},
    };

    /// A link made some days ago, and good for some days more.
    async fn link(stores: &Stores, age_days: i64, left_days: i64) {
        let db = &stores.config.write;
        let user = Person::new(format!("p{age_days}{left_days}@x.example"));
        store::users::put(db, &user, 0).await.expect("a person");
        let link = Link {
            id: uuid::Uuid::new_v4(),
            email: user.email.clone(),
            purpose: Purpose::Reset { user: user.id },
            expires_ms: now_ms() + left_days * DAY_MS,
        };
        let digest = key::digest(user.email.as_bytes());
        let made_ms = now_ms() - age_days * DAY_MS;
        let inserted = store::one_time_links::insert(db, &link, &digest, made_ms).await;
        inserted.expect("a link");
    }

    #[actix_rt::test]
    async fn single_requests_go_after_their_days_and_their_sums_stay() {
        for test in testing::all().await {
            let stores = &test.stores;
            let ages = [1_i64, 29, 31, 60];
            let events: Vec<_> = ages
                .iter()
                .map(|days| testing::event(now_ms() - days * DAY_MS, 1))
                .collect();
            book(&stores.usage, &events).await.expect("booked");
            let count = async |table: &str| {
                let sql = format!("SELECT COUNT(*) AS count FROM {table}");
                let db = match table {
                    "one_time_links" => &stores.config,
                    _ => &stores.usage,
                };
                let row = sea_orm::Statement::from_string(db.backend(), sql);
                let row = sea_orm::ConnectionTrait::query_one_raw(&db.read, row).await;
                let row = row.expect("a look").expect("a row");
                row.try_get::<i64>("", "count").expect("a count")
            };
            let sums = count("usage_rollups").await;
            link(stores, 2, -1).await;
            link(stores, 0, -1).await;
            link(stores, 2, 1).await;
            // While nobody says for how long, they are kept.
            prune(stores.clone(), None).await.expect("pruned");
            assert_eq!(count("usage_events").await, 4);
            assert_eq!(count("one_time_links").await, 2, "of today, or good");
            prune(stores.clone(), Some(30)).await.expect("pruned");
            assert_eq!(count("usage_events").await, 2);
            assert_eq!(count("usage_rollups").await, sums);
        }
    }
}
