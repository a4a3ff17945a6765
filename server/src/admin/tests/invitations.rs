//! Becoming a member by one's own word, and setting another password.

use sea_orm::ConnectionTrait as _;

use super::{
    login::{EMAIL, PASSWORD, by, cookie_of, plain, signing_in, somebody, token_of, whole},
    proofs::{code_of, forget_failures},
    *,
};
use crate::store;

fn token_in(url: &Value) -> String {
    let url = url.as_str().expect("a URL");
    assert!(url.starts_with("https://weir.example/"), "{url}");
    url.split_once('#').expect("a token").1.to_owned()
}

fn accepting(order: &Value) -> TestRequest {
    plain(Method::POST, "/invitations/accept").set_json(order)
}

// Threats: T9.
#[actix_rt::test]
async fn an_invitation_works_once_for_one_address_one_tenant_and_one_role() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        somebody(&test).await;
        let owner = "tenants: [{name: acme, users: [{email: a@acme.example, role: admin}]}]";
        answer(&app, document(owner, "")).await;
        let token = token_of(&whole(&app, signing_in("a@acme.example", PASSWORD)).await);
        let invite = |order: Value| by(&token, Method::POST, "/invitations").set_json(order);
        for (order, status) in [
            (
                json!({"email": "b@acme.example", "role": "developer", "groups": ["team"]}),
                201,
            ),
            (json!({"email": "no address", "role": "developer"}), 422),
            (json!({"email": "b@acme.example", "role": "god"}), 422),
            (
                json!({"email": "b@acme.example", "role": "viewer", "groups": ["none"]}),
                422,
            ),
            (
                json!({"email": "b@acme.example", "role": "viewer", "tenant": "other"}),
                422,
            ),
            (
                json!({"email": "b@acme.example", "role": "viewer", "is_platform": true}),
                422,
            ),
        ] {
            let made = whole(&app, invite(order.clone())).await;
            assert_eq!(made.0, status, "{order}: {made:?}");
        }
        let order = json!({"email": "c@acme.example", "role": "developer", "groups": ["team"]});
        let (_, made, _) = whole(&app, invite(order)).await;
        let link = token_in(&made["url"]);
        // Neither its list nor the database has the token.
        let (_, list, _) = whole(&app, by(&token, Method::GET, "/invitations")).await;
        assert_eq!(list["data"].as_array().map(Vec::len), Some(2), "{list}");
        assert!(!list.to_string().contains(&link));
        let new = json!({"token": link, "name": "C", "password": "a new long password"});
        for (order, status) in [
            (
                json!({"token": "wl-guessed", "name": "C", "password": "a new long password"}),
                410,
            ),
            (json!({"token": link}), 422),
            (json!({"token": link, "password": "short"}), 422),
            (
                json!({"token": link, "password": "a new long password", "role": "owner"}),
                422,
            ),
        ] {
            let (answered, body, _) = whole(&app, accepting(&order)).await;
            assert_eq!(answered, status, "{order}: {body}");
        }
        // Twenty at once: one of them is in.
        let at_once = (0..20).map(|_| whole(&app, accepting(&new)));
        let at_once = futures_util::future::join_all(at_once).await;
        let taken = at_once.iter().filter(|one| one.0 == 204).count();
        assert_eq!(taken, 1, "{at_once:?}");
        let joined = whole(&app, signing_in("c@acme.example", "a new long password")).await;
        let joined = token_of(&joined);
        let (_, me, _) = whole(&app, by(&joined, Method::GET, "/me")).await;
        assert_eq!(
            (&me["tenant"], &me["person"]["tenants"][0]["role"]),
            (&json!("acme"), &json!("developer"))
        );
        // Who has an account takes one signed in; and nobody knows yet that this one's address is theirs.
        let elsewhere = json!({"tenant": "other", "email": "c@acme.example", "role": "viewer"});
        let (_, made) = answer(
            &app,
            request(Method::POST, "/invitations").set_json(&elsewhere),
        )
        .await;
        let order = json!({"token": token_in(&made["url"])});
        assert_eq!(whole(&app, accepting(&order)).await.0, 401);
        let signed_in = |token: &str| {
            accepting(&order).insert_header((header::AUTHORIZATION, format!("Bearer {token}")))
        };
        assert_eq!(whole(&app, signed_in(&token)).await.0, 403, "somebody else");
        let unproven = whole(&app, signed_in(&joined)).await;
        assert_eq!(unproven.0, 403, "{unproven:?}");
        // One that is withdrawn, whose inviter may do less now, and one whose inviter left.
        let wait = async |email: &str| {
            let order = json!({"email": email, "role": "admin"});
            let (status, made, _) = whole(&app, invite(order)).await;
            assert_eq!(status, 201, "{made}");
            made
        };
        let (first, second) = (wait("d@acme.example").await, wait("e@acme.example").await);
        let path = format!("/invitations/{}", first["id"].as_str().expect("an id"));
        assert_eq!(whole(&app, by(&token, Method::DELETE, &path)).await.0, 204);
        assert_eq!(whole(&app, by(&token, Method::DELETE, &path)).await.0, 404);
        // One that has waited for a week.
        let late = wait("g@acme.example").await;
        let order = json!({"token": token_in(&late["url"]), "password": "a new long password"});
        let db = &test.stores.config.write;
        for (by, status) in [("-", 410), ("+", 204)] {
            let week = 7 * 24 * 3_600_000;
            let sql = format!("UPDATE one_time_links SET expires_ms = expires_ms {by} {week}");
            db.execute_unprepared(&sql).await.expect("SQL");
            assert_eq!(whole(&app, accepting(&order)).await.0, status, "{sql}");
        }
        let demoted = "tenants: [{name: acme, users: [{email: a@acme.example, role: viewer}]}]";
        answer(&app, document(demoted, "")).await;
        for made in [&first, &second] {
            let order = json!({"token": token_in(&made["url"]), "password": "a new long password"});
            let (status, body, _) = whole(&app, accepting(&order)).await;
            assert_eq!(
                (status, &body["code"]),
                (410, &json!("link_over")),
                "{body}"
            );
        }
        // A viewer invites nobody.
        let order = json!({"email": "f@acme.example", "role": "viewer"});
        assert_eq!(whole(&app, invite(order)).await.0, 403);
    }
}

