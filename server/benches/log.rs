//! How fast pages of the request log are over ten million events: `make bench-log`. On the PostgreSQL that
//! `WEIR_TEST_DATABASE_URL` names, in a database of its own; without one there is nothing to measure.
//!
//! The events are made by the database itself, over a month and a thousand tenants, of which the first has a tenth of all. Each
//! search is asked for tenants and days drawn at random, and what is told is its 50th and 95th percentile.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sea_orm::ConnectionTrait as _;
use uuid::Uuid;
use weir::{
    secrets::Secret,
    store::{
        Migrate, Scope, Stores, connect,
        usage::log::{Field, Is, Search, search},
    },
    tenancy::TenantId,
};
use weir_migration::{testing::TestDatabase, usage::partition::first_id};

const EVENTS: i64 = 10_000_000;
/// Another number of events, for a quick look.
const VARIABLE: &str = "WEIR_BENCH_EVENTS";
/// Events that one statement makes.
const STEP: i64 = 500_000;
const TENANTS: u128 = 1_000;
const DAYS: i64 = 28;
const DAY_MS: i64 = 24 * 3_600_000;
/// Searches of each kind.
const SEARCHES: usize = 200;
const ROWS: u64 = 100;

/// A digest of an event's number decides whose it is and what became of it, the number itself when it was, how long it took and what
/// it cost: `n` of them, evenly over the days. Of each tenant's calls some have
/// each of its keys, people, models, channels and outcomes.
const MAKE: &str = "
INSERT INTO usage_events (id, tenant_id, key_id, user_id, started_ms, source, endpoint, dialect, model, channel_id, outcome,
    status, error_code, streamed, count, input_tokens, output_tokens, estimated, unpriced, cost_nanos, charge_nanos,
    first_byte_us, total_us, request_bytes, response_bytes, attempts, instance)
SELECT
    (lpad(to_hex(at_ms), 12, '0') || '7' || substr(digest, 1, 3) || '8' || substr(digest, 4, 15))::uuid,
    lpad(to_hex(tenant), 32, '0')::uuid,
    lpad(to_hex(1000000 + tenant * 50 + dice % 50), 32, '0')::uuid,
    lpad(to_hex(2000000 + tenant * 10 + dice / 50 % 10), 32, '0')::uuid,
    at_ms, 'api', '/v1/chat/completions', 'openai', 'model-' || (dice / 500 % 20), lpad(to_hex(1 + dice / 10000 % 8), 32, '0')::uuid,
    CASE WHEN refused THEN 'refused' WHEN failed THEN 'upstream_error' ELSE 'ok' END,
    CASE WHEN refused THEN 429 WHEN failed THEN 502 WHEN moved THEN 304 ELSE 200 END,
    CASE WHEN refused THEN 'rate_limit_exceeded' WHEN failed THEN 'upstream_error' END,
    n % 2 = 0, 1, 200 + n % 900, 60 + n % 300, false, false, (n % 5000) * 1000, (n % 5000) * 1000,
    40000 + n % 9000, 300000 + n % 4000000, 800, 2400,
    '[{\"channel\": \"00000000-0000-0000-0000-000000000001\", \"credential\": null, \"upstream_model\": \"m\", \"started_us\": 40, \"took_us\": 300, \"status\": 200, \"failure\": null, \"usage\": {}, \"estimated\": false, \"cost\": 0}]'::jsonb,
    'bench'
FROM (
    SELECT n, at_ms, digest, dice, CASE WHEN dice / 80000 % 10 = 0 THEN 1 ELSE 1 + dice / 800000 % 1000 END AS tenant,
        dice / 800000000 % 40 = 0 AS refused, dice / 32000000000 % 97 = 0 AS failed, dice / 3104000000000 % 500 = 0 AS moved
    FROM (
        SELECT n, $3::bigint + n * $4::bigint / $5::bigint AS at_ms, digest, ('x' || substr(digest, 19, 14))::bit(56)::bigint AS dice
        FROM (SELECT n, md5(n::text) AS digest FROM generate_series($1::bigint, $2::bigint) AS n) AS numbers
    ) AS diced
) AS numbered";

fn main() -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let events = match std::env::var(VARIABLE) {
        Ok(text) => text.parse().context(VARIABLE)?,
        Err(_) => EVENTS,
    };
    let Some(database) = TestDatabase::create().await else {
        println!("WEIR_TEST_DATABASE_URL names no PostgreSQL: nothing is measured.");
        return Ok(());
    };
    let config = weir::store::Config {
        database_url: Some(Secret::new(database.url())),
        ..weir::store::Config::default()
    };
    let folder = tempfile::tempdir()?;
    let stores = connect::open(&config, folder.path()).await?;
    connect::migrate(&stores, Migrate::Auto).await?;
    let from_ms = seed(&stores, events).await?;
    println!(
        "{events} events, {TENANTS} tenants, {SEARCHES} searches of each kind, {ROWS} rows a page\n"
    );
    measure(&stores, from_ms).await
}

