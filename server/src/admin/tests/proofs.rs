//! Showing who one is, once more: the second factor, another password, and what asks for either.

use totp_rs::{Algorithm, TOTP};

use sea_orm::ConnectionTrait as _;

use super::{
    super::{access::Mark, routes::TABLE},
    login::*,
    *,
};
use crate::{access::FRESH_MS, clock::now_ms, store, tenancy::UserId};

/// From elsewhere each time: it is the codes that are counted, and not the passwords from one place.
fn from_elsewhere(code: &str, at: usize) -> TestRequest {
    let address = format!("127.0.1.{}:1", at + 1);
    with_code(code).peer_addr(address.parse().expect("an address"))
}

fn with_code(code: &str) -> TestRequest {
    let order = json!({"email": EMAIL, "password": PASSWORD, "code": code});
    plain(Method::POST, "/sign-in").set_json(order)
}

// Threats: A8, A9.
#[actix_rt::test]
async fn a_second_factor_is_asked_for_and_no_code_works_twice() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        somebody(&test).await;
        let token = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
        let factor = |path: &str, order: Value| {
            by(&token, Method::POST, &format!("/me/second-factor{path}")).set_json(order)
        };
        let (status, refused, _) = whole(&app, factor("", json!({"password": "wrong"}))).await;
        assert_eq!(
            (status, &refused["errors"][0]["path"]),
            (422, &json!("password"))
        );
        let (_, seed, _) = whole(&app, factor("", json!({"password": PASSWORD}))).await;
        assert!(
            seed["uri"]
                .as_str()
                .expect("a URI")
                .starts_with("otpauth://totp/"),
            "{seed}"
        );
        let code = |steps: i64| code_of(&seed, steps);
        // Not in force before it was confirmed.
        assert_eq!(whole(&app, signing_in(EMAIL, PASSWORD)).await.0, 200);
        let (status, wrong, _) = whole(&app, factor("/confirm", json!({"code": "000000"}))).await;
        assert_eq!(status, 422, "{wrong}");
        let first = code(0);
        let confirmed = whole(&app, factor("/confirm", json!({"code": first}))).await;
        let codes = confirmed.1["codes"].as_array().expect("codes").clone();
        assert_eq!((confirmed.0, codes.len()), (200, 10));
        let asked = whole(&app, signing_in(EMAIL, PASSWORD)).await;
        assert_eq!(
            (asked.0, &asked.1["code"]),
            (401, &json!("second_factor_needed")),
            "{asked:?}"
        );
        assert_eq!(
            whole(&app, with_code(&first)).await.0,
            401,
            "the one that confirmed it"
        );
        // Fifty at once: one gets in.
        forget_failures(&test).await;
        let now = code(1);
        let at_once = (0..50).map(|at| whole(&app, from_elsewhere(&now, at)));
        let at_once = futures_util::future::join_all(at_once).await;
        let let_in = at_once.iter().filter(|one| one.0 == 200).count();
        assert_eq!(let_in, 1);
        // Five wrong ones are looked at, and then even a right one waits.
        forget_failures(&test).await;
        let wrong = (0..20).map(|at| from_elsewhere(&format!("{at:06}"), at));
        let wrong = wrong.map(|request| whole(&app, request));
        let wrong = futures_util::future::join_all(wrong).await;
        let looked_at = wrong.iter().filter(|one| one.1["code"] == "sign_in_failed");
        assert_few(looked_at.count());
        let recovery = codes[0].as_str().expect("a code");
        // However long this machine takes.
        let sql = "UPDATE sign_in_failures SET next_ms = next_ms + 3600000 WHERE next_ms > 0";
        run(&test, sql).await;
        assert_eq!(whole(&app, with_code(recovery)).await.0, 429);
        forget_failures(&test).await;
        let twice =
            futures_util::future::join_all((0..3).map(|_| whole(&app, with_code(recovery)))).await;
        let let_in = twice.iter().filter(|one| one.0 == 200).count();
        assert_eq!(let_in, 1, "{twice:?}");
        let (_, me, _) = whole(&app, by(&token, Method::GET, "/me")).await;
        assert_eq!(
            (
                &me["person"]["second_factor"],
                &me["person"]["recovery_codes"]
            ),
            (&json!(true), &json!(9))
        );
        // Nothing of it lies about in clear.
        let kept = store::sign_ins::find(&test.stores.config.read, somebody_id(&test).await)
            .await
            .expect("kept");
        assert!(kept.recovery.iter().all(|digest| digest.len() == 64));
        let removed = whole(&app, factor("/remove", json!({"password": PASSWORD}))).await;
        assert_eq!(removed.0, 204, "{removed:?}");
        assert_eq!(whole(&app, signing_in(EMAIL, PASSWORD)).await.0, 200);
    }
}

