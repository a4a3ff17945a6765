//! Lists with whatever somebody puts into their queries.

use super::{roles::creation, *};
use crate::admin::openapi;

const BOTH: &str = "
channels: [{name: openai, kind: openai, base_url: 'https://api.openai.com/v1', credentials: [sk-first-secret]}]
models: [{name: m, routes: [{channel: openai}]}]
tenants:
  - {name: acme, groups: [{name: g}], users: [{email: a@acme.example}], keys: [{name: k}], roles: [{name: r}], limits: [{metric: requests, per: day, max: 40}], budgets: [{amount: '5', period: month}]}
  - {name: canary, groups: [{name: canary}], users: [{email: canary@other.example}], keys: [{name: canary}], roles: [{name: canary}], limits: [{metric: requests, per: day, max: 41}], budgets: [{amount: '6', period: month}]}
";

/// Paths that answer lists, and what their queries may say, as the OpenAPI document has it.
fn lists() -> Vec<(String, Vec<String>)> {
    let document = openapi::value();
    let paths = document["paths"].as_object().expect("paths");
    let lists = paths.iter().filter_map(|(path, item)| {
        let parameters = item["get"]["parameters"].as_array();
        let names = parameters.into_iter().flatten();
        let names = names.filter(|one| one["in"] == "query");
        let names = names.map(|one| one["name"].as_str().expect("a name").to_owned());
        let path = path.strip_prefix("/v1/admin")?.to_owned();
        let is_asked = item["get"][openapi::PERMISSION] != "nothing" && !path.contains("{id}");
        (item["get"].is_object() && is_asked).then(|| (path, names.collect()))
    });
    lists.collect()
}

// Threats: T10.
#[actix_rt::test]
async fn no_query_shows_more_than_the_list() {
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        let order = json!({"tenant": "acme", "name": "owner", "role": "owner"});
        let (_, made) = answer(
            &app,
            request(Method::POST, "/service-tokens").set_json(order),
        )
        .await;
        let token = made["value"].as_str().expect("a value").to_owned();
        let by = |path: &str| {
            let request = request(Method::GET, path);
            request.insert_header((header::AUTHORIZATION, format!("Bearer {token}")))
        };
        // An id of the other tenant's, for a cursor, and one that comes before all others.
        let (_, groups) = answer(&app, request(Method::GET, "/groups?tenant=canary")).await;
        let foreign = groups["data"][0]["id"].as_str().expect("an id").to_owned();
        let nil = uuid::Uuid::nil().to_string();
        let mut tried = 0;
        for (path, names) in lists() {
            if answer(&app, by(&path)).await.0 != 200 {
                continue;
            }
            let has = |name: &str| names.iter().any(|known| known == name);
            for (name, value) in [
                ("sort", "password_hash"),
                ("order", "password_hash"),
                ("filter[tenant_id]", "canary"),
                ("fields", "*"),
                ("tenant_id", "canary"),
                ("where", "1=1"),
                ("limit", "1e9"),
                ("limit", "0"),
                ("limit", "-1"),
                ("limit", "1001"),
                ("cursor", "'%20OR%201=1--"),
                ("cursor", "%00"),
                ("cursor", ""),
                ("cursor", &*foreign),
                ("cursor", &*nil),
                ("by", "password"),
                ("tenant", "canary"),
                ("user", "'; DROP TABLE users"),
                ("from", "yesterday"),
            ] {
                let query = format!(
                    "{path}?{name}={}",
                    value.replace(' ', "%20").replace('\'', "%27")
                );
                let (status, body) = answer(&app, by(&query)).await;
                tried += 1;
                // What is known of a list may be said of it, and finds nothing that is not there anyway.
                let wanted: &[u16] = if has(name) {
                    &[200, 400, 404, 422]
                } else {
                    &[200, 400, 422]
                };
                assert!(wanted.contains(&status), "{query}: {status} {body}");
                assert!(
                    !body["data"].to_string().contains("canary"),
                    "{query}: {body}"
                );
                if has("limit") && !has(name) {
                    assert!(
                        [400, 422].contains(&status),
                        "{query} is refused: {status} {body}"
                    );
                }
            }
        }
        assert!(tried > 200, "{tried}");
    }
}