// Threats: A5.
#[actix_rt::test]
async fn a_link_to_another_password_works_once_and_ends_what_was_there() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let user = somebody(&test).await;
        let there = whole(&app, signing_in("a@acme.example", PASSWORD)).await;
        let path = format!("/users/{user}/reset-link");
        let poisoned = || {
            request(Method::POST, &path)
                .insert_header(("x-forwarded-host", "evil.example"))
                .insert_header(("forwarded", "host=evil.example"))
                .set_json(json!({}))
        };
        let (status, first) = answer(&app, poisoned()).await;
        assert_eq!(status, 201, "{first}");
        let (_, second) = answer(&app, poisoned()).await;
        let (first, second) = (token_in(&first["url"]), token_in(&second["url"]));
        let set = |token: &str, password: &str| {
            let order = json!({"token": token, "password": password});
            plain(Method::POST, "/password-resets").set_json(order)
        };
        let new = "another long password";
        assert_eq!(
            whole(&app, set(&first, new)).await.0,
            410,
            "the next one withdrew it"
        );
        assert_eq!(whole(&app, set(&second, "short")).await.0, 422);
        let at_once = (0..10).map(|_| whole(&app, set(&second, new)));
        let at_once = futures_util::future::join_all(at_once).await;
        assert_eq!(
            at_once.iter().filter(|one| one.0 == 204).count(),
            1,
            "{at_once:?}"
        );
        let token = token_of(&there);
        assert_eq!(whole(&app, by(&token, Method::GET, "/me")).await.0, 401);
        let refreshed = plain(Method::POST, "/sign-in/refresh")
            .insert_header((header::COOKIE, cookie_of(&there)));
        assert_eq!(whole(&app, refreshed).await.0, 401);
        assert_eq!(
            whole(&app, signing_in("a@acme.example", PASSWORD)).await.0,
            401
        );
        assert_eq!(whole(&app, signing_in("a@acme.example", new)).await.0, 200);
        // Only the address that it was made for, and only for half an hour.
        for (sql, put_back) in [
            (
                "UPDATE one_time_links SET expires_ms = expires_ms - 1800000",
                "UPDATE one_time_links SET expires_ms = expires_ms + 1800000",
            ),
            (
                "UPDATE users SET email = 'c@acme.example' WHERE email = 'a@acme.example'",
                "UPDATE users SET email = 'a@acme.example' WHERE email = 'c@acme.example'",
            ),
        ] {
            let (status, made) = answer(&app, poisoned()).await;
            assert_eq!(status, 201, "{made}");
            let token = token_in(&made["url"]);
            let db = &test.stores.config.write;
            db.execute_unprepared(sql).await.expect("SQL");
            assert_eq!(whole(&app, set(&token, PASSWORD)).await.0, 410, "{sql}");
            db.execute_unprepared(put_back).await.expect("SQL");
            assert_eq!(whole(&app, set(&token, new)).await.0, 204, "{put_back}");
        }
        // Links are of one kind each.
        let order = json!({"tenant": "acme", "email": "b@acme.example", "role": "viewer"});
        let (_, made) = answer(&app, request(Method::POST, "/invitations").set_json(&order)).await;
        assert_eq!(whole(&app, set(&token_in(&made["url"]), new)).await.0, 410);
    }
}

