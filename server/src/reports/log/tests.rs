//! What people ask of the log, and what they may not see.

use super::*;
use crate::{
    store::{
        testing::{self, event},
        usage::book,
    },
    tenancy::TenantId,
};

const NOW_MS: i64 = 1_790_000_000_000;
const TENANT: TenantId = TenantId(Uuid::from_u128(7));
const OTHER: TenantId = TenantId(Uuid::from_u128(8));

fn asked(words: &[(&str, &str)]) -> RequestQuery {
    let words = words
        .iter()
        .map(|(word, value)| ((*word).to_owned(), (*value).into()));
    serde_json::from_value(serde_json::Value::Object(words.collect())).expect("a query")
}

const FIRST: Part = Part {
    after: None,
    rows: 100,
    newest_first: true,
};

#[tokio::test]
async fn a_request_shows_its_tenant_what_is_theirs_and_operators_all() {
    for test in testing::all().await {
        let stores = &test.stores;
        let event = event(NOW_MS - 5_000, 1);
        book(&stores.usage, std::slice::from_ref(&event))
            .await
            .expect("booked");
        let own = Scope::Tenant(TENANT);
        let shown = one(stores, own, event.id.0)
            .await
            .expect("an answer")
            .expect("it");
        assert_eq!(shown.item.cost_usd, event.charge.to_string());
        assert_eq!(shown.attempts.len(), 2);
        assert_eq!(
            (&shown.instance, &shown.attempts[0].cost_usd),
            (&None, &None)
        );
        let shown = one(stores, Scope::Platform, event.id.0)
            .await
            .expect("an answer")
            .expect("it");
        assert_eq!(shown.instance.as_deref(), Some("test"));
        assert_eq!(
            shown.attempts[1].cost_usd,
            Some(event.attempts[1].cost.to_string())
        );
        let other = one(stores, Scope::Tenant(OTHER), event.id.0)
            .await
            .expect("an answer");
        assert!(other.is_none());
        let other = neighbours(
            stores,
            Scope::Tenant(OTHER),
            event.id.0,
            &asked(&[]),
            NOW_MS,
        )
        .await;
        assert!(other.expect("an answer").is_none());
    }
}

#[tokio::test]
async fn a_tenant_named_in_the_query_is_no_way_around_one_s_own() {
    for test in testing::all().await {
        let stores = &test.stores;
        book(&stores.usage, &[event(NOW_MS - 5_000, 1)])
            .await
            .expect("booked");
        let query = asked(&[("tenant", &TENANT.0.to_string())]);
        for (scope, wanted) in [
            (Scope::Platform, 1),
            (Scope::Tenant(TENANT), 1),
            (Scope::Tenant(OTHER), 0),
        ] {
            let page = page(stores, scope, &query, FIRST, NOW_MS)
                .await
                .expect("a page");
            assert_eq!(page.data.len(), wanted, "{scope:?}");
        }
        let of_credentials = asked(&[("credential", "any")]);
        let refused = page(
            stores,
            Scope::Tenant(TENANT),
            &of_credentials,
            FIRST,
            NOW_MS,
        )
        .await;
        assert!(matches!(
            refused,
            Err(Error::BadQuery {
                field: "credential",
                ..
            })
        ));
    }
}

#[tokio::test]
async fn neighbours_are_those_of_the_list() {
    for test in testing::all().await {
        let stores = &test.stores;
        let events: Vec<UsageEvent> = (0..12)
            .map(|seed| event(NOW_MS - 60_000 + seed as i64 * 1_000, seed))
            .collect();
        book(&stores.usage, &events).await.expect("booked");
        let query = asked(&[("model", "model-1")]);
        let page = page(stores, Scope::Platform, &query, FIRST, NOW_MS)
            .await
            .expect("a page");
        let ids: Vec<Uuid> = page.data.iter().map(|item| item.id).collect();
        assert_eq!(ids.len(), 4);
        for (at, id) in ids.iter().enumerate() {
            let found = neighbours(stores, Scope::Platform, *id, &query, NOW_MS).await;
            let wanted = Neighbours {
                newer_looked_to: None,
                older_looked_to: None,
                newer: at.checked_sub(1).map(|at| ids[at]),
                older: ids.get(at + 1).copied(),
            };
            assert_eq!(found.expect("an answer"), Some(wanted));
        }
    }
}

#[test]
fn numbers_are_read_as_people_write_them() {
    let query = asked(&[
        ("status", "5xx"),
        ("min_cost_usd", "0.000001"),
        ("max_ms", "30"),
    ]);
    assert_eq!(
        numbers(&query).expect("numbers"),
        [
            (Field::Status, Is::Within(500..=599)),
            (Field::Charge, Is::Within(1_000..=i64::MAX)),
            (Field::Total, Is::Within(0..=30_000)),
        ]
    );
    for (word, value) in [
        ("status", "6xx"),
        ("status", "-1"),
        ("status", "xx"),
        ("min_cost_usd", "a lot"),
        ("min_ms", "1.5"),
    ] {
        assert!(numbers(&asked(&[(word, value)])).is_err(), "{word}={value}");
    }
}
