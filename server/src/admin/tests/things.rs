//! Single things, made, changed and taken away.

use super::*;
use crate::{store, tenancy::KeyId};

/// What a call answers, and the tag that it gives.
async fn tagged<S: Answers>(app: &S, request: TestRequest) -> (u16, Value, String) {
    let response = call_service(app, request.to_request()).await;
    let status = response.status().as_u16();
    let tag = response.headers().get(header::ETAG);
    let tag = tag.and_then(|tag| tag.to_str().ok()).unwrap_or_default();
    let tag = tag.to_owned();
    let body = to_bytes(response.into_body()).await.expect("a body");
    let body = serde_json::from_slice(&body).unwrap_or_default();
    (status, body, tag)
}

fn post(path: &str, order: Value) -> TestRequest {
    request(Method::POST, path).set_json(order)
}

fn patch(path: &str, order: Value) -> TestRequest {
    request(Method::PATCH, path).set_json(order)
}

fn at(path: &str, of: &Value) -> String {
    format!("{path}/{}", of["id"].as_str().expect("an id"))
}

#[actix_rt::test]
async fn each_kind_is_made_shown_changed_and_deleted() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let limit = json!({"metric": "requests", "per": "day", "max": 9});
        for (path, order, change, field) in [
            (
                "/tenants",
                json!({"name": "new", "time_zone": "Asia/Shanghai", "policies": {"keys_per_user": 1, "own_channels": false}}),
                json!({"name": "renamed", "grants": {"models": ["m"]}}),
                "name",
            ),
            (
                "/groups",
                json!({"tenant": "acme", "name": "new", "limits": [limit]}),
                json!({"name": "renamed", "budgets": [{"amount": "5", "period": "month"}]}),
                "name",
            ),
            (
                "/users",
                json!({"tenant": "acme", "email": "New@acme.example", "role": "developer", "groups": ["team"]}),
                json!({"email": "renamed@acme.example", "department": "技术部", "role": "admin"}),
                "email",
            ),
            (
                "/keys",
                json!({"tenant": "acme", "name": "new", "user": "a@acme.example", "ip_allow": ["10.0.0.0/8"]}),
                json!({"name": "renamed", "user": null, "group": "team", "models": ["m"], "channels": [{"channel": "openai", "priority": 3}]}),
                "name",
            ),
            (
                "/channels",
                json!({"name": "new", "kind": "anthropic", "base_url": "https://api.anthropic.com", "credentials": ["sk-one-secret"]}),
                json!({"name": "renamed", "priority": 4, "limits": [limit]}),
                "name",
            ),
            (
                "/models",
                json!({"name": "new", "routes": [{"channel": "openai"}], "prices": {"input": "1", "output": "2"}}),
                json!({"name": "renamed", "prices": {"input": "3", "output": "4"}, "max_output_tokens": 100}),
                "name",
            ),
        ] {
            let (status, made, tag) = tagged(&app, post(path, order.clone())).await;
            assert_eq!(status, 201, "{path}: {made}");
            let one = at(path, &made);
            let (status, again, _) = tagged(&app, post(path, order.clone())).await;
            assert_eq!(
                (status, &again["code"], &again["errors"][0]["path"]),
                (409, &json!("name_taken"), &json!(field)),
                "{path}: {again}"
            );
            let (status, shown, shown_tag) = tagged(&app, request(Method::GET, &one)).await;
            assert_eq!((status, &shown_tag), (200, &tag), "{path}: {shown}");
            for (name, given) in order.as_object().expect("an order") {
                if !["email", "credentials", "routes"].contains(&name.as_str()) {
                    assert_eq!(&shown[name], given, "{path} {name}: {shown}");
                }
            }
            // Nothing is said that was a secret.
            assert!(!shown.to_string().contains("sk-one-secret"), "{shown}");
            let (status, bad, _) = tagged(&app, patch(&one, json!({"colour": "red"}))).await;
            assert_eq!(status, 422, "{path}: {bad}");
            let (status, changed, new_tag) = tagged(
                &app,
                patch(&one, change.clone()).insert_header((header::IF_MATCH, tag.clone())),
            )
            .await;
            assert_eq!(status, 200, "{path}: {changed}");
            assert_ne!(new_tag, tag);
            assert_eq!(changed["id"], made["id"]);
            for (name, given) in change.as_object().expect("a change") {
                let shown = &changed[name];
                let as_given = match name.as_str() {
                    "budgets" => shown[0]["amount"] == "5.00",
                    // From now on; what was before stays.
                    "prices" => shown[1]["input"] == given["input"],
                    _ => shown == given,
                };
                assert!(as_given, "{path} {name}: {changed}");
            }
            // Who looked before that is told so, and nothing is done.
            for stale in [
                patch(&one, json!({"enabled": false})),
                request(Method::DELETE, &one),
            ] {
                let stale = stale.insert_header((header::IF_MATCH, tag.clone()));
                let (status, refused, _) = tagged(&app, stale).await;
                assert!(
                    status == 412 || path == "/groups" && status == 422,
                    "{path}: {refused}"
                );
            }
            let (_, same, same_tag) = tagged(&app, request(Method::GET, &one)).await;
            assert_eq!(
                (&same_tag, &same[field]),
                (&new_tag, &change[field]),
                "{same}"
            );
            assert_eq!(
                tagged(&app, request(Method::DELETE, &one)).await.0,
                204,
                "{path}"
            );
            assert_eq!(
                tagged(&app, request(Method::GET, &one)).await.0,
                404,
                "{path}"
            );
            assert_eq!(
                tagged(&app, request(Method::DELETE, &one)).await.0,
                404,
                "{path}"
            );
        }
        let (_, log) = answer(&app, request(Method::GET, "/audit-log?limit=30")).await;
        let rows = log["data"].as_array().expect("rows");
        for kind in ["tenant", "group", "user", "key", "channel", "model"] {
            let acts: Vec<&str> = rows
                .iter()
                .filter_map(|row| row["action"].as_str()?.strip_prefix(&format!("{kind}:")))
                .collect();
            let acts = &acts[..3];
            assert_eq!(acts, ["delete", "update", "create"], "{kind}: {log}");
            let renamed = rows.iter().any(|row| {
                let field = if kind == "user" { "email" } else { "name" };
                row["action"] == format!("{kind}:update")
                    && row["before"][field].is_string()
                    && row["after"][field] != row["before"][field]
            });
            assert!(renamed, "{kind}: {log}");
        }
        assert!(!log.to_string().contains("sk-one-secret"), "{log}");
        let (_, verdict) = answer(&app, request(Method::GET, "/audit-log/verify")).await;
        assert!(verdict["bad_row"].is_null(), "{verdict}");
    }
}