/// Whose only tenant is suspended cannot sign in, and so shows who they are with the invitation itself.
// Threats: A3, T9.
#[actix_rt::test]
async fn whoever_is_nowhere_takes_an_invitation_with_their_password() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let user = somebody(&test).await;
        let token = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
        let factor = |path: &str, order: Value| {
            by(&token, Method::POST, &format!("/me/second-factor{path}")).set_json(order)
        };
        let (_, seed, _) = whole(&app, factor("", json!({"password": PASSWORD}))).await;
        let confirm = factor("/confirm", json!({"code": code_of(&seed, 0)}));
        let (status, codes, _) = whole(&app, confirm).await;
        assert_eq!(status, 200, "{codes}");
        let recovery = &codes["codes"][0];
        let suspend = document("tenants: [{name: acme, enabled: false}]", "");
        assert_eq!(answer(&app, suspend).await.0, 200);
        let out = whole(&app, signing_in(EMAIL, PASSWORD)).await;
        assert_eq!(out.1["code"], "sign_in_failed", "nor is a code asked for");
        let order = json!({"tenant": "other", "email": EMAIL, "role": "viewer"});
        let (status, made) =
            answer(&app, request(Method::POST, "/invitations").set_json(&order)).await;
        assert_eq!(status, 201, "{made}");
        let link = token_in(&made["url"]);
        let right = json!({"token": link, "password": PASSWORD, "code": recovery});
        let with = |field: &str, value: Value| {
            let mut order = right.clone();
            order[field] = value;
            order
        };
        for (order, status, code) in [
            (json!({"token": link}), 401, "unauthorized"),
            (with("password", json!("wrong")), 401, "sign_in_failed"),
            (with("code", Value::Null), 401, "second_factor_needed"),
            (with("code", json!("000000")), 401, "sign_in_failed"),
            (with("token", json!("wl-guessed")), 410, "link_over"),
        ] {
            let (answered, body, _) = whole(&app, accepting(&order)).await;
            let said = (answered, body["code"].as_str().unwrap_or_default());
            assert_eq!(said, (status, code), "{order}: {body}");
        }
        // Nor does anybody who is switched off, and no code is spent on that.
        let switch = |on: bool| {
            let sql = format!("UPDATE users SET enabled = {on}");
            let db = test.stores.config.write.clone();
            async move { db.execute_unprepared(&sql).await.expect("SQL") }
        };
        switch(false).await;
        assert_eq!(whole(&app, accepting(&right)).await.0, 410);
        switch(true).await;
        // Guesses wait, even the right one, and it is the same wait as at sign-in.
        let wrong = with("password", json!("wrong"));
        let guesses = (0..20).map(|_| whole(&app, accepting(&wrong)));
        let guesses = futures_util::future::join_all(guesses).await;
        assert!(guesses.iter().any(|one| one.0 == 429), "{guesses:?}");
        let later = crate::clock::now_ms() + 3_600_000;
        let sql = format!("UPDATE sign_in_failures SET next_ms = {later}");
        let db = &test.stores.config.write;
        db.execute_unprepared(&sql).await.expect("SQL");
        assert_eq!(whole(&app, accepting(&right)).await.0, 429);
        assert_eq!(whole(&app, signing_in(EMAIL, PASSWORD)).await.0, 429);
        forget_failures(&test).await;
        let taken = whole(&app, accepting(&right)).await;
        assert_eq!(taken.0, 204, "{taken:?}");
        let (_, log) = answer(&app, request(Method::GET, "/audit-log?action=membership")).await;
        let shown = &log["data"][0]["after"]["shown"];
        assert_eq!(shown, "password and recovery code", "{log}");
        let places = store::users::places(&test.stores.config.read, user).await;
        let places = places.expect("places");
        assert_eq!(places[0].1, "other");
        let asked = whole(&app, signing_in(EMAIL, PASSWORD)).await;
        assert_eq!(asked.1["code"], "second_factor_needed", "they are back");
    }
}

