//! Searches, against a plain walk over all events in memory.

use sea_orm::{ConnectionTrait as _, Statement};

use super::*;
use crate::{
    metering::Outcome,
    store::{
        testing::{self, event},
        usage::book,
    },
    tenancy::{KeyId, TenantId},
};

const AT_MS: i64 = 1_790_000_000_000;
const TENANT: TenantId = TenantId(Uuid::from_u128(7));
/// Steps so short that each search takes several of them.
const SHORT: Looks = Looks {
    first: 40,
    glance: 7,
    most: 90,
    entries_a_row: 2,
};
const OTHER: TenantId = TenantId(Uuid::from_u128(8));

/// Events of two tenants that share keys, models and channels, every tenth of them a failure.
fn events() -> Vec<UsageEvent> {
    let one = |seed: u64| {
        let mut event = event(AT_MS + seed as i64 * 1_000, seed);
        if seed.is_multiple_of(3) {
            event.tenant = OTHER;
        }
        if seed.is_multiple_of(10) {
            event.outcome = Outcome::Refused;
            event.status = if seed.is_multiple_of(20) { 429 } else { 503 };
            event.error_code = Some("budget_exceeded".to_owned());
        }
        if seed % 70 == 7 {
            // One tenant has one such status, the other two.
            let is_moved = event.tenant == OTHER && seed % 140 == 7;
            event.status = if is_moved { 301 } else { 304 };
        }
        event.client_request_id = Some(format!("client-{}", seed % 50));
        event.user = Some(Uuid::from_u128(u128::from(seed % 4) + 100).into());
        event
    };
    (0..5_000).map(one).collect()
}

fn holds(event: &UsageEvent, field: Field, is: &Is) -> bool {
    let last = event.attempts.last();
    let id = match field {
        Field::Id => Some(event.id.0),
        Field::Key => Some(event.key.0),
        Field::User => event.user.map(|id| id.0),
        Field::Group => event.group.map(|id| id.0),
        Field::Channel => last.map(|attempt| attempt.channel.0),
        Field::Credential => last.and_then(|attempt| attempt.credential).map(|id| id.0),
        _ => None,
    };
    let word = match field {
        Field::Model => Some(event.model.as_str()),
        Field::Endpoint => Some(event.endpoint.as_str()),
        Field::Source => Some(event.source.as_str()),
        Field::Outcome => Some(event.outcome.as_str()),
        Field::Error => event.error_code.as_deref(),
        Field::ClientRequestId => event.client_request_id.as_deref(),
        Field::UpstreamRequestId => event.upstream_request_id.as_deref(),
        Field::EndUser => event.end_user.as_deref(),
        _ => None,
    };
    let number = match field {
        Field::Status => event.status.into(),
        Field::Charge => event.charge.nanos(),
        Field::Total => event.total_us as i64,
        _ => -1,
    };
    match is {
        Is::AnyOf(ids) => id.is_some_and(|id| ids.contains(&id)),
        Is::Word(wanted) => word == Some(wanted.as_str()),
        Is::Within(range) => range.contains(&number),
    }
}

fn id(number: u128) -> Is {
    Is::AnyOf(vec![Uuid::from_u128(number)])
}

fn word(word: &str) -> Is {
    Is::Word(word.to_owned())
}