/// The code of a seed that was shown, so many steps from now.
pub(super) fn code_of(seed: &Value, steps: i64) -> String {
    let secret = seed["secret"].as_str().expect("a secret").to_owned();
    let bytes = totp_rs::Secret::Encoded(secret).to_bytes().expect("a seed");
    let totp = TOTP::new(Algorithm::SHA1, 6, 0, 30, bytes, None, String::new());
    let at_s = now_ms() / 1_000 + 30 * steps;
    totp.expect("TOTP").generate(at_s.unsigned_abs())
}

pub(super) async fn forget_failures(test: &TestStores) {
    run(test, "DELETE FROM sign_in_failures").await;
}

async fn somebody_id(test: &TestStores) -> UserId {
    let user = store::users::of_email(&test.stores.config.read, EMAIL).await;
    user.expect("a look").expect("a user")
}

#[actix_rt::test]
async fn another_password_ends_the_other_sessions_and_so_does_signing_out_everywhere() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        somebody(&test).await;
        let here = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
        let there = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
        let change = |current: &str, new: &str| {
            let order = json!({"current": current, "new": new});
            by(&here, Method::POST, "/me/password").set_json(order)
        };
        assert_eq!(
            whole(&app, change("wrong", "another long password"))
                .await
                .0,
            422
        );
        assert_eq!(whole(&app, change(PASSWORD, "short")).await.0, 422);
        assert_eq!(whole(&app, change(PASSWORD, &"x".repeat(300))).await.0, 422);
        let new = "another long password";
        assert_eq!(whole(&app, change(PASSWORD, new)).await.0, 204);
        assert_eq!(whole(&app, by(&here, Method::GET, "/me")).await.0, 200);
        assert_eq!(whole(&app, by(&there, Method::GET, "/me")).await.0, 401);
        assert_eq!(whole(&app, signing_in(EMAIL, PASSWORD)).await.0, 401);
        let third = token_of(&whole(&app, signing_in(EMAIL, new)).await);
        let (_, list, _) = whole(&app, by(&here, Method::GET, "/me/sessions")).await;
        let current: Vec<&Value> = list["data"]
            .as_array()
            .expect("sessions")
            .iter()
            .map(|one| &one["current"])
            .collect();
        assert_eq!(current, [&json!(false), &json!(true)], "{list}");
        let path = format!(
            "/me/sessions/{}",
            list["data"][0]["id"].as_str().expect("an id")
        );
        assert_eq!(whole(&app, by(&here, Method::DELETE, &path)).await.0, 204);
        assert_eq!(whole(&app, by(&third, Method::GET, "/me")).await.0, 401);
        let patch = by(&here, Method::PATCH, "/me").set_json(json!({"name": "张三"}));
        let (_, me, _) = whole(&app, patch).await;
        assert_eq!(me["person"]["name"], "张三");
        assert_eq!(
            whole(&app, by(&here, Method::DELETE, "/me/sessions"))
                .await
                .0,
            204
        );
        assert_eq!(whole(&app, by(&here, Method::GET, "/me")).await.0, 401);
        // Tokens of automation are nobody who could change a password.
        let (status, refused) = answer(&app, request(Method::GET, "/me/sessions")).await;
        assert_eq!(status, 403, "{refused}");
    }
}

