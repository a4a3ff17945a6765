//! What is everybody's own: keys and sessions.

use super::{
    login::{EMAIL, PASSWORD, by, signing_in, somebody, token_of, whole},
    *,
};
use crate::access::{self, Permission};
use weir_api_types::resources::Role;

/// The person of the platform's file with a password, as a developer.
async fn a_developer<S: Answers>(test: &TestStores, app: &S) {
    answer(app, document(PLATFORM, "")).await;
    somebody(test).await;
    let developer = "tenants: [{name: acme, users: [{email: a@acme.example, role: developer}]}]";
    answer(app, document(developer, "")).await;
}

#[actix_rt::test]
async fn developers_have_keys_of_their_own_and_no_hand_on_others() {
    for test in all().await {
        let app = app!(&test);
        a_developer(&test, &app).await;
        let token = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
        let post = |path: &str, order: Value| by(&token, Method::POST, path).set_json(order);
        let order = json!({"name": "mine", "models": ["m"], "ip_allow": ["10.0.0.0/8"]});
        let (status, mine, _) = whole(&app, post("/me/keys", order)).await;
        assert_eq!((status, &mine["user"]), (201, &json!(EMAIL)), "{mine}");
        assert!(mine["value"].as_str().expect("a value").starts_with("wk-"));
        for order in [
            json!({"name": "x", "user": "b@acme.example"}),
            json!({"name": "x", "value": "existing-value-of-24-characters-and-more"}),
            json!({"name": "x", "budgets": []}),
            json!({"name": "x", "tenant": "other"}),
        ] {
            assert_eq!(
                whole(&app, post("/me/keys", order.clone())).await.0,
                422,
                "{order}"
            );
        }
        let path = format!("/me/keys/{}", mine["id"].as_str().expect("an id"));
        let (status, rotated, _) = whole(&app, post(&format!("{path}/rotate"), json!({}))).await;
        assert_eq!((status, &rotated["id"]), (200, &mine["id"]), "{rotated}");
        let patch = |order: Value| by(&token, Method::PATCH, &path).set_json(order);
        assert_eq!(
            whole(&app, patch(json!({"enabled": false, "name": "off"})))
                .await
                .0,
            200
        );
        for order in [
            json!({"enabled": true}),
            json!({"limits": []}),
            json!({"expires_at": null}),
            json!({"models": null}),
        ] {
            assert_eq!(whole(&app, patch(order.clone())).await.0, 422, "{order}");
        }
        let (_, list, _) = whole(&app, by(&token, Method::GET, "/me/keys")).await;
        assert_eq!(
            (
                &list["data"][0]["name"],
                list["data"].as_array().map(Vec::len)
            ),
            (&json!("off"), Some(1))
        );
        // The tenant's own is there for them to see, and nothing more.
        let order = json!({"tenant": "acme", "name": "shared"});
        let (_, shared) = answer(&app, request(Method::POST, "/keys").set_json(&order)).await;
        let shared = shared["id"].as_str().expect("an id");
        for foreign in [
            by(&token, Method::DELETE, &format!("/me/keys/{shared}")),
            by(&token, Method::PATCH, &format!("/me/keys/{shared}"))
                .set_json(json!({"enabled": false})),
            post(&format!("/me/keys/{shared}/rotate"), json!({})),
        ] {
            assert_eq!(whole(&app, foreign).await.0, 404);
        }
        assert_eq!(
            whole(&app, by(&token, Method::DELETE, &format!("/keys/{shared}")))
                .await
                .0,
            403
        );
        assert_eq!(whole(&app, by(&token, Method::DELETE, &path)).await.0, 204);
        // A token is nobody who could have any.
        let (status, refused) = answer(&app, request(Method::GET, "/me/keys")).await;
        assert_eq!(status, 403, "{refused}");
    }
}