/// One for each way through the indexes, and some of what is tried on the way.
fn conditions(events: &[UsageEvent]) -> Vec<Vec<(Field, Is)>> {
    vec![
        vec![],
        vec![(Field::Id, Is::AnyOf(vec![events[1].id.0]))],
        vec![(Field::Key, id(4))],
        vec![(
            Field::Key,
            Is::AnyOf(vec![Uuid::from_u128(4), Uuid::from_u128(5)]),
        )],
        vec![(Field::Key, Is::AnyOf(vec![]))],
        vec![(Field::User, id(102))],
        vec![(Field::Model, word("model-1"))],
        vec![(Field::Channel, id(2))],
        vec![(Field::Status, Is::Within(429..=429))],
        vec![(Field::Status, Is::Within(500..=599))],
        vec![(Field::Status, Is::Within(300..=399))],
        vec![
            (Field::Status, Is::Within(300..=399)),
            (Field::Model, word("model-0")),
        ],
        vec![(Field::Status, Is::Within(100..=199))],
        vec![(Field::Status, Is::Within(200..=200))],
        vec![(Field::Status, Is::Within(200..=299))],
        vec![(Field::Error, word("budget_exceeded"))],
        vec![(Field::Error, word("x' OR '1'='1"))],
        vec![(Field::Outcome, word("refused"))],
        vec![(Field::ClientRequestId, word("client-7"))],
        vec![(Field::Charge, Is::Within(1_005..=1_006))],
        vec![(Field::Total, Is::Within(504_000..=i64::MAX))],
        vec![
            (Field::Key, id(4)),
            (Field::Model, word("model-2")),
            (Field::Total, Is::Within(0..=502_000)),
        ],
        vec![
            (Field::Model, word("model-0")),
            (Field::Status, Is::Within(400..=499)),
        ],
        vec![
            (Field::User, id(102)),
            (Field::Status, Is::Within(429..=429)),
            (Field::Error, word("budget_exceeded")),
        ],
        vec![
            (Field::Channel, id(2)),
            (Field::Error, word("budget_exceeded")),
            (Field::Total, Is::Within(0..=502_000)),
        ],
        vec![(Field::Key, id(4)), (Field::Status, Is::Within(200..=200))],
    ]
}

/// What is found page after page, and whether any page ran out of time.
async fn all(
    db: &Database,
    search: &Search,
    rows: u64,
    patience: Duration,
    looks: &Looks,
) -> (Vec<Uuid>, bool) {
    let (mut ids, mut after, mut ran_out) = (Vec::new(), None, false);
    loop {
        let found = walked(db, search, after, rows, patience, looks)
            .await
            .expect("an answer");
        ids.extend(found.events.iter().map(|event| event.id.0));
        ran_out |= found.ran_out;
        match found.next {
            Some(next) => after = Some(next),
            None => return (ids, ran_out),
        }
    }
}