/// Five, and then one after a second, two, four: a busy machine takes its time.
fn assert_few(looked_at: usize) {
    assert!((5..=8).contains(&looked_at), "{looked_at}");
}

async fn run(test: &TestStores, sql: &str) {
    let db = &test.stores.config.write;
    db.execute_unprepared(sql).await.expect("SQL");
}

/// As if everybody had signed in so long ago that it counts no longer.
pub(super) async fn grow_old(test: &TestStores) {
    let sql = format!("UPDATE sessions SET proved_ms = proved_ms - {FRESH_MS}");
    run(test, &sql).await;
}

/// Every route of the table that asks for it, and another address for somebody.
// Threats: A9.
#[actix_rt::test]
async fn an_old_session_does_nothing_of_much_harm_before_its_owner_shows_who_they_are() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let user = somebody(&test).await;
        run(&test, "UPDATE users SET platform_role = 'platform_admin'").await;
        let signed_in = whole(&app, signing_in(EMAIL, PASSWORD)).await;
        let fresh = TABLE.iter().filter(|route| route.mark == Mark::Fresh);
        let mut asked: Vec<(Method, String, Value)> = fresh
            .map(|route| {
                let method = Method::from_bytes(route.method.as_bytes()).expect("a method");
                // They stay an operator, and signed in.
                let ends = ["/operators/{id}", "/users/{id}/second-factor"];
                let id = match ends.contains(&route.path) {
                    true => uuid::Uuid::new_v4(),
                    false => user.0,
                };
                let path = route.path.replace("{id}", &id.to_string());
                (method, path, json!({}))
            })
            .collect();
        // What may never lose its mark in the table.
        for path in [
            "/resources",
            "/resources/apply",
            "/security/rotate-admin-key",
            "/service-tokens",
            "/identity-providers",
            "/me/identities",
            "/users",
        ] {
            assert!(asked.iter().any(|(_, asked, _)| asked == path), "{path}");
        }
        let address = json!({"tenant": "acme", "email": "new@acme.example"});
        let owner = json!({"tenant": "acme", "email": "b@acme.example", "role": "owner"});
        asked.push((Method::POST, "/invitations".to_owned(), owner));
        asked.push((Method::PATCH, format!("/users/{user}"), address));
        let codes = async |token: &str| {
            let mut codes = Vec::new();
            for (method, path, order) in &asked {
                let call = by(token, method.clone(), path).set_json(order);
                let (status, body, _) = whole(&app, call).await;
                codes.push((status, body["code"].as_str().unwrap_or("").to_owned()));
            }
            codes
        };
        let needed = (403, "proof_needed".to_owned());
        grow_old(&test).await;
        let token = token_of(&signed_in);
        assert!(codes(&token).await.iter().all(|code| *code == needed));
        // What does no such harm goes on. Another access token shows nothing, nor does a wrong password.
        assert_eq!(whole(&app, by(&token, Method::GET, "/keys")).await.0, 200);
        let refresh = plain(Method::POST, "/sign-in/refresh");
        let refresh = refresh.insert_header((header::COOKIE, cookie_of(&signed_in)));
        let token = token_of(&whole(&app, refresh).await);
        let prove = |password: &str| {
            by(&token, Method::POST, "/me/proof").set_json(json!({"password": password}))
        };
        assert_eq!(whole(&app, prove("wrong")).await.0, 422);
        assert!(codes(&token).await.iter().all(|code| *code == needed));
        assert_eq!(whole(&app, prove(PASSWORD)).await.0, 204);
        let after = codes(&token).await;
        assert!(after.iter().all(|code| *code != needed), "{after:?}");
        let export = TABLE.iter().filter(|route| route.mark == Mark::Fresh);
        let export = export
            .into_iter()
            .position(|route| route.path == "/resources");
        assert_eq!(after[export.expect("the export")].0, 200);
        assert_eq!(after.last().expect("the address").0, 200, "{after:?}");
        // Guesses wait, as they do at sign-in.
        let guesses = (0..20).map(|_| whole(&app, prove("wrong")));
        let guesses = futures_util::future::join_all(guesses).await;
        let looked_at = guesses.iter().filter(|one| one.0 == 422).count();
        assert_few(looked_at);
        // Automation shows its token with each call.
        let (status, _) = answer(&app, request(Method::GET, "/resources")).await;
        assert_eq!(status, 200);
    }
}

