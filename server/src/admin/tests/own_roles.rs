//! Roles that tenants make.

use super::{
    login::{EMAIL, PASSWORD, by, signing_in, somebody, token_of, whole},
    *,
};
use crate::clock::now_ms;

fn post(path: &str, order: Value) -> TestRequest {
    request(Method::POST, path).set_json(order)
}

fn patch(path: &str, order: Value) -> TestRequest {
    request(Method::PATCH, path).set_json(order)
}

/// Makes a role and a token that has it.
async fn holder<S: Answers>(app: &S, name: &str, permissions: &[&str]) -> (String, String) {
    let role = json!({"tenant": "acme", "name": name, "permissions": permissions});
    let (status, made) = answer(app, post("/roles", role)).await;
    assert_eq!(status, 201, "{made}");
    let order = json!({"tenant": "acme", "name": name, "role": name});
    let (status, token) = answer(app, post("/service-tokens", order)).await;
    assert_eq!((status, &token["role"]), (201, &json!(name)), "{token}");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (
        format!("/roles/{}", text(&made["id"])),
        text(&token["value"]),
    )
}

// Threats: T2, A6.
#[actix_rt::test]
async fn whoever_may_not_take_all_roles_says_nothing_of_groups() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let may = ["identity_providers:read", "identity_providers:write"];
        let (_, token) = holder(&app, "keeper", &may).await;
        let as_keeper =
            |method: Method, path: &str, order: Value| by(&token, method, path).set_json(order);
        let provider = json!({"name": "id", "issuer": "https://id.example", "client_id": "weir"});
        let groups = json!([{"group": "nobody", "role": "keeper"}]);
        let mut mapping = provider.clone();
        mapping["roles"] = groups.clone();
        let (status, body) = answer(
            &app,
            as_keeper(Method::POST, "/identity-providers", mapping),
        )
        .await;
        assert_eq!(status, 403, "{body}");
        let (status, made) = answer(
            &app,
            as_keeper(Method::POST, "/identity-providers", provider),
        )
        .await;
        assert_eq!(status, 201, "{made}");
        let one = format!(
            "/identity-providers/{}",
            made["id"].as_str().expect("an id")
        );
        let map = json!({"roles": groups});
        let (status, body) = answer(&app, as_keeper(Method::PATCH, &one, map.clone())).await;
        assert_eq!(status, 403, "{body}");
        // Where there is a mapping it could be made to fit nobody.
        assert_eq!(answer(&app, patch(&one, map)).await.0, 200);
        for (order, status) in [
            (json!({"groups_claim": "nothing"}), 403),
            (json!({"scopes": ["openid"]}), 403),
            (json!({"client_id": "other"}), 403),
            (json!({"issuer": "https://other.example"}), 403),
            (json!({"name": "renamed"}), 200),
            (json!({"enabled": false}), 200),
        ] {
            let (answered, body) =
                answer(&app, as_keeper(Method::PATCH, &one, order.clone())).await;
            assert_eq!(answered, status, "{order}: {body}");
        }
    }
}