#[tokio::test]
async fn every_search_finds_what_a_walk_over_all_events_finds() {
    for test in testing::all().await {
        let db = &test.stores.usage;
        let mut events = events();
        book(db, &events).await.expect("booked");
        events.sort_by_key(|event| event.id.0);
        let middle = events[1_000].id.0..events[4_000].id.0;
        for conditions in conditions(&events) {
            for scope in [Scope::Platform, Scope::Tenant(TENANT), Scope::Tenant(OTHER)] {
                for newest_first in [true, false] {
                    let search = Search {
                        scope,
                        ids: middle.clone(),
                        conditions: conditions.clone(),
                        newest_first,
                    };
                    let own = |event: &&UsageEvent| match scope {
                        Scope::Platform => true,
                        Scope::Tenant(tenant) => event.tenant == tenant,
                    };
                    let wanted = events.iter().filter(own).filter(|event| {
                        middle.contains(&event.id.0)
                            && conditions
                                .iter()
                                .all(|(field, is)| holds(event, *field, is))
                    });
                    let mut wanted: Vec<Uuid> = wanted.map(|event| event.id.0).collect();
                    if newest_first {
                        wanted.reverse();
                    }
                    for looks in [&LOOKS, &SHORT] {
                        let (found, _) = all(db, &search, 700, Duration::MAX, looks).await;
                        assert_eq!(found, wanted, "{search:?}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_search_that_runs_out_of_time_says_so_and_goes_on_where_it_stopped() {
    for test in testing::all().await {
        let db = &test.stores.usage;
        let events = events();
        book(db, &events).await.expect("booked");
        let rare = events[10].client_request_id.clone().expect("a label");
        let search = Search {
            scope: Scope::Platform,
            ids: Uuid::nil()..Uuid::max(),
            conditions: vec![
                (Field::ClientRequestId, Is::Word(rare)),
                (Field::Key, Is::AnyOf(vec![Uuid::nil(), Uuid::max()])),
            ],
            newest_first: true,
        };
        let (patient, none) = all(db, &search, 1_000, Duration::MAX, &LOOKS).await;
        let (hasty, ran_out) = all(db, &search, 1_000, Duration::ZERO, &LOOKS).await;
        assert!(!none && ran_out && !patient.is_empty());
        assert_eq!(patient, hasty);
    }
}

#[tokio::test]
async fn values_are_counted_and_the_most_frequent_come_first() {
    for test in testing::all().await {
        let db = &test.stores.usage;
        let events = events();
        book(db, &events).await.expect("booked");
        let search = Search {
            scope: Scope::Tenant(TENANT),
            ids: Uuid::nil()..Uuid::max(),
            conditions: vec![(Field::Outcome, word("refused"))],
            newest_first: true,
        };
        let own = events
            .iter()
            .filter(|event| event.tenant == TENANT && event.outcome == Outcome::Refused);
        let count = |status: u16| own.clone().filter(|event| event.status == status).count();
        let fields = [Field::Status, Field::Key];
        let (counts, edge) = count_by(db, &search, &fields).await.expect("counts");
        let [counts, keys] = <[Counts; 2]>::try_from(counts).expect("one for each");
        let mut wanted = vec![
            (FieldValue::Word("429".into()), count(429) as i64),
            (FieldValue::Word("503".into()), count(503) as i64),
        ];
        wanted.sort_by_key(|(_, count)| -count);
        assert_eq!((counts, edge), (wanted, None));
        let keys: Vec<KeyId> = keys
            .into_iter()
            .map(|(value, _)| match value {
                FieldValue::Id(Some(id)) => id.into(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(keys, [KeyId(Uuid::nil())], "every tenth has the first key");
    }
}

#[tokio::test]
async fn a_class_of_which_a_tenant_has_one_status_is_looked_for_as_that() {
    for test in testing::all().await {
        let db = &test.stores.usage;
        book(db, &events()).await.expect("booked");
        for (tenant, class, wanted) in [
            (TENANT, 300..=399, Some(Is::Within(304..=304))),
            (TENANT, 100..=199, Some(Is::AnyOf(Vec::new()))),
            // It has two, and failures have an index of their own.
            (OTHER, 300..=399, None),
            (TENANT, 400..=499, None),
            (TENANT, 200..=299, None),
        ] {
            let search = Search {
                scope: Scope::Tenant(tenant),
                ids: Uuid::nil()..Uuid::max(),
                conditions: vec![(Field::Status, Is::Within(class))],
                newest_first: true,
            };
            let found = narrowed(&db.read, &search).await.expect("a look");
            let found = found.map(|search| search.conditions[0].1.clone());
            assert_eq!(found, wanted, "{search:?}");
        }
    }
}

/// On PostgreSQL: the plan of each search by one thing within a tenant walks its index.
#[tokio::test]
async fn a_tenant_s_searches_have_their_indexes() {
    let Some(test) = testing::postgres().await else {
        return;
    };
    let db = &test.stores.usage;
    book(db, &events()).await.expect("booked");
    test.execute_usage("ANALYZE usage_events", vec![]).await;
    // So few rows are sorted as quickly as they are walked.
    let off = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off";
    for (condition, index) in [
        ((Field::Key, id(4)), "key_id"),
        ((Field::User, id(102)), "user_id"),
        ((Field::Model, word("model-1")), "tenant_id_model"),
        ((Field::Channel, id(2)), "tenant_id_channel_id"),
        ((Field::Status, Is::Within(429..=429)), "status"),
        ((Field::Error, word("budget_exceeded")), "error_code"),
    ] {
        let search = Search {
            scope: Scope::Tenant(TENANT),
            ids: Uuid::nil()..Uuid::max(),
            conditions: vec![condition],
            newest_first: true,
        };
        let walk = Walk::of(&search, None);
        assert!(walk.is_narrow());
        let mut step = walk.step(db.backend(), LOOKS.first, 100);
        step.sql = format!("EXPLAIN {}", step.sql);
        let transaction = db.begin_write().await.expect("a transaction");
        transaction.execute_unprepared(off).await.expect(off);
        let lines = transaction.query_all_raw(Statement { ..step });
        let lines = lines.await.expect("a plan");
        let lines = lines.iter().map(|line| line.try_get_by::<String, _>(0));
        let plan: Vec<String> = lines.map(|line| line.expect("a line")).collect();
        let plan = plan.join("\n");
        assert!(plan.contains(index) && !plan.contains("Sort"), "{plan}");
    }
}
