//! Every route with every role and another tenant's ids, as the table of routes says.

use std::collections::HashMap;

use weir_api_types::{
    manage::{AnyRole, PlatformRole},
    resources::{Role, RoleName},
};

use super::{
    super::{access::Mark, routes::TABLE},
    *,
};
use crate::{
    access::{Permission, Permissions, of_platform_role, of_role},
    admin::openapi,
    clock::now_ms,
    secrets::Secret,
    store::{
        self,
        testing::event,
        usage::{bodies, book},
    },
    telemetry::generated::assert_current,
};

pub(super) const BOTH: &str = "
channels: [{name: openai, kind: openai, base_url: 'https://api.openai.com/v1', credentials: [sk-first-secret]}]
models: [{name: m, routes: [{channel: openai}]}]
tenants:
  - {name: acme, policies: {own_channels: true}, users: [{email: a@acme.example}], limits: [{metric: requests, per: day, max: 40}], budgets: [{amount: '5', period: month}]}
  - {name: other, policies: {own_channels: true}, users: [{email: secret@other.example}], limits: [{metric: requests, per: day, max: 41}], budgets: [{amount: '6', period: month}]}
";

pub(super) fn roles() -> impl Iterator<Item = AnyRole> {
    let platform = PlatformRole::ALL.into_iter().map(AnyRole::Platform);
    let tenants = Role::ALL.into_iter().map(RoleName::BuiltIn);
    platform.chain(tenants.map(AnyRole::Tenant))
}

/// What a role that is built in allows, wherever it holds.
pub(super) fn permissions_of(role: &AnyRole) -> Permissions {
    match role {
        AnyRole::Platform(role) => of_platform_role(*role),
        AnyRole::Tenant(RoleName::BuiltIn(role)) => of_role(*role),
        AnyRole::Tenant(RoleName::Own(name)) => panic!("{name} is not built in"),
    }
}

pub(super) fn by(value: &str, method: &str, path: &str) -> TestRequest {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let request = request(method, path);
    request.insert_header((header::AUTHORIZATION, format!("Bearer {value}")))
}

pub(super) fn token(name: &str, tenant: Option<&str>, role: &AnyRole) -> TestRequest {
    let mut order = json!({"name": name, "role": role});
    if let Some(tenant) = tenant {
        order["tenant"] = tenant.into();
    }
    request(Method::POST, "/service-tokens").set_json(order)
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// An operation, as the OpenAPI document has it.
pub(super) struct Operation {
    pub(super) method: String,
    /// Below `/v1/admin`.
    pub(super) path: String,
    /// None where it is open, or for any caller.
    pub(super) permission: Option<Permission>,
    /// Whether it is for everybody, known or not.
    pub(super) is_open: bool,
    /// Of what it takes in JSON, by the names of the schema's fields.
    pub(super) fields: Option<Vec<String>>,
    /// Of its query.
    pub(super) words: Vec<String>,
}

/// All of them. One that is new is tried as all others are.
pub(super) fn operations() -> Vec<Operation> {
    let document = openapi::value();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let needs = operation[openapi::PERMISSION]
                .as_str()
                .expect("what it needs");
            let mut permissions = Permission::ALL.iter().copied();
            let permission = permissions.find(|permission| permission.as_str() == needs);
            assert!(permission.is_some() || ["nothing", "any caller"].contains(&needs));
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let fields = schema["$ref"].as_str().map(|name| {
                let name = name.rsplit('/').next().expect("a name");
                let fields = &document["components"]["schemas"][name]["properties"];
                let fields = fields.as_object().expect("fields").keys();
                fields.cloned().collect()
            });
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let words = parameters.filter(|one| one["in"] == "query");
            let words = words.map(|one| text(&one["name"])).collect();
            all.push(Operation {
                method: method.to_uppercase(),
                path: path
                    .strip_prefix("/v1/admin")
                    .expect("the prefix")
                    .to_owned(),
                permission,
                is_open: needs == "nothing",
                fields,
                words,
            });
        }
    }
    assert_eq!(all.len(), TABLE.len());
    all
}