// Threats: T15.
#[actix_rt::test]
async fn developers_lead_nobody_elsewhere_and_owners_see_who_does() {
    let test = sqlite().await;
    let app = app!(&test);
    let with_own = "tenants: [{name: acme, policies: {own_channels: true}}]";
    answer(&app, document(with_own, "")).await;
    let token = async |role: &str| {
        let order = json!({"tenant": "acme", "name": role, "role": role});
        let (_, made) = answer(
            &app,
            request(Method::POST, "/service-tokens").set_json(order),
        )
        .await;
        made["value"].as_str().expect("a value").to_owned()
    };
    let (developer, admin, owner) = (
        token("developer").await,
        token("admin").await,
        token("owner").await,
    );
    let by = |token: &str, method: Method, path: &str| {
        let request = request(method, path);
        request.insert_header((header::AUTHORIZATION, format!("Bearer {token}")))
    };
    let channel = json!({"name": "elsewhere", "kind": "openai", "base_url": "https://elsewhere.example/v1", "credentials": ["sk-x"]});
    let model = json!({"name": "m", "routes": [{"channel": "elsewhere"}]});
    let make = |token: &str| by(token, Method::POST, "/channels").set_json(&channel);
    assert_eq!(answer(&app, make(&developer)).await.0, 403);
    let (status, made) = answer(&app, make(&admin)).await;
    assert_eq!(status, 201, "{made}");
    let path = format!("/channels/{}", made["id"].as_str().expect("an id"));
    let moved = json!({"base_url": "https://other.example/v1"});
    for (method, path, order) in [
        (Method::POST, "/models", model),
        (Method::PATCH, &*path, moved),
        (Method::DELETE, &*path, Value::Null),
    ] {
        let (status, _) = answer(&app, by(&developer, method, path).set_json(order)).await;
        assert_eq!(status, 403, "{path}");
    }
    let (_, log) = answer(&app, by(&owner, Method::GET, "/audit-log")).await;
    let rows = log["data"].as_array().expect("rows");
    let told = rows.iter().find(|row| row["object"] == "elsewhere");
    let told = told.expect("the owners are told");
    assert_eq!(
        (&told["actor_name"], &told["after"]["base_url"]),
        (&json!("admin"), &json!("https://elsewhere.example/v1"))
    );
}

/// All pages of a list, of so many rows, and the names on them.
async fn names<S: Answers>(app: &S, path: &str, rows: usize, field: &str) -> Vec<String> {
    let (mut names, mut cursor) = (Vec::new(), None);
    loop {
        let after = cursor.map_or(String::new(), |cursor| format!("&cursor={cursor}"));
        let path = format!("{path}&limit={rows}{after}");
        let (status, page) = answer(app, request(Method::GET, &path)).await;
        assert_eq!(status, 200, "{path}: {page}");
        let data = page["data"].as_array().expect("rows");
        assert!(data.len() <= rows, "{path}");
        names.extend(
            data.iter()
                .map(|row| row[field].as_str().expect("a name").to_owned()),
        );
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return names;
        }
    }
}

/// Neither the order of their names nor that of their making in the test.
const AS_MADE: [&str; 6] = ["echo", "alpha-2", "charlie", "delta", "bravo", "alpha-1"];

/// As if they had been made long ago, one after the other.
async fn made_in_another_order(test: &TestStores, kind: &str, column: &str) {
    let table = match kind {
        "keys" => "proxy_keys".to_owned(),
        "invitations" => "one_time_links".to_owned(),
        "operators" => "users".to_owned(),
        kind => kind.replace('-', "_"),
    };
    for (at, name) in AS_MADE.into_iter().enumerate() {
        let sql = format!("UPDATE {table} SET created_ms = {at} WHERE {column} LIKE '%{name}%'");
        let db = &test.stores.config.write;
        sea_orm::ConnectionTrait::execute_unprepared(db, &sql)
            .await
            .expect("SQL");
    }
}

