//! How a tenant begins: its operator, its owner, its developer, and what they may and may not, by plain HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    both_stores,
    support::{
        Bench, SOON,
        binary::{succeeded, weir},
        gateway::hello,
    },
};

/// Somebody, or nobody yet.
struct Person<'b> {
    bench: &'b Bench,
    token: String,
}

impl Person<'_> {
    /// A call of management that has to end so; what it answers.
    async fn call(&self, method: Method, path: &str, order: Value, status: u16) -> Value {
        let url = format!("{}/v1/admin{path}", self.bench.url);
        let mut request = self.bench.http.request(method.clone(), url);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if method != Method::GET {
            request = request.json(&order);
        }
        let answer = request.send().await.unwrap();
        let answered = answer.status().as_u16();
        let body = answer.text().await.unwrap();
        assert_eq!(answered, status, "{method} {path}: {body}");
        serde_json::from_str(&body).unwrap_or_default()
    }

    async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, Value::Null, 200).await
    }

    async fn post(&self, path: &str, order: Value, status: u16) -> Value {
        self.call(Method::POST, path, order, status).await
    }
}

async fn signed_in<'b>(bench: &'b Bench, email: &str) -> Person<'b> {
    let order = json!({"email": email, "password": password(email)});
    let nobody = nobody(bench);
    let access = nobody.post("/sign-in", order, 200).await;
    let token = access["access_token"].as_str().unwrap().to_owned();
    Person { bench, token }
}

fn nobody(bench: &Bench) -> Person<'_> {
    let token = String::new();
    Person { bench, token }
}

fn password(email: &str) -> String {
    format!("the password of {email}")
}

fn token_in(url: &str) -> String {
    url.trim().split_once('#').expect("a token").1.to_owned()
}

/// Somebody takes an invitation, and signs in.
async fn joined<'b>(bench: &'b Bench, invitation: &Value, email: &str) -> Person<'b> {
    let token = token_in(invitation["url"].as_str().unwrap());
    let order = json!({"token": token, "name": email, "password": password(email)});
    nobody(bench).post("/invitations/accept", order, 204).await;
    signed_in(bench, email).await
}

async fn chat(bench: &Bench, key: &str) -> u16 {
    let call = bench
        .http
        .post(format!("{}/v1/chat/completions", bench.url))
        .bearer_auth(key)
        .json(&hello("gpt-test"));
    call.send().await.unwrap().status().as_u16()
}

both_stores!(
    a_tenant_begins_with_its_operator_and_its_developer_calls,
    |bench| {
        // The operator comes in by a link that the machine gives.
        let create = [
            "admin",
            "create",
            "--email",
            "op@weir.example",
            "--name",
            "Op",
        ];
        let link = succeeded(&weir(&bench.environment("one"), &create).await);
        let order = json!({"token": token_in(&link), "password": password("op@weir.example")});
        nobody(&bench)
            .post("/password-resets", order.clone(), 204)
            .await;
        nobody(&bench).post("/password-resets", order, 410).await;
        let operator = signed_in(&bench, "op@weir.example").await;
        assert_eq!(
            operator.get("/me").await["person"]["platform_role"],
            "platform_admin"
        );

        let order = json!({"name": "umbrella", "time_zone": "Asia/Shanghai", "policies": {"keys_per_user": 1}});
        operator.post("/tenants", order, 201).await;
        let order =
            json!({"tenant": "umbrella", "email": "owner@umbrella.example", "role": "owner"});
        let invitation = operator.post("/invitations", order, 201).await;
        let owner = joined(&bench, &invitation, "owner@umbrella.example").await;
        assert_eq!(owner.get("/tenants").await["data"][0]["name"], "umbrella");

        let order = json!({"email": "dev@umbrella.example", "role": "developer"});
        let invitation = owner.post("/invitations", order, 201).await;
        let developer = joined(&bench, &invitation, "dev@umbrella.example").await;
        let order = json!({"scope": "user", "name": "dev@umbrella.example", "rule": {"amount": "1.00", "period": "month", "mode": "hard"}});
        owner.post("/budgets", order.clone(), 201).await;
        developer.post("/budgets", order, 403).await;

        let key = developer
            .post("/me/keys", json!({"name": "laptop"}), 201)
            .await;
        developer
            .post("/me/keys", json!({"name": "second"}), 422)
            .await;
        let value = key["value"].as_str().unwrap();
        assert_eq!(chat(&bench, value).await, 200);
        let usage = developer.get("/usage?by=key,user&wait=5s").await;
        assert_eq!(
            (&usage[0]["key"], &usage[0]["user"], &usage[0]["requests"]),
            (&json!("laptop"), &json!("dev@umbrella.example"), &json!(1)),
            "{usage}"
        );
        let budgets = owner.get("/budgets").await;
        let spent = budgets["data"][0]["spent"].as_u64().unwrap();
        let events = bench.books().await.events;
        let charged: i64 = events.iter().map(|event| event.charge_nanos).sum();
        assert_eq!(
            spent,
            charged.unsigned_abs(),
            "to the nano-dollar: {budgets}"
        );

        // Rotated, both values work; switched off, neither does.
        let path = format!("/keys/{}", key["id"].as_str().unwrap());
        let rotated = owner.post(&format!("{path}/rotate"), json!({}), 200).await;
        let second = rotated["value"].as_str().unwrap();
        assert_eq!(
            (chat(&bench, value).await, chat(&bench, second).await),
            (200, 200)
        );
        owner
            .call(Method::PATCH, &path, json!({"enabled": false}), 200)
            .await;
        assert_eq!(
            (chat(&bench, value).await, chat(&bench, second).await),
            (401, 401)
        );

        // Who leaves has nothing left: neither key nor session.
        owner
            .call(Method::PATCH, &path, json!({"enabled": true}), 200)
            .await;
        assert_eq!(chat(&bench, second).await, 200);
        let users = owner.get("/users").await;
        let users = users["data"].as_array().unwrap();
        let left = users
            .iter()
            .find(|user| user["email"] == "dev@umbrella.example");
        let left = format!("/users/{}", left.unwrap()["id"].as_str().unwrap());
        owner.call(Method::DELETE, &left, Value::Null, 204).await;
        assert_eq!(chat(&bench, second).await, 401);
        developer.call(Method::GET, "/me", Value::Null, 401).await;

        // Suspended: nobody in it may do anything.
        let tenants = operator.get("/tenants").await;
        let tenants = tenants["data"].as_array().unwrap();
        let tenant = tenants.iter().find(|tenant| tenant["name"] == "umbrella");
        let tenant = format!("/tenants/{}", tenant.unwrap()["id"].as_str().unwrap());
        operator
            .call(Method::PATCH, &tenant, json!({"enabled": false}), 200)
            .await;
        owner.call(Method::GET, "/keys", Value::Null, 401).await;
        let verdict = operator.get("/audit-log/verify").await;
        assert!(
            verdict["bad_row"].is_null() && verdict["rows"].as_i64() > Some(10),
            "{verdict}"
        );
        tokio::time::timeout(SOON, bench.books())
            .await
            .expect("the books answer");
    }
);