/// A request in the log.
async fn logged(test: &TestStores, tenant: &str) -> Value {
    let db = &test.stores.config.read;
    let tenant = store::tenants::named(db, tenant).await.expect("tenants");
    // After whatever was forgotten before.
    let mut event = event(now_ms() + 10, 1);
    event.tenant = tenant.expect("the tenant");
    let (id, tenant) = (event.id, event.tenant);
    book(&test.stores.usage, &[event]).await.expect("booked");
    let body = json!({"content": "said", "bytes": 4, "is_cut": false});
    let both = json!({"request": body, "response": body});
    let place = crate::jobs::keep_bodies::place(id.0, tenant.0);
    let sealed = Sealer::new(&[7; 32]).seal(&Secret::new(both.to_string()), place);
    let kept = bodies::Kept {
        id,
        tenant,
        expires_ms: now_ms() + 3_600_000,
        tools: bodies::Tools::default(),
        sealed: sealed.expect("sealed"),
    };
    let kept = bodies::keep(&test.stores.usage, &[kept]).await;
    kept.expect("kept");
    json!({"id": id.to_string()})
}

/// What makes a thing of the kind that a path is about. None where it is not made by such a call.
pub(super) fn creation(kind: &str, tenant: &str, name: &str) -> Option<Value> {
    let owned = json!({"tenant": tenant, "name": name});
    let email = format!("{name}@{tenant}.example");
    Some(match kind {
        "keys" | "groups" | "roles" | "models" => owned,
        "service-tokens" => json!({"tenant": tenant, "name": name, "role": "viewer"}),
        "users" => json!({"tenant": tenant, "email": email}),
        // Nothing of the public network: a call there ends at once.
        "channels" => {
            json!({"tenant": tenant, "name": name, "kind": "openai", "base_url": "https://127.0.0.1/v1", "credentials": [name]})
        }
        "identity-providers" => {
            json!({"tenant": tenant, "name": name, "issuer": "https://id.example", "client_id": "weir"})
        }
        "limits" | "budgets" => {
            let rule = match kind {
                "limits" => json!({"metric": "requests", "per": "day", "max": 40}),
                _ => json!({"amount": "5", "period": "month"}),
            };
            json!({"scope": "group", "tenant": tenant, "name": format!("g{name}"), "rule": rule})
        }
        // Nobody of a tenant.
        "operators" => {
            json!({"email": format!("{name}@op.{tenant}.example"), "role": "platform_viewer"})
        }
        "invitations" => json!({"tenant": tenant, "email": email, "role": "viewer"}),
        "tenants" => json!({"name": format!("{tenant}{name}")}),
        _ => return None,
    })
}

/// A new thing of the kind that a path is about, and whose.
pub(super) async fn thing<S: Answers>(
    test: &TestStores,
    app: &S,
    path: &str,
    tenant: &str,
    name: &str,
) -> Value {
    let kind = path.split('/').nth(1).expect("a kind");
    match kind {
        "requests" => return logged(test, tenant).await,
        "tenants" if name == "own" => {
            let (_, list) = answer(app, request(Method::GET, "/tenants?tenant=acme")).await;
            return list["data"][0].clone();
        }
        // One that has no bounds of its own yet.
        "limits" | "budgets" => {
            let order = json!({"tenant": tenant, "name": format!("g{name}")});
            answer(app, request(Method::POST, "/groups").set_json(order)).await;
        }
        _ => {}
    }
    let Some(order) = creation(kind, tenant, name) else {
        return Value::Null;
    };
    let create = request(Method::POST, &format!("/{kind}")).set_json(order);
    let (status, made) = answer(app, create).await;
    assert_eq!(status, 201, "{path}: {made}");
    made
}

