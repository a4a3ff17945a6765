//! What another tenant has, deeper in an order, and in how long an answer takes.

use std::time::Instant;

use super::{
    roles::{by, creation, operations, order, text, thing, token},
    *,
};

/// Each with one of everything; `hush` is of the other tenant alone.
const BOTH: &str = "
channels: [{name: own, tenant: acme, kind: openai, base_url: 'https://own.example/v1', credentials: [sk-own]}, {name: hush, tenant: other, kind: openai, base_url: 'https://hush.example/v1', credentials: [sk-hush]}]
models: [{name: hush, tenant: other, routes: [{channel: hush}]}]
tenants:
  - {name: acme, policies: {own_channels: true}, users: [{email: a@acme.example}]}
  - {name: other, policies: {own_channels: true}, groups: [{name: hush}], roles: [{name: hush, permissions: ['usage:read']}], users: [{email: hush@x.example}], keys: [{name: hush}]}
";
/// As long as what it is tried against, and nobody's.
const NOBODY: &str = "husx";

/// Orders that name something within something else, or by its name alone.
fn orders(at: usize, word: &str) -> Vec<(&'static str, Value)> {
    let name = format!("n{at}{word}");
    let email = format!("{word}@x.example");
    let rule = json!({"metric": "requests", "per": "day", "max": 40});
    let bound = |scope: &str, name: &str| json!({"scope": scope, "name": name, "rule": rule});
    vec![
        (
            "/models",
            json!({"name": name, "routes": [{"channel": word}]}),
        ),
        (
            "/models",
            json!({"name": name, "routes": [{"channel": "own"}, {"channel": word, "model": "x"}]}),
        ),
        (
            "/keys",
            json!({"name": name, "channels": [{"channel": word}]}),
        ),
        ("/keys", json!({"name": format!("{name}u"), "user": email})),
        ("/keys", json!({"name": format!("{name}g"), "group": word})),
        (
            "/invitations",
            json!({"email": format!("{name}@y.example"), "role": "viewer", "groups": [word]}),
        ),
        (
            "/invitations",
            json!({"email": format!("{name}@y.example"), "role": word}),
        ),
        ("/service-tokens", json!({"name": name, "role": word})),
        (
            "/identity-providers",
            json!({"name": name, "issuer": "https://id.example", "client_id": "weir", "roles": [{"group": "*", "role": word}]}),
        ),
        ("/limits", bound("group", word)),
        ("/limits", bound("channel", word)),
        ("/limits", bound("model", word)),
        ("/limits", bound("key", word)),
        ("/limits", bound("user", &email)),
    ]
}

// Threats: T1, T11.
#[actix_rt::test]
async fn a_name_within_an_order_is_as_if_it_were_nobodys() {
    for test in all().await {
        let app = app!(&test);
        let (status, made) = answer(&app, document(BOTH, "")).await;
        assert_eq!(status, 200, "{made}");
        let owner = serde_json::from_value(json!("owner")).expect("a role");
        let (_, made) = answer(&app, token("owner", Some("acme"), &owner)).await;
        let value = text(&made["value"]);
        let ask = async |path: &str, order: &Value, word: &str| {
            let call = by(&value, "POST", path).set_json(order);
            let (status, mut body) = answer(&app, call).await;
            body["request_id"].take();
            (status, body.to_string().replace(word, "_"))
        };
        let mut refused = 0;
        let pairs = orders(0, "hush").into_iter().zip(orders(0, NOBODY));
        for ((path, theirs), (_, nobodys)) in pairs {
            let foreign = ask(path, &theirs, "hush").await;
            let absent = ask(path, &nobodys, NOBODY).await;
            assert_eq!(foreign.0, absent.0, "{path} {theirs}: {foreign:?}");
            if foreign.0 >= 400 {
                assert_eq!(foreign, absent, "{path} {theirs}");
                refused += 1;
            }
        }
        // A key may be kept to channels that are not there yet.
        assert!(refused >= 12, "{refused}");
    }
}

