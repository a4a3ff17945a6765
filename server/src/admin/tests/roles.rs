//! Every route with every role and another tenant's ids, as the table of routes says.

use weir_api_types::{
    manage::{AnyRole, PlatformRole},
    resources::Role,
};

use super::{super::routes::TABLE, *};
use crate::{
    access::Permission, admin::access::permissions_of, telemetry::generated::assert_current,
};

const BOTH: &str = "
channels: [{name: openai, kind: openai, base_url: 'https://api.openai.com/v1', credentials: [sk-first-secret]}]
models: [{name: m, routes: [{channel: openai}]}]
tenants:
  - {name: acme, users: [{email: a@acme.example}], limits: [{metric: requests, per: day, max: 40}], budgets: [{amount: '5', period: month}]}
  - {name: other, users: [{email: secret@other.example}], limits: [{metric: requests, per: day, max: 41}], budgets: [{amount: '6', period: month}]}
";

fn roles() -> impl Iterator<Item = AnyRole> {
    let platform = PlatformRole::ALL.into_iter().map(AnyRole::Platform);
    platform.chain(Role::ALL.into_iter().map(AnyRole::Tenant))
}

fn by(value: &str, method: &str, path: &str) -> TestRequest {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let request = request(method, path);
    request.insert_header((header::AUTHORIZATION, format!("Bearer {value}")))
}

fn token(name: &str, tenant: Option<&str>, role: AnyRole) -> TestRequest {
    let mut order = json!({"name": name, "role": role});
    if let Some(tenant) = tenant {
        order["tenant"] = tenant.into();
    }
    request(Method::POST, "/service-tokens").set_json(order)
}

fn key(tenant: &str, name: &str) -> TestRequest {
    request(Method::POST, "/keys").set_json(json!({"tenant": tenant, "name": name}))
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

// Threats: T8.
#[actix_rt::test]
async fn every_role_may_what_the_table_says_and_nothing_of_another_tenant() {
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        let (_, foreign_key) = answer(&app, key("other", "theirs")).await;
        let viewer = AnyRole::Tenant(Role::Viewer);
        let (_, foreign_token) = answer(&app, token("theirs", Some("other"), viewer)).await;
        for role in roles() {
            let is_platform = matches!(role, AnyRole::Platform(_));
            let tenant = (!is_platform).then_some("acme");
            let (status, made) = answer(&app, token(role.as_str(), tenant, role)).await;
            assert_eq!(status, 201, "{made}");
            let value = text(&made["value"]);
            for route in TABLE {
                let may = permissions_of(role).has(route.needs);
                let said = format!("{role:?} {} {}", route.method, route.path);
                // What it asks for exists, in the own tenant and in the other.
                let (own, foreign) = if route.path.starts_with("/keys") {
                    (answer(&app, key("acme", &said)).await.1, &foreign_key)
                } else {
                    (
                        answer(&app, token(&said, Some("acme"), viewer)).await.1,
                        &foreign_token,
                    )
                };
                let path = |of: &Value| match of["id"].as_str() {
                    Some(id) => route.path.replace("{id}", id),
                    None => route.path.to_owned(),
                };
                let call = |path: &str| by(&value, route.method, path).set_json(json!({}));
                if route.path.contains("{id}") {
                    let expected = if may && is_platform {
                        200
                    } else if may {
                        404
                    } else {
                        403
                    };
                    // An operator's deletion is not tried: what is foreign is to be there for the next role.
                    if !(is_platform && route.method == "DELETE") {
                        let (status, body) = answer(&app, call(&path(foreign))).await;
                        assert_eq!(status, expected, "{said}: {body}");
                    }
                }
                let (status, body) = answer(&app, call(&path(&own))).await;
                assert_eq!(status == 403, !may, "{said}: {status} {body}");
                assert!(
                    ![401, 404, 405, 500].contains(&status),
                    "{said}: {status} {body}"
                );
                assert!(
                    is_platform || !body.to_string().contains("other"),
                    "{said}: {body}"
                );
                // A question about usage filters by it, and finds nothing.
                let lists =
                    route.method == "GET" && !route.path.contains("{id}") && route.path != "/usage";
                if lists && !is_platform && may {
                    let named = format!("{}?tenant=other", route.path);
                    let (status, body) = answer(&app, call(&named)).await;
                    assert_eq!(status, 404, "{said}: {body}");
                }
            }
        }
    }
}

