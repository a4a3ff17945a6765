//! How many usage events a second the books take, apart from everything else: SQLite in a temporary folder, and PostgreSQL where
//! `WEIR_TEST_DATABASE_URL` names one, whose tables it fills. As the job books them: some thousand in a transaction, one after the
//! other, of a few dozen keys.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use weir::{
    billing::{Money, Rates},
    jobs::write_usage::EVENTS_PER_BOOKING,
    metering::{Attempt, Outcome, Source, UsageEvent},
    secrets::Secret,
    store::{Stores, connect, usage},
    tenancy::{ChannelId, CredentialId, KeyId, RequestId, TenantId},
};
use weir_dialect::neutral::Usage;

/// How long each database is measured.
const LENGTH: Duration = Duration::from_secs(10);
const KEYS: u128 = 32;

fn event(number: u128) -> UsageEvent {
    let usage = Usage {
        input: 210,
        output: 64,
        ..Usage::default()
    };
    let cost = Money::from_nanos(69_900);
    UsageEvent {
        id: RequestId::new(),
        tenant: TenantId(uuid::Uuid::from_u128(1)),
        key: KeyId(uuid::Uuid::from_u128(2 + number % KEYS)),
        user: None,
        group: None,
        started_ms: 0,
        endpoint: "/v1/chat/completions".to_owned(),
        dialect: "openai".to_owned(),
        model: "bench".to_owned(),
        source: Source::Api,
        outcome: Outcome::Ok,
        status: 200,
        error_code: None,
        streamed: false,
        count: 1,
        usage,
        estimated: false,
        unpriced: false,
        cost,
        charge: cost,
        rates: Some(Rates {
            input: "0.15".parse().ok(),
            output: "0.60".parse().ok(),
            ..Rates::default()
        }),
        first_byte_us: Some(300 + (number % 700) as u64),
        total_us: 400 + (number % 900) as u64,
        overhead_us: 40,
        request_bytes: 860,
        response_bytes: 600,
        client_request_id: None,
        upstream_request_id: None,
        end_user: None,
        attempts: vec![Attempt {
            channel: ChannelId(uuid::Uuid::from_u128(1)),
            credential: Some(CredentialId(uuid::Uuid::from_u128(1))),
            upstream_model: "bench".to_owned(),
            started_us: 40,
            took_us: 300,
            status: Some(200),
            failure: None,
            usage,
            estimated: false,
            cost,
        }],
        instance: "bench".to_owned(),
    }
}

async fn measure(name: &str, stores: &Stores) -> anyhow::Result<()> {
    weir_migration::up(&stores.config.write, &stores.usage.write).await?;
    let (mut booked, mut spent) = (0, Duration::ZERO);
    let mut numbers = 0..;
    while spent < LENGTH {
        let some = numbers.by_ref().take(EVENTS_PER_BOOKING);
        let events: Vec<UsageEvent> = some.map(event).collect();
        let began = Instant::now();
        let done = usage::book(&stores.usage, &events).await?;
        spent += began.elapsed();
        booked += done.inserted;
    }
    let rate = booked as f64 / spent.as_secs_f64();
    println!(
        "{name}: {booked} events in {:.1} s, {rate:.0} a second",
        spent.as_secs_f64()
    );
    Ok(())
}

#[actix_rt::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let embedded = connect::Config::default();
    let stores = connect::open(&embedded, folder.path()).await?;
    measure("SQLite", &stores).await?;
    let Ok(url) = std::env::var("WEIR_TEST_DATABASE_URL") else {
        println!("PostgreSQL: not measured, WEIR_TEST_DATABASE_URL names none");
        return Ok(());
    };
    let config = connect::Config {
        database_url: Some(Secret::new(url)),
        ..connect::Config::default()
    };
    let stores = connect::open(&config, folder.path()).await;
    measure("PostgreSQL", &stores.context("PostgreSQL")?).await
}
