//! What was said in calls: kept for those who want it, as long as they want it, and read by those who may.

use reqwest::Method;
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::{Value, json};
use weir::{
    secrets::Secret,
    store::{self, Stores, connect},
};
use weir_upstream::Behaviour;

use crate::{
    both_stores,
    support::{
        Bench, SOON,
        binary::{failed, succeeded, token, weir},
        gateway::OTHER_KEY,
    },
};

const CANARY: &str = "a word that nobody else says";
const SECRET: &str = "sk-canary-0123456789abcdef";

async fn ask(bench: &Bench, token: &str, method: Method, path: &str, order: Value) -> (u16, Value) {
    let url = format!("{}/v1/admin{path}", bench.admin_url);
    let mut request = bench.http.request(method, url).bearer_auth(token);
    if !order.is_null() {
        request = request.json(&order);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

/// Somebody with a role in acme, as a token.
async fn with_role(bench: &Bench, role: &str) -> String {
    let order = json!({"tenant": "acme", "name": role, "role": role});
    let made = bench
        .admin(Method::POST, "/service-tokens")
        .json(&order)
        .send()
        .await
        .unwrap();
    let made: Value = made.json().await.unwrap();
    made["value"].as_str().unwrap().to_owned()
}

/// A call in which the words are said; its id.
async fn said(bench: &Bench, key: &str, stream: bool) -> String {
    let body = json!({
        "model": "gpt-test", "stream": stream,
        "messages": [{"role": "user", "content": format!("{CANARY}, with {SECRET}")}],
        "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {}}}],
    });
    let call = bench
        .http
        .post(format!("{}/v1/chat/completions", bench.url))
        .bearer_auth(key)
        .json(&body);
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let id = answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    answer.bytes().await.unwrap();
    id
}

/// What is kept of a call, once it is.
async fn kept(bench: &Bench, token: &str, id: &str) -> Value {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        // The event comes to the books by itself, or with a question that waits.
        let path = format!("/requests/{id}?wait=5s");
        let (_, detail) = ask(bench, token, Method::GET, &path, Value::Null).await;
        if detail["has_bodies"] == true {
            assert_eq!(detail["tools_offered"], json!(["look_up"]), "{detail}");
            let path = format!("/requests/{id}/bodies");
            let (status, kept) = ask(bench, token, Method::GET, &path, Value::Null).await;
            assert_eq!(status, 200, "{kept}");
            return kept;
        }
        assert!(tokio::time::Instant::now() < deadline, "{detail}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The stores themselves.
async fn opened(bench: &Bench) -> Stores {
    let settings = store::Config {
        database_url: bench.stores.variable("WEIR_DATABASE_URL").map(Secret::new),
        ..store::Config::default()
    };
    connect::open(&settings, &bench.data()).await.unwrap()
}

/// All rows of what is kept, as somebody sees them who has the database.
async fn rows(bench: &Bench) -> Vec<Vec<u8>> {
    let stores = opened(bench).await;
    let db = &stores.usage;
    let sql = "SELECT sealed FROM kept_bodies";
    let rows = db
        .read
        .query_all_raw(Statement::from_string(db.backend(), sql))
        .await
        .unwrap();
    let rows = rows
        .iter()
        .map(|row| row.try_get("", "sealed").unwrap())
        .collect();
    stores.close().await;
    rows
}

async fn cli(bench: &Bench, arguments: &[&str]) -> std::process::Output {
    weir(
        &[("WEIR_URL".to_owned(), bench.admin_url.clone()), token()],
        arguments,
    )
    .await
}

// Threats: D8.
both_stores!(
    what_is_said_is_kept_for_whoever_wants_it_and_read_under_eyes,
    |bench| {
        let owner = with_role(&bench, "owner").await;
        // Off: nothing is kept.
        let before = said(&bench, crate::support::gateway::KEY, false).await;
        let (status, log) = ask(&bench, &owner, Method::GET, "/body-log", Value::Null).await;
        assert_eq!(
            (status, log),
            (200, json!({"tenant": "acme", "days": null}))
        );
        for days in [json!(0), json!(366), json!("7"), json!(-1)] {
            let (status, refused) = ask(
                &bench,
                &owner,
                Method::PATCH,
                "/body-log",
                json!({"days": days}),
            )
            .await;
            assert_eq!(status, 422, "{refused}");
        }
        let (status, log) = ask(
            &bench,
            &owner,
            Method::PATCH,
            "/body-log",
            json!({"days": 7}),
        )
        .await;
        assert_eq!((status, &log["days"]), (200, &json!(7)));

        // On: masked, whole and streamed; of this tenant alone.
        for stream in [false, true] {
            let id = said(&bench, crate::support::gateway::KEY, stream).await;
            let kept = kept(&bench, &owner, &id).await;
            let content = &kept["request"]["content"]["messages"][0]["content"];
            assert_eq!(*content, json!(format!("{CANARY}, with ***")), "{kept}");
            assert!(!kept.to_string().contains("0123456789abcdef"), "{kept}");
            let answer = &kept["response"]["content"]["choices"][0];
            let answer = if stream {
                &answer["content"]
            } else {
                &answer["message"]["content"]
            };
            assert!(!answer.as_str().unwrap().is_empty(), "{kept}");
            assert_eq!(kept["request"]["is_cut"], false);
        }
        let other = said(&bench, OTHER_KEY, false).await;
        let (_, detail) = ask(
            &bench,
            crate::support::stores::ADMIN_TOKEN,
            Method::GET,
            &format!("/requests/{other}?wait=5s"),
            Value::Null,
        )
        .await;
        assert_eq!(detail["has_bodies"], false, "{detail}");
        let (status, _) = ask(
            &bench,
            &owner,
            Method::GET,
            &format!("/requests/{before}/bodies"),
            Value::Null,
        )
        .await;
        assert_eq!(status, 404);
        // Whoever has the database has nothing of it.
        let sealed = rows(&bench).await;
        assert_eq!(sealed.len(), 2);
        for row in &sealed {
            assert!(!String::from_utf8_lossy(row).contains("nobody else"));
        }

        // The log has which tools were called, too.
        for stream in [false, true] {
            bench.vendor.push(Behaviour {
                tools: true,
                ..Behaviour::default()
            });
            let id = said(&bench, crate::support::gateway::KEY, stream).await;
            kept(&bench, &owner, &id).await;
            let path = format!("/requests/{id}");
            let (_, detail) = ask(&bench, &owner, Method::GET, &path, Value::Null).await;
            assert_eq!(detail["tools_called"], json!(["look_up"]), "{detail}");
        }

        // Read by those who may, and the log says so; nothing of it is in the log itself.
        let id = said(&bench, crate::support::gateway::KEY, false).await;
        kept(&bench, &owner, &id).await;
        let path = format!("/requests/{id}/bodies");
        for role in ["developer", "finance", "viewer"] {
            let token = with_role(&bench, role).await;
            assert_eq!(
                ask(&bench, &token, Method::GET, &path, Value::Null).await.0,
                403,
                "{role}"
            );
            assert_eq!(
                ask(
                    &bench,
                    &token,
                    Method::PATCH,
                    "/body-log",
                    json!({"days": null})
                )
                .await
                .0,
                403,
                "{role}"
            );
        }
        let stranger = json!({"tenant": "globex", "name": "x", "role": "owner"});
        let made = bench
            .admin(Method::POST, "/service-tokens")
            .json(&stranger)
            .send()
            .await
            .unwrap();
        let made: Value = made.json().await.unwrap();
        let stranger = made["value"].as_str().unwrap();
        assert_eq!(
            ask(&bench, stranger, Method::GET, &path, Value::Null)
                .await
                .0,
            404
        );
        assert_eq!(
            ask(
                &bench,
                stranger,
                Method::DELETE,
                "/body-log?tenant=acme",
                Value::Null
            )
            .await
            .0,
            404
        );
        let (_, log) = ask(&bench, &owner, Method::GET, "/audit-log", Value::Null).await;
        let read = log["data"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["object"] == id)
            .unwrap();
        assert_eq!(
            (&read["action"], &read["actor_name"]),
            (&json!("body:create"), &json!("owner")),
            "{read}"
        );
        assert!(!log.to_string().contains(CANARY));

        // By the command line too; and forgotten, at once or when the time is over.
        let shown = succeeded(&cli(&bench, &["logs", "bodies", &id, "--output", "json"]).await);
        assert!(shown.contains(CANARY), "{shown}");
        assert!(
            succeeded(&cli(&bench, &["body-log", "show", "--tenant", "acme"]).await).contains('7')
        );
        expire(&bench, &id).await;
        assert_eq!(
            ask(&bench, &owner, Method::GET, &path, Value::Null).await.0,
            404,
            "its time is over"
        );
        succeeded(&cli(&bench, &["body-log", "stop", "--tenant", "acme"]).await);
        succeeded(&cli(&bench, &["body-log", "forget", "--tenant", "acme"]).await);
        assert!(rows(&bench).await.is_empty());
        let last = said(&bench, crate::support::gateway::KEY, false).await;
        let (_, detail) = ask(
            &bench,
            &owner,
            Method::GET,
            &format!("/requests/{last}?wait=5s"),
            Value::Null,
        )
        .await;
        assert_eq!(detail["has_bodies"], false, "{detail}");
        let told = failed(&cli(&bench, &["logs", "bodies", &last]).await, 3);
        assert!(told.contains("no such kept body"), "{told}");
    }
);

/// As if its time were over.
async fn expire(bench: &Bench, id: &str) {
    let stores = opened(bench).await;
    let db = &stores.usage;
    let id: uuid::Uuid = id.parse().unwrap();
    let sql = "UPDATE kept_bodies SET expires_ms = 1 WHERE id = $1";
    let statement = Statement::from_sql_and_values(db.backend(), sql, [id.into()]);
    db.write.execute_raw(statement).await.unwrap();
    stores.close().await;
}
