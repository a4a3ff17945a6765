//! Signing in, staying in, and being put out.

use std::collections::HashMap;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::*;
use crate::{clock::now_ms, store, tenancy::UserId};

pub(super) const PASSWORD: &str = "correct horse battery staple";
pub(super) const EMAIL: &str = "a@acme.example";

pub(super) type Answer = (u16, Value, HashMap<String, String>);

/// Status, body and headers.
pub(super) async fn whole<S: Answers>(app: &S, request: TestRequest) -> Answer {
    let response = call_service(app, request.to_request()).await;
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers = headers.map(|(name, value)| {
        let value = value.to_str().expect("text").to_owned();
        (name.to_string(), value)
    });
    let headers = headers.collect();
    let body = to_bytes(response.into_body()).await.expect("a body");
    (
        status,
        serde_json::from_slice(&body).unwrap_or_default(),
        headers,
    )
}

/// A request without any token, from this machine.
pub(super) fn plain(method: Method, path: &str) -> TestRequest {
    TestRequest::default()
        .method(method)
        .uri(&format!("/v1/admin{path}"))
        .peer_addr("127.0.0.1:4711".parse().expect("an address"))
        .insert_header((header::HOST, "localhost:8080"))
}

pub(super) fn signing_in(email: &str, password: &str) -> TestRequest {
    let order = json!({"email": email, "password": password});
    plain(Method::POST, "/sign-in").set_json(order)
}

pub(super) fn by(token: &str, method: Method, path: &str) -> TestRequest {
    plain(method, path).insert_header((header::AUTHORIZATION, format!("Bearer {token}")))
}

pub(super) fn token_of(answer: &Answer) -> String {
    let token = answer.1["access_token"].as_str();
    token.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// The cookie that an answer sets, as a request sends it.
pub(super) fn cookie_of(answer: &Answer) -> String {
    let cookie = answer.2.get("set-cookie").expect("a cookie");
    let (pair, flags) = cookie.split_once(';').expect("flags");
    assert!(pair.starts_with("__Host-weir_refresh="), "{cookie}");
    for flag in ["Path=/", "HttpOnly", "Secure", "SameSite=Strict"] {
        assert!(flags.contains(flag), "{cookie}");
    }
    pair.to_owned()
}

/// The id of the key that signs access tokens now, and the key itself as PKCS #8.
pub(super) async fn signing_key(test: &TestStores) -> (uuid::Uuid, Vec<u8>) {
    let stored = store::signing_keys::newest(&test.stores.config.read).await;
    let stored = &stored.expect("keys")[0];
    let place = crate::secrets::Place {
        table: "signing_keys",
        column: "sealed",
        row: stored.id,
        tenant: None,
    };
    let opened = Sealer::new(&[7; 32]).open(&stored.sealed, place);
    let document = base64::prelude::BASE64_STANDARD.decode(opened.expect("it opens").expose());
    (stored.id, document.expect("base64"))
}

fn refreshing(cookie: &str) -> TestRequest {
    plain(Method::POST, "/sign-in/refresh").insert_header((header::COOKIE, cookie.to_owned()))
}

/// The person of the platform's file with a password.
pub(super) async fn somebody(test: &TestStores) -> UserId {
    let db = &test.stores.config.write;
    let user = store::users::of_email(db, EMAIL).await.expect("a look");
    let user = user.expect("a user");
    let password = serde_json::from_value(json!(PASSWORD)).expect("a secret");
    let hashed = super::super::login::Passwords::new().expect("threads");
    let hashed = hashed.hash("password", &password).await;
    let hashed = hashed.expect("a hash");
    assert!(
        hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
        "{hashed}"
    );
    store::sign_ins::put_password(db, user, hashed, now_ms())
        .await
        .expect("it is kept");
    user
}

#[actix_rt::test]
async fn a_password_gives_a_session_in_which_one_may_what_the_role_says() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        somebody(&test).await;
        let signed_in = whole(&app, signing_in("  A@acme.EXAMPLE ", PASSWORD)).await;
        assert_eq!(signed_in.0, 200, "{signed_in:?}");
        let (token, cookie) = (token_of(&signed_in), cookie_of(&signed_in));
        let (_, me, _) = whole(&app, by(&token, Method::GET, "/me")).await;
        assert_eq!(me["person"]["email"], EMAIL);
        assert_eq!(me["tenant"], "acme");
        assert_eq!(me["person"]["tenants"][0]["role"], "viewer");
        assert_eq!(whole(&app, by(&token, Method::GET, "/keys")).await.0, 200);
        let order = json!({"name": "k"});
        let create = |token: &str| by(token, Method::POST, "/keys").set_json(&order);
        assert_eq!(whole(&app, create(&token)).await.0, 403);
        // A role counts from the next call, not from the next sign-in.
        let admin = "tenants: [{name: acme, users: [{email: a@acme.example, role: admin}]}]";
        answer(&app, document(admin, "")).await;
        let (status, made, _) = whole(&app, create(&token)).await;
        assert_eq!((status, &made["tenant"]), (201, &json!("acme")), "{made}");
        let named = by(&token, Method::GET, "/keys").insert_header(("x-weir-tenant", "other"));
        assert_eq!(whole(&app, named).await.0, 404);
        let (_, log) = answer(&app, request(Method::GET, "/audit-log?limit=3")).await;
        let told: Vec<(&Value, &Value)> = log["data"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| (&row["action"], &row["actor_name"]))
            .collect();
        assert_eq!(told[0], (&json!("key:create"), &json!(EMAIL)), "{log}");
        assert_eq!(told[2], (&json!("session:create"), &json!(EMAIL)), "{log}");
        // Cookies are for refreshing alone.
        let by_cookie = plain(Method::GET, "/me").insert_header((header::COOKIE, cookie));
        assert_eq!(whole(&app, by_cookie).await.0, 401);
    }
}