#[actix_rt::test]
async fn a_rotated_key_keeps_who_it_is_and_both_values_for_a_while() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let (_, key) = answer(&app, post("/keys", json!({"tenant": "acme", "name": "k"}))).await;
        let path = format!("{}/rotate", at("/keys", &key));
        let first = key["value"].as_str().expect("a value").to_owned();
        let (status, rotated) = answer(&app, post(&path, json!({"grace_seconds": 600}))).await;
        assert_eq!((status, &rotated["id"]), (200, &key["id"]), "{rotated}");
        let second = rotated["value"].as_str().expect("a value");
        assert_ne!(first, second);
        assert_eq!(
            rotated["hints"].as_array().map(Vec::len),
            Some(2),
            "{rotated}"
        );
        assert!(rotated["old_value_until"].is_string());
        // A third time, and the oldest goes; without grace, the one before goes too.
        let (_, third) = answer(&app, post(&path, json!({}))).await;
        assert_eq!(third["hints"].as_array().map(Vec::len), Some(2), "{third}");
        let (_, fourth) = answer(&app, post(&path, json!({"grace_seconds": 0}))).await;
        assert_eq!(
            fourth["hints"].as_array().map(Vec::len),
            Some(1),
            "{fourth}"
        );
        assert!(fourth["old_value_until"].is_null());
        let (status, refused) =
            answer(&app, post(&path, json!({"grace_seconds": 9_999_999}))).await;
        assert_eq!(status, 422, "{refused}");
        let id = key["id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .expect("an id");
        let hints = store::keys::hints(&test.stores.config.read, KeyId(id)).await;
        assert_eq!(json!(hints.expect("hints")), fourth["hints"]);
        let (_, shown) = answer(&app, request(Method::GET, &at("/keys", &key))).await;
        assert!(shown["value"].is_null(), "{shown}");
    }
}

