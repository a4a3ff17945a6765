//! What is left of a tenant that is deleted.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait as _, Statement};
use weir_api_types::{
    limit::{Limit as Rule, Metric, Per},
    resources::Role,
};

use super::{
    login::{PASSWORD, by, cookie_of, plain, signing_in, token_of, whole},
    *,
};
use crate::{
    catalog::{Catalog, Kind},
    clock::now_ms,
    secrets::{Place, Secret},
    store::{
        self,
        testing::event,
        usage::{
            bodies::{self, Kept, Tools},
            book,
        },
    },
    tenancy::{
        KeyId, Limit, LimitId, MemberRole, Membership, Owner, Person, ProxyKey, Scope, TenantId,
        UserId, key::KeySecret,
    },
};

const CANARY: &str = "canary4711";

/// What was used and done stays, without what was said.
const STAYS: [&str; 6] = [
    "audit_log",
    "catalog_changes",
    "usage_",
    "attempt_rollups",
    "budget_alerts",
    "forgotten_bodies",
];

async fn made<S: Answers>(app: &S, path: &str, order: Value) -> Value {
    let (status, made) = answer(app, request(Method::POST, path).set_json(order)).await;
    assert_eq!(status, 201, "{path}: {made}");
    made
}

/// The tenant with one of everything.
async fn tenant<S: Answers>(test: &TestStores, app: &S) -> TenantId {
    let file = format!(
        "channels: [{{name: {CANARY}, tenant: {CANARY}, kind: openai, base_url: 'https://{CANARY}.example/v1', credentials: [sk-{CANARY}-secret-value]}}]
models: [{{name: {CANARY}, tenant: {CANARY}, routes: [{{channel: {CANARY}}}]}}]
tenants:
  - {{name: {CANARY}, policies: {{own_channels: true}}, groups: [{{name: {CANARY}}}], roles: [{{name: {CANARY}}}], users: [{{email: {CANARY}@x.example, groups: [{CANARY}]}}], keys: [{{name: {CANARY}, user: {CANARY}@x.example}}], limits: [{{metric: requests, per: day, max: 4711}}]}}
  - {{name: beside, users: [{{email: both@x.example}}]}}"
    );
    let (status, applied) = answer(app, document(&file, "")).await;
    assert_eq!(status, 200, "{applied}");
    let both = json!({"tenant": CANARY, "email": "both@x.example"});
    made(app, "/users", both).await;
    for (path, order) in [
        (
            "/service-tokens",
            json!({"tenant": CANARY, "name": CANARY, "role": "viewer"}),
        ),
        (
            "/invitations",
            json!({"tenant": CANARY, "email": format!("{CANARY}@y.example"), "role": "viewer"}),
        ),
        (
            "/identity-providers",
            json!({"tenant": CANARY, "name": CANARY, "issuer": format!("https://{CANARY}.example"), "client_id": CANARY}),
        ),
    ] {
        made(app, path, order).await;
    }
    let id = store::tenants::named(&test.stores.config.read, CANARY).await;
    id.expect("a look").expect("the tenant")
}

/// A call that was booked, and what was said in it.
async fn used(test: &TestStores, tenant: TenantId) {
    let mut used = event(now_ms() - 60_000, 1);
    used.tenant = tenant;
    let id = used.id;
    book(&test.stores.usage, &[used]).await.expect("booked");
    let place = Place {
        table: "kept_bodies",
        column: "sealed",
        row: id.0,
        tenant: Some(tenant.0),
    };
    let sealed = Sealer::new(&[7; 32]).seal(&Secret::new("said"), place);
    let kept = Kept {
        id,
        tenant,
        expires_ms: now_ms() + 3_600_000,
        tools: Tools::default(),
        sealed: sealed.expect("sealed"),
    };
    let count = bodies::keep(&test.stores.usage, &[kept]).await;
    assert_eq!(count.expect("kept"), 1);
}

