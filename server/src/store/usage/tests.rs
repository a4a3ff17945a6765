use sea_orm::{ConnectionTrait as _, EntityTrait as _, Statement};
use weir_entity::usage_event;

use super::*;
use crate::{
    billing::Money,
    clock::now_ms,
    metering::UsageEvent,
    store::{
        Database, Error,
        testing::{self, event, request_id},
    },
};

/// Every row of the derived tables as text, in order.
async fn sums(db: &Database) -> Vec<String> {
    let mut all = Vec::new();
    for (table, columns, order) in [
        (
            "usage_rollups",
            "id, quarter_ms, requests, errors, estimated_requests, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nanos, charge_nanos",
            "id",
        ),
        (
            "usage_histograms",
            "rollup_id, kind, bucket, count",
            "rollup_id, kind, bucket",
        ),
        (
            "attempt_rollups",
            "id, quarter_ms, attempts, errors, input_tokens, output_tokens, cost_nanos",
            "id",
        ),
    ] {
        let sql = format!("SELECT {columns} FROM {table} ORDER BY {order}");
        let rows = db
            .read
            .query_all_raw(Statement::from_string(db.backend(), sql));
        for row in rows.await.expect(table) {
            let mut line = table.to_owned();
            for column in columns.split(", ") {
                let value = row
                    .try_get::<i64>("", column)
                    .map(|number| number.to_string())
                    .or_else(|_| {
                        row.try_get::<i16>("", column)
                            .map(|number| number.to_string())
                    })
                    .or_else(|_| {
                        row.try_get::<uuid::Uuid>("", column)
                            .map(|id| id.to_string())
                    })
                    .expect(column);
                line.push(' ');
                line.push_str(&value);
            }
            all.push(line);
        }
    }
    all
}

async fn number(db: &Database, sql: &str) -> i64 {
    let row = db
        .read
        .query_one_raw(Statement::from_string(db.backend(), sql));
    let row = row.await.expect(sql).expect("a row");
    row.try_get_by::<i64, _>(0).expect("a number")
}

fn some_events(count: u64) -> Vec<UsageEvent> {
    let now = now_ms();
    (0..count)
        .map(|seed| event(now - (seed as i64 * 7_919) % (2 * QUARTER_MS), seed))
        .collect()
}

#[tokio::test]
async fn an_event_comes_back_as_it_was_booked() {
    for test in testing::all().await {
        let db = &test.stores.usage;
        let mut events = some_events(20);
        events[3].user = Some(uuid::Uuid::new_v4().into());
        events[4].end_user = Some("张三 \"quoted\" \\u0000 \u{1F600}".to_owned());
        events[5].rates = None;
        events[5].attempts.clear();
        events[5].first_byte_us = None;
        events[6].count = 41;
        book(db, &events).await.expect("booked");
        let rows = usage_event::Entity::find()
            .all(&db.read)
            .await
            .expect("rows");
        assert_eq!(rows.len(), events.len());
        for row in rows {
            let read = event_rows::event(row).expect("an event");
            assert!(events.contains(&read), "{read:?}");
        }
    }
}

#[tokio::test]
async fn booking_twice_is_booking_once() {
    for test in testing::all().await {
        let db = &test.stores.usage;
        let events = some_events(500);
        let first = book(db, &events).await.expect("booked");
        assert_eq!((first.inserted, first.duplicates), (500, 0));
        let before = sums(db).await;
        let mut again = events.clone();
        again.push(events[0].clone());
        let second = book(db, &again).await.expect("booked");
        assert_eq!((second.inserted, second.duplicates), (0, 501));
        assert_eq!(sums(db).await, before);
        let charges: i64 = events.iter().map(|event| event.charge.nanos()).sum();
        for table in ["usage_events", "usage_rollups"] {
            let sum = format!("SELECT CAST(SUM(charge_nanos) AS bigint) FROM {table}");
            assert_eq!(number(db, &sum).await, charges, "{table}");
        }
        let attempts = "SELECT CAST(SUM(attempts) AS bigint) FROM attempt_rollups";
        assert_eq!(number(db, attempts).await, 1_000);
        let times = "SELECT CAST(SUM(count) AS bigint) FROM usage_histograms";
        assert_eq!(number(db, times).await, 1_000);
    }
}

#[tokio::test]
async fn one_id_in_two_tenants_is_two_requests_only_if_weir_made_two_ids() {
    // threats.md, B1: the caller's own id is a label, the event's key is made by Weir.
    for test in testing::all().await {
        let mut events = some_events(200);
        for (at, event) in events.iter_mut().enumerate() {
            event.client_request_id = Some("the same for all".to_owned());
            event.tenant.0 = uuid::Uuid::from_u128(at as u128 % 2);
        }
        let booked = book(&test.stores.usage, &events).await.expect("booked");
        assert_eq!(booked.inserted, 200);
    }
}

