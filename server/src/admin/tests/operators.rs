//! The platform's own people, and what they do for others.

use super::{
    login::{EMAIL, PASSWORD, by, cookie_of, plain, signing_in, somebody, token_of, whole},
    proofs::{code_of, grow_old},
    roles::text,
    *,
};

const OPERATOR: &str = "op@weir.example";

fn making(email: &str, role: &str) -> TestRequest {
    request(Method::POST, "/operators").set_json(json!({"email": email, "role": role}))
}

/// Sets a password with the link that an answer shows, and signs in.
async fn comes_in<S: Answers>(app: &S, made: &Value) -> login::Answer {
    let url = text(&made["link"]["url"]);
    let (_, token) = url.split_once('#').expect("a token");
    let order = json!({"token": token, "password": PASSWORD});
    let set = plain(Method::POST, "/password-resets").set_json(order);
    assert_eq!(whole(app, set).await.0, 204);
    whole(app, signing_in(&text(&made["email"]), PASSWORD)).await
}

// Threats: T2, T7.
#[actix_rt::test]
async fn operators_are_made_changed_and_taken_back_and_each_counts_at_once() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let (status, made) = answer(&app, making(OPERATOR, "platform_admin")).await;
        assert_eq!(
            (status, &made["role"]),
            (201, &json!("platform_admin")),
            "{made}"
        );
        let token = token_of(&comes_in(&app, &made).await);
        let (_, me, _) = whole(&app, by(&token, Method::GET, "/me")).await;
        assert_eq!(me["person"]["platform_role"], "platform_admin");
        let (status, twice) = answer(&app, making(OPERATOR, "platform_viewer")).await;
        assert_eq!(
            (status, &twice["errors"][0]["path"]),
            (409, &json!("email")),
            "{twice}"
        );
        // They make a second one, who may look and make nobody.
        let order = json!({"email": "viewer@weir.example", "role": "platform_viewer"});
        let second = by(&token, Method::POST, "/operators").set_json(&order);
        let (status, second, _) = whole(&app, second).await;
        assert_eq!(status, 201, "{second}");
        let viewer = token_of(&comes_in(&app, &second).await);
        let (_, list, _) = whole(&app, by(&viewer, Method::GET, "/operators?q=weir.example")).await;
        let names: Vec<&Value> = list["data"]
            .as_array()
            .expect("operators")
            .iter()
            .map(|one| &one["email"])
            .collect();
        assert_eq!(names, [OPERATOR, "viewer@weir.example"], "{list}");
        let more = by(&viewer, Method::POST, "/operators").set_json(&order);
        assert_eq!(whole(&app, more).await.0, 403);
        // What the first one may changes with the next call.
        let path = format!("/operators/{}", text(&made["id"]));
        let (_, shown, headers) = {
            let shown = whole(&app, by(&viewer, Method::GET, &path)).await;
            assert_eq!(shown.0, 200);
            shown
        };
        assert_eq!(shown["second_factor"], false, "{shown}");
        let tag = headers.get("etag").expect("a tag").clone();
        let patch = |order: Value, tag: &str| {
            let patch = request(Method::PATCH, &path).insert_header((header::IF_MATCH, tag));
            patch.set_json(order)
        };
        let lower = patch(json!({"role": "platform_viewer", "name": "Op"}), &tag);
        let (status, lowered) = answer(&app, lower).await;
        assert_eq!((status, &lowered["name"]), (200, &json!("Op")), "{lowered}");
        let late = patch(json!({"enabled": false}), &tag);
        assert_eq!(answer(&app, late).await.0, 412);
        let create =
            |token: &str| by(token, Method::POST, "/tenants").set_json(json!({"name": "made"}));
        assert_eq!(whole(&app, create(&token)).await.0, 403);
        let off = patch(json!({"enabled": false}), "*");
        assert_eq!(answer(&app, off).await.0, 200);
        assert_eq!(whole(&app, by(&token, Method::GET, "/me")).await.0, 401);
        // Whoever is nothing besides goes.
        assert_eq!(answer(&app, request(Method::DELETE, &path)).await.0, 204);
        assert_eq!(answer(&app, request(Method::DELETE, &path)).await.0, 404);
        let (_, users) = answer(&app, request(Method::GET, &format!("/users?q={OPERATOR}"))).await;
        assert_eq!(users["data"], json!([]), "{users}");
        let (_, log) = answer(&app, request(Method::GET, "/audit-log?action=operator")).await;
        let verbs = log["data"].as_array().expect("rows").iter();
        let verbs: Vec<String> = verbs.map(|row| text(&row["action"])).collect();
        assert_eq!(
            verbs,
            [
                "operator:delete",
                "operator:update",
                "operator:update",
                "operator:create",
                "operator:create",
            ]
        );
    }
}