// Threats: T14.
#[actix_rt::test]
async fn nothing_of_a_deleted_tenant_is_left_but_what_was_used_and_done() {
    for test in all().await {
        let app = app!(&test);
        let id = tenant(&test, &app).await;
        used(&test, id).await;
        // Somebody who is nowhere else, signed in.
        let email = format!("{CANARY}@x.example");
        let (_, list) = answer(&app, request(Method::GET, &format!("/users?q={CANARY}"))).await;
        let user = list["data"][0]["id"].as_str().expect("an id").to_owned();
        let link = made(&app, &format!("/users/{user}/reset-link"), json!({})).await;
        let token = link["url"].as_str().and_then(|url| url.split_once('#'));
        let order = json!({"token": token.expect("a link").1, "password": PASSWORD});
        let set = plain(Method::POST, "/password-resets").set_json(order);
        assert_eq!(whole(&app, set).await.0, 204);
        let signed_in = whole(&app, signing_in(&email, PASSWORD)).await;
        let ids = [id.0, user.parse().expect("an id")];
        let before = traces(&test, ids).await;
        for table in [
            "users",
            "sessions",
            "memberships",
            "kept_bodies",
            "channels",
        ] {
            let is_there = before.iter().any(|trace| trace.starts_with(table));
            assert!(is_there, "{table}: {before:?}");
        }
        let path = format!("/tenants/{}", id.0);
        let (_, impact) = answer(&app, request(Method::GET, &format!("{path}/impact"))).await;
        let people = json!({"kind": "user", "count": 1});
        let goes = impact["goes_along"].as_array().expect("what goes");
        assert!(goes.contains(&people), "{impact}");
        assert_eq!(answer(&app, request(Method::DELETE, &path)).await.0, 204);
        assert_eq!(traces(&test, ids).await, Vec::<String>::new());
        // Whoever was nowhere else is nobody now; whoever was is what they were.
        let token = token_of(&signed_in);
        assert_eq!(whole(&app, by(&token, Method::GET, "/me")).await.0, 401);
        let refresh = plain(Method::POST, "/sign-in/refresh");
        let refresh = refresh.insert_header((header::COOKIE, cookie_of(&signed_in)));
        assert_eq!(whole(&app, refresh).await.0, 401);
        let again = whole(&app, signing_in(&email, PASSWORD)).await;
        assert_eq!(again.1["code"], "sign_in_failed");
        let (_, both) = answer(&app, request(Method::GET, "/users?q=both@x.example")).await;
        let places = both["data"][0]["memberships"].as_array();
        assert_eq!(places.map(Vec::len), Some(1), "{both}");
        // That they went is told.
        let (_, log) = answer(&app, request(Method::GET, "/audit-log?limit=5")).await;
        let rows = log["data"].as_array().expect("rows");
        let told = rows.iter().find(|row| row["action"] == "user:delete");
        assert_eq!(told.expect("a row")["object"], json!(email), "{log}");
        // The name is free again, and whoever takes it has nothing of it.
        let new = made(&app, "/tenants", json!({"name": CANARY})).await;
        assert_ne!(new["id"], json!(id.0.to_string()));
        for path in ["requests", "users", "keys", "invitations"] {
            let path = format!("/{path}?tenant={CANARY}");
            let (_, list) = answer(&app, request(Method::GET, &path)).await;
            assert_eq!(list["data"], json!([]), "{path}: {list}");
        }
    }
}

/// A key of somebody's in a tenant, and a limit on each of the two.
async fn key_with_limits(change: &mut store::Change, tenant: TenantId, user: UserId) {
    let secret = KeySecret {
        digest: rand::random(),
        expires_ms: None,
    };
    let key = ProxyKey {
        id: KeyId::random(),
        tenant,
        name: user.to_string(),
        owner: Owner::User(user),
        enabled: true,
        expires_ms: None,
        models: None,
        channels: Vec::new(),
        ip_allow: Vec::new(),
        secrets: vec![secret],
    };
    let put = store::keys::put(change.transaction(), &key, &HashMap::new(), 0).await;
    put.expect("a key");
    change.changed(Kind::Key, key.id.0);
    for scope in [Scope::User(tenant, user), Scope::Key(tenant, key.id)] {
        let limit = Limit {
            id: LimitId::random(),
            scope,
            rule: Rule::new(Metric::Requests, Some(Per::Day), 4_711),
            position: 0,
        };
        let put = store::limits::put(change.transaction(), &limit, Some(tenant), 0).await;
        put.expect("a limit");
        change.changed(Kind::Limit, limit.id.0);
    }
}

/// The catalog as an instance loads it that starts now.
async fn loaded(test: &TestStores) -> Catalog {
    let reading = store::catalog::load(&test.stores.config, &Sealer::new(&[7; 32])).await;
    Catalog::default().after(reading.expect("a catalog").delta)
}