// Threats: A3, T7.
#[actix_rt::test]
async fn what_is_wrong_is_told_alike_and_waits_without_locking_anybody_out() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let user = somebody(&test).await;
        let from = |request: TestRequest, address: &str| {
            // The connection is this machine's; the test's proxies are none, so the peer is who it is.
            request.peer_addr(format!("{address}:1").parse().expect("an address"))
        };
        let mut said = Vec::new();
        for (email, password) in [
            (EMAIL, "wrong"),
            ("nobody@acme.example", PASSWORD),
            ("no address", PASSWORD),
            (EMAIL, ""),
        ] {
            let (status, mut body, headers) = whole(&app, signing_in(email, password)).await;
            body["request_id"] = Value::Null;
            said.push((status, body, headers.contains_key("set-cookie")));
        }
        assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "{said:?}");
        assert_eq!(
            (said[0].0, &said[0].1["code"]),
            (401, &json!("sign_in_failed"))
        );
        for _ in 0..3 {
            whole(&app, signing_in(EMAIL, "wrong")).await;
        }
        // The right one has to wait too, from there.
        let (status, body, headers) = whole(&app, signing_in(EMAIL, PASSWORD)).await;
        assert_eq!(
            (status, &body["code"]),
            (429, &json!("too_many_tries")),
            "{body}"
        );
        assert!(headers.contains_key("retry-after"));
        // An outsider with many addresses cannot keep its owner out, who has been here from this one.
        let loopback = |at: u8| format!("127.0.0.{at}");
        for at in 10..40 {
            whole(&app, from(signing_in(EMAIL, "wrong"), &loopback(at))).await;
        }
        let stranger = whole(&app, from(signing_in(EMAIL, PASSWORD), &loopback(99))).await;
        assert_eq!(stranger.0, 429, "{stranger:?}");
        let db = &test.stores.config.write;
        let home = loopback(98).parse().expect("an address");
        store::known_places::note(db, user, home, now_ms())
            .await
            .expect("noted");
        // Signed out everywhere, too.
        store::sessions::end_all(db, user, None)
            .await
            .expect("ended");
        let owner = whole(&app, from(signing_in(EMAIL, PASSWORD), &loopback(98))).await;
        assert_eq!(owner.0, 200, "{owner:?}");
        // Whoever has set a password by a link comes in from there, though nobody knew the place.
        let (status, link) = answer(
            &app,
            request(Method::POST, &format!("/users/{user}/reset-link")).set_json(json!({})),
        )
        .await;
        assert_eq!(status, 201, "{link}");
        let link = link["url"].as_str().expect("a link").to_owned();
        let (_, token) = link.split_once('#').expect("a token");
        let set = plain(Method::POST, "/password-resets")
            .set_json(json!({"token": token, "password": PASSWORD}));
        assert_eq!(whole(&app, from(set, &loopback(97))).await.0, 204);
        let back = whole(&app, from(signing_in(EMAIL, PASSWORD), &loopback(97))).await;
        assert_eq!(back.0, 200, "{back:?}");
        let stranger = whole(&app, from(signing_in(EMAIL, PASSWORD), &loopback(99))).await;
        assert_eq!(stranger.0, 429, "{stranger:?}");
        let at_home = back;
        let token = token_of(&at_home);
        // Switched off: neither password nor what is there already helps.
        let off = "tenants: [{name: acme, users: [{email: a@acme.example, enabled: false}]}]";
        answer(&app, document(off, "")).await;
        let gone = whole(&app, from(signing_in(EMAIL, PASSWORD), &loopback(98))).await;
        assert_eq!(gone.1["code"], "sign_in_failed");
        assert_eq!(whole(&app, by(&token, Method::GET, "/me")).await.0, 401);
        let cookie = cookie_of(&at_home);
        assert_eq!(whole(&app, refreshing(&cookie)).await.0, 401);
    }
}

