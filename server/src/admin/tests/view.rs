//! The platform's people looking at a tenant through its owner's eyes.

use super::{
    login::{EMAIL, PASSWORD, by as signed_in, signing_in, somebody, token_of, whole},
    roles::{BOTH, by, operations, order, text, token},
    *,
};
use crate::admin::view::HEADER;

fn built_in(word: &str) -> weir_api_types::manage::AnyRole {
    serde_json::from_value(json!(word)).expect("a role")
}

/// What is about whoever calls is theirs in any disguise, and usage is asked with a query.
fn is_compared(path: &str) -> bool {
    !path.starts_with("/me")
        && !["/resources", "/usage", "/openapi.json", "/search"].contains(&path)
}

// Threats: T14.
#[actix_rt::test]
async fn whoever_views_as_a_tenant_sees_what_its_owner_sees_and_nobody_else_may() {
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        let owner = answer(&app, token("owner", Some("acme"), &built_in("owner"))).await;
        let owner = text(&owner.1["value"]);
        let viewer = answer(&app, token("viewer", None, &built_in("platform_viewer"))).await;
        let viewer = text(&viewer.1["value"]);
        let seen = |value: &str, method: &str, path: &str, tenant: &str| {
            by(value, method, path).insert_header((HEADER, tenant.to_owned()))
        };
        let mut compared = 0;
        for operation in operations() {
            let is_list = operation.method == "GET" && !operation.path.contains('{');
            if !is_list || operation.is_open || !is_compared(&operation.path) {
                continue;
            }
            let path = &operation.path;
            let theirs = answer(&app, by(&owner, "GET", path)).await;
            let mine = answer(&app, seen(TOKEN, "GET", path, "acme")).await;
            assert_eq!(mine.0, theirs.0, "{path}: {mine:?}");
            // The log has more rows by then: that somebody looked, and that the owner's token was used.
            if !["/audit-log", "/service-tokens"].contains(&path.as_str()) {
                let bodies = [theirs.1, mine.1].map(|mut body| {
                    body.as_object_mut().map(|body| body.remove("request_id"));
                    body
                });
                assert_eq!(bodies[1], bodies[0], "{path}");
            }
            compared += usize::from(theirs.0 == 200);
        }
        assert!(compared > 10, "{compared}");
        // Nothing that is only theirs as an operator.
        for path in ["/resources", "/instances", "/settings"] {
            let (status, body) = answer(&app, seen(TOKEN, "GET", path, "acme")).await;
            assert_eq!(status, 403, "{path}: {body}");
        }
        let (_, me) = answer(&app, seen(&viewer, "GET", "/me", "acme")).await;
        let may = me["permissions"].as_array().expect("permissions");
        let only_looks = |one: &Value| text(one).ends_with(":read");
        assert!(may.len() > 10 && may.iter().all(only_looks), "{me}");
        assert!(
            !may.contains(&json!("bodies:read")),
            "nor what they may not: {me}"
        );
        assert_eq!(me["tenant"], "acme");
        // By its id as well, as browsers send no other letters than Latin ones.
        let (_, list) = answer(&app, request(Method::GET, "/tenants?q=other")).await;
        let other = text(&list["data"][0]["id"]);
        let (_, me) = answer(&app, seen(&viewer, "GET", "/me", &other)).await;
        assert_eq!(me["tenant"], "other");
        let nobodys = uuid::Uuid::new_v4().to_string();
        for nobody in ["nobody", "", &nobodys] {
            let (status, body) = answer(&app, seen(TOKEN, "GET", "/me", nobody)).await;
            assert_eq!(status, 404, "{nobody}: {body}");
        }
        // Whoever is a tenant's own has no disguise, and learns of no name by trying one.
        let mut told = Vec::new();
        for tenant in ["acme", "other", "nobody", &other] {
            let (status, mut body) = answer(&app, seen(&owner, "GET", "/keys", tenant)).await;
            body["request_id"].take();
            assert_eq!(status, 403, "{body}");
            told.push(body);
        }
        told.dedup();
        assert_eq!(told.len(), 1, "{told:?}");
    }
}

// Threats: T14.
#[actix_rt::test]
async fn whoever_views_as_a_tenant_changes_nothing_and_the_tenant_is_told() {
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        somebody(&test).await;
        let sql = "UPDATE users SET platform_role = 'platform_admin'";
        let db = &test.stores.config.write;
        sea_orm::ConnectionTrait::execute_unprepared(db, sql)
            .await
            .expect("SQL");
        let operator = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
        let owner = answer(&app, token("owner", Some("acme"), &built_in("owner"))).await;
        let owner = text(&owner.1["value"]);
        let rows = async || {
            let (status, log) = answer(&app, by(&owner, "GET", "/audit-log?limit=1000")).await;
            assert_eq!(status, 200, "{log}");
            log["data"].as_array().expect("rows").clone()
        };
        let before = rows().await;
        let as_acme = |method: &str, path: &str| {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            signed_in(&operator, method, path).insert_header((HEADER, "acme"))
        };
        let nobody = uuid::Uuid::new_v4().to_string();
        for operation in operations() {
            if operation.method == "GET" || operation.is_open {
                continue;
            }
            let path = operation.path.replace("{id}", &nobody);
            let path = path.replace("{credential}", &nobody);
            let call = as_acme(&operation.method, &path);
            let call = call.set_json(order(&operation.method, &operation.path));
            let (status, body) = answer(&app, call).await;
            let said = format!("{} {path}: {status} {body}", operation.method);
            assert_eq!(
                (status, &body["code"]),
                (403, &json!("forbidden")),
                "{said}"
            );
            assert!(
                body["detail"].to_string().contains("changes nothing"),
                "{said}"
            );
        }
        assert_eq!(rows().await.len(), before.len(), "nothing was done");
        // One row for many looks of one person.
        for path in ["/keys", "/users", "/requests", "/keys"] {
            assert_eq!(answer(&app, as_acme("GET", path)).await.0, 200, "{path}");
        }
        let after = rows().await;
        assert_eq!(after.len(), before.len() + 1, "{after:?}");
        assert_eq!(
            (
                &after[0]["action"],
                &after[0]["object"],
                &after[0]["actor_name"]
            ),
            (&json!("view:create"), &json!("acme"), &json!(EMAIL))
        );
        // The other tenant has no word of it.
        let other = answer(&app, token("other", Some("other"), &built_in("owner"))).await;
        let other = text(&other.1["value"]);
        let (_, log) = answer(&app, by(&other, "GET", "/audit-log?action=view")).await;
        assert_eq!(log["data"], json!([]), "{log}");
    }
}