#[actix_rt::test]
async fn what_has_names_is_found_by_them_and_sorted_on_all_pages() {
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        let mut kinds = 0;
        for (path, words) in lists() {
            let kind = path.trim_start_matches('/');
            let (Some(_), true) = (
                creation(kind, "acme", "x"),
                words.iter().any(|word| word == "sort"),
            ) else {
                continue;
            };
            kinds += 1;
            for name in ["delta", "alpha-1", "echo", "bravo", "alpha-2", "charlie"] {
                let order = creation(kind, "acme", name).expect("an order");
                let made = request(Method::POST, &path).set_json(order);
                assert_eq!(answer(&app, made).await.0, 201, "{path}");
            }
            let field = match kind {
                "users" | "invitations" | "operators" => "email",
                _ => "name",
            };
            made_in_another_order(&test, kind, field).await;
            let list = |words: &str| format!("{path}?{words}");
            let as_made = names(&app, &list("tenant=acme"), 1_000, field).await;
            let as_made = match kind {
                "tenants" | "operators" => names(&app, &list(""), 1_000, field).await,
                _ => as_made,
            };
            let tenant = if ["tenants", "operators"].contains(&kind) {
                ""
            } else {
                "tenant=acme&"
            };
            for (sort, back) in [("name", "-name"), ("created_at", "-created_at")] {
                let whole = names(&app, &list(&format!("{tenant}sort={sort}")), 1_000, field).await;
                let pages = names(&app, &list(&format!("{tenant}sort={sort}")), 2, field).await;
                assert_eq!(whole, pages, "{path} {sort}");
                let mut back = names(&app, &list(&format!("{tenant}sort={back}")), 3, field).await;
                back.reverse();
                assert_eq!(whole, back, "{path} {sort}");
                let sorted = |mut names: Vec<String>| {
                    names.sort_unstable();
                    names
                };
                assert_eq!(sorted(whole.clone()), sorted(as_made.clone()), "{path}");
                if sort == "name" {
                    assert!(whole.is_sorted(), "{path}: {whole:?}");
                } else {
                    let first = whole.iter().zip(AS_MADE);
                    let as_made = first.into_iter().all(|(name, made)| name.contains(made));
                    assert!(as_made, "{path}: {whole:?}");
                }
            }
            let found = names(&app, &list(&format!("{tenant}q=ALPHA-")), 1, field).await;
            assert_eq!(found.len(), 2, "{path}: {found:?}");
            assert!(
                found.is_sorted() && found[0].contains("alpha-1"),
                "{found:?}"
            );
            for (nothing, words) in [
                ("what LIKE would read", "q=%25"),
                ("what is off", "enabled=false"),
            ] {
                let found = names(&app, &list(&format!("{tenant}{words}")), 10, field).await;
                assert!(found.is_empty(), "{path}: {nothing}: {found:?}");
            }
            // One is switched off, where such things are.
            let (_, page) = answer(
                &app,
                request(Method::GET, &list(&format!("{tenant}q=echo"))),
            )
            .await;
            let echo = &page["data"][0];
            if echo["enabled"].is_boolean() {
                let path = format!("{path}/{}", echo["id"].as_str().expect("an id"));
                let off = request(Method::PATCH, &path).set_json(json!({"enabled": false}));
                assert_eq!(answer(&app, off).await.0, 200, "{path}");
                let off = names(&app, &list(&format!("{tenant}enabled=false")), 10, field).await;
                assert_eq!(json!(off), json!([echo[field]]), "{path}");
                let on = names(&app, &list(&format!("{tenant}enabled=true")), 10, field).await;
                assert_eq!(on.len() + 1, as_made.len(), "{path}");
            }
            let (_, page) = answer(
                &app,
                request(Method::GET, &list(&format!("{tenant}sort=name&limit=1"))),
            )
            .await;
            let cursor = page["next_cursor"].as_str().expect("a cursor");
            for words in [
                format!("cursor={cursor}"),
                format!("sort=created_at&cursor={cursor}"),
                "sort=id".to_owned(),
                "sort=--name".to_owned(),
                "q=".to_owned(),
                "enabled=maybe".to_owned(),
            ] {
                let (status, body) = answer(
                    &app,
                    request(Method::GET, &list(&format!("{tenant}{words}"))),
                )
                .await;
                assert_eq!(
                    (status, &body["code"]),
                    (400, &json!("invalid_query")),
                    "{words}"
                );
            }
        }
        assert_eq!(kinds, 11);
    }
}

#[actix_rt::test]
async fn keys_are_found_by_whose_they_are_and_people_by_what_they_may() {
    const FILE: &str = "
tenants:
  - name: acme
    roles: [{name: auditor, permissions: ['usage:read']}]
    groups: [{name: team}]
    users: [{email: a@acme.example, role: auditor}, {email: b@acme.example, role: admin, enabled: false}]
    keys: [{name: hers, user: a@acme.example}, {name: theirs, group: team}, {name: off, enabled: false}]
  - {name: other, groups: [{name: team}], keys: [{name: elsewhere, group: team}], users: [{email: b@acme.example, role: viewer}]}
";
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(FILE, "")).await.0, 200);
        for (list, field, wanted) in [
            ("/keys?user=A@acme.example", "name", vec!["hers"]),
            ("/keys?user=nobody@acme.example", "name", vec![]),
            (
                "/keys?group=team&sort=name",
                "name",
                vec!["elsewhere", "theirs"],
            ),
            ("/keys?group=team&tenant=acme", "name", vec!["theirs"]),
            ("/keys?enabled=false", "name", vec!["off"]),
            ("/users?role=auditor", "email", vec!["a@acme.example"]),
            (
                "/users?role=admin&tenant=acme",
                "email",
                vec!["b@acme.example"],
            ),
            ("/users?role=admin&tenant=other", "email", vec![]),
            ("/users?role=viewer", "email", vec!["b@acme.example"]),
            (
                "/users?enabled=false&role=admin",
                "email",
                vec!["b@acme.example"],
            ),
            ("/users?role=none", "email", vec![]),
        ] {
            assert_eq!(names(&app, list, 2, field).await, wanted, "{list}");
        }
    }
}