/// What a route takes, so that nothing but the caller is wrong.
pub(super) fn order(method: &str, path: &str) -> Value {
    match (method, path) {
        ("POST", "/channels/{id}/credentials") => {
            json!({"value": format!("sk-{}", uuid::Uuid::new_v4())})
        }
        ("PATCH", "/body-log") => json!({"tenant": "acme", "days": 7}),
        ("PATCH", "/limits/{id}") => {
            json!({"rule": {"metric": "requests", "per": "day", "max": 50}})
        }
        ("PATCH", "/budgets/{id}") => json!({"rule": {"amount": "7", "period": "month"}}),
        _ => json!({}),
    }
}

// Threats: T1, T8.
#[actix_rt::test]
async fn every_role_may_what_the_table_says_and_nothing_of_another_tenant() {
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        let mut count = 0;
        let mut things: HashMap<String, (Value, Value)> = HashMap::new();
        let operations = operations();
        for role in roles() {
            let is_platform = matches!(role, AnyRole::Platform(_));
            let tenant = (!is_platform).then_some("acme");
            let (status, made) = answer(&app, token(role.as_str(), tenant, &role)).await;
            assert_eq!(status, 201, "{made}");
            let value = text(&made["value"]);
            for route in &operations {
                // What needs no permission is about whoever calls, and is tried where that is tested.
                let Some(needs) = route.permission else {
                    continue;
                };
                // Nor do tokens have keys of their own.
                if route.path.starts_with("/me/") {
                    continue;
                }
                let may = permissions_of(&role).has(needs);
                let said = format!("{role:?} {} {}", route.method, route.path);
                let path = |of: &Value| {
                    let path = match of["id"].as_str() {
                        Some(id) => route.path.replace("{id}", id),
                        None => route.path.clone(),
                    };
                    let credential = of["pool"][0]["id"].as_str().unwrap_or_default();
                    path.replace("{credential}", credential)
                };
                let call = |path: &str| {
                    by(&value, &route.method, path).set_json(order(&route.method, &route.path))
                };
                count += 1;
                // What it asks for exists, in the own tenant and in the other; what goes is made anew.
                let kind = route.path.split('/').nth(1).expect("a kind");
                // Bodies go with a tenant's whole log of them.
                let is_left = route.method != "DELETE" && !route.path.ends_with("/bodies");
                let goes = may && !is_left;
                let (own, foreign) = match (route.path.contains("{id}"), things.get(kind)) {
                    (false, _) => (Value::Null, Value::Null),
                    (true, Some((own, foreign))) if !goes => (own.clone(), foreign.clone()),
                    (true, _) => {
                        let name = match kind == "tenants" && !goes {
                            true => "own".to_owned(),
                            false => format!("x{count}"),
                        };
                        let own = thing(&test, &app, &route.path, "acme", &name).await;
                        let foreign =
                            thing(&test, &app, &route.path, "other", &format!("y{count}")).await;
                        if !goes {
                            things.insert(kind.to_owned(), (own.clone(), foreign.clone()));
                        }
                        (own, foreign)
                    }
                };
                if route.path.contains("{id}") {
                    let (status, body) = answer(&app, call(&path(&foreign))).await;
                    let as_expected = match (may, is_platform) {
                        (true, true) => (200..300).contains(&status),
                        (true, false) => status == 404,
                        (false, _) => status == 403,
                    };
                    assert!(as_expected, "{said}: {status} {body}");
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
                let filters = ["/usage", "/requests", "/requests/facets"];
                let lists = route.method == "GET"
                    && !route.path.contains("{id}")
                    && !filters.contains(&route.path.as_str());
                if lists && !is_platform && may {
                    let named = format!("{}?tenant=other", route.path);
                    let (status, body) = answer(&app, call(&named)).await;
                    assert_eq!(status, 404, "{said}: {body}");
                }
            }
        }
    }
}