// Threats: T6.
#[actix_rt::test]
async fn only_the_platform_gives_values_to_keys_and_channels_to_those_who_may_have_none() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let order = json!({"tenant": "acme", "name": "t", "role": "owner"});
        let (_, token) = answer(&app, post("/service-tokens", order)).await;
        let value = token["value"].as_str().expect("a value").to_owned();
        let by = |path: &str, order: Value| {
            post(path, order).insert_header((header::AUTHORIZATION, format!("Bearer {value}")))
        };
        let given = json!({"name": "given", "value": "existing-value-of-24-characters-and-more"});
        let sha256 = json!({"name": "given", "sha256": "ab".repeat(32)});
        // Whether the value exists somewhere makes no difference.
        for order in [&given, &sha256] {
            for _ in 0..2 {
                assert_eq!(answer(&app, by("/keys", order.clone())).await.0, 403);
                let mut order = order.clone();
                order["tenant"] = "acme".into();
                order["name"] = format!("given{}", uuid::Uuid::new_v4()).into();
                let (status, made) = answer(&app, post("/keys", order)).await;
                assert!(
                    [201, 409].contains(&status) && made["value"].is_null(),
                    "{made}"
                );
            }
        }
        let channel =
            json!({"name": "mine", "kind": "openai", "base_url": "https://vendor.example/v1"});
        let (status, refused) = answer(&app, by("/channels", channel.clone())).await;
        assert_eq!(status, 403, "{refused}");
        let may = "tenants: [{name: acme, policies: {own_channels: true, keys_per_user: 1}}]";
        answer(&app, document(may, "")).await;
        let (status, made) = answer(&app, by("/channels", channel)).await;
        assert_eq!((status, &made["tenant"]), (201, &json!("acme")), "{made}");
        // One key for each user, whichever way they come to it.
        for (name, status) in [("one", 201), ("two", 422)] {
            let order = json!({"name": name, "user": "a@acme.example"});
            assert_eq!(answer(&app, by("/keys", order)).await.0, status);
        }
        let (_, free) = answer(&app, by("/keys", json!({"name": "free"}))).await;
        let theirs = patch(&at("/keys", &free), json!({"user": "a@acme.example"}));
        let (status, refused) = answer(&app, theirs).await;
        assert_eq!(
            (status, &refused["errors"][0]["path"]),
            (422, &json!("user"))
        );
        // What stands on the tenant is not the tenant's to set.
        for (path, rule) in [
            (
                "/limits",
                json!({"metric": "requests", "per": "day", "max": 9}),
            ),
            ("/budgets", json!({"amount": "5", "period": "month"})),
        ] {
            let on_tenant = json!({"scope": "tenant", "rule": rule});
            assert_eq!(answer(&app, by(path, on_tenant)).await.0, 403);
            let on_group = json!({"scope": "group", "name": "team", "rule": rule});
            let (status, made) = answer(&app, by(path, on_group)).await;
            assert_eq!(status, 201, "{made}");
        }
    }
}