// Threats: T9.
#[actix_rt::test]
async fn an_invitation_goes_with_what_made_it_and_with_what_it_gives() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let roles = "tenants: [{name: acme, roles: [{name: auditor, permissions: ['audit:read']}], groups: [{name: gone}, {name: stays}]}]";
        assert_eq!(answer(&app, document(roles, "")).await.0, 200);
        let token = json!({"tenant": "acme", "name": "inviter", "role": "admin"});
        let (_, token) = answer(
            &app,
            request(Method::POST, "/service-tokens").set_json(token),
        )
        .await;
        let value = token["value"].as_str().expect("a value");
        let invite = async |email: &str, role: &str| {
            let order = json!({"email": email, "role": role, "groups": ["gone", "stays"]});
            let made = by(value, Method::POST, "/invitations").set_json(order);
            let (status, made, _) = whole(&app, made).await;
            assert_eq!(status, 201, "{made}");
            json!({"token": token_in(&made["url"]), "name": "N", "password": PASSWORD})
        };
        let by_role = invite("a1@acme.example", "auditor").await;
        let by_group = invite("a2@acme.example", "viewer").await;
        let by_token = invite("a3@acme.example", "viewer").await;
        let by_gone = invite("a4@acme.example", "viewer").await;
        let delete = async |kind: &str, name: &str| {
            let (_, list) = answer(&app, request(Method::GET, &format!("/{kind}?q={name}"))).await;
            let id = list["data"][0]["id"].as_str().expect("an id");
            let path = format!("/{kind}/{id}");
            assert_eq!(answer(&app, request(Method::DELETE, &path)).await.0, 204);
        };
        delete("roles", "auditor").await;
        delete("groups", "gone").await;
        assert_eq!(whole(&app, accepting(&by_role)).await.0, 410);
        assert_eq!(whole(&app, accepting(&by_group)).await.0, 204);
        let (_, joined) = answer(&app, request(Method::GET, "/users?q=a2@acme")).await;
        let groups = &joined["data"][0]["memberships"][0]["groups"];
        assert_eq!(groups, &json!(["stays"]), "{joined}");
        // With the token switched off, and with it gone.
        let path = format!("/service-tokens/{}", token["id"].as_str().expect("an id"));
        let off = request(Method::PATCH, &path).set_json(json!({"enabled": false}));
        assert_eq!(answer(&app, off).await.0, 200);
        assert_eq!(whole(&app, accepting(&by_token)).await.0, 410);
        assert_eq!(answer(&app, request(Method::DELETE, &path)).await.0, 204);
        assert_eq!(whole(&app, accepting(&by_gone)).await.0, 410);
        // Whoever is a member is asked in no more.
        let order = json!({"tenant": "acme", "email": "a2@acme.example", "role": "viewer"});
        let again = request(Method::POST, "/invitations").set_json(&order);
        let (status, again) = answer(&app, again).await;
        assert_eq!(
            (status, &again["errors"][0]["path"]),
            (409, &json!("email")),
            "{again}"
        );
    }
}

// Threats: T2.
#[actix_rt::test]
async fn no_file_leaves_a_tenant_without_its_owner() {
    for test in all().await {
        let app = app!(&test);
        let owned = "tenants: [{name: acme, users: [{email: o@acme.example, role: owner}]}]";
        assert_eq!(answer(&app, document(owned, "")).await.0, 200);
        let lowered = "tenants: [{name: acme, users: [{email: o@acme.example, role: admin}]}]";
        let off = "tenants: [{name: acme, users: [{email: o@acme.example, enabled: false}]}]";
        let without = "tenants: [{name: acme, users: []}]";
        for (file, query) in [
            (lowered, ""),
            (off, ""),
            (without, "?prune=true"),
            (without, "?prune=true&dry_run=true"),
        ] {
            let (status, refused) = answer(&app, document(file, query)).await;
            let told = refused["errors"][0]["message"].as_str().unwrap_or_default();
            assert!(
                status == 422 && told.contains("without an owner"),
                "{file}: {status} {refused}"
            );
        }
        // With another one, and with the tenant itself, they may go.
        let two = "tenants: [{name: acme, users: [{email: o@acme.example, role: admin}, {email: p@acme.example, role: owner}]}]";
        assert_eq!(answer(&app, document(two, "")).await.0, 200);
        let (status, gone) = answer(&app, document("tenants: []", "?prune=true")).await;
        assert_eq!(status, 200, "{gone}");
    }
}