#[actix_rt::test]
async fn whoever_is_in_a_tenant_stays_there_when_they_are_no_operator_any_more() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let id = somebody(&test).await;
        let (status, made) = answer(&app, making(EMAIL, "platform_admin")).await;
        assert_eq!((status, &made["link"]), (201, &Value::Null), "{made}");
        let path = format!("/operators/{id}");
        let token = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
        assert_eq!(whole(&app, by(&token, Method::GET, &path)).await.0, 200);
        assert_eq!(answer(&app, request(Method::DELETE, &path)).await.0, 204);
        let (_, me, _) = whole(&app, by(&token, Method::GET, "/me")).await;
        assert_eq!(
            (&me["tenant"], &me["person"]["platform_role"]),
            (&json!("acme"), &Value::Null)
        );
        assert_eq!(whole(&app, by(&token, Method::GET, &path)).await.0, 403);
    }
}

// Threats: A9, T2.
#[actix_rt::test]
async fn an_operator_in_a_tenant_is_no_less_guarded_there() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let id = somebody(&test).await;
        assert_eq!(answer(&app, making(EMAIL, "platform_admin")).await.0, 201);
        let (_, other) = answer(&app, making(OPERATOR, "platform_admin")).await;
        let other = token_of(&comes_in(&app, &other).await);
        let path = format!("/users/{id}");
        // Deleted as a person in tenants they would be no operator any more, either.
        let (status, refused) = answer(&app, request(Method::DELETE, &path)).await;
        assert_eq!(
            (status, &refused["code"]),
            (409, &json!("in_use")),
            "{refused}"
        );
        grow_old(&test).await;
        let change = |order: Value| whole(&app, by(&other, Method::PATCH, &path).set_json(order));
        for order in [json!({"enabled": false}), json!({"name": "Nobody"})] {
            let (status, refused, _) = change(order.clone()).await;
            assert_eq!(
                (status, &refused["code"]),
                (403, &json!("proof_needed")),
                "{order}: {refused}"
            );
        }
        // What they are in the tenant is the tenant's.
        let (status, changed, _) = change(json!({"groups": []})).await;
        assert_eq!(status, 200, "{changed}");
        let leave = request(Method::DELETE, &format!("{path}?tenant=acme"));
        assert_eq!(answer(&app, leave).await.0, 204);
        let operator = format!("/operators/{id}");
        assert_eq!(answer(&app, request(Method::GET, &operator)).await.0, 200);
    }
}

// Threats: T2.
#[actix_rt::test]
async fn an_operator_lets_somebody_in_again_who_lost_everything() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let id = somebody(&test).await;
        let there = whole(&app, signing_in(EMAIL, PASSWORD)).await;
        let token = token_of(&there);
        let factor = |path: &str, order: Value| {
            by(&token, Method::POST, &format!("/me/second-factor{path}")).set_json(order)
        };
        let (_, seed, _) = whole(&app, factor("", json!({"password": PASSWORD}))).await;
        let confirm = factor("/confirm", json!({"code": code_of(&seed, 0)}));
        assert_eq!(whole(&app, confirm).await.0, 200);
        let asked = whole(&app, signing_in(EMAIL, PASSWORD)).await;
        assert_eq!(asked.1["code"], "second_factor_needed");
        // Neither they nor their tenant's people do that: only the platform's.
        let path = format!("/users/{id}/second-factor");
        assert_eq!(whole(&app, by(&token, Method::DELETE, &path)).await.0, 403);
        assert_eq!(answer(&app, request(Method::DELETE, &path)).await.0, 204);
        assert_eq!(
            whole(&app, by(&token, Method::GET, "/me")).await.0,
            401,
            "signed out"
        );
        let again = whole(&app, signing_in(EMAIL, PASSWORD)).await;
        assert_eq!(again.0, 200, "{again:?}");
        // And out everywhere, with the cookie.
        let path = format!("/users/{id}/sessions");
        assert_eq!(answer(&app, request(Method::DELETE, &path)).await.0, 204);
        assert_eq!(
            whole(&app, by(&token_of(&again), Method::GET, "/me"))
                .await
                .0,
            401
        );
        let refresh = plain(Method::POST, "/sign-in/refresh");
        let refresh = refresh.insert_header((header::COOKIE, cookie_of(&again)));
        assert_eq!(whole(&app, refresh).await.0, 401);
    }
}

