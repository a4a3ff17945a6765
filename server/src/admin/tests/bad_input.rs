//! Whatever somebody sends for a field: a problem document, and nothing half done.

use sea_orm::{ConnectionTrait as _, Statement};

use super::{
    login::{EMAIL, PASSWORD, by, plain, signing_in, somebody, token_of, whole},
    proofs::forget_failures,
    roles::{BOTH, Operation, creation, operations, order, thing},
    *,
};

/// What one may send for a field, and whether there is a field that takes it.
fn values() -> [(Value, bool); 13] {
    [
        (json!({"no": {"such": "thing"}}), false),
        (json!([[["x"]]]), false),
        (json!("x".repeat(100_000)), false),
        (json!("a\u{0}b"), false),
        (json!("\u{202e}gpj.exe"), false),
        // Names may have any letters; who shows them sees to it that they stay such.
        (json!(MARKUP), true),
        (json!(-1), false),
        (json!(0.5), false),
        (json!(1e300), false),
        (json!(18_446_744_073_709_551_615_u64), false),
        (json!(true), true),
        (json!(""), true),
        (json!(null), true),
    ]
}

/// Too short for a password, which would be another one then.
const MARKUP: &str = "<b>'\"&";

/// What is no order at all.
const NO_ORDERS: [&str; 7] = [
    "",
    "{",
    "[]",
    "null",
    "\"x\"",
    "{\"name\":\"a\",\"name\":\"b\"}",
    "{\"name\":\"\\ud800\"}",
];

/// Whether a field takes what most do not.
fn takes(operation: &Operation, field: &str, value: &Value) -> bool {
    match field {
        // Below what has none.
        "priority" => *value == json!(-1),
        // Every second call.
        "trace_sample" => *value == json!(0.5),
        // Of somebody who is asked for none.
        "code" if operation.path == "/sign-in" => value.is_string(),
        // Whatever somebody has: it is compared with what is kept, and the answer says that it is not that.
        _ => operation.path == "/security/validate-key",
    }
}

/// What is not done although nothing is wrong with its order: there is no code, no provider and no mail server to be had.
const NEVER_DONE: [&str; 3] = [
    "/me/second-factor/confirm",
    "/me/identities",
    "/password-resets/request",
];
const NEW_PASSWORD: &str = "another long password";

/// An order that would be done, of which one field is then another.
async fn good<S: Answers>(app: &S, operation: &Operation, name: &str) -> Value {
    let link = async |path: &str, order: Value| {
        let (status, made) = answer(app, request(Method::POST, path).set_json(order)).await;
        assert_eq!(status, 201, "{path}: {made}");
        let url = made["url"].as_str().expect("a link");
        url.split_once('#').expect("a token").1.to_owned()
    };
    match operation.path.as_str() {
        "/sign-in" => return json!({"email": EMAIL, "password": PASSWORD}),
        "/me/proof" | "/me/second-factor" | "/me/second-factor/remove" => {
            return json!({"password": PASSWORD});
        }
        "/me/second-factor/confirm" => return json!({"code": "123456"}),
        "/me/password" => return json!({"current": PASSWORD, "new": PASSWORD}),
        "/me/identities" => return json!({"provider": uuid::Uuid::new_v4()}),
        "/me/keys" => return json!({"name": name}),
        "/security/validate-key" => return json!({"key": name}),
        "/password-resets/request" => return json!({"email": EMAIL}),
        "/password-resets" => {
            let (_, list) = answer(app, request(Method::GET, "/users?q=b@acme")).await;
            let path = format!(
                "/users/{}/reset-link",
                list["data"][0]["id"].as_str().expect("b")
            );
            return json!({"token": link(&path, json!({})).await, "password": NEW_PASSWORD});
        }
        "/invitations/accept" => {
            let email = format!("{name}@invited.example");
            let order = json!({"tenant": "acme", "email": email, "role": "viewer"});
            let token = link("/invitations", order).await;
            return json!({"token": token, "name": "N", "password": NEW_PASSWORD});
        }
        _ => {}
    }
    let kind = operation.path.trim_start_matches('/');
    // A group that is there.
    let name = match kind {
        "limits" | "budgets" => "post",
        _ => name,
    };
    match (operation.method.as_str(), creation(kind, "acme", name)) {
        ("POST", Some(order)) => order,
        _ => order(&operation.method, &operation.path),
    }
}

/// What one may write into a query.
const WORDS: [&str; 8] = [
    "%00",
    "a%00b",
    "%E2%80%AE",
    "-1",
    "1e300",
    "18446744073709551616",
    "%FF",
    "",
];