#[actix_rt::test]
async fn a_changed_limit_or_budget_keeps_its_id_and_what_it_counts() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        for (path, rule, other, another) in [
            (
                "/limits",
                json!({"metric": "requests", "per": "day", "max": 9}),
                json!({"metric": "requests", "per": "day", "max": 10}),
                json!({"metric": "requests", "per": "hour", "max": 10}),
            ),
            (
                "/budgets",
                json!({"amount": "5", "period": "month"}),
                json!({"amount": "6", "period": "month", "mode": "soft"}),
                json!({"tokens": 6, "period": "month"}),
            ),
        ] {
            for on in [
                json!({"scope": "tenant", "tenant": "acme"}),
                json!({"scope": "group", "tenant": "acme", "name": "team"}),
                json!({"scope": "user", "tenant": "acme", "name": "a@acme.example"}),
                json!({"scope": "channel", "name": "openai"}),
            ] {
                let mut order = on.clone();
                order["rule"] = rule.clone();
                let (status, made) = answer(&app, post(path, order.clone())).await;
                assert_eq!((status, &made["scope"]), (201, &on["scope"]), "{made}");
                let (status, twice) = answer(&app, post(path, order.clone())).await;
                assert_eq!(
                    (status, &twice["errors"][0]["path"]),
                    (422, &json!("rule")),
                    "{twice}"
                );
                let one = at(path, &made);
                let (status, changed) = answer(&app, patch(&one, json!({"rule": other}))).await;
                assert_eq!((status, &changed["id"]), (200, &made["id"]), "{changed}");
                let (status, refused) = answer(&app, patch(&one, json!({"rule": another}))).await;
                assert_eq!(status, 422, "{refused}");
                order["rule"] = another.clone();
                let (status, second) = answer(&app, post(path, order)).await;
                assert_eq!(status, 201, "{second}");
                assert_eq!(answer(&app, request(Method::DELETE, &one)).await.0, 204);
                assert_eq!(answer(&app, request(Method::GET, &one)).await.0, 404);
                // The one behind it moves up, of which there is nothing to say.
                let (_, log) = answer(&app, request(Method::GET, "/audit-log?limit=2")).await;
                let told: Vec<_> = log["data"].as_array().expect("rows").iter().collect();
                assert!(
                    told[0]["action"]
                        .as_str()
                        .expect("a word")
                        .ends_with(":delete")
                        && told[1]["action"]
                            .as_str()
                            .expect("a word")
                            .ends_with(":create"),
                    "{log}"
                );
                let (status, left) = answer(&app, request(Method::GET, &at(path, &second))).await;
                assert_eq!((status, &left["id"]), (200, &second["id"]));
            }
        }
        let bad =
            json!({"scope": "tenant", "tenant": "acme", "rule": {"metric": "requests", "max": 1}});
        let (status, refused) = answer(&app, post("/limits", bad)).await;
        assert_eq!(
            (status, &refused["errors"][0]["path"]),
            (422, &json!("rule.per")),
            "{refused}"
        );
    }
}

// Threats: T2.
#[actix_rt::test]
async fn a_tenant_keeps_an_owner_and_nobody_gives_more_than_they_have() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let user =
            |email: &str, role: &str| json!({"tenant": "acme", "email": email, "role": role});
        let (_, one) = answer(&app, post("/users", user("one@acme.example", "owner"))).await;
        let (_, two) = answer(&app, post("/users", user("two@acme.example", "owner"))).await;
        let (one, two) = (at("/users", &one), at("/users", &two));
        // Both at once: each would leave the other.
        for _ in 0..200 {
            let demote = |path: &str| answer(&app, patch(path, json!({"role": "viewer"})));
            let (first, second) = tokio::join!(demote(&one), demote(&two));
            let mut said = [first.0, second.0];
            said.sort_unstable();
            assert_eq!(said, [200, 409], "{} {}", first.1, second.1);
            for path in [&one, &two] {
                assert_eq!(
                    answer(&app, patch(path, json!({"role": "owner"}))).await.0,
                    200
                );
            }
        }
        assert_eq!(answer(&app, request(Method::DELETE, &two)).await.0, 204);
        for last in [
            patch(&one, json!({"role": "admin"})),
            patch(&one, json!({"enabled": false})),
            request(Method::DELETE, &one),
            request(Method::DELETE, &format!("{one}?tenant=acme")),
        ] {
            let (status, refused) = answer(&app, last).await;
            assert_eq!(
                (status, &refused["code"]),
                (409, &json!("last_owner")),
                "{refused}"
            );
        }
        // Somebody of another tenant too: that one's people cannot touch who they are.
        let both = "tenants: [{name: other, users: [{email: one@acme.example, role: developer}]}]";
        answer(&app, document(both, "")).await;
        let order = json!({"tenant": "other", "name": "t", "role": "owner"});
        let (_, token) = answer(&app, post("/service-tokens", order)).await;
        let value = token["value"].as_str().expect("a value").to_owned();
        let by = |request: TestRequest| {
            request.insert_header((header::AUTHORIZATION, format!("Bearer {value}")))
        };
        for (change, status) in [
            (json!({"name": "Renamed"}), 403),
            (json!({"enabled": false}), 403),
            (json!({"email": "evil@other.example"}), 403),
            (json!({"role": "viewer"}), 200),
            (json!({"tenant": "acme", "role": "viewer"}), 422),
            (json!({"platform_role": "platform_admin"}), 422),
        ] {
            let (answered, body) = answer(&app, by(patch(&one, change.clone()))).await;
            assert_eq!(answered, status, "{change}: {body}");
            assert!(!body.to_string().contains("acme\""), "{body}");
        }
        assert_eq!(answer(&app, by(request(Method::DELETE, &one))).await.0, 204);
        let (status, left) = answer(&app, request(Method::GET, &one)).await;
        assert_eq!(
            (status, &left["tenant"], &left["role"]),
            (200, &json!("acme"), &json!("owner"))
        );
    }
}

