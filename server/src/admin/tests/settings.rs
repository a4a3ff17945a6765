//! Run-time settings, the admin token's care, and who may call from which page.

use super::*;

fn patch(order: Value) -> TestRequest {
    request(Method::PATCH, "/settings").set_json(order)
}

#[actix_rt::test]
async fn settings_are_changed_one_by_one_checked_and_audited() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let (_, before) = answer(&app, request(Method::GET, "/settings")).await;
        assert_eq!(
            (&before["mode"], &before["log"]),
            (&json!("normal"), &Value::Null)
        );
        let (status, after) = answer(
            &app,
            patch(json!({
                "log": "info,weir::proxy=debug",
                "trace_sample": 0.25,
                "cors_origins": ["https://Tools.example"],
                "default_channel": "openai",
                "strategy": "failover",
                "request_days": 90,
            })),
        )
        .await;
        assert_eq!(status, 200, "{after}");
        assert_eq!(after["cors_origins"], json!(["https://tools.example"]));
        let (_, after) = answer(&app, patch(json!({"log": null}))).await;
        assert_eq!(
            (&after["log"], &after["request_days"]),
            (&Value::Null, &json!(90))
        );
        for bad in [
            json!({"mode": "gone"}),
            json!({"log": "weir=loud"}),
            json!({"trace_sample": 1.5}),
            json!({"cors_origins": ["null"]}),
            json!({"default_channel": "nobody-s"}),
            json!({"request_days": 1}),
            json!({"colour": "red"}),
        ] {
            let (status, refused) = answer(&app, patch(bad.clone())).await;
            assert_eq!(status, 422, "{bad}: {refused}");
        }
        // A default that is gone, by whatever way, keeps nobody from the switch.
        let gone = "UPDATE channels SET name = 'renamed' WHERE name = 'openai'";
        let db = &test.stores.config.write;
        sea_orm::ConnectionTrait::execute_unprepared(db, gone)
            .await
            .expect("SQL");
        for (order, status) in [
            (json!({"mode": "read-only"}), 200),
            (json!({"mode": "normal"}), 200),
            (json!({"default_channel": "openai"}), 422),
            (json!({"default_channel": null}), 200),
        ] {
            let (answered, said) = answer(&app, patch(order.clone())).await;
            assert_eq!(answered, status, "{order}: {said}");
        }
        let stale = patch(json!({"request_days": 60})).insert_header(("if-match", "\"stale\""));
        assert_eq!(answer(&app, stale).await.0, 412);
        let (_, log) = answer(&app, request(Method::GET, "/audit-log")).await;
        assert_eq!(log["data"][0]["action"], "settings:update");
    }
}

#[actix_rt::test]
async fn read_only_lets_nothing_be_changed_but_the_switch_itself() {
    let test = sqlite().await;
    let app = app!(&test);
    answer(&app, document(PLATFORM, "")).await;
    let settings = |mode: &str| patch(json!({ "mode": mode }));
    assert_eq!(answer(&app, settings("read-only")).await.0, 200);
    let order =
        || request(Method::POST, "/groups").set_json(json!({"tenant": "acme", "name": "g"}));
    let (status, refused) = answer(&app, order()).await;
    assert_eq!((status, &refused["code"]), (503, &json!("read_only")));
    assert_eq!(answer(&app, request(Method::GET, "/groups")).await.0, 200);
    let reset =
        request(Method::POST, "/password-resets").set_json(json!({"token": "t", "password": "p"}));
    assert_eq!(answer(&app, reset).await.0, 503);
    assert_eq!(answer(&app, settings("normal")).await.0, 200);
    assert_eq!(answer(&app, order()).await.0, 201);
}