// Threats: T2, T15.
#[actix_rt::test]
async fn no_word_of_any_query_or_path_breaks_anything() {
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        let long = "x".repeat(8_000);
        let mut tried = 0;
        for operation in operations() {
            let method = Method::from_bytes(operation.method.as_bytes()).expect("a method");
            let nobody = uuid::Uuid::new_v4().to_string();
            let path = operation.path.replace("{id}", &nobody);
            let path = path.replace("{credential}", &nobody);
            let values = WORDS.into_iter().chain([long.as_str()]);
            let mut asked = Vec::new();
            for value in values {
                let words = operation.words.iter();
                asked.extend(words.map(|word| format!("{path}?{word}={value}")));
                asked.push(format!("{path}?{value}=1"));
                if operation.path.contains("{id}") {
                    let path = operation.path.replace("{id}", value);
                    asked.push(path.replace("{credential}", value));
                }
            }
            for asked in asked {
                let order = order(&operation.method, &operation.path);
                let sent = request(method.clone(), &asked).set_json(order);
                let (status, body) = answer(&app, sent).await;
                let said = format!("{method} {asked:.200}: {status} {body:.2000}");
                assert!(status < 500, "{said}");
                // No part of an error is as long as what was sent.
                assert!(status < 400 || body.to_string().len() < 5_000, "{said}");
                tried += 1;
            }
        }
        assert!(tried > 1_000, "{tried}");
        // None of them took the token away with which all were asked.
        assert_eq!(answer(&app, request(Method::GET, "/me")).await.0, 200);
    }
}

// Threats: H10, T2, T15.
#[actix_rt::test]
async fn no_value_of_any_field_breaks_anything_or_does_half_of_it() {
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        let group = json!({"tenant": "acme", "name": "gpost"});
        answer(&app, request(Method::POST, "/groups").set_json(group)).await;
        let people = "tenants: [{name: acme, users: [{email: a@acme.example, role: admin}, {email: b@acme.example}]}]";
        assert_eq!(answer(&app, document(people, "")).await.0, 200);
        somebody(&test).await;
        let person = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
        // Wrong passwords are noted, at sign-in beside the answer, now or a little later.
        let head = async || {
            let sql = "SELECT COUNT(*) AS count FROM audit_log WHERE action NOT LIKE 'failed%'";
            let db = &test.stores.config;
            let count = Statement::from_string(db.backend(), sql);
            let row = db.read.query_one_raw(count).await.expect("a look");
            let row = row.expect("a row");
            row.try_get::<i64>("", "count").expect("a count")
        };
        let (mut tried, mut done, mut wrong) = (0, 0, Vec::new());
        for operation in operations() {
            let Some(fields) = &operation.fields else {
                continue;
            };
            let made = match operation.path.as_str() {
                path if !path.contains("{id}") => Value::Null,
                path if path.starts_with("/me/") => {
                    let key = by(&person, Method::POST, "/me/keys");
                    whole(&app, key.set_json(json!({"name": format!("mine{tried}")})))
                        .await
                        .1
                }
                path => thing(&test, &app, path, "acme", "bad").await,
            };
            let id = made["id"].as_str().unwrap_or("none");
            let credential = made["pool"][0]["id"].as_str().unwrap_or("none");
            let path = operation.path.replace("{id}", id);
            let path = path.replace("{credential}", credential);
            let method = Method::from_bytes(operation.method.as_bytes()).expect("a method");
            // What is about whoever calls is tried by a person.
            let sent = || match path.starts_with("/me") {
                true => by(&person, method.clone(), &path),
                false if operation.is_open => plain(method.clone(), &path),
                false => request(method.clone(), &path),
            };
            for field in fields {
                for (value, may_pass) in values() {
                    let mut order = good(&app, &operation, &format!("n{tried}")).await;
                    forget_failures(&test).await;
                    order[field] = value.clone();
                    let before = head().await;
                    let (status, body) = answer(&app, sent().set_json(&order)).await;
                    let sent = value.to_string();
                    let sent = sent.get(..60).unwrap_or(&sent);
                    let said = format!("{method} {path} {field}: {sent}: {status} {body:.2000}");
                    tried += 1;
                    // No part of an answer is as long as what was sent.
                    assert!(body.to_string().len() < 10_000, "{said}");
                    if (400..500).contains(&status) {
                        assert_eq!(before, head().await, "{said}");
                    } else {
                        let is_taken = may_pass || takes(&operation, field, &value);
                        if !is_taken || !(200..300).contains(&status) {
                            wrong.push(said);
                        }
                        done += 1;
                    }
                }
            }
            // With nothing wrong it is done: so it was the value that was refused.
            let order = good(&app, &operation, &format!("done{tried}")).await;
            forget_failures(&test).await;
            let (status, body) = answer(&app, sent().set_json(&order)).await;
            let is_done = (200..300).contains(&status);
            assert_eq!(
                is_done,
                !NEVER_DONE.contains(&operation.path.as_str()),
                "{method} {path}: {order}: {status} {body}"
            );
            for text in NO_ORDERS {
                let before = head().await;
                let sent = sent()
                    .insert_header((header::CONTENT_TYPE, "application/json"))
                    .set_payload(text);
                let (status, body) = answer(&app, sent).await;
                let said = format!("{method} {path}: {text}: {status} {body}");
                assert!((400..500).contains(&status), "{said}");
                assert_eq!(before, head().await, "{said}");
            }
            if !made.is_null() {
                let kind = operation.path.split('/').nth(1).expect("a kind");
                let gone = request(Method::DELETE, &format!("/{kind}/{id}"));
                answer(&app, gone).await;
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(tried > 2_000 && done > 0, "{tried} {done}");
    }
}
