//! `Idempotency-Key`: what comes twice is done once.

use super::{
    login::{EMAIL, PASSWORD, by as signed, signing_in, somebody, token_of, whole},
    *,
};
use crate::store::names;

fn create(key: &str, order: Value) -> TestRequest {
    request(Method::POST, "/keys")
        .insert_header(("idempotency-key", key.to_owned()))
        .set_json(order)
}

// Threats: B10.
#[actix_rt::test]
async fn what_comes_twice_with_its_key_is_done_once_and_its_secret_is_not_kept() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let order = json!({"tenant": "acme", "name": "laptop"});
        let (status, first) = answer(&app, create("one", order.clone())).await;
        let value = first["value"].as_str().expect("its value").to_owned();
        assert_eq!(status, 201);
        let (status, second) = answer(&app, create("one", order.clone())).await;
        assert_eq!((status, &second["id"]), (201, &first["id"]));
        assert!(second["value"].is_null(), "{second}");
        let ids = names::meaning(
            &test.stores.config.read,
            crate::store::Scope::Platform,
            names::Named::Key,
            "laptop",
        );
        assert_eq!(ids.await.expect("keys").len(), 1);

        let other = json!({"tenant": "acme", "name": "other"});
        let (status, refused) = answer(&app, create("one", other.clone())).await;
        assert_eq!(
            (status, &refused["code"]),
            (409, &json!("idempotency_key_used"))
        );
        // On another route it is another key.
        let group = request(Method::POST, "/groups")
            .insert_header(("idempotency-key", "one"))
            .set_json(other.clone());
        assert_eq!(answer(&app, group).await.0, 201);
        // Nor does what failed stand in the way of another try.
        let taken = json!({"tenant": "acme", "name": "laptop"});
        assert_eq!(answer(&app, create("two", taken)).await.0, 409);
        assert_eq!(answer(&app, create("two", other)).await.0, 201);
        // After its day it is a new one.
        let aged = "UPDATE idempotency_keys SET created_ms = created_ms - 86400001";
        let db = &test.stores.config.write;
        sea_orm::ConnectionTrait::execute_unprepared(db, aged)
            .await
            .expect("SQL");
        let (status, refused) = answer(&app, create("one", order.clone())).await;
        assert_eq!(
            (status, &refused["code"]),
            (409, &json!("name_taken")),
            "{refused}"
        );
        for bad in ["", &"k".repeat(256)] {
            assert_eq!(answer(&app, create(bad, order.clone())).await.0, 400);
        }
        let sql = "SELECT answer FROM idempotency_keys";
        let db = &test.stores.config.read;
        let statement = sea_orm::Statement::from_string(test.stores.config.backend(), sql);
        let rows = sea_orm::ConnectionTrait::query_all_raw(db, statement);
        for row in rows.await.expect("rows") {
            let kept: Option<String> = row.try_get("", "answer").expect("an answer");
            assert!(!kept.unwrap_or_default().contains(&value));
        }
    }
}

// Threats: B10.
#[actix_rt::test]
async fn of_many_at_once_one_is_done() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let order = || create("once", json!({"tenant": "acme", "name": "laptop"}));
        let calls = (0..8).map(|_| answer(&app, order()));
        let answers = futures_util::future::join_all(calls).await;
        let made = answers.iter().filter(|(status, _)| *status == 201);
        assert!(made.clone().count() >= 1, "{answers:?}");
        assert_eq!(
            made.filter(|(_, body)| body["value"].is_string()).count(),
            1
        );
        let others = answers.iter().filter(|(status, _)| *status != 201);
        assert!(
            others
                .clone()
                .all(|(_, body)| body["code"] == "idempotency_key_used")
        );
    }
}

/// Another caller's key of the same name is another key.
// Threats: B10.
#[actix_rt::test]
async fn a_key_belongs_to_its_caller() {
    let test = sqlite().await;
    let app = app!(&test);
    answer(&app, document(PLATFORM, "")).await;
    let mut values = Vec::new();
    for tenant in ["acme", "other"] {
        let order = json!({"tenant": tenant, "name": "ci", "role": "owner"});
        let made = request(Method::POST, "/service-tokens").set_json(order);
        let (_, made) = answer(&app, made).await;
        values.push(made["value"].as_str().expect("a value").to_owned());
    }
    let mut ids = Vec::new();
    for value in values {
        let order = create("same", json!({"name": "laptop"}))
            .insert_header((header::AUTHORIZATION, format!("Bearer {value}")));
        let (status, made) = answer(&app, order).await;
        assert_eq!(status, 201, "{made}");
        ids.push(made["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}

/// One person in two tenants has it twice, too: what was done in the one is not told in the other.
// Threats: B10.
#[actix_rt::test]
async fn a_key_belongs_to_the_tenant_that_one_acts_in() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let both = "tenants: [{name: acme, users: [{email: a@acme.example, role: admin}]}, {name: other, users: [{email: a@acme.example, role: admin}]}]";
        assert_eq!(answer(&app, document(both, "")).await.0, 200);
        somebody(&test).await;
        let token = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
        let make = async |tenant: &str| {
            let call = signed(&token, Method::POST, "/keys")
                .insert_header(("x-weir-tenant", tenant.to_owned()))
                .insert_header(("idempotency-key", "same"))
                .set_json(json!({"name": "laptop"}));
            let (status, made) = answer(&app, call).await;
            assert_eq!(status, 201, "{made}");
            assert_eq!(made["tenant"], tenant, "{made}");
            made["id"].clone()
        };
        let (acmes, others) = (make("acme").await, make("other").await);
        assert_ne!(acmes, others);
        assert_eq!(make("acme").await, acmes);
    }
}