/// A wrong password of somebody, and any of nobody: an outsider has nothing but the time to tell them apart.
// Threats: A3.
#[actix_rt::test]
async fn it_takes_as_long_to_be_wrong_as_to_be_unknown() {
    const TRIES: usize = 100;
    let test = sqlite().await;
    let app = app!(&test);
    answer(&app, document(PLATFORM, "")).await;
    somebody(&test).await;
    let mut times = [Vec::new(), Vec::new()];
    for at in 0..TRIES {
        // By turns, as the machine is now faster and now slower; from elsewhere each time, so that nobody waits.
        for (email, times) in [EMAIL, "b@acme.example"].iter().zip(&mut times) {
            super::proofs::forget_failures(&test).await;
            let address = format!("127.0.{}.{}:1", at / 100, at % 100 + 1);
            let request = signing_in(email, "wrong password");
            let request = request.peer_addr(address.parse().expect("an address"));
            let began = std::time::Instant::now();
            assert_eq!(whole(&app, request).await.0, 401);
            times.push(began.elapsed().as_secs_f64());
        }
    }
    let medians = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[TRIES / 2]
    });
    let ratio = medians[0] / medians[1];
    // Hashing is nearly all of it: whoever forgot that for one of them is off by a hundred times.
    assert!((0.5..2.0).contains(&ratio), "{medians:?}");
}

// Threats: A4.
#[actix_rt::test]
async fn a_refresh_token_works_once_and_a_copy_ends_the_session() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        somebody(&test).await;
        let first = whole(&app, signing_in(EMAIL, PASSWORD)).await;
        let second = whole(&app, refreshing(&cookie_of(&first))).await;
        assert_eq!(second.0, 200, "{second:?}");
        assert_ne!(cookie_of(&first), cookie_of(&second));
        // The other tab's, a moment later: access, and no other cookie.
        let tab = whole(&app, refreshing(&cookie_of(&first))).await;
        assert!(tab.0 == 200 && !tab.2.contains_key("set-cookie"), "{tab:?}");
        // Twenty at once leave one living session.
        let cookie = cookie_of(&second);
        let at_once = (0..20).map(|_| whole(&app, refreshing(&cookie)));
        let at_once = futures_util::future::join_all(at_once).await;
        let next: Vec<&Answer> = at_once
            .iter()
            .filter(|one| one.2.contains_key("set-cookie"))
            .collect();
        assert_eq!(next.len(), 1);
        let third = cookie_of(next[0]);
        // One that is two behind is a copy.
        let copied = whole(&app, refreshing(&cookie_of(&first))).await;
        assert_eq!(
            (copied.0, &copied.1["code"]),
            (401, &json!("session_over")),
            "{copied:?}"
        );
        assert_eq!(whole(&app, refreshing(&third)).await.0, 401);
        let token = token_of(next[0]);
        assert_eq!(whole(&app, by(&token, Method::GET, "/me")).await.0, 401);
        let (_, log) = answer(&app, request(Method::GET, "/audit-log?limit=1")).await;
        assert_eq!(log["data"][0]["action"], "session:delete", "{log}");
        // Made up, of another origin, after signing out.
        let fourth = whole(&app, signing_in(EMAIL, PASSWORD)).await;
        let cookie = cookie_of(&fourth);
        let forged = cookie.replacen(".0.", ".1.", 1);
        assert_eq!(whole(&app, refreshing(&forged)).await.0, 401);
        for origin in ["https://evil.example", "null", "http://localhost:9999"] {
            let foreign = refreshing(&cookie).insert_header((header::ORIGIN, origin));
            assert_eq!(whole(&app, foreign).await.0, 403, "{origin}");
        }
        let own = refreshing(&cookie).insert_header((header::ORIGIN, "http://localhost:8080"));
        let cookie = cookie_of(&whole(&app, own).await);
        let out = plain(Method::POST, "/sign-out").insert_header((header::COOKIE, cookie.clone()));
        let out = whole(&app, out).await;
        assert!(
            out.0 == 204 && out.2["set-cookie"].contains("Max-Age=0"),
            "{out:?}"
        );
        assert_eq!(whole(&app, refreshing(&cookie)).await.0, 401);
        let (_, log) = answer(&app, request(Method::GET, "/audit-log?action=session")).await;
        let told = &log["data"][0];
        assert_eq!(told["action"], "session:delete", "{log}");
        assert_eq!(told["before"]["reason"], "signed out", "{log}");
    }
}