#[actix_rt::test]
async fn what_is_ones_own_comes_in_pages() {
    for test in all().await {
        let app = app!(&test);
        a_developer(&test, &app).await;
        let mut token = String::new();
        for at in 0..5 {
            token = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
            let make = by(&token, Method::POST, "/me/keys");
            let made = whole(&app, make.set_json(json!({"name": format!("k{at}")}))).await;
            assert_eq!(made.0, 201, "{made:?}");
        }
        for (list, by_what) in [("/me/sessions", "used_at"), ("/me/keys?sort=-name", "name")] {
            let join = if list.contains('?') { '&' } else { '?' };
            let page = async |words: &str| {
                let path = format!("{list}{join}{words}");
                let (status, page, _) = whole(&app, by(&token, Method::GET, &path)).await;
                assert_eq!(status, 200, "{path}: {page}");
                page
            };
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = page(&format!("limit=2{cursor}")).await;
                let rows = page["data"].as_array().expect("rows");
                assert!(rows.len() <= 2, "{page}");
                seen.extend(rows.iter().map(|row| {
                    let text = row[by_what].as_str().expect("a text");
                    // Moments end in no zeros, so that their texts are not in their order.
                    match crate::resources::instant(text) {
                        Ok(at_ms) => format!("{at_ms:020}"),
                        Err(_) => text.to_owned(),
                    }
                }));
                let Some(next) = page["next_cursor"].as_str() else {
                    break;
                };
                cursor = format!("&cursor={next}");
            }
            assert_eq!(seen.len(), 5, "{list}: {seen:?}");
            assert!(seen.is_sorted_by(|a, b| a >= b), "{list}: {seen:?}");
            let whole = page("limit=1000").await;
            assert_eq!(whole["data"].as_array().map(Vec::len), Some(5));
        }
        for refused in [
            "/me/sessions?limit=0",
            "/me/sessions?tenant=acme",
            "/me/keys?limit=1e9",
        ] {
            let (status, body, _) = whole(&app, by(&token, Method::GET, refused)).await;
            assert_eq!(status, 400, "{refused}: {body}");
        }
        let foreign = by(&token, Method::GET, "/me/keys?tenant=other");
        assert_eq!(whole(&app, foreign).await.0, 404);
    }
}

// Threats: T2.
#[actix_rt::test]
async fn keys_of_ones_own_are_for_the_roles_that_say_so() {
    const FILE: &str = "tenants: [{name: acme, roles: [{name: maker, permissions: ['own_keys:write']}, {name: looker, permissions: ['keys:read']}], users: [{email: o@acme.example, role: owner}]}]";
    let own = [("maker", true), ("looker", false)];
    let roles = Role::ALL.into_iter().map(|role| {
        let may = access::of_role(role).has(Permission::OwnKeysWrite);
        (role.as_str(), may)
    });
    let roles: Vec<(&str, bool)> = roles.chain(own).collect();
    assert!(roles.iter().filter(|(_, may)| *may).count() >= 3);
    for test in all().await {
        let app = app!(&test);
        for file in [PLATFORM, FILE] {
            assert_eq!(answer(&app, document(file, "")).await.0, 200);
        }
        somebody(&test).await;
        let token = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
        for (role, may) in &roles {
            let file =
                format!("tenants: [{{name: acme, users: [{{email: {EMAIL}, role: {role}}}]}}]");
            let (status, applied) = answer(&app, document(&file, "")).await;
            assert_eq!(status, 200, "{applied}");
            let order = json!({"tenant": "acme", "name": format!("of {role}"), "user": EMAIL});
            let (_, key) = answer(&app, request(Method::POST, "/keys").set_json(order)).await;
            let path = format!("/me/keys/{}", key["id"].as_str().expect("an id"));
            let rotate = format!("{path}/rotate");
            for (method, path, order) in [
                (Method::GET, "/me/keys", Value::Null),
                (
                    Method::POST,
                    "/me/keys",
                    json!({"name": format!("by {role}")}),
                ),
                (
                    Method::PATCH,
                    &path,
                    json!({"name": format!("again of {role}")}),
                ),
                (Method::POST, &rotate, json!({})),
                (Method::DELETE, &path, Value::Null),
            ] {
                let said = format!("{role} {method} {path}");
                let mut call = by(&token, method, path);
                if !order.is_null() {
                    call = call.set_json(order);
                }
                let (status, body, _) = whole(&app, call).await;
                let is_done = (200..300).contains(&status);
                assert!(
                    if *may { is_done } else { status == 403 },
                    "{said}: {status} {body}"
                );
            }
        }
    }
}
