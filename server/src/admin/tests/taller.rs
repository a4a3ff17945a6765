//! Nobody becomes more than they are, or makes anybody so: each role, with each operation that gives one, for each role.

use weir_api_types::{manage::AnyRole, resources::Role};

use super::{
    roles::{BOTH, Operation, by, operations, permissions_of, roles, text, token},
    *,
};
use crate::access::{Permission, of_role};

/// What gives somebody, or something, a role; the document has no others.
const GIVERS: [(&str, &str, &str); 11] = [
    ("POST", "/operators", "role"),
    ("PATCH", "/operators/{id}", "role"),
    ("POST", "/users", "role"),
    ("PATCH", "/users/{id}", "role"),
    ("POST", "/invitations", "role"),
    ("POST", "/service-tokens", "role"),
    ("POST", "/roles", "permissions"),
    ("PATCH", "/roles/{id}", "permissions"),
    ("POST", "/identity-providers", "roles"),
    ("PATCH", "/identity-providers/{id}", "roles"),
    ("POST", "/resources/apply", ""),
];

/// Fields by which a role is given.
const FIELDS: [&str; 4] = ["role", "roles", "permissions", "platform_role"];

/// Something of acme's that a role can be given to.
async fn holder<S: Answers>(app: &S, path: &str, name: &str, role: &str) -> Value {
    let (path, order) = match path {
        "/users/{id}" => (
            "/users",
            json!({"tenant": "acme", "email": format!("{name}@acme.example"), "role": role}),
        ),
        "/operators/{id}" => (
            "/operators",
            json!({"email": format!("{name}@acme.example"), "role": "platform_viewer"}),
        ),
        "/roles/{id}" => ("/roles", json!({"tenant": "acme", "name": name})),
        "/identity-providers/{id}" => (
            "/identity-providers",
            json!({"tenant": "acme", "name": name, "issuer": "https://id.example", "client_id": "weir"}),
        ),
        _ => return Value::Null,
    };
    let (status, made) = answer(app, request(Method::POST, path).set_json(order)).await;
    assert_eq!(status, 201, "{made}");
    made
}

/// An order that gives a role.
fn giving(operation: &Operation, name: &str, role: &AnyRole) -> Value {
    let email = format!("{name}@acme.example");
    match operation.path.as_str() {
        "/users" | "/invitations" => json!({"tenant": "acme", "email": email, "role": role}),
        "/service-tokens" => json!({"tenant": "acme", "name": name, "role": role}),
        "/roles" => {
            json!({"tenant": "acme", "name": name, "permissions": permissions_of(role).words()})
        }
        "/identity-providers" => json!({
            "tenant": "acme", "name": name, "issuer": "https://id.example", "client_id": "weir",
            "roles": [{"group": "*", "role": role}],
        }),
        "/roles/{id}" => json!({"permissions": permissions_of(role).words()}),
        "/identity-providers/{id}" => json!({"roles": [{"group": "*", "role": role}]}),
        "/users/{id}" | "/operators/{id}" => json!({"role": role}),
        "/operators" => json!({"email": email, "role": role}),
        path => panic!("{path} gives a role and is not tried"),
    }
}

// Threats: T2.
#[actix_rt::test]
async fn no_role_gives_another_one_more_than_it_has() {
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        // Somebody stays the owner.
        let owner = json!({"tenant": "acme", "email": "owner@acme.example", "role": "owner"});
        answer(&app, request(Method::POST, "/users").set_json(owner)).await;
        let operations = operations();
        let givers: Vec<&Operation> = operations
            .iter()
            .filter(|one| {
                let fields = one.fields.iter().flatten();
                let gives = fields
                    .into_iter()
                    .any(|field| FIELDS.contains(&field.as_str()));
                gives && one.method != "GET"
            })
            .collect();
        for one in &givers {
            let known = GIVERS
                .iter()
                .any(|(method, path, _)| one.method == *method && one.path == *path);
            assert!(known, "{} {} is not in the table", one.method, one.path);
        }
        // A file is taken as YAML, and has no fields there.
        assert_eq!(givers.len(), GIVERS.len() - 1);
        let mut allowed = 0;
        for (at, caller) in roles().enumerate() {
            let tenant = matches!(caller, AnyRole::Tenant(_)).then_some("acme");
            let (status, made) = answer(&app, token(&format!("c{at}"), tenant, &caller)).await;
            assert_eq!(status, 201, "{made}");
            let value = text(&made["value"]);
            let has = permissions_of(&caller);
            for one in &givers {
                let permission = one.permission.expect("one that it needs");
                for (to, role) in roles().enumerate() {
                    let name = format!("n{at}-{to}-{}", one.method.to_lowercase());
                    let name = format!("{name}{}", one.path.len());
                    let held = holder(&app, &one.path, &name, "viewer").await;
                    let path = one
                        .path
                        .replace("{id}", held["id"].as_str().unwrap_or_default());
                    let order = giving(one, &name, &role);
                    let said = format!("{caller:?}: {} {path} {order}", one.method);
                    let call = by(&value, &one.method, &path).set_json(order);
                    let (status, body) = answer(&app, call).await;
                    // What holds on the platform is given to nobody in a tenant, not even by it, nor the other way round.
                    let is_for_tenants = matches!(role, AnyRole::Tenant(_));
                    let is_for_them = is_for_tenants != one.path.starts_with("/operators");
                    let may = has.has(permission) && has.covers(permissions_of(&role));
                    let is_done = (200..300).contains(&status);
                    assert_eq!(is_done, may && is_for_them, "{said}: {status} {body}");
                    let refused = [403, 422].contains(&status);
                    assert!(is_done || refused, "{said}: {status} {body}");
                    allowed += u32::from(is_done);
                    // There can be so many of them.
                    for made in [&held, &body] {
                        if let (true, Some(id)) =
                            (one.path.contains("provider"), made["id"].as_str())
                        {
                            let path = format!("/identity-providers/{id}");
                            answer(&app, request(Method::DELETE, &path)).await;
                        }
                    }
                }
            }
            // Nor does anybody change, put out or switch off whoever may more than they.
            for (to, role) in Role::ALL.into_iter().enumerate() {
                for (which, (method, order)) in [
                    ("PATCH", json!({"role": "viewer"})),
                    ("PATCH", json!({"enabled": false})),
                    ("PATCH", json!({"name": "x"})),
                    ("DELETE", Value::Null),
                ]
                .into_iter()
                .enumerate()
                {
                    let name = format!("h{at}-{to}-{which}");
                    let held = holder(&app, "/users/{id}", &name, role.as_str()).await;
                    let path = format!("/users/{}", text(&held["id"]));
                    let call = by(&value, method, &path).set_json(&order);
                    let (status, body) = answer(&app, call).await;
                    let may = has.has(Permission::UsersWrite) && has.covers(of_role(role));
                    let said = format!("{caller:?}: {method} {order} of {role:?}: {status} {body}");
                    assert_eq!((200..300).contains(&status), may, "{said}");
                    assert!(may || status == 403, "{said}");
                }
            }
        }
        assert!(allowed > 30, "{allowed}");
    }
}
