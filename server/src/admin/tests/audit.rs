//! What the audit log has, and what it finds out.

use sea_orm::ConnectionTrait as _;

use super::{roles::by, *};

async fn sql(test: &TestStores, text: &str) {
    test.stores
        .config
        .write
        .execute_unprepared(text)
        .await
        .expect("SQL");
}

/// The first row that does not fit, if any, of a log of so many.
async fn verdict<S: Answers>(app: &S) -> (Value, Value) {
    let (status, verdict) = answer(app, request(Method::GET, "/audit-log/verify")).await;
    assert_eq!(status, 200, "{verdict}");
    (verdict["bad_row"].clone(), verdict["rows"].clone())
}

/// How many rows there are, page after page.
async fn all_rows<S: Answers>(app: &S, words: &str) -> usize {
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let path = format!("/audit-log?limit=2{words}{cursor}");
        let (status, page) = answer(app, request(Method::GET, &path)).await;
        assert_eq!(status, 200, "{path}: {page}");
        count += page["data"].as_array().expect("rows").len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return count,
        }
    }
}

#[actix_rt::test]
async fn every_change_is_in_the_log_with_its_author_and_without_secrets() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        answer(&app, document(PLATFORM, "")).await;
        answer(&app, document("tenants: [{name: dry}]", "?dry_run=true")).await;
        let order = json!({"tenant": "acme", "name": "laptop"});
        let (_, key) = answer(&app, request(Method::POST, "/keys").set_json(&order)).await;
        let path = format!("/keys/{}", key["id"].as_str().expect("an id"));
        let off = json!({"enabled": false});
        for _ in 0..2 {
            answer(&app, request(Method::PATCH, &path).set_json(&off)).await;
        }
        assert_eq!(answer(&app, request(Method::DELETE, &path)).await.0, 204);
        let order = json!({"tenant": "acme", "name": "ci", "role": "owner"});
        let create = request(Method::POST, "/service-tokens").set_json(&order);
        let (_, token) = answer(&app, create).await;
        let value = token["value"].as_str().expect("a value");
        let by_token = request(Method::POST, "/keys")
            .insert_header((header::AUTHORIZATION, format!("Bearer {value}")))
            .insert_header(("x-forwarded-for", "203.0.113.9"))
            .peer_addr("192.0.2.7:4711".parse().expect("an address"))
            .set_json(json!({"tenant": "acme", "name": "mine"}));
        assert_eq!(answer(&app, by_token).await.0, 201);

        let (status, log) = answer(&app, request(Method::GET, "/audit-log?limit=6")).await;
        assert_eq!(status, 200, "{log}");
        let rows = log["data"].as_array().expect("rows");
        let told: Vec<(&str, &str)> = rows
            .iter()
            .map(|row| {
                (
                    row["action"].as_str().expect("text"),
                    row["object"].as_str().expect("text"),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("key:create", "mine"),
                ("service_token:create", "ci"),
                ("key:delete", "laptop"),
                ("key:update", "laptop"),
                ("key:create", "laptop"),
                told[5],
            ]
        );
        let mine = &rows[0];
        assert_eq!(
            (&mine["actor"], &mine["actor_name"]),
            (&json!("service_token"), &json!("ci"))
        );
        // Nobody but a configured proxy says where a call came from.
        assert_eq!(
            (&mine["address"], &mine["tenant"]),
            (&json!("192.0.2.7"), &json!("acme"))
        );
        assert!(
            mine["request_id"].as_str().is_some_and(|id| id.len() == 36),
            "{mine}"
        );
        assert_eq!(
            (&rows[3]["before"]["enabled"], &rows[3]["after"]["enabled"]),
            (&json!(true), &json!(false))
        );
        let count = all_rows(&app, "").await;
        for (words, wanted) in [
            ("&action=key", 4),
            ("&action=key:delete", 1),
            ("&action=ke", 0),
            ("&actor=ci", 1),
            ("&object=laptop", 3),
            ("&object=laptop&action=key:update", 1),
            ("&object=laptop&tenant=other", 0),
            ("&from=2020-01-01T00:00:00Z&to=2999-01-01T00:00:00Z", count),
            ("&from=2999-01-01T00:00:00Z", 0),
            ("&to=2020-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(all_rows(&app, words).await, wanted, "{words}");
        }
        let bad = request(Method::GET, "/audit-log?from=yesterday");
        assert_eq!(answer(&app, bad).await.0, 422);
        let (_, all) = answer(&app, request(Method::GET, "/audit-log?limit=1000")).await;
        let text = all.to_string();
        for secret in [
            "sk-first-secret",
            value,
            key["value"].as_str().expect("a value"),
        ] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(!text.contains("dry"), "what was only asked is no change");
        let oldest = all["data"].as_array().expect("rows").last().expect("a row");
        assert_eq!(
            (&oldest["seq"], &oldest["actor"]),
            (&json!(1), &json!("admin_token"))
        );
        let next = log["next_cursor"].as_str().expect("a cursor");
        let (_, page) = answer(
            &app,
            request(Method::GET, &format!("/audit-log?limit=2&cursor={next}")),
        )
        .await;
        assert_eq!(
            page["data"][0]["seq"].as_i64(),
            rows[5]["seq"].as_i64().map(|seq| seq - 1)
        );
        // A tenant's people see what is theirs.
        let own = request(Method::GET, "/audit-log?limit=1000")
            .insert_header((header::AUTHORIZATION, format!("Bearer {value}")));
        let (_, own) = answer(&app, own).await;
        let own = own["data"].as_array().expect("rows");
        assert!(
            own.len() >= 5 && own.iter().all(|row| row["tenant"] == "acme"),
            "{own:?}"
        );
        // Not how many rows others have in between, nor by a cursor where in all of them they are.
        assert!(own.iter().all(|row| row["seq"].is_null()), "{own:?}");
        let ask = async |cursor: &str| {
            let path = format!("/audit-log?limit=2&cursor={cursor}");
            answer(&app, by(value, "GET", &path)).await
        };
        let (_, first) = answer(&app, by(value, "GET", "/audit-log?limit=2")).await;
        let after = first["next_cursor"].as_str().expect("a cursor");
        // Nor by its length.
        let (_, last) = answer(&app, by(value, "GET", "/audit-log?limit=4")).await;
        assert_eq!(
            last["next_cursor"].as_str().map(str::len),
            Some(after.len())
        );
        let (_, second) = ask(after).await;
        assert_eq!(
            second["data"].as_array().map(Vec::as_slice),
            Some(&own[2..4])
        );
        for cursor in ["3", next] {
            let (status, refused) = ask(cursor).await;
            assert_eq!(
                (status, &refused["code"]),
                (400, &json!("invalid_query")),
                "{cursor}"
            );
        }
    }
}