// Threats: T2.
#[actix_rt::test]
async fn a_tenants_own_role_allows_what_it_says_from_the_next_call_on() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let (role, token) = holder(&app, "auditor", &["audit:read", "usage:read"]).await;
        let ask = |path: &str| by(&token, Method::GET, path);
        assert_eq!(answer(&app, ask("/audit-log")).await.0, 200);
        assert_eq!(answer(&app, ask("/groups")).await.0, 403);
        let (_, me) = answer(&app, ask("/me")).await;
        assert_eq!(me["permissions"], json!(["usage:read", "audit:read"]));
        let more = json!({"permissions": ["audit:read", "groups:read"]});
        let (status, shown) = answer(&app, patch(&role, more)).await;
        assert_eq!(
            (status, &shown["permissions"]),
            (200, &json!(["groups:read", "audit:read"]))
        );
        assert_eq!(answer(&app, ask("/groups")).await.0, 200);
        assert_eq!(answer(&app, ask("/usage")).await.0, 403);

        // The same for people, by the role's name.
        let user = format!("/users/{}", somebody(&test).await.0);
        let give = json!({"tenant": "acme", "role": "auditor"});
        let (status, given) = answer(&app, patch(&user, give)).await;
        assert_eq!(
            (status, &given["role"]),
            (200, &json!("auditor")),
            "{given}"
        );
        let signed_in = whole(&app, signing_in(EMAIL, PASSWORD)).await;
        let person = token_of(&signed_in);
        let ask = |path: &str| by(&person, Method::GET, path);
        let (_, me) = answer(&app, ask("/me")).await;
        assert_eq!(me["person"]["tenants"][0]["role"], "auditor");
        assert_eq!(answer(&app, ask("/groups")).await.0, 200);
        assert_eq!(answer(&app, ask("/keys")).await.0, 403);
        let (_, list) = answer(&app, request(Method::GET, "/roles?tenant=acme")).await;
        assert_eq!(list["data"][0]["holders"], 2, "{list}");
        let (_, users) = answer(&app, request(Method::GET, "/users?tenant=acme")).await;
        let roles = users["data"].to_string();
        assert!(roles.contains("\"role\":\"auditor\""), "{roles}");

        // Nobody loses it unseen, and an export has it all.
        let (status, refused) = answer(&app, request(Method::DELETE, &role)).await;
        assert_eq!((status, &refused["code"]), (409, &json!("in_use")));
        let (_, export) = answer(&app, request(Method::GET, "/resources")).await;
        let text = serde_json::to_string(&export).expect("JSON");
        let (status, applied) = answer(&app, document(&text, "?prune=true")).await;
        assert_eq!(
            (status, &applied["changes"]),
            (200, &json!([])),
            "{applied}"
        );
        let without = "tenants: [{name: acme, roles: []}]";
        let (status, refused) = answer(&app, document(without, "?prune=true")).await;
        assert_eq!(status, 422, "{refused}");
        assert!(refused.to_string().contains(EMAIL), "{refused}");
        answer(
            &app,
            patch(&user, json!({"tenant": "acme", "role": "viewer"})),
        )
        .await;
        assert_eq!(answer(&app, ask("/keys")).await.0, 200);
    }
}