/// Medians of many, in turn: a look that stops at whose a thing is takes as long as one that finds nothing.
// Threats: T1.
#[actix_rt::test]
async fn it_takes_as_long_to_be_anothers_as_to_be_nobodys() {
    const ROUNDS: usize = 400;
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        let owner = serde_json::from_value(json!("owner")).expect("a role");
        let (_, made) = answer(&app, token("owner", Some("acme"), &owner)).await;
        let value = text(&made["value"]);
        for kind in ["keys", "users", "channels", "requests"] {
            let path = format!("/{kind}/{{id}}");
            assert!(kind == "requests" || creation(kind, "other", "x").is_some());
            let theirs = thing(&test, &app, &path, "other", "timed").await;
            let ids = [text(&theirs["id"]), uuid::Uuid::new_v4().to_string()];
            let mut took = [const { Vec::new() }; 2];
            for _ in 0..ROUNDS {
                for (id, took) in ids.iter().zip(&mut took) {
                    let call = by(&value, "GET", &path.replace("{id}", id));
                    let began = Instant::now();
                    assert_eq!(answer(&app, call).await.0, 404, "{kind}");
                    took.push(began.elapsed().as_secs_f64());
                }
            }
            let [theirs, nobodys] = took.map(|mut took| {
                took.sort_unstable_by(f64::total_cmp);
                took[ROUNDS / 2]
            });
            let ratio = theirs / nobodys;
            assert!((0.5..=2.0).contains(&ratio), "{kind}: {ratio}");
        }
    }
}

#[actix_rt::test]
async fn limits_and_budgets_of_a_thing_are_for_those_who_may_see_such() {
    const FILE: &str = "
tenants:
  - name: acme
    roles: [{name: keeper, permissions: ['keys:read', 'users:read', 'groups:read']}, {name: watcher, permissions: ['keys:read', 'users:read', 'groups:read', 'limits:read']}]
    groups: [{name: g, limits: [{metric: requests, per: day, max: 41}], budgets: [{amount: '6', period: month}]}]
    users: [{email: a@acme.example, limits: [{metric: requests, per: day, max: 41}], budgets: [{amount: '6', period: month}]}]
    keys: [{name: k, limits: [{metric: requests, per: day, max: 41}], budgets: [{amount: '6', period: month}]}]
";
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(FILE, "")).await.0, 200);
        for (role, limits, budgets) in [
            ("keeper", false, false),
            ("watcher", true, false),
            ("owner", true, true),
        ] {
            let named = serde_json::from_value(json!(role)).expect("a role");
            let (status, made) = answer(&app, token(role, Some("acme"), &named)).await;
            assert_eq!(status, 201, "{made}");
            let value = text(&made["value"]);
            // Nor does a tag tell that they are others.
            let (_, list) = answer(&app, by(&value, "GET", "/keys")).await;
            let key = format!("/keys/{}", text(&list["data"][0]["id"]));
            let tag = async || {
                let call = by(&value, "GET", &key).to_request();
                let response = call_service(&app, call).await;
                response.headers().get(header::ETAG).cloned()
            };
            let before = tag().await;
            let amount = (10 + role.len()).to_string();
            let other = json!({"budgets": [{"amount": amount, "period": "month"}]});
            let change = request(Method::PATCH, &key).set_json(other);
            let (status, changed) = answer(&app, change).await;
            assert_eq!(status, 200, "{changed}");
            assert!(before.is_some());
            assert_eq!(tag().await != before, budgets, "{role}");
            for kind in ["keys", "users", "groups"] {
                let (_, list) = answer(&app, by(&value, "GET", &format!("/{kind}"))).await;
                let path = format!("/{kind}/{}", text(&list["data"][0]["id"]));
                let (status, shown) = answer(&app, by(&value, "GET", &path)).await;
                assert_eq!(status, 200, "{shown}");
                let sees = ["limits", "budgets"].map(|field| shown.get(field).is_some());
                assert_eq!(sees, [limits, budgets], "{role} {path}: {shown}");
            }
        }
    }
}

#[actix_rt::test]
async fn how_much_a_thing_is_used_is_for_those_who_may_see_usage() {
    const FILE: &str = "
channels: [{name: own, tenant: acme, kind: openai, base_url: 'https://own.example/v1', credentials: [sk-own]}]
tenants:
  - name: acme
    policies: {own_channels: true}
    roles: [{name: keeper, permissions: ['channels:read', 'keys:read']}, {name: counter, permissions: ['channels:read', 'keys:read', 'usage:read']}]
    keys: [{name: k}]
";
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(FILE, "")).await.0, 200);
        for (role, sees) in [("keeper", false), ("counter", true), ("owner", true)] {
            let named = serde_json::from_value(json!(role)).expect("a role");
            let (_, made) = answer(&app, token(role, Some("acme"), &named)).await;
            let value = text(&made["value"]);
            let ask = async |path: &str| {
                let (status, shown) = answer(&app, by(&value, "GET", path)).await;
                assert_eq!(status, 200, "{role} {path}: {shown}");
                shown
            };
            let providers = ask("/providers").await;
            let provider = &providers["data"][0];
            assert_eq!(provider["name"], "own", "{providers}");
            for field in ["requests", "errors"] {
                assert_eq!(provider[field].is_number(), sees, "{role}: {provider}");
            }
            for kind in ["channels", "keys"] {
                let list = ask(&format!("/{kind}")).await;
                let path = format!("/{kind}/{}/impact", text(&list["data"][0]["id"]));
                let impact = ask(&path).await;
                assert_eq!(impact["requests"].is_number(), sees, "{role}: {impact}");
            }
        }
    }
}