// Threats: A9.
#[actix_rt::test]
async fn signing_in_begins_a_session_that_nobody_knew_before() {
    let test = sqlite().await;
    let app = app!(&test);
    answer(&app, document(PLATFORM, "")).await;
    somebody(&test).await;
    let known = whole(&app, signing_in(EMAIL, PASSWORD)).await;
    let session = |cookie: &str| {
        let (_, value) = cookie.split_once('=').expect("a cookie");
        value.split('.').next().expect("a session").to_owned()
    };
    let sent = cookie_of(&known);
    for planted in [sent.clone(), "__Host-weir_refresh=planted.0.00".to_owned()] {
        let again = signing_in(EMAIL, PASSWORD).insert_header((header::COOKIE, planted.clone()));
        let again = whole(&app, again).await;
        assert_ne!(session(&cookie_of(&again)), session(&planted));
    }
    // Whoever had the old one is not let in by the new sign-in, nor put out.
    let (_, list, _) = whole(&app, by(&token_of(&known), Method::GET, "/me/sessions")).await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(3), "{list}");
}

/// Two instances are two apps over the same stores.
// Threats: A8.
#[actix_rt::test]
async fn a_code_and_the_tries_at_it_count_once_over_all_instances() {
    for test in all().await {
        let (one, two) = (app!(&test), app!(&test));
        answer(&one, document(PLATFORM, "")).await;
        let user = somebody(&test).await;
        let token = token_of(&whole(&one, signing_in(EMAIL, PASSWORD)).await);
        let factor = |path: &str, order: Value| {
            by(&token, Method::POST, &format!("/me/second-factor{path}")).set_json(order)
        };
        let (_, seed, _) = whole(&one, factor("", json!({"password": PASSWORD}))).await;
        let secret = seed["secret"].as_str().expect("a secret");
        let code = |steps: i64| code_of(&seed, steps);
        let confirmed = whole(&two, factor("/confirm", json!({"code": code(0)}))).await;
        assert_eq!(confirmed.0, 200, "{confirmed:?}");
        let now = code(1);
        let both = (0..25).map(|at| {
            let (first, second) = (from_elsewhere(&now, at), from_elsewhere(&now, at + 100));
            let (one, two) = (&one, &two);
            async move { tokio::join!(whole(one, first), whole(two, second)) }
        });
        let both = futures_util::future::join_all(both).await;
        let answers = both.iter().flat_map(|(one, two)| [one.0, two.0]);
        assert_eq!(
            answers.filter(|status| *status == 200).count(),
            1,
            "{both:?}"
        );
        forget_failures(&test).await;
        let wrong = (0..10).map(|at| {
            let first = from_elsewhere(&format!("{at:06}"), at);
            let second = from_elsewhere(&format!("{:06}", at + 100), at + 100);
            let (one, two) = (&one, &two);
            async move { tokio::join!(whole(one, first), whole(two, second)) }
        });
        let wrong = futures_util::future::join_all(wrong).await;
        let answers = wrong.iter().flat_map(|(one, two)| [one, two]);
        let looked_at = answers.filter(|one| one.1["code"] == "sign_in_failed");
        assert_few(looked_at.count());
        // Another password does not take the factor's place, nor does a session that is kept up.
        forget_failures(&test).await;
        let path = format!("/users/{user}/reset-link");
        let (_, link) = answer(&one, request(Method::POST, &path).set_json(json!({}))).await;
        let token = link["url"].as_str().and_then(|url| url.split_once('#'));
        let new = "another long password";
        let order = json!({"token": token.expect("a link").1, "password": new});
        let set = plain(Method::POST, "/password-resets").set_json(order);
        assert_eq!(whole(&two, set).await.0, 204);
        let asked = whole(&one, signing_in(EMAIL, new)).await;
        assert_eq!(asked.1["code"], "second_factor_needed", "{asked:?}");
        // The seed is sealed where it lies.
        let kept = store::sign_ins::find(&test.stores.config.read, user).await;
        let sealed = kept.expect("kept").totp.expect("a seed").bytes;
        assert!(
            !sealed
                .windows(secret.len())
                .any(|piece| piece == secret.as_bytes())
        );
    }
}