// Threats: D7.
#[actix_rt::test]
async fn a_row_that_is_changed_missing_or_made_up_is_named() {
    for (at, (spoil, bad)) in [
        ("UPDATE audit_log SET object = 'other' WHERE seq = 3", 3_i64),
        ("UPDATE audit_log SET at_ms = at_ms + 1 WHERE seq = 1", 1),
        ("UPDATE audit_log SET tenant_id = NULL WHERE seq = 4", 4),
        ("DELETE FROM audit_log WHERE seq = 2", 2),
        ("DELETE FROM audit_log WHERE seq = 6", 6),
        ("DELETE FROM audit_log", 1),
        ("UPDATE audit_log SET seq = 60 WHERE seq = 6", 6),
        (
            "UPDATE audit_log SET hash = (SELECT hash FROM audit_head) WHERE seq = 5",
            5,
        ),
        ("INSERT INTO audit_log SELECT 9, at_ms, actor, actor_id, actor_name, address, request_id, tenant_id, action, object, before, after, key_id, hash FROM audit_log WHERE seq = 6", 9),
        ("INSERT INTO audit_log SELECT -9223372036854775807, at_ms, actor, actor_id, actor_name, address, request_id, tenant_id, action, object, before, after, key_id, hash FROM audit_log WHERE seq = 6", -9_223_372_036_854_775_807),
        // The head alone set back: the rows behind it fit, what it says of the last one does not.
        ("UPDATE audit_head SET seq = 5", 5),
    ]
    .into_iter()
    .enumerate()
    {
        for test in all().await {
            let app = app!(&test);
            for name in ["a", "b", "c", "d", "e", "f"] {
                answer(&app, document(&format!("tenants: [{{name: {name}}}]"), "")).await;
            }
            assert_eq!(verdict(&app).await, (Value::Null, json!(6)));
            sql(&test, spoil).await;
            assert_eq!(verdict(&app).await.0, json!(bad), "case {at}: {spoil}");
        }
    }
}