#[actix_rt::test]
async fn each_route_takes_so_many_calls_of_each_caller() {
    let test = sqlite().await;
    let mut kept = Arc::into_inner(state(&test).into_inner()).expect("one holder");
    kept.pace = crate::admin::pace::Pace::new(3);
    let app = app!(with web::Data::new(kept));
    let of = |address: &str| format!("{address}:1").parse().expect("an address");
    let open = |address: &str| plain(Method::GET, "/sign-in/providers").peer_addr(of(address));
    let known = |path: &str| request(Method::GET, path);
    for _ in 0..3 {
        assert_eq!(whole(&app, open("192.0.2.1")).await.0, 200);
        assert_eq!(whole(&app, open("[2001:db8::1]")).await.0, 200);
        assert_eq!(whole(&app, known("/keys")).await.0, 200);
    }
    for again in [open("192.0.2.1"), open("[2001:db8::2]"), known("/keys")] {
        let (status, body, headers) = whole(&app, again).await;
        assert_eq!(
            (status, &body["code"]),
            (429, &json!("rate_limit_exceeded")),
            "{body}"
        );
        let wait: u64 = headers["retry-after"].parse().expect("seconds");
        assert!((1..=20).contains(&wait), "{wait}");
    }
    for other in [
        open("192.0.2.2"),
        open("[2001:db8:0:1::1]"),
        known("/users"),
    ] {
        assert_eq!(whole(&app, other).await.0, 200);
    }
}

// Threats: A2.
#[actix_rt::test]
async fn forged_access_tokens_are_nobodys() {
    let test = sqlite().await;
    let app = app!(&test);
    answer(&app, document(PLATFORM, "")).await;
    somebody(&test).await;
    let token = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
    let parts: Vec<&str> = token.split('.').collect();
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64");
    let json_of = |text: &str| serde_json::from_slice::<Value>(&part(text)).expect("JSON");
    let (header, claims) = (json_of(parts[0]), json_of(parts[1]));
    assert_eq!(
        (&header["alg"], &header["typ"]),
        (&json!("EdDSA"), &json!("at+jwt"))
    );
    let encoded = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let mut forged = Vec::new();
    for (name, value) in [
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("typ", json!("JWT")),
        ("kid", json!("../../etc/passwd")),
        ("kid", json!("' OR 1=1 --")),
        ("kid", json!(uuid::Uuid::new_v4())),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/key")),
    ] {
        let mut header = header.clone();
        header[name] = value;
        forged.push(format!("{}.{}.{}", encoded(&header), parts[1], parts[2]));
        forged.push(format!("{}.{}.", encoded(&header), parts[1]));
    }
    for (name, value) in [
        ("exp", json!(9_999_999_999_i64)),
        ("sub", json!(uuid::Uuid::nil())),
    ] {
        let mut claims = claims.clone();
        claims[name] = value;
        forged.push(format!("{}.{}.{}", parts[0], encoded(&claims), parts[2]));
    }
    // Signed by the right key, with a claim that is missing, mistyped, over or for somebody else.
    let (key_id, document_) = signing_key(&test).await;
    let key = jsonwebtoken::EncodingKey::from_ed_der(&document_);
    let mut right = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
    right.typ = Some("at+jwt".to_owned());
    right.kid = Some(key_id.to_string());
    let signed = |header: &jsonwebtoken::Header, claims: &Value| {
        jsonwebtoken::encode(header, claims, &key).expect("a token")
    };
    let as_made = signed(&right, &claims);
    assert_eq!(whole(&app, by(&as_made, Method::GET, "/me")).await.0, 200);
    let past = now_ms() / 1_000 - 3_600;
    for (name, value) in [
        ("exp", Value::Null),
        ("exp", json!("tomorrow")),
        ("exp", json!(past)),
        ("nbf", json!(past + 7_200)),
        ("nbf", json!("x")),
        ("iss", json!("evil")),
        ("aud", json!("other")),
        ("sid", json!(uuid::Uuid::new_v4())),
        ("sub", json!(uuid::Uuid::new_v4())),
    ] {
        let mut claims = claims.clone();
        claims[name] = value;
        forged.push(signed(&right, &claims));
    }
    let mut refresh = right.clone();
    refresh.typ = Some("refresh".to_owned());
    forged.push(signed(&refresh, &claims));
    for token in forged {
        let (status, body, _) = whole(&app, by(&token, Method::GET, "/me")).await;
        assert_eq!(status, 401, "{token}: {body}");
    }
}