// Threats: T8.
#[actix_rt::test]
async fn a_token_gives_no_more_than_it_has_and_ends_at_once() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(BOTH, "")).await;
        let (admin, owner) = (AnyRole::Tenant(Role::Admin), AnyRole::Tenant(Role::Owner));
        let (_, made) = answer(&app, token("acme", Some("acme"), owner)).await;
        let value = text(&made["value"]);
        assert!(value.starts_with("wst-") && !made["hint"].to_string().contains(&value));
        let order = |order: Value| by(&value, "POST", "/service-tokens").set_json(order);
        for (wanted, status) in [
            (json!({"name": "a", "tenant": "acme", "role": "admin"}), 201),
            (
                json!({"name": "b", "tenant": "other", "role": "viewer"}),
                422,
            ),
            (json!({"name": "c", "role": "platform_viewer"}), 403),
            (
                json!({"name": "d", "tenant": "acme", "role": "platform_admin"}),
                422,
            ),
            (json!({"name": "e", "role": "viewer"}), 422),
            (json!({"name": "f", "tenant": "acme", "role": "god"}), 422),
            (json!({"name": "", "tenant": "acme", "role": "viewer"}), 422),
            (
                json!({"name": "a", "tenant": "acme", "role": "viewer"}),
                409,
            ),
            (
                json!({"name": "g", "tenant": "acme", "role": "viewer", "expires_at": "soon"}),
                422,
            ),
        ] {
            let (answered, body) = answer(&app, order(wanted.clone())).await;
            assert_eq!(answered, status, "{wanted}: {body}");
        }
        let wrong = format!("{}x", &value[..value.len() - 1]);
        assert_eq!(answer(&app, by(&wrong, "GET", "/keys")).await.0, 401);
        let path = format!("/service-tokens/{}", text(&made["id"]));
        let (_, found) = answer(&app, request(Method::GET, &path)).await;
        assert!(
            found["last_used_at"].is_string() && found["value"].is_null(),
            "{found}"
        );
        // Switched off, with the tenant suspended, ended, deleted: refused with the next request.
        let switch = |on: bool| request(Method::PATCH, &path).set_json(json!({"enabled": on}));
        let suspend = |on: bool| document(&format!("tenants: [{{name: acme, enabled: {on}}}]"), "");
        answer(&app, switch(false)).await;
        assert_eq!(answer(&app, by(&value, "GET", "/keys")).await.0, 401);
        answer(&app, switch(true)).await;
        assert_eq!(answer(&app, by(&value, "GET", "/keys")).await.0, 200);
        answer(&app, suspend(false)).await;
        assert_eq!(answer(&app, by(&value, "GET", "/keys")).await.0, 401);
        answer(&app, suspend(true)).await;
        assert_eq!(answer(&app, by(&value, "GET", "/keys")).await.0, 200);
        let (_, ended) = answer(
            &app,
            request(Method::POST, "/service-tokens").set_json(json!({
                "name": "ended", "tenant": "acme", "role": admin, "expires_at": "2020-01-01T00:00:00Z"
            })),
        )
        .await;
        let ended = text(&ended["value"]);
        assert_eq!(answer(&app, by(&ended, "GET", "/keys")).await.0, 401);
        assert_eq!(answer(&app, request(Method::DELETE, &path)).await.0, 204);
        assert_eq!(answer(&app, by(&value, "GET", "/keys")).await.0, 401);
    }
}

#[test]
fn the_page_of_permissions_is_current() {
    let mut page = String::from(
        "# Permissions\n\n\
         Made from `server/src/access` and `server/src/admin/routes.rs` by\n\
         `WEIR_UPDATE_DOCS=1 cargo test -p weir --lib the_page_of`; do not edit.\n\n\
         A role of a tenant holds in that tenant alone, one of the platform in every tenant. What is out of reach does not exist:\n\
         it is 404. What is in reach and not allowed is 403.\n\n\
         | permission | what it allows | owner | admin | finance | developer | viewer | platform_admin | platform_viewer |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for permission in Permission::ALL.iter().copied() {
        let mut cells = vec![format!("`{permission}`"), permission.meaning().to_owned()];
        let tenants = Role::ALL.into_iter().map(AnyRole::Tenant);
        let platform = PlatformRole::ALL.into_iter().map(AnyRole::Platform);
        cells.extend(tenants.chain(platform).map(|role| {
            let has = permissions_of(role).has(permission);
            if has { "yes" } else { "" }.to_owned()
        }));
        page.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    page.push_str("\n## Routes\n\n| route | needs |\n|---|---|\n");
    for route in TABLE {
        page.push_str(&format!(
            "| `{} /v1/admin{}` | `{}` |\n",
            route.method, route.path, route.needs
        ));
    }
    assert_current("docs/permissions.md", &page);
}
