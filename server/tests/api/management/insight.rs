//! What is in force, what hangs on what, and where something is.

use super::*;
use crate::support::{SOON, Setup};

both_stores!(
    what_binds_a_key_what_goes_with_a_thing_and_where_something_is,
    |bench| {
        bench
            .apply("{models: [{name: gpt-test, limits: [{metric: requests, per: day, max: 5000}]}], channels: [{name: dedicated, tenant: acme, limits: [{metric: requests, per: day, max: 4000}]}], tenants: [{name: acme, limits: [{metric: requests, per: day, max: 1000}, {metric: requests, per: minute, max: 30, each: key}], budgets: [{amount: '50', period: month}], groups: [{name: Ärzte}], keys: [{name: laptop, limits: [{metric: requests, per: day, max: 10}, {metric: requests, per: hour, max: 20, algorithm: sliding_window}, {metric: concurrent, max: 7}]}]}]}")
            .await;
        let answer = bench.chat(hello("gpt-test")).await;
        let id = answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        bench.books().await;
        let bounds = told(&bench, &["keys", "bounds", "laptop", "--tenant", "acme"]).await;
        // What counts is what all instances share, wherever they do.
        let left = |bounds: &Value| -> Vec<(String, u64, u64)> {
            let limits = bounds["limits"].as_array().unwrap().iter();
            let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{bounds}"));
            let left = limits.map(|limit| {
                let scope = limit["scope"].as_str().unwrap().to_owned();
                (
                    scope,
                    number(&limit["rule"]["max"]),
                    number(&limit["remaining"]),
                )
            });
            left.collect()
        };
        // A slot that was given back is told to Redis a little later.
        let deadline = tokio::time::Instant::now() + SOON;
        let mut bounds = bounds;
        while !left(&bounds).contains(&("key".to_owned(), 7, 7)) {
            assert!(tokio::time::Instant::now() < deadline, "{bounds}");
            bounds = told(&bench, &["keys", "bounds", "laptop", "--tenant", "acme"]).await;
        }
        let found = left(&bounds);
        for expected in [
            ("tenant", 1_000, 999),
            ("key", 10, 9),
            ("key", 20, 19),
            ("model", 5_000, 4_999),
        ] {
            let (scope, max, remaining) = expected;
            assert!(
                found.contains(&(scope.to_owned(), max, remaining)),
                "{expected:?}: {found:?}"
            );
        }
        let each = found.iter().find(|(_, max, _)| *max == 30).unwrap();
        assert!(
            (29..=30).contains(&each.2),
            "one flows back in two seconds: {found:?}"
        );
        let limits = bounds["limits"].as_array().unwrap();
        let own = limits
            .iter()
            .find(|limit| limit["rule"]["max"] == 10)
            .unwrap();
        assert_eq!(bounds["binding"], own["id"], "{bounds}");
        assert_eq!(bounds["budgets"].as_array().unwrap().len(), 1, "{bounds}");
        // What stands on the platform's own is its operators' business; what stands on a tenant's is not.
        let order = json!({"tenant": "acme", "name": "looks", "role": "viewer"});
        let made = bench.admin(Method::POST, "/service-tokens").json(&order);
        let made: Value = made.send().await.unwrap().json().await.unwrap();
        let key = told(&bench, &["keys", "show", "laptop", "--tenant", "acme"]).await;
        let key = key["id"].as_str().unwrap();
        let url = format!("{}/v1/admin/keys/{key}/bounds", bench.admin_url);
        let seen = bench
            .http
            .get(url)
            .bearer_auth(made["value"].as_str().unwrap());
        let seen: Value = seen.send().await.unwrap().json().await.unwrap();
        let seen = left(&seen);
        assert_eq!(seen.len(), found.len() - 1, "{seen:?}");
        assert!(seen.iter().all(|(scope, ..)| scope != "model"), "{seen:?}");
        // A list knows it too, of what counts nothing apart, and is narrowed by what things stand on.
        let listed = told(&bench, &["limits", "list", "--scope", "key", "--of", key]).await;
        let listed = json!({"limits": listed});
        let all = listed["limits"].as_array().unwrap();
        assert_eq!(all.len(), 3, "{listed}");
        let known = all.iter().filter(|limit| limit["remaining"].is_u64());
        assert_eq!(known.count(), 3, "{listed}");
        for (words, count) in [
            (["limits", "list", "--scope", "tenant"], 2),
            (["limits", "list", "--scope", "model"], 1),
            (["limits", "list", "--scope", "group"], 0),
            (["budgets", "list", "--scope", "tenant"], 1),
            (["budgets", "list", "--scope", "key"], 0),
        ] {
            let listed = told(&bench, &words).await;
            assert_eq!(
                listed.as_array().unwrap().len(),
                count,
                "{words:?}: {listed}"
            );
        }

        let impact = told(&bench, &["tenants", "impact", "acme"]).await;
        assert_eq!(impact["requests"], 1, "{impact}");
        assert!(impact["last_used_at"].is_string());
        let keys = impact["goes_along"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["kind"] == "key");
        assert_eq!(keys.unwrap()["count"], 1, "{impact}");
        let impact = told(&bench, &["channels", "impact", "vendor"]).await;
        assert!(
            impact["needed_by"].as_str().unwrap().starts_with("model "),
            "{impact}"
        );
        let impact = told(&bench, &["users", "impact", "zhang@acme.example"]).await;
        assert_eq!(
            (&impact["requests"], &impact["goes_along"][0]),
            (&json!(1), &json!({"kind": "key", "count": 1})),
            "{impact}"
        );
        told(
            &bench,
            &[
                "roles",
                "create",
                "auditor",
                "--tenant",
                "acme",
                "--set",
                "permissions=['audit:read']",
            ],
        )
        .await;
        told(
            &bench,
            &[
                "service-tokens",
                "create",
                "--tenant",
                "acme",
                "--name",
                "audits",
                "--role",
                "auditor",
            ],
        )
        .await;
        let impact = told(&bench, &["roles", "impact", "auditor", "--tenant", "acme"]).await;
        assert!(impact["needed_by"].is_string(), "{impact}");

        let kinds = async |text: &str| {
            let found = told(&bench, &["search", text]).await;
            let kinds = found
                .as_array()
                .unwrap()
                .iter()
                .map(|hit| hit["kind"].as_str().unwrap().to_owned());
            kinds.collect::<Vec<_>>()
        };
        assert_eq!(kinds("LAPTOP").await, ["key"]);
        assert_eq!(kinds("Ärz").await, ["group"]);
        assert_eq!(kinds("zhang@").await, ["user"]);
        assert_eq!(kinds("gpt-").await, ["model", "model"]);
        assert_eq!(kinds(&id).await, ["request"]);
        assert_eq!(kinds("AUDITS").await, ["service_token"]);
        let tokens = told(&bench, &["service-tokens", "list"]).await;
        assert_eq!(
            kinds(tokens[0]["hint"].as_str().unwrap()).await,
            ["service_token"]
        );
        let key = told(&bench, &["keys", "show", "laptop", "--tenant", "acme"]).await;
        let hint = key["hints"][0].as_str().unwrap();
        assert!(kinds(hint).await.contains(&"key".to_owned()), "{hint}");
        assert_eq!(kinds("wk-no…").await, Vec::<String>::new());
        assert_eq!(kinds("%").await, Vec::<String>::new());
        // A tenant finds its own.
        let order = [
            "service-tokens",
            "create",
            "--tenant",
            "globex",
            "--name",
            "ci",
            "--role",
            "owner",
        ];
        let made = told(&bench, &order).await;
        let url = format!("{}/v1/admin/search?q=acme", bench.admin_url);
        let found = bench
            .http
            .get(url)
            .bearer_auth(made[0]["value"].as_str().unwrap())
            .send()
            .await
            .unwrap();
        assert_eq!(found.json::<Value>().await.unwrap()["data"], json!([]));
    }
);