#[actix_rt::test]
async fn people_are_found_by_what_they_are_called() {
    for test in all().await {
        let app = app!(&test);
        let file = "tenants: [{name: acme, users: [{email: z3@acme.example, name: 张三}, {email: li@acme.example, name: Li Si}]}, {name: other, users: [{email: z4@other.example, name: 张三丰}]}]";
        assert_eq!(answer(&app, document(file, "")).await.0, 200);
        let found = async |path: &str, field: &str| {
            let (status, list) = answer(&app, request(Method::GET, path)).await;
            assert_eq!(status, 200, "{path}: {list}");
            let list = list["data"]
                .as_array()
                .cloned()
                .unwrap_or_else(|| list.as_array().expect("a list").clone());
            list.iter().map(|one| text(&one[field])).collect::<Vec<_>>()
        };
        let both = ["z3@acme.example", "z4@other.example"];
        let piece = "%E5%BC%A0%E4%B8%89";
        assert_eq!(
            found(&format!("/users?q={piece}&sort=name"), "email").await,
            both
        );
        let one = found(&format!("/users?q={piece}&tenant=acme"), "email").await;
        assert_eq!(one, both[..1]);
        assert_eq!(found(&format!("/search?q={piece}"), "name").await, both);
        let seen = request(Method::GET, &format!("/search?q={piece}"));
        let seen = seen.insert_header((crate::admin::view::HEADER, "acme"));
        let (_, theirs) = answer(&app, seen).await;
        assert_eq!(theirs["data"].as_array().map(Vec::len), Some(1), "{theirs}");
        assert_eq!(theirs["data"][0]["name"], both[0]);
        assert_eq!(
            found("/users?q=li%20si", "email").await,
            ["li@acme.example"]
        );
        assert_eq!(found("/users?q=Z4@OTHER", "email").await, both[1..]);
    }
}

/// A tenant's owner lets somebody in by a link that the owner sees: whoever uses it may be the owner.
// Threats: T2, T9.
#[actix_rt::test]
async fn whose_address_is_not_shown_to_be_theirs_becomes_no_operator() {
    for test in all().await {
        let app = app!(&test);
        let file =
            "tenants: [{name: other}, {name: acme, users: [{email: a@acme.example, role: owner}]}]";
        assert_eq!(answer(&app, document(file, "")).await.0, 200);
        somebody(&test).await;
        let owner = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
        let boss = "boss@weir.example";
        let invite = by(&owner, Method::POST, "/invitations");
        let invite = invite.set_json(json!({"email": boss, "role": "viewer"}));
        let (status, made, _) = whole(&app, invite).await;
        assert_eq!(status, 201, "{made}");
        let url = text(&made["url"]);
        let (_, token) = url.split_once('#').expect("a token");
        let order = json!({"token": token, "name": "Boss", "password": PASSWORD});
        let accept = plain(Method::POST, "/invitations/accept").set_json(order);
        assert_eq!(whole(&app, accept).await.0, 204);
        let (status, refused) = answer(&app, making(boss, "platform_admin")).await;
        assert_eq!(
            (status, &refused["code"]),
            (409, &json!("name_taken")),
            "{refused}"
        );
        // Where they are they may be changed.
        let file = format!("tenants: [{{name: acme, users: [{{email: {boss}, role: finance}}]}}]");
        assert_eq!(answer(&app, document(&file, "")).await.0, 200);
        let token = token_of(&whole(&app, signing_in(boss, PASSWORD)).await);
        assert_eq!(
            whole(&app, by(&token, Method::GET, "/operators")).await.0,
            403
        );
        // Put into another tenant by the platform they are who owns the address: whoever knew a way in knows none.
        let order = json!({"tenant": "other", "email": boss, "role": "owner"});
        let (status, put) = answer(&app, request(Method::POST, "/users").set_json(order)).await;
        assert_eq!(status, 201, "{put}");
        assert_eq!(whole(&app, by(&token, Method::GET, "/me")).await.0, 401);
        assert_eq!(whole(&app, signing_in(boss, PASSWORD)).await.0, 401);
        let path = format!("/users/{}/reset-link", text(&put["id"]));
        let (status, link) = answer(&app, request(Method::POST, &path).set_json(json!({}))).await;
        assert_eq!(status, 201, "{link}");
        let url = text(&link["url"]);
        let (_, token) = url.split_once('#').expect("a token");
        let order = json!({"token": token, "password": "the owner's own password"});
        let set = plain(Method::POST, "/password-resets").set_json(order);
        assert_eq!(whole(&app, set).await.0, 204);
        let back = whole(&app, signing_in(boss, "the owner's own password")).await;
        assert_eq!(back.0, 200, "{back:?}");
    }
}