#[actix_rt::test]
async fn sign_in_over_plain_http_from_elsewhere_says_why_it_cannot_work() {
    let test = sqlite().await;
    let app = app!(&test);
    answer(&app, document(PLATFORM, "")).await;
    somebody(&test).await;
    let elsewhere =
        signing_in(EMAIL, PASSWORD).peer_addr("192.0.2.7:1".parse().expect("an address"));
    let (status, body, headers) = whole(&app, elsewhere).await;
    assert_eq!(
        (status, &body["code"]),
        (403, &json!("insecure_connection")),
        "{body}"
    );
    assert!(body["detail"].to_string().contains("tls_cert") && !headers.contains_key("set-cookie"));
}

#[actix_rt::test]
async fn a_tenant_of_any_letters_is_named_in_utf_8_or_by_its_id() {
    let test = sqlite().await;
    let app = app!(&test);
    answer(&app, document(PLATFORM, "")).await;
    let second = "tenants: [{name: 研发部, users: [{email: a@acme.example, role: admin}]}]";
    assert_eq!(answer(&app, document(second, "")).await.0, 200);
    somebody(&test).await;
    let token = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
    let (_, me, _) = whole(&app, by(&token, Method::GET, "/me")).await;
    let tenants = me["person"]["tenants"].as_array().expect("tenants");
    assert_eq!((tenants.len(), &me["tenant"]), (2, &Value::Null), "{me}");
    for tenant in tenants {
        let name = tenant["name"].as_str().expect("a name");
        for word in [name, tenant["id"].as_str().expect("an id")] {
            let value = header::HeaderValue::from_bytes(word.as_bytes()).expect("a header");
            let named = by(&token, Method::GET, "/me").insert_header(("x-weir-tenant", value));
            let (status, me, _) = whole(&app, named).await;
            assert_eq!((status, &me["tenant"]), (200, &json!(name)), "{word}: {me}");
        }
    }
    // A tenant that they are not in is none, by its name and by its id.
    let (_, list) = answer(&app, request(Method::GET, "/tenants?q=other")).await;
    let other = list["data"][0]["id"].as_str().expect("an id");
    for word in [&b"\xff"[..], b"nobody", b"other", other.as_bytes()] {
        let value = header::HeaderValue::from_bytes(word).expect("a header");
        let named = by(&token, Method::GET, "/me").insert_header(("x-weir-tenant", value));
        let (status, problem, _) = whole(&app, named).await;
        let told = (status, &problem["detail"]);
        assert_eq!(told, (404, &json!("There is no such tenant.")), "{word:?}");
    }
    let twice = by(&token, Method::GET, "/me").append_header(("x-weir-tenant", "acme"));
    let twice = twice.append_header(("x-weir-tenant", "other"));
    assert_eq!(whole(&app, twice).await.0, 400);
}