// Threats: T2, T8.
#[actix_rt::test]
async fn nobody_makes_a_role_that_allows_more_than_they_may() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let rights = [
            "groups:write",
            "roles:read",
            "roles:write",
            "users:read",
            "users:write",
            "keys:read",
        ];
        let (own, token) = holder(&app, "deputy", &rights).await;
        let (above, _) = holder(&app, "boss", &["keys:write"]).await;
        let order =
            |method: Method, path: &str, order: Value| by(&token, method, path).set_json(order);
        for (path, method, wanted, status) in [
            (
                "/roles",
                Method::POST,
                json!({"name": "a", "permissions": ["keys:read"]}),
                201,
            ),
            ("/roles", Method::POST, json!({"name": "a"}), 409),
            (
                "/roles",
                Method::POST,
                json!({"name": "b", "permissions": ["keys:write"]}),
                403,
            ),
            (
                "/roles",
                Method::POST,
                json!({"name": "c", "permissions": ["settings:write"]}),
                403,
            ),
            (
                "/roles",
                Method::POST,
                json!({"name": "d", "permissions": ["keys"]}),
                422,
            ),
            (
                "/roles",
                Method::POST,
                json!({"name": "e", "permissions": ["keys:read", "keys:read"]}),
                422,
            ),
            (
                "/roles",
                Method::POST,
                json!({"name": "owner", "permissions": []}),
                422,
            ),
            (
                "/roles",
                Method::POST,
                json!({"name": "platform_admin"}),
                422,
            ),
            (
                "/roles",
                Method::POST,
                json!({"tenant": "other", "name": "f"}),
                422,
            ),
            (&*above, Method::PATCH, json!({"permissions": []}), 403),
            (&*above, Method::PATCH, json!({"name": "less"}), 403),
            (&*above, Method::DELETE, json!(null), 403),
            (
                &*own,
                Method::PATCH,
                json!({"permissions": ["keys:write"]}),
                403,
            ),
            (
                "/invitations",
                Method::POST,
                json!({"email": "x@acme.example", "role": "boss"}),
                403,
            ),
            (
                "/invitations",
                Method::POST,
                json!({"email": "x@acme.example", "role": "nobody"}),
                422,
            ),
            (
                "/invitations",
                Method::POST,
                json!({"email": "x@acme.example", "role": "a"}),
                201,
            ),
        ] {
            let (answered, body) = answer(&app, order(method, path, wanted.clone())).await;
            assert_eq!(answered, status, "{path} {wanted}: {body}");
        }
        // Nor limits and budgets along with what is theirs to change.
        let limit = json!({"metric": "requests", "per": "day", "max": 9});
        for (path, method, wanted, status) in [
            (
                "/groups",
                Method::POST,
                json!({"name": "g", "limits": [limit]}),
                403,
            ),
            (
                "/groups",
                Method::POST,
                json!({"name": "g", "budgets": []}),
                403,
            ),
            ("/groups", Method::POST, json!({"name": "g"}), 201),
            (
                &*format!("/users/{}", somebody(&test).await.0),
                Method::PATCH,
                json!({"budgets": []}),
                403,
            ),
        ] {
            let (answered, body) = answer(&app, order(method, path, wanted.clone())).await;
            assert_eq!(answered, status, "{path} {wanted}: {body}");
        }
        // A role that an identity provider gives keeps its name, and stays.
        let provider = json!({"tenant": "acme", "name": "id", "issuer": "https://id.example", "client_id": "weir", "roles": [{"group": "*", "role": "boss"}]});
        assert_eq!(
            answer(&app, post("/identity-providers", provider)).await.0,
            201
        );
        for (method, wanted) in [
            (Method::PATCH, json!({"name": "other"})),
            (Method::DELETE, json!(null)),
        ] {
            let touched = answer(&app, request(method, &above).set_json(wanted)).await;
            assert_eq!(
                (touched.0, &touched.1["code"]),
                (409, &json!("in_use")),
                "{touched:?}"
            );
        }
        // The platform gives no tenant what holds on the platform, either.
        let wide = json!({"tenant": "acme", "name": "g", "permissions": ["settings:write"]});
        assert_eq!(answer(&app, post("/roles", wide)).await.0, 422);
        // Another tenant's role is none here.
        let foreign = json!({"tenant": "other", "name": "x", "role": "boss"});
        assert_eq!(answer(&app, post("/service-tokens", foreign)).await.0, 422);
        let user = format!("/users/{}", somebody(&test).await.0);
        let give = json!({"role": "boss"});
        assert_eq!(answer(&app, order(Method::PATCH, &user, give)).await.0, 403);
    }
}

#[actix_rt::test]
async fn a_role_with_a_word_of_another_time_allows_the_rest() {
    let test = sqlite().await;
    let app = app!(&test);
    answer(&app, document(PLATFORM, "")).await;
    let (role, token) = holder(&app, "auditor", &["audit:read", "usage:read"]).await;
    let id: uuid::Uuid = role["/roles/".len()..].parse().expect("an id");
    let db = &test.stores.config.write;
    let words = json!(["audit:read", "settings:write", "gone:read"]);
    let sql = "UPDATE roles SET permissions = $1, updated_ms = $2 WHERE id = $3";
    let values = [words.into(), now_ms().into(), id.into()];
    let backend = test.stores.config.backend();
    let statement = sea_orm::Statement::from_sql_and_values(backend, sql, values);
    sea_orm::ConnectionTrait::execute_raw(db, statement)
        .await
        .expect("written");
    let (_, me) = answer(&app, by(&token, Method::GET, "/me")).await;
    assert_eq!(me["permissions"], json!(["audit:read"]));
}