/// A tag of another tenant's thing tells as little as a made-up one.
// Threats: T1.
#[actix_rt::test]
async fn a_tag_of_anothers_thing_is_no_better_than_none() {
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        let owner = serde_json::from_value(json!("owner")).expect("a role");
        let (_, made) = answer(&app, token("owner", Some("acme"), &owner)).await;
        let value = text(&made["value"]);
        let mut tried = 0;
        for one in operations() {
            let takes = ["PATCH", "DELETE"].contains(&one.method.as_str());
            let path = one.path.as_str();
            if !takes || path.starts_with("/me/") || path.matches('/').count() != 2 {
                continue;
            }
            let theirs = thing(&test, &app, path, "other", &format!("tag{tried}")).await;
            let own = thing(&test, &app, path, "acme", &format!("tag{tried}")).await;
            let (theirs, own) = (text(&theirs["id"]), text(&own["id"]));
            let shown = request(Method::GET, &path.replace("{id}", &theirs)).to_request();
            let shown = call_service(&app, shown).await;
            let Some(tag) = shown.headers().get(header::ETAG).cloned() else {
                continue;
            };
            let made_up = header::HeaderValue::from_static("\"00112233445566778899aabbccddeeff\"");
            let ask = async |id: &str, tag: &header::HeaderValue| {
                let call = by(&value, &one.method, &path.replace("{id}", id));
                let call = call.insert_header((header::IF_MATCH, tag.clone()));
                let call = call.set_json(order(&one.method, path));
                let (status, mut body) = answer(&app, call).await;
                body["request_id"].take();
                (status, body)
            };
            let said = format!("{} {path}", one.method);
            let foreign = ask(&theirs, &tag).await;
            let absent = ask(&uuid::Uuid::new_v4().to_string(), &tag).await;
            assert_eq!(foreign, absent, "{said}");
            assert!([403, 404].contains(&foreign.0), "{said}: {foreign:?}");
            assert_eq!(foreign, ask(&theirs, &made_up).await, "{said}");
            // Nor does a made-up one fit one's own.
            let wrong = ask(&own, &made_up).await;
            assert!([403, 404, 412].contains(&wrong.0), "{said}: {wrong:?}");
            tried += 1;
        }
        assert!(tried > 15, "{tried}");
    }
}

// Threats: T1, T11.
#[actix_rt::test]
async fn whoever_leaves_is_told_of_to_each_tenant_as_far_as_it_was_theirs() {
    const FILE: &str = "
tenants:
  - {name: acme, users: [{email: a@x.example}, {email: b@x.example}]}
  - {name: other, users: [{email: a@x.example}, {email: b@x.example}]}
";
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(FILE, "")).await.0, 200);
        let role: weir_api_types::manage::AnyRole =
            serde_json::from_value(json!("owner")).expect("a role");
        let mut owners = Vec::new();
        for tenant in ["acme", "other"] {
            let (_, made) = answer(&app, token(tenant, Some(tenant), &role)).await;
            let (_, shown) =
                answer(&app, request(Method::GET, &format!("/tenants?q={tenant}"))).await;
            owners.push((text(&made["value"]), shown["data"][0]["id"].clone()));
        }
        let (_, people) = answer(&app, request(Method::GET, "/users?tenant=acme")).await;
        let path = |at: usize| format!("/users/{}", text(&people["data"][at]["id"]));
        // One is taken out by the tenant's people, the other by the platform, out of both.
        assert_eq!(
            answer(&app, by(&owners[0].0, "DELETE", &path(0))).await.0,
            204
        );
        assert_eq!(answer(&app, request(Method::DELETE, &path(1))).await.0, 204);
        for (at, (owner, tenant)) in owners.iter().enumerate() {
            let log = by(owner, "GET", "/audit-log?action=user:delete");
            let (status, log) = answer(&app, log).await;
            assert_eq!(status, 200, "{log}");
            let rows = log["data"].as_array().expect("rows");
            assert_eq!(rows.len(), 2 - at, "{log}");
            for row in rows {
                assert_eq!(row["before"]["tenants"], json!([tenant]), "{row}");
            }
        }
    }
}