/// Who has the database cuts the end, and makes the rest fit.
// Threats: D7.
#[actix_rt::test]
async fn a_head_that_was_kept_shows_a_log_that_was_cut() {
    for test in all().await {
        let app = app!(&test);
        for name in ["a", "b", "c"] {
            answer(&app, document(&format!("tenants: [{{name: {name}}}]"), "")).await;
        }
        let (_, whole) = answer(&app, request(Method::GET, "/audit-log/verify")).await;
        let kept = whole["head"].as_str().expect("a head").to_owned();
        let asked = format!("/audit-log/verify?seq=3&head={kept}");
        let ask = || request(Method::GET, &asked);
        assert_eq!(answer(&app, ask()).await.1["bad_row"], Value::Null);
        sql(
            &test,
            "UPDATE audit_head SET seq = 2, hash = (SELECT hash FROM audit_log WHERE seq = 2)",
        )
        .await;
        sql(&test, "DELETE FROM audit_log WHERE seq = 3").await;
        assert_eq!(verdict(&app).await.0, Value::Null, "it fits itself");
        assert_eq!(answer(&app, ask()).await.1["bad_row"], json!(3));
        // Nor does it help to go on from there.
        answer(&app, document("tenants: [{name: d}]", "")).await;
        assert_eq!(verdict(&app).await.0, Value::Null);
        let (_, told) = answer(&app, ask()).await;
        assert_eq!(
            (&told["bad_row"], &told["reason"]),
            (&json!(3), &json!("it is not the one that was kept"))
        );
        for odd in ["?seq=3", "?head=00", "?seq=x&head=00", "?seq=0&head=00"] {
            let path = format!("/audit-log/verify{odd}");
            assert_eq!(
                answer(&app, request(Method::GET, &path)).await.0,
                400,
                "{odd}"
            );
        }
    }
}

#[actix_rt::test]
async fn changes_at_once_make_one_chain() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let orders = (0..12).map(|at| {
            let order = json!({"tenant": "acme", "name": format!("at-{at}"), "role": "viewer"});
            answer(
                &app,
                request(Method::POST, "/service-tokens").set_json(order),
            )
        });
        for (status, body) in futures_util::future::join_all(orders).await {
            assert_eq!(status, 201, "{body}");
        }
        assert_eq!(verdict(&app).await.0, Value::Null);
    }
}

#[actix_rt::test]
async fn wrong_tries_exports_and_how_somebody_came_in_are_told() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        login::somebody(&test).await;
        let (email, right) = (login::EMAIL, login::PASSWORD);
        for (email, password) in [
            (email, "wrong"),
            ("b@acme.example", "wrong"),
            (email, right),
        ] {
            login::whole(&app, login::signing_in(email, password)).await;
        }
        answer(&app, request(Method::GET, "/resources")).await;
        let of = async |action: &str| {
            let path = format!("/audit-log?action={action}");
            let (status, log) = answer(&app, request(Method::GET, &path)).await;
            assert_eq!(status, 200, "{log}");
            log["data"].as_array().expect("rows").clone()
        };
        // It is told beside the answer.
        let failed = async {
            loop {
                let rows = of("failed_sign_in").await;
                if !rows.is_empty() {
                    return rows;
                }
            }
        };
        let failed = tokio::time::timeout(Duration::from_secs(10), failed).await;
        let failed = failed.expect("it is told");
        assert_eq!(
            failed.len(),
            1,
            "of nobody there is nothing to tell: {failed:?}"
        );
        assert_eq!(
            (&failed[0]["object"], &failed[0]["after"]["wrong"]),
            (&json!(email), &json!("password"))
        );
        assert!(!failed[0].to_string().contains(right));
        // So is what somebody shows once more who is signed in.
        let there = login::whole(&app, login::signing_in(email, right)).await;
        let proof = login::by(&login::token_of(&there), Method::POST, "/me/proof");
        let proof = proof.set_json(json!({"password": "wrong"}));
        assert_eq!(login::whole(&app, proof).await.0, 422);
        let failed = of("failed_proof").await;
        assert_eq!(failed[0]["actor_name"], email, "{failed:?}");
        let came = of("session").await;
        assert_eq!(came[0]["after"]["by"], "password", "{came:?}");
        let exports = of("export").await;
        assert_eq!(exports[0]["actor"], "admin_token", "{exports:?}");
        // No word of a query is a pattern.
        for action in [
            "failed%25",
            "%25",
            "failed_sign-in",
            "failedxsign_in",
            "sess_on",
        ] {
            assert!(of(action).await.is_empty(), "{action}");
        }
    }
}