/// What is nobody's to say, in no order: the whole of them is refused, before anything happens.
// Threats: T2.
#[actix_rt::test]
async fn no_order_takes_a_field_that_is_not_its_own() {
    let test = sqlite().await;
    let app = app!(&test);
    let nobody = uuid::Uuid::new_v4().to_string();
    for operation in operations() {
        let Some(fields) = &operation.fields else {
            continue;
        };
        let path = operation.path.replace("{id}", &nobody);
        let path = path.replace("{credential}", &nobody);
        for field in [
            "role",
            "tenant_id",
            "permissions",
            "is_platform",
            "platform_role",
            "balance",
            "spent",
            "key_hash",
            "created_by",
            "id",
            "owner",
            "email_proven",
        ] {
            if fields.iter().any(|known| known == field) {
                continue;
            }
            let order = by(TOKEN, &operation.method, &path).set_json(json!({field: "x"}));
            let (status, body) = answer(&app, order).await;
            let told = body["errors"][0]["message"].as_str().unwrap_or_default();
            assert!(
                status == 422 && told.contains(field),
                "{} {}: {field}: {status} {body}",
                operation.method,
                operation.path
            );
        }
    }
}

// Threats: T8.
#[actix_rt::test]
async fn a_token_gives_no_more_than_it_has_and_ends_at_once() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(BOTH, "")).await;
        let built_in = |role| AnyRole::Tenant(RoleName::BuiltIn(role));
        let (admin, owner) = (built_in(Role::Admin), built_in(Role::Owner));
        let (_, made) = answer(&app, token("acme", Some("acme"), &owner)).await;
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
        // What a token makes ends with it.
        let soon = json!({
            "name": "soon", "tenant": "acme", "role": admin, "expires_at": "2099-01-01T00:00:00Z"
        });
        let (_, soon) = answer(&app, order(soon)).await;
        let child = |name: &str, ends: Value| {
            let order =
                json!({"name": name, "tenant": "acme", "role": "viewer", "expires_at": ends});
            by(&text(&soon["value"]), "POST", "/service-tokens").set_json(order)
        };
        for (name, ends, status) in [
            ("later", json!("2099-01-01T00:00:01Z"), 422),
            ("never", Value::Null, 201),
            ("before", json!("2098-01-01T00:00:00Z"), 201),
        ] {
            let (answered, made) = answer(&app, child(name, ends.clone())).await;
            assert_eq!(answered, status, "{name}: {made}");
            if status == 201 {
                let ends = if ends.is_null() {
                    &soon["expires_at"]
                } else {
                    &ends
                };
                assert_eq!(&made["expires_at"], ends, "{made}");
            } else {
                assert_eq!(made["errors"][0]["path"], "expires_at", "{made}");
            }
        }
        let last = if value.ends_with('x') { "y" } else { "x" };
        let wrong = format!("{}{last}", &value[..value.len() - 1]);
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
        let tenants = Role::ALL.into_iter().map(of_role);
        let platform = PlatformRole::ALL.into_iter().map(of_platform_role);
        cells.extend(tenants.chain(platform).map(|allowed| {
            let has = allowed.has(permission);
            if has { "yes" } else { "" }.to_owned()
        }));
        page.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    page.push_str(&format!(
        "\n## Routes\n\nWhat says *lately* is for people alone who showed within the last {} minutes who they are: by signing in, with a provider\n\
         that was told to ask (`again=true`), or by `POST /v1/admin/me/proof`. So is another address for somebody, and a role for them\n\
         that gives roles itself. Tokens are shown with each call.\n\n\
         | route | needs | |\n|---|---|---|\n",
        crate::access::FRESH_MS / 60_000
    ));
    for route in TABLE {
        let lately = if route.mark == Mark::Fresh {
            "lately"
        } else {
            ""
        };
        page.push_str(&format!(
            "| `{} /v1/admin{}` | `{}` | {lately} |\n",
            route.method, route.path, route.needs
        ));
    }
    assert_current("docs/permissions.md", &page);
}