#[actix_rt::test]
async fn a_channel_that_something_needs_stays_and_its_pool_changes_one_by_one() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let (_, list) = answer(&app, request(Method::GET, "/channels")).await;
        let channel = at("/channels", &list["data"][0]);
        let (status, refused) = answer(&app, request(Method::DELETE, &channel)).await;
        assert_eq!(
            (status, &refused["code"]),
            (409, &json!("in_use")),
            "{refused}"
        );
        let pool = format!("{channel}/credentials");
        let (status, two) = answer(
            &app,
            post(&pool, json!({"value": "sk-second-secret", "name": "b"})),
        )
        .await;
        assert_eq!(
            (status, two["pool"].as_array().map(Vec::len)),
            (200, Some(2)),
            "{two}"
        );
        assert!(!two.to_string().contains("second-secret"), "{two}");
        let first = format!("{pool}/{}", two["pool"][0]["id"].as_str().expect("an id"));
        let (_, off) = answer(&app, patch(&first, json!({"enabled": false, "name": "a"}))).await;
        assert_eq!(
            (&off["pool"][0]["enabled"], &off["pool"][0]["name"]),
            (&json!(false), &json!("a"))
        );
        assert_eq!(off["pool"][1], two["pool"][1]);
        let (_, one) = answer(&app, request(Method::DELETE, &first)).await;
        assert_eq!(one["pool"], json!([two["pool"][1]]));
        assert_eq!(answer(&app, request(Method::DELETE, &first)).await.0, 404);
    }
}

#[actix_rt::test]
async fn a_service_token_is_changed_as_whoever_changes_it_saw_it() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let order = json!({"tenant": "acme", "name": "ci", "role": "viewer"});
        let (_, made, _) = tagged(&app, post("/service-tokens", order)).await;
        let one = at("/service-tokens", &made);
        let (status, shown, seen) = tagged(&app, request(Method::GET, &one)).await;
        assert_eq!(status, 200, "{shown}");
        // Its use changes nothing of it.
        let value = made["value"].as_str().expect("a value");
        let use_it = request(Method::GET, "/groups")
            .insert_header((header::AUTHORIZATION, format!("Bearer {value}")));
        assert_eq!(answer(&app, use_it).await.0, 200);
        let off = |tag: &str| {
            patch(&one, json!({"enabled": false})).insert_header((header::IF_MATCH, tag.to_owned()))
        };
        let (status, switched, now) = tagged(&app, off(&seen)).await;
        assert_eq!(status, 200, "{switched}");
        assert_ne!(seen, now);
        let gone = |tag: &str| {
            request(Method::DELETE, &one).insert_header((header::IF_MATCH, tag.to_owned()))
        };
        for late in [off(&seen), gone(&seen)] {
            let (status, body, _) = tagged(&app, late).await;
            assert_eq!(
                (status, &body["code"]),
                (412, &json!("changed_meanwhile")),
                "{body}"
            );
        }
        assert_eq!(tagged(&app, gone(&now)).await.0, 204);
    }
}