/// More people than one question of the store may name.
#[actix_rt::test]
async fn a_large_tenant_goes_whole() {
    for test in all().await {
        let app = app!(&test);
        let file = "tenants: [{name: large}, {name: beside, users: [{email: both@x.example}]}]";
        assert_eq!(answer(&app, document(file, "")).await.0, 200);
        let stays = json!({"tenant": "beside", "name": "stays", "user": "both@x.example"});
        made(&app, "/keys", stays).await;
        let db = &test.stores.config;
        let id = store::tenants::named(&db.read, "large").await;
        let id = id.expect("a look").expect("the tenant");
        let mut change = store::Change::begin(&test.stores).await.expect("begun");
        let mut people = Vec::new();
        for at in 0..1_200 {
            let email = match at {
                0 => "both@x.example".to_owned(),
                at => format!("p{at}@x.example"),
            };
            let known = store::users::of_email(change.transaction(), &email).await;
            let stored = match known.expect("a look") {
                Some(known) => store::users::one(change.transaction(), known).await,
                None => Ok(None),
            };
            let mut person = stored.expect("a look").unwrap_or(Person::new(email));
            person.memberships.push(Membership {
                tenant: id,
                role: MemberRole::BuiltIn(Role::Developer),
                groups: Vec::new(),
            });
            let put = store::users::put(change.transaction(), &person, 0).await;
            put.expect("put");
            change.changed(Kind::User, person.id.0);
            if at % 10 == 0 {
                key_with_limits(&mut change, id, person.id).await;
            }
            people.push(person.id);
        }
        change.changed(Kind::Tenant, id.0);
        change.commit().await.expect("committed");
        // What an instance shows that has followed since, by what changes name.
        let known = loaded(&test).await;
        let shown = |catalog: &Catalog| {
            let users = people.iter().filter_map(|id| catalog.user(*id).cloned());
            let users: Vec<_> = users.collect();
            (users, catalog.counts(), catalog.all_limits().count())
        };
        let (users, counts, limits) = shown(&known);
        assert_eq!((users.len(), counts.0, limits), (1_200, 121, 240));
        let path = format!("/tenants/{}", id.0);
        let (_, impact) = answer(&app, request(Method::GET, &format!("{path}/impact"))).await;
        let goes = impact["goes_along"].as_array().expect("what goes");
        for (kind, count) in [("user", 1_199), ("key", 120), ("limit", 240)] {
            let going = json!({"kind": kind, "count": count});
            assert!(goes.contains(&going), "{impact}");
        }
        let (status, body) = answer(&app, request(Method::DELETE, &path)).await;
        assert_eq!(status, 204, "{body}");
        let sealer = Sealer::new(&[7; 32]);
        let reading = store::catalog::changes_since(db, known.version(), &sealer).await;
        let delta = reading.expect("what changed").delta;
        assert!(!delta.full);
        let followed = known.after(delta);
        let (users, counts, limits) = shown(&followed);
        assert_eq!((users.len(), counts.0, limits), (1, 1, 0));
        assert_eq!(users[0].email, "both@x.example");
        assert!(followed.tenant(id).is_none());
        assert_eq!(shown(&followed), shown(&loaded(&test).await));
        for (path, left) in [
            ("/users", json!(["both@x.example"])),
            ("/keys", json!(["stays"])),
            ("/limits", json!([])),
        ] {
            let (_, list) = answer(&app, request(Method::GET, path)).await;
            let rows = list["data"].as_array().expect("rows").iter();
            let names = rows.map(|row| row.get("email").unwrap_or(&row["name"]).clone());
            assert_eq!(Value::Array(names.collect()), left, "{path}: {list}");
        }
        let verdict = answer(&app, request(Method::GET, "/audit-log/verify")).await;
        assert!(verdict.1["bad_row"].is_null(), "{verdict:?}");
    }
}

/// An operator is one wherever their tenant goes, by a file too.
#[actix_rt::test]
async fn an_operator_stays_when_their_tenant_goes() {
    for test in all().await {
        for by_file in [false, true] {
            let app = app!(&test);
            let file = "tenants: [{name: only, users: [{email: op@x.example}]}]";
            assert_eq!(answer(&app, document(file, "")).await.0, 200);
            let db = &test.stores.config;
            let sql = "UPDATE users SET platform_role = 'platform_admin'";
            db.write.execute_unprepared(sql).await.expect("SQL");
            let (status, body) = match by_file {
                true => answer(&app, document("tenants: []", "?prune=true")).await,
                false => {
                    let id = store::tenants::named(&db.read, "only").await;
                    let id = id.expect("a look").expect("the tenant");
                    answer(&app, request(Method::DELETE, &format!("/tenants/{}", id.0))).await
                }
            };
            assert!([200, 204].contains(&status), "{body}");
            let user = store::users::of_email(&db.read, "op@x.example").await;
            assert!(user.expect("a look").is_some(), "{by_file}");
        }
    }
}

/// The columns that hold the word, or one of the ids.
async fn traces(test: &TestStores, ids: [uuid::Uuid; 2]) -> Vec<String> {
    let mut found = Vec::new();
    for db in [&test.stores.config, &test.stores.usage] {
        let all = async |sql: String| {
            let rows = Statement::from_string(db.backend(), sql);
            db.read.query_all_raw(rows).await.expect("rows")
        };
        let is_sqlite = db.backend() == sea_orm::DbBackend::Sqlite;
        let tables = match is_sqlite {
            true => {
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            }
            false => {
                "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
            }
        };
        for table in all(tables.to_owned()).await {
            let table: String = table.try_get("", "name").expect("a name");
            if STAYS.iter().any(|stays| table.starts_with(stays)) {
                continue;
            }
            let columns = match is_sqlite {
                true => format!("SELECT name FROM pragma_table_info('{table}')"),
                false => format!(
                    "SELECT column_name AS name FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = '{table}'"
                ),
            };
            for column in all(columns).await {
                let column: String = column.try_get("", "name").expect("a name");
                let is_id = ids.map(|id| match is_sqlite {
                    true => {
                        let bytes = id.simple().to_string().to_uppercase();
                        format!("OR hex(\"{column}\") = '{bytes}'")
                    }
                    false => format!("OR CAST(\"{column}\" AS TEXT) = '{id}'"),
                });
                let is_id = is_id.join(" ");
                let sql = format!(
                    "SELECT COUNT(*) AS count FROM {table} WHERE CAST(\"{column}\" AS TEXT) LIKE '%{CANARY}%' {is_id}"
                );
                let count: i64 = all(sql).await[0].try_get("", "count").expect("a count");
                if count > 0 {
                    found.push(format!("{table}.{column}"));
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}