/// Makes the events; returns when the first of them was.
async fn seed(stores: &Stores, events: i64) -> anyhow::Result<i64> {
    let now_ms = weir::clock::now_ms();
    let from_ms = now_ms - DAYS * DAY_MS;
    let db = &stores.usage;
    for ms in [from_ms, now_ms] {
        weir_migration::usage::partition::make(&db.write, ms).await?;
    }
    let began = Instant::now();
    for first in (0..events).step_by(STEP as usize) {
        let values = [first, first + STEP - 1, from_ms, DAYS * DAY_MS, events];
        let values = values.map(sea_orm::Value::from);
        let make = sea_orm::Statement::from_sql_and_values(db.backend(), MAKE, values);
        db.write.execute_raw(make).await.context("the events")?;
        eprintln!("{} events after {:.0?}", first + STEP, began.elapsed());
    }
    db.write
        .execute_unprepared("VACUUM ANALYZE usage_events")
        .await?;
    // What is measured is the search and not the machine's disk: a database in use has its tables in memory, if there is room.
    let warm = "CREATE EXTENSION IF NOT EXISTS pg_prewarm;
        SELECT sum(pg_prewarm(oid)) FROM pg_class WHERE relname LIKE 'usage_events_%' AND relkind IN ('r', 'i')";
    if let Err(error) = db.write.execute_unprepared(warm).await {
        eprintln!("the tables are not in memory before the first search: {error}");
    }
    Ok(from_ms)
}

async fn measure(stores: &Stores, from_ms: i64) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(7);
    println!("| search | p50 ms | p95 ms | rows found |\n|---|---|---|---|");
    for kind in [
        "nothing",
        "key",
        "user",
        "model",
        "channel",
        "status 429",
        "status 5xx",
        "status 3xx",
        "error",
        "id",
        "key and status",
        "user and error",
        "channel and status",
        "model and key",
        "cost",
        "time taken",
    ] {
        let mut times = Vec::with_capacity(SEARCHES);
        let mut found = 0;
        for _ in 0..SEARCHES {
            // Half of all for the tenant with a tenth of everything.
            let tenant = match random.random_bool(0.5) {
                true => 1,
                false => random.random_range(1..=TENANTS),
            };
            let first_day = random.random_range(0..DAYS - 7);
            let span = from_ms + first_day * DAY_MS..from_ms + (first_day + 7) * DAY_MS;
            let mut asked = Search {
                scope: Scope::Tenant(TenantId(Uuid::from_u128(tenant))),
                ids: first_id(span.start)..first_id(span.end),
                conditions: conditions(kind, tenant, &mut random),
                newest_first: true,
            };
            if kind == "id" {
                // One that is there.
                let page =
                    search(&stores.usage, &asked, None, ROWS, Duration::from_secs(1)).await?;
                let last = page.events.last().map(|event| event.id.0);
                asked.conditions = vec![(Field::Id, Is::AnyOf(last.into_iter().collect()))];
            }
            let began = Instant::now();
            let page = search(&stores.usage, &asked, None, ROWS, Duration::from_secs(1)).await?;
            times.push(began.elapsed());
            found += page.events.len();
        }
        times.sort_unstable();
        let ms = |share: f64| times[(SEARCHES as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "| {kind} | {:.1} | {:.1} | {:.0} |",
            ms(0.5),
            ms(0.95),
            found as f64 / SEARCHES as f64
        );
    }
    Ok(())
}

fn conditions(kind: &str, tenant: u128, random: &mut StdRng) -> Vec<(Field, Is)> {
    let id = |id: u128| Is::AnyOf(vec![Uuid::from_u128(id)]);
    let key = 1_000_000 + tenant * 50 + random.random_range(0..50_u128);
    let user = id(2_000_000 + tenant * 10 + random.random_range(0..10_u128));
    let model = Is::Word(format!("model-{}", random.random_range(0..20)));
    let channel = id(random.random_range(1..9));
    match kind {
        "key" => vec![(Field::Key, id(key))],
        "user" => vec![(Field::User, user)],
        "model" => vec![(Field::Model, model)],
        "channel" => vec![(Field::Channel, channel)],
        "status 429" => vec![(Field::Status, Is::Within(429..=429))],
        "status 5xx" => vec![(Field::Status, Is::Within(500..=599))],
        "status 3xx" => vec![(Field::Status, Is::Within(300..=399))],
        "error" => vec![(Field::Error, Is::Word("upstream_error".to_owned()))],
        "key and status" => vec![
            (Field::Key, id(key)),
            (Field::Status, Is::Within(400..=499)),
        ],
        "user and error" => vec![
            (Field::User, user),
            (Field::Error, Is::Word("upstream_error".to_owned())),
        ],
        "channel and status" => vec![
            (Field::Channel, channel),
            (Field::Status, Is::Within(429..=429)),
        ],
        "model and key" => vec![(Field::Model, model), (Field::Key, id(key))],
        "cost" => vec![(Field::Charge, Is::Within(4_900_000..=i64::MAX))],
        "time taken" => vec![(Field::Total, Is::Within(4_200_000..=i64::MAX))],
        _ => Vec::new(),
    }
}
