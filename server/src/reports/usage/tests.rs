use super::*;
use crate::{
    metering::UsageEvent,
    store::{
        testing::{self, TestStores, event},
        usage::book,
    },
    tenancy::{ChannelId, TenantId},
};

const TENANT: TenantId = TenantId(Uuid::from_u128(7));

fn at(moment: &str) -> i64 {
    let moment: Timestamp = moment.parse().expect("a moment");
    moment.as_millisecond()
}

fn events(moments: &[&str]) -> Vec<UsageEvent> {
    moments.iter().map(|moment| event(at(moment), 1)).collect()
}

fn query(by: &[Dimension], grain: Option<Grain>, zone: &str) -> UsageQuery {
    UsageQuery {
        by: by.to_vec(),
        grain,
        time_zone: Some(zone.to_owned()),
        ..UsageQuery::default()
    }
}

async fn asked(test: &TestStores, scope: Scope, query: &UsageQuery) -> Vec<UsageRow> {
    let now = at("2026-12-31T00:00:00Z");
    usage(&test.stores, scope, query, now).await.expect("rows")
}

/// Label and number of requests.
fn by_time(rows: &[UsageRow]) -> Vec<(&str, i64)> {
    rows.iter()
        .map(|row| (row.time.as_deref().unwrap_or("-"), row.requests))
        .collect()
}

#[tokio::test]
async fn days_are_those_of_the_asked_zone() {
    for test in testing::all().await {
        // Midnight in Shanghai is 16:00 in UTC.
        let moments = [
            "2026-03-01T15:59:59.999Z",
            "2026-03-01T16:00:00Z",
            "2026-03-02T15:59:59Z",
        ];
        book(&test.stores.usage, &events(&moments))
            .await
            .expect("booked");
        let mut query = query(&[], Some(Grain::Day), "Asia/Shanghai");
        (query.from, query.to) = (Some("2026-03-01".into()), Some("2026-03-05".into()));
        let rows = asked(&test, Scope::Platform, &query).await;
        assert_eq!(by_time(&rows), [("2026-03-01", 1), ("2026-03-02", 2)]);
        query.to = Some("2026-03-02".into());
        let rows = asked(&test, Scope::Platform, &query).await;
        assert_eq!(by_time(&rows), [("2026-03-01", 1)], "`to` is not included");
        query.time_zone = Some("Asia/Kathmandu".into());
        query.to = Some("2026-03-05".into());
        let rows = asked(&test, Scope::Platform, &query).await;
        assert_eq!(
            by_time(&rows),
            [("2026-03-01", 2), ("2026-03-02", 1)],
            "5:45 ahead"
        );
    }
}

#[tokio::test]
async fn a_day_with_a_changed_clock_has_its_own_hours() {
    for test in testing::all().await {
        // New York goes back on 2026-11-01 at 06:00 UTC: the hour from one to two comes twice, the day has 25 hours.
        let moments = [
            "2026-11-01T03:59:59Z",
            "2026-11-01T04:00:00Z",
            "2026-11-01T05:30:00Z",
            "2026-11-01T06:30:00Z",
            "2026-11-02T04:59:59Z",
            "2026-11-02T05:00:00Z",
        ];
        book(&test.stores.usage, &events(&moments))
            .await
            .expect("booked");
        let mut query = query(&[], Some(Grain::Day), "America/New_York");
        (query.from, query.to) = (Some("2026-10-01".into()), Some("2026-12-01".into()));
        let rows = asked(&test, Scope::Platform, &query).await;
        assert_eq!(
            by_time(&rows),
            [("2026-10-31", 1), ("2026-11-01", 4), ("2026-11-02", 1)]
        );
        query.grain = Some(Grain::Month);
        let rows = asked(&test, Scope::Platform, &query).await;
        assert_eq!(by_time(&rows), [("2026-10", 1), ("2026-11", 5)]);
        query.grain = Some(Grain::Hour);
        (query.from, query.to) = (Some("2026-11-01".into()), Some("2026-11-02".into()));
        let rows = asked(&test, Scope::Platform, &query).await;
        assert_eq!(
            by_time(&rows),
            [
                ("2026-11-01T00:00:00-04:00", 1),
                ("2026-11-01T01:00:00-04:00", 1),
                ("2026-11-01T01:00:00-05:00", 1),
                ("2026-11-01T23:00:00-05:00", 1),
            ]
        );
    }
}

#[tokio::test]
async fn a_tenant_sees_its_own_usage_only() {
    for test in testing::all().await {
        let mut events = events(&["2026-12-01T00:00:00Z"; 5]);
        let other = TenantId(Uuid::from_u128(8));
        events[0].tenant = other;
        book(&test.stores.usage, &events).await.expect("booked");
        let all = query(&[Dimension::Tenant], None, "UTC");
        assert_eq!(asked(&test, Scope::Platform, &all).await.len(), 2);
        let own = asked(&test, Scope::Tenant(TENANT), &all).await;
        assert_eq!((own.len(), own[0].requests), (1, 4));
        let foreign = UsageQuery {
            tenant: Some(other.to_string()),
            ..all
        };
        assert_eq!(asked(&test, Scope::Tenant(TENANT), &foreign).await, []);
        assert_eq!(asked(&test, Scope::Platform, &foreign).await[0].requests, 1);
    }
}