const OTHER: &str = "another long password";

/// Sets another password by a link of an operator's.
async fn resetting<S: Answers>(app: &S) -> TestRequest {
    let (_, list) = answer(app, request(Method::GET, "/users?q=a@acme")).await;
    let path = format!(
        "/users/{}/reset-link",
        list["data"][0]["id"].as_str().expect("an id")
    );
    let (_, link) = answer(app, request(Method::POST, &path).set_json(json!({}))).await;
    let token = link["url"].as_str().expect("a link");
    let token = token.split_once('#').expect("a token").1;
    plain(Method::POST, "/password-resets").set_json(json!({"token": token, "password": OTHER}))
}

/// Hashing takes a while, in which the password becomes another one and all sessions end.
// Threats: A5.
#[actix_rt::test]
async fn no_sign_in_under_way_outlives_the_password_that_it_showed() {
    const SIGN_INS: usize = 5;
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let user = somebody(&test).await;
        let reset = resetting(&app).await;
        let reset = async {
            assert_eq!(whole(&app, reset).await.0, 204);
        };
        // They are read with the password that there was, and hashed behind the one that is to be.
        let sign_ins = (0..SIGN_INS).map(|_| whole(&app, signing_in(EMAIL, PASSWORD)));
        let sign_ins = futures_util::future::join_all(sign_ins);
        let ((), answers) = futures_util::future::join(reset, sign_ins).await;
        let count = |status| answers.iter().filter(|one| one.0 == status).count();
        assert_eq!(count(200) + count(401), SIGN_INS, "{answers:?}");
        assert!(count(401) > 0, "none was under way: {answers:?}");
        let page = store::Page {
            rows: 100,
            ..store::Page::default()
        };
        let db = &test.stores.config.read;
        let left = store::sessions::list(db, user, None, &page, now_ms()).await;
        let left = left.expect("sessions").data;
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Whoever changes a password with the one before, while it becomes another one by a link, has changed nothing.
// Threats: A5.
#[actix_rt::test]
async fn no_change_under_way_outlives_the_password_that_it_showed() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        somebody(&test).await;
        let session = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
        let reset = resetting(&app).await;
        let reset = async {
            assert_eq!(whole(&app, reset).await.0, 204);
        };
        let change = |at: usize| {
            let order = json!({"current": PASSWORD, "new": format!("{PASSWORD} of number {at}")});
            whole(
                &app,
                by(&session, Method::POST, "/me/password").set_json(order),
            )
        };
        let changes = futures_util::future::join_all((0..4).map(change));
        let ((), answers) = futures_util::future::join(reset, changes).await;
        for (status, body, _) in &answers {
            assert!([204, 401, 422].contains(status), "{status} {body}");
        }
        assert!(answers.iter().any(|answer| answer.0 == 401), "{answers:?}");
        let signed_in = whole(&app, signing_in(EMAIL, OTHER)).await;
        assert_eq!(signed_in.0, 200, "{signed_in:?}");
    }
}