/// Pages of other origins get no word, unless operators have named theirs; a name that only looks alike is another one.
// Threats: H6.
#[actix_rt::test]
async fn pages_of_other_origins_may_call_only_where_operators_say_so() {
    let test = sqlite().await;
    let app = app!(&test);
    let allowed = "https://weir.tools.example";
    let (status, said) = answer(&app, patch(json!({"cors_origins": [allowed]}))).await;
    assert_eq!(status, 200, "{said}");
    for (origin, is_allowed) in [
        (allowed, true),
        ("null", false),
        ("https://weir.tools.example.evil.com", false),
        ("https://evil-weir.tools.example", false),
        ("http://weir.tools.example", false),
        ("https://weir.tools.example:8443", false),
    ] {
        let asked = request(Method::OPTIONS, "/keys")
            .insert_header(("origin", origin))
            .insert_header(("access-control-request-method", "POST"));
        let preflight = call_service(&app, asked.to_request()).await;
        let told = |response: &ServiceResponse<_>| {
            let origin = response.headers().get("access-control-allow-origin");
            origin.map(|origin| origin.to_str().expect("ASCII").to_owned())
        };
        let wanted = is_allowed.then(|| origin.to_owned());
        assert_eq!(told(&preflight), wanted, "{origin}");
        assert_eq!(preflight.status() == 204, is_allowed, "{origin}");
        let simple = request(Method::GET, "/keys").insert_header(("origin", origin));
        let simple = call_service(&app, simple.to_request()).await;
        assert_eq!(told(&simple), wanted, "{origin}");
        assert!(
            simple
                .headers()
                .get("access-control-allow-credentials")
                .is_none()
        );
    }
    // A form of another site reaches no handler.
    let form = request(Method::POST, "/groups")
        .insert_header(("content-type", "text/plain"))
        .set_payload(r#"{"tenant": "acme", "name": "g"}"#);
    assert_eq!(answer(&app, form).await.0, 415);
}

#[actix_rt::test]
async fn the_admin_token_is_rotated_where_weir_keeps_it_and_nowhere_else() {
    let test = sqlite().await;
    let app = app!(&test);
    let (status, refused) = answer(&app, request(Method::POST, "/security/rotate-admin-key")).await;
    let detail = refused["detail"].as_str().expect("words");
    assert!(
        status == 409 && detail.contains("WEIR_ADMIN_TOKEN"),
        "{refused}"
    );

    let file = test.directory.path().join("admin-token");
    let key = AdminKey::new(TOKEN, Some(file.clone())).expect("a token");
    let mut kept = Arc::into_inner(state(&test).into_inner()).expect("one holder");
    kept.token = key;
    let app = app!(with web::Data::new(kept));
    let check = |value: &str| {
        request(Method::POST, "/security/validate-key").set_json(json!({"key": value}))
    };
    assert_eq!(answer(&app, check(TOKEN)).await.1["kind"], "admin_token");
    let (status, made) = answer(&app, request(Method::POST, "/security/rotate-admin-key")).await;
    let value = made["value"].as_str().expect("a value").to_owned();
    assert_eq!(
        (status, std::fs::read_to_string(&file).ok()),
        (200, Some(value.clone()))
    );
    assert_eq!(
        answer(&app, request(Method::GET, "/security/key-info"))
            .await
            .0,
        401
    );
    let by = |request: TestRequest| {
        request.insert_header((header::AUTHORIZATION, format!("Bearer {value}")))
    };
    let (_, info) = answer(&app, by(request(Method::GET, "/security/key-info"))).await;
    assert_eq!(
        (&info["source"], &info["hint"]),
        (&json!("file"), &made["hint"])
    );
    let (_, old) = answer(&app, by(check(TOKEN))).await;
    assert_eq!(old["valid"], false);
    let (_, log) = answer(&app, by(request(Method::GET, "/audit-log"))).await;
    let actions = log["data"].as_array().expect("rows").iter();
    let actions: Vec<&Value> = actions.map(|row| &row["action"]).collect();
    let told = ["key_check:create", "admin_token:update", "key_check:create"];
    assert_eq!(actions[..3], told, "that a value was tried, too");
    assert!(!log.to_string().contains(&value));
}

#[actix_rt::test]
async fn a_value_is_said_to_let_in_whom_it_lets_in() {
    const FILE: &str = "
tenants:
  - name: acme
    groups: [{name: team}]
    users: [{email: a@acme.example}, {email: off@acme.example, enabled: false}]
    keys:
      - {name: good, value: good-value-of-a-key-0123456789}
      - {name: hers, user: a@acme.example, value: hers-value-of-a-key-0123456789}
      - {name: disabled, enabled: false, value: disabled-value-of-a-key-012345}
      - {name: over, expires_at: 2020-01-01T00:00:00Z, value: over-value-of-a-key-0123456789}
      - {name: his, user: off@acme.example, value: his-value-of-a-key-01234567890}
  - {name: suspended, enabled: false, keys: [{name: k, value: suspended-value-of-a-key-01234}]}
";
    for test in all().await {
        let app = app!(&test);
        let (status, applied) = answer(&app, document(FILE, "")).await;
        assert_eq!(status, 200, "{applied}");
        for (value, is_valid) in [
            ("good-value-of-a-key-0123456789", true),
            ("hers-value-of-a-key-0123456789", true),
            ("disabled-value-of-a-key-012345", false),
            ("over-value-of-a-key-0123456789", false),
            ("his-value-of-a-key-01234567890", false),
            ("suspended-value-of-a-key-01234", false),
            ("nobodys-value-of-a-key-0123456", false),
        ] {
            let check = request(Method::POST, "/security/validate-key");
            let (_, told) = answer(&app, check.set_json(json!({"key": value}))).await;
            assert_eq!(told["valid"], is_valid, "{value}: {told}");
        }
        // Of a rotated key both values are good until the time of the first one is over.
        let (_, keys) = answer(&app, request(Method::GET, "/keys?tenant=acme&q=good")).await;
        let path = format!(
            "/keys/{}/rotate",
            keys["data"][0]["id"].as_str().expect("an id")
        );
        let rotate = request(Method::POST, &path).set_json(json!({"grace_seconds": 0}));
        let (status, rotated) = answer(&app, rotate).await;
        assert_eq!(status, 200, "{rotated}");
        for (value, is_valid) in [
            (rotated["value"].as_str().expect("a value"), true),
            ("good-value-of-a-key-0123456789", false),
        ] {
            let check = request(Method::POST, "/security/validate-key");
            let (_, told) = answer(&app, check.set_json(json!({"key": value}))).await;
            assert_eq!(told["valid"], is_valid, "{value}: {told}");
        }
    }
}

#[actix_rt::test]
async fn oneself_and_the_body_log_are_changed_as_whoever_changes_them_saw_them() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        login::somebody(&test).await;
        let signed_in = login::whole(&app, login::signing_in(login::EMAIL, login::PASSWORD)).await;
        let token = login::token_of(&signed_in);
        let me = |method: Method| login::by(&token, method, "/me");
        let log = |method: Method, query: &str| request(method, &format!("/body-log{query}"));
        let days = |days: u32| json!({"tenant": "acme", "days": days});
        for (show, change, changes) in [
            (
                &(|| me(Method::GET)) as &dyn Fn() -> TestRequest,
                &(|| me(Method::PATCH)) as &dyn Fn() -> TestRequest,
                [json!({"name": "A"}), json!({"contact": "+1"})],
            ),
            (
                &(|| log(Method::GET, "?tenant=acme")),
                &(|| log(Method::PATCH, "")),
                [days(7), days(8)],
            ),
        ] {
            let tag = async |request: TestRequest| {
                let (status, body, headers) = login::whole(&app, request).await;
                assert_eq!(status, 200, "{body}");
                headers["etag"].clone()
            };
            let changing = |order: &Value, tag: &str| {
                let request = change().insert_header((header::IF_MATCH, tag.to_owned()));
                request.set_json(order)
            };
            let seen = tag(show()).await;
            let now = tag(changing(&changes[0], &seen)).await;
            assert_ne!(seen, now);
            let (status, late, _) = login::whole(&app, changing(&changes[1], &seen)).await;
            assert_eq!(
                (status, &late["code"]),
                (412, &json!("changed_meanwhile")),
                "{late}"
            );
            assert_eq!(tag(show()).await, now);
            assert_ne!(tag(changing(&changes[1], &now)).await, now);
        }
    }
}