#[tokio::test]
async fn things_are_called_by_their_names_and_deleted_ones_by_their_ids() {
    for test in testing::all().await {
        let insert = "INSERT INTO tenants (id, name, time_zone, created_ms, updated_ms) VALUES ($1, 'acme', 'Asia/Shanghai', 0, 0)";
        test.execute(insert, vec![TENANT.0.into()]).await;
        let insert = "INSERT INTO proxy_keys (id, tenant_id, name, created_ms, updated_ms) VALUES ($1, $2, 'laptop', 0, 0)";
        let key = Uuid::from_u128(1);
        test.execute(insert, vec![key.into(), TENANT.0.into()])
            .await;
        let mut events = events(&["2026-12-01T20:00:00Z"; 3]);
        events[2].key.0 = Uuid::from_u128(99);
        book(&test.stores.usage, &events).await.expect("booked");

        let by = [Dimension::Key, Dimension::User, Dimension::Model];
        let mut query = query(&by, None, "UTC");
        let rows = asked(&test, Scope::Platform, &query).await;
        let expected = UsageRow {
            key: Some("laptop".to_owned()),
            user: Some(String::new()),
            model: Some("model-1".to_owned()),
            requests: 2,
            errors: 0,
            input_tokens: 202,
            cached_tokens: 2,
            output_tokens: 22,
            cost_usd: "0.000002002".to_owned(),
            ..UsageRow::default()
        };
        assert_eq!(rows[0], expected);
        assert_eq!(rows[1].key, Some(Uuid::from_u128(99).to_string()));

        query.key = Some("laptop".to_owned());
        query.tenant = Some("acme".to_owned());
        assert_eq!(asked(&test, Scope::Platform, &query).await, [expected]);
        query.key = Some("nobody".to_owned());
        assert_eq!(asked(&test, Scope::Platform, &query).await, []);

        let days = UsageQuery {
            grain: Some(Grain::Day),
            ..UsageQuery::default()
        };
        let own = asked(&test, Scope::Tenant(TENANT), &days).await;
        assert_eq!(by_time(&own), [("2026-12-02", 3)], "the tenant's own zone");
    }
}

#[tokio::test]
async fn without_dimensions_there_is_one_total() {
    let test = testing::sqlite().await;
    let total = asked(&test, Scope::Platform, &UsageQuery::default()).await;
    assert_eq!(total.len(), 1);
    assert_eq!(total[0].cost_usd, "0.000000000");
}

#[tokio::test]
async fn a_bad_question_names_its_field() {
    let test = testing::sqlite().await;
    for (query, field) in [
        (query(&[], None, "Mars/Olympus"), "time_zone"),
        (
            UsageQuery {
                from: Some("yesterday".into()),
                ..UsageQuery::default()
            },
            "from",
        ),
        (
            UsageQuery {
                from: Some("2026-01-02".into()),
                to: Some("2026-01-01".into()),
                ..UsageQuery::default()
            },
            "from",
        ),
    ] {
        let answer = usage(&test.stores, Scope::Platform, &query, 0).await;
        assert!(
            matches!(&answer, Err(Error::BadQuery { field: named, .. }) if *named == field),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_channel_that_failed_over_shows_what_it_cost_and_no_tenant_sees_it() {
    for test in testing::all().await {
        let mut event = event(at("2026-03-01T12:00:00Z"), 1);
        event.attempts.truncate(1);
        let answered = event.attempts[0].clone();
        let mut failed = answered.clone();
        failed.channel = ChannelId(Uuid::from_u128(99));
        failed.failure = Some("5xx".to_owned());
        failed.cost = Money::from_nanos(41);
        event.attempts.insert(0, failed.clone());
        event.cost = Money::from_nanos(event.cost.nanos() + 41);
        let tenant = event.tenant;
        book(&test.stores.usage, &[event]).await.expect("booked");

        let mut query = query(&[Dimension::Channel], None, "UTC");
        query.from = Some("2026-03-01".into());
        let rows = asked(&test, Scope::Platform, &query).await;
        let of = |channel: ChannelId| {
            let row = rows
                .iter()
                .find(|row| row.channel.as_deref() == Some(&channel.0.to_string()))
                .expect("a row of the channel");
            (
                row.requests,
                row.attempts,
                row.attempts_cost_usd.clone().expect("a cost"),
            )
        };
        assert_eq!(rows.len(), 2, "{rows:#?}");
        assert_eq!(of(failed.channel), (0, Some(1), "0.000000041".to_owned()));
        assert_eq!(
            of(answered.channel),
            (1, Some(1), answered.cost.to_string())
        );
        let rows = asked(&test, Scope::Tenant(tenant), &query).await;
        assert!(rows.iter().all(|row| row.attempts.is_none()), "{rows:#?}");
        assert_eq!(rows.len(), 1, "{rows:#?}");
    }
}