#[tokio::test]
async fn rebuilt_sums_equal_those_that_grew() {
    for test in testing::all().await {
        let db = &test.stores.usage;
        let events = some_events(5_000);
        for chunk in events.chunks(700) {
            book(db, chunk).await.expect("booked");
        }
        let grown = sums(db).await;
        assert!(grown.len() > 100);
        test.execute_usage("UPDATE usage_rollups SET requests = requests + 5", vec![])
            .await;
        let delete = "DELETE FROM usage_histograms WHERE kind = 1";
        test.execute_usage(delete, vec![]).await;
        let now = now_ms();
        let counted = rebuild(db, now - 3 * QUARTER_MS, now)
            .await
            .expect("rebuilt");
        assert_eq!(counted, 5_000);
        assert_eq!(sums(db).await, grown);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_bookers_and_a_rebuild_book_each_event_once() {
    for test in testing::all().await {
        let events = some_events(2_000);
        let mut bookers = Vec::new();
        for booker in 0..4 {
            let db = test.stores.usage.clone();
            let mut events = events.clone();
            if booker % 2 == 1 {
                events.reverse();
            }
            bookers.push(tokio::spawn(async move {
                let mut inserted = 0;
                for chunk in events.chunks(150 + booker * 37) {
                    inserted += book(&db, chunk).await.expect("booked").inserted;
                }
                inserted
            }));
        }
        let now = now_ms();
        rebuild(&test.stores.usage, now - 3 * QUARTER_MS, now)
            .await
            .expect("rebuilt");
        let mut inserted = 0;
        for booker in bookers {
            inserted += booker.await.expect("a booker");
        }
        assert_eq!(inserted, 2_000);
        let grown = sums(&test.stores.usage).await;
        rebuild(&test.stores.usage, now - 3 * QUARTER_MS, now)
            .await
            .expect("rebuilt");
        assert_eq!(sums(&test.stores.usage).await, grown);
    }
}

#[tokio::test]
async fn a_missing_month_is_made_and_an_impossible_one_refused() {
    for test in testing::all().await {
        let db = &test.stores.usage;
        let year_ago = now_ms() - 300 * 86_400_000;
        let booked = book(db, &[event(year_ago, 1), event(now_ms(), 2)]).await;
        assert_eq!(booked.expect("booked").inserted, 2);
        if test.postgres.is_some() {
            let impossible = book(db, &[event(now_ms() + 1_500 * 86_400_000, 1)]).await;
            assert!(matches!(impossible, Err(Error::Other(_))), "{impossible:?}");
        }
        let made = partitions::make_ahead(db, now_ms(), 4).await.expect("made");
        assert_eq!(made, if test.postgres.is_some() { 2 } else { 0 });
        assert_eq!(
            partitions::make_ahead(db, now_ms(), 4).await.expect("made"),
            0
        );
    }
}

#[tokio::test]
async fn nonsense_is_booked_cut_to_size() {
    for test in testing::all().await {
        let db = &test.stores.usage;
        let mut events = some_events(3);
        for event in &mut events {
            event.model = "a\0b".to_owned();
            event.usage.input = u64::MAX;
            event.charge = Money::from_nanos(i64::MAX);
            event.attempts[0].failure = Some("\0".to_owned());
            event.status = u16::MAX;
        }
        assert_eq!(book(db, &events).await.expect("booked").inserted, 3);
        let charge = "SELECT CAST(SUM(charge_nanos) AS bigint) FROM usage_rollups";
        assert_eq!(number(db, charge).await, 3_000_000_000_000_000);
        let grown = sums(db).await;
        let now = now_ms();
        rebuild(db, now - 3 * QUARTER_MS, now)
            .await
            .expect("rebuilt");
        assert_eq!(sums(db).await, grown);
    }
}

#[test]
fn a_quarter_is_that_of_the_id() {
    assert_eq!(
        quarter_of(request_id(1_796_083_200_000 + 899_999).at_ms()),
        1_796_083_200_000
    );
    assert_eq!(quarter_of(-1), -QUARTER_MS);
}

#[tokio::test]
async fn any_number_of_rows_with_any_text_comes_back_as_it_went() {
    for test in testing::all().await {
        let texts = [
            "",
            "\"}]",
            "\\",
            "\n\r\t\u{1}",
            "';--",
            "$1 ?",
            "{}",
            "null",
            "木🌊\u{2028}",
        ];
        let events: Vec<UsageEvent> = (0..700)
            .map(|at| {
                let text = texts[at % texts.len()].to_owned();
                let mut event = event(1_790_000_000_000 + at as i64, at as u64);
                event.model = format!("{at}{text}");
                event.end_user = Some(text.clone());
                event.attempts[0].upstream_model = text;
                event
            })
            .collect();
        let booked = book(&test.stores.usage, &events).await.expect("booked");
        assert_eq!((booked.inserted, booked.duplicates), (700, 0));
        let again = book(&test.stores.usage, &events).await.expect("booked");
        assert_eq!((again.inserted, again.duplicates), (0, 700));
        let rows = usage_event::Entity::find()
            .all(&test.stores.usage.read)
            .await
            .expect("rows");
        let mut found: Vec<UsageEvent> = rows
            .into_iter()
            .map(|row| event_rows::event(row).expect("an event"))
            .collect();
        found.sort_unstable_by_key(|event| event.model.clone());
        let mut expected = events;
        expected.sort_unstable_by_key(|event| event.model.clone());
        assert_eq!(found, expected);
        let sums = "SELECT CAST(COUNT(*) AS bigint) FROM usage_rollups";
        assert_eq!(number(&test.stores.usage, sums).await, 700);
    }
}