both_stores!(
    /// Threats: T13.
    what_a_call_claims_of_others_is_neither_their_limit_nor_their_bill,
    Setup::patient(),
    |bench| {
        let order = json!({"scope": "key", "tenant": "globex", "name": "server", "rule": {"metric": "requests", "per": "day", "max": 1}});
        let set = bench.admin(Method::POST, "/limits").json(&order);
        assert_eq!(set.send().await.unwrap().status(), 201);
        let id = async |kind: &str, tenant: &str| {
            let list = bench.admin(Method::GET, &format!("/{kind}?tenant={tenant}"));
            let list: Value = list.send().await.unwrap().json().await.unwrap();
            list["data"][0]["id"].as_str().unwrap().to_owned()
        };
        let (key, tenant) = (id("keys", "globex").await, "globex");
        for claim in [key.as_str(), tenant, "server", OTHER_KEY] {
            let mut order = hello("gpt-test");
            for field in ["user", "user_id", "safety_identifier", "prompt_cache_key"] {
                order[field] = json!(claim);
            }
            order["metadata"] = json!({"tenant": tenant, "key": claim, "group": claim});
            for path in ["/v1/chat/completions", "/api/v1/chat/completions"] {
                let mut call = bench.post(path).json(&order);
                for header in ["x-weir-tags", "x-weir-tenant", "x-weir-view-as", "x-weir-key"] {
                    call = call.header(header, claim);
                }
                let answer = call.send().await.unwrap();
                let status = answer.status();
                assert_eq!(status, 200, "{claim}: {}", answer.text().await.unwrap());
            }
        }
        let rows = bench.admin(Method::GET, "/usage?by=tenant,key&wait=10s");
        let rows: Value = rows.send().await.unwrap().json().await.unwrap();
        let rows = rows.as_array().unwrap();
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(
            (&rows[0]["tenant"], &rows[0]["key"], &rows[0]["requests"]),
            (&json!("acme"), &json!("laptop"), &json!(8))
        );
        // Theirs is as it was: one call, and no second.
        for wanted in [200, 429] {
            let status = gateway::status(&bench.http, &bench.url, OTHER_KEY, "gpt-test").await;
            assert_eq!(status, wanted);
        }
    }
);
