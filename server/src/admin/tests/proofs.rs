//! Showing who one is, once more: the second factor, another password, and what asks for either.

use totp_rs::{Algorithm, TOTP};

use super::{login::*, *};
use crate::{clock::now_ms, store, tenancy::UserId};

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
        let secret = seed["secret"].as_str().expect("a secret").to_owned();
        assert!(
            seed["uri"]
                .as_str()
                .expect("a URI")
                .starts_with("otpauth://totp/"),
            "{seed}"
        );
        let bytes = totp_rs::Secret::Encoded(secret).to_bytes().expect("a seed");
        let totp = TOTP::new(Algorithm::SHA1, 6, 0, 30, bytes, None, String::new()).expect("TOTP");
        let code = |steps: i64| totp.generate((now_ms() / 1_000 + 30 * steps).unsigned_abs());
        // Not in force before it was confirmed.
        assert_eq!(whole(&app, signing_in(EMAIL, PASSWORD)).await.0, 200);
        let (status, wrong, _) = whole(&app, factor("/confirm", json!({"code": "000000"}))).await;
        assert_eq!(status, 422, "{wrong}");
        let confirmed = whole(&app, factor("/confirm", json!({"code": code(-1)}))).await;
        let codes = confirmed.1["codes"].as_array().expect("codes").clone();
        assert_eq!((confirmed.0, codes.len()), (200, 10));
        let asked = whole(&app, signing_in(EMAIL, PASSWORD)).await;
        assert_eq!(
            (asked.0, &asked.1["code"]),
            (401, &json!("second_factor_needed")),
            "{asked:?}"
        );
        assert_eq!(
            whole(&app, with_code(&code(-1))).await.0,
            401,
            "the one that confirmed it"
        );
        // Fifty at once: one gets in.
        let now = code(0);
        let at_once = (0..50).map(|_| whole(&app, with_code(&now)));
        let at_once = futures_util::future::join_all(at_once).await;
        let let_in = at_once.iter().filter(|one| one.0 == 200).count();
        assert_eq!(let_in, 1);
        // Five wrong ones are looked at, and then even a right one waits.
        forget_failures(&test).await;
        let wrong = (0..20).map(|at| with_code(&format!("{at:06}")));
        let wrong = wrong.map(|request| whole(&app, request));
        let wrong = futures_util::future::join_all(wrong).await;
        let looked_at = wrong.iter().filter(|one| one.1["code"] == "sign_in_failed");
        assert_eq!(looked_at.count(), 5);
        let recovery = codes[0].as_str().expect("a code");
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

async fn forget_failures(test: &TestStores) {
    let forget = "DELETE FROM sign_in_failures";
    sea_orm::ConnectionTrait::execute_unprepared(&test.stores.config.write, forget)
        .await
        .expect("SQL");
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
