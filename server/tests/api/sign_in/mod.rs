//! Signing in by the word of an identity provider, which may be anybody's.

mod browser;
mod elsewhere;

use browser::Browser;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    both_stores,
    support::{
        Bench, Store,
        binary::{succeeded, weir},
        people::Person,
        provider::{CLIENT, Provider, SECRET, Twist},
        trap::Trap,
    },
};

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

async fn operate(bench: &Bench, method: Method, path: &str, order: Value) -> (u16, Value) {
    ask(
        bench,
        crate::support::stores::ADMIN_TOKEN,
        method,
        path,
        order,
    )
    .await
}

/// Acme's own provider, as an operator vouches for its address.
async fn acmes(bench: &Bench, provider: &Provider) -> String {
    let order = json!({
        "tenant": "acme", "name": "acme id", "issuer": provider.issuer, "allowed_origin": provider.issuer,
        "client_id": CLIENT, "client_secret": SECRET, "creates_people": true,
        "roles": [{"group": "eng", "role": "developer"}, {"group": "leads", "role": "admin"}],
    });
    let (status, made) = operate(bench, Method::POST, "/identity-providers", order).await;
    assert_eq!(status, 201, "{made}");
    assert!(
        made["has_secret"] == true && !made.to_string().contains(SECRET),
        "{made}"
    );
    made["id"].as_str().unwrap().to_owned()
}

both_stores!(people_are_what_their_groups_at_the_provider_say, |bench| {
    let provider = Provider::start().await;
    let id = acmes(&bench, &provider).await;
    let list = bench
        .http
        .get(format!(
            "{}/v1/admin/sign-in/providers?tenant=acme",
            bench.admin_url
        ))
        .send()
        .await
        .unwrap();
    let list: Value = list.json().await.unwrap();
    assert_eq!(
        list[0]["url"],
        format!("/v1/admin/sign-in/with/{id}"),
        "{list}"
    );
    let url = &bench.admin_url;
    let words = [
        "sign-in",
        "providers",
        "--tenant",
        "acme",
        "--url",
        url,
        "--output",
        "csv",
    ];
    let listed = succeeded(&weir(&[], &words).await);
    assert_eq!(
        listed,
        format!("id,name,url\r\n{id},acme id,{url}/v1/admin/sign-in/with/{id}\r\n")
    );

    provider.person("eve", "Eve@acme.example", &["others", "eng"]);
    let mut eve = Browser::new();
    assert_eq!(eve.signs_in(&bench, &id).await, (303, Value::Null));
    let me = eve.me(&bench).await;
    assert_eq!(
        (&me["name"], &me["tenant"]),
        (&json!("eve@acme.example"), &json!("acme"))
    );
    assert_eq!(me["person"]["tenants"][0]["role"], "developer", "{me}");

    // Groups change there, and with the next sign-in here; the same person, whatever their address.
    provider.person("eve", "married@acme.example", &["leads"]);
    assert_eq!(eve.signs_in(&bench, &id).await.0, 303);
    let me = eve.me(&bench).await;
    assert_eq!(
        (&me["name"], &me["person"]["tenants"][0]["role"]),
        (&json!("eve@acme.example"), &json!("admin"))
    );
    // Who is in no group that has a role does not come in, and is out where they came in before.
    let leader = eve.token(&bench).await;
    provider.person("eve", "eve@acme.example", &["others"]);
    assert_eq!(eve.signs_in(&bench, &id).await.0, 403);
    assert_eq!(
        ask(&bench, &leader, Method::GET, "/me", Value::Null)
            .await
            .0,
        401
    );
    let (_, users) = operate(&bench, Method::GET, "/users?tenant=acme", Value::Null).await;
    let mut users = users["data"].as_array().unwrap().iter();
    let kept = users
        .find(|user| user["email"] == "eve@acme.example")
        .unwrap();
    assert_eq!(kept["memberships"][0]["role"], "viewer", "{kept}");
    provider.person("eve", "eve@acme.example", &["leads"]);
    assert_eq!(eve.signs_in(&bench, &id).await.0, 303);
    // While nothing may be changed, whoever is what they were comes in, and nobody is made or becomes another.
    let mode = async |mode: &str| {
        let changed = operate(&bench, Method::PATCH, "/settings", json!({"mode": mode})).await;
        assert_eq!(changed.0, 200, "{changed:?}");
    };
    mode("read-only").await;
    assert_eq!(eve.signs_in(&bench, &id).await.0, 303);
    provider.person("eve", "eve@acme.example", &["eng"]);
    let (status, refused) = eve.signs_in(&bench, &id).await;
    assert_eq!(
        (status, &refused["code"]),
        (503, &json!("read_only")),
        "{refused}"
    );
    provider.person("late", "late@acme.example", &["leads"]);
    assert_eq!(Browser::new().signs_in(&bench, &id).await.0, 503);
    mode("normal").await;
    let (_, late) = operate(&bench, Method::GET, "/users?q=late@acme", Value::Null).await;
    assert_eq!(late["data"], json!([]), "{late}");
    provider.person("eve", "eve@acme.example", &["leads"]);
    assert_eq!(eve.signs_in(&bench, &id).await.0, 303);
    let (_, log) = operate(&bench, Method::GET, "/audit-log?tenant=acme", Value::Null).await;
    let told = log["data"].to_string();
    assert!(told.contains("acme id") && !told.contains(SECRET), "{told}");

    // Switched off, by their name or with their provider: it is over, and nobody comes in.
    let token = eve.token(&bench).await;
    let off = json!({"enabled": false});
    let path = format!("/identity-providers/{id}");
    assert_eq!(operate(&bench, Method::PATCH, &path, off).await.0, 200);
    assert_eq!(
        ask(&bench, &token, Method::GET, "/me", Value::Null).await.0,
        401
    );
    let start = format!("{}/v1/admin/sign-in/with/{id}", bench.admin_url);
    assert_eq!(eve.get(&start).await.status(), 404);
    let on = json!({"enabled": true});
    assert_eq!(operate(&bench, Method::PATCH, &path, on).await.0, 200);
    provider.person("eve", "eve@acme.example", &["leads"]);
    assert_eq!(eve.signs_in(&bench, &id).await.0, 303);
    let me = eve.me(&bench).await;
    let user = format!("/users/{}", me["id"].as_str().unwrap());
    assert_eq!(
        operate(&bench, Method::PATCH, &user, json!({"enabled": false}))
            .await
            .0,
        200
    );
    assert_eq!(eve.signs_in(&bench, &id).await.0, 403);
    let refresh = format!("{}/v1/admin/sign-in/refresh", bench.admin_url);
    assert_eq!(eve.send(eve.http.post(refresh)).await.status(), 401);

    // Another issuer knows nobody, and has another secret.
    let other = Provider::start().await;
    let moved = json!({"issuer": other.issuer, "allowed_origin": other.issuer});
    let (status, moved) = operate(&bench, Method::PATCH, &path, moved).await;
    assert_eq!(
        (status, &moved["has_secret"]),
        (200, &json!(false)),
        "{moved}"
    );
});

// Threats: A6.
both_stores!(a_provider_that_lies_signs_nobody_in, |bench| {
    let provider = Provider::start().await;
    let id = acmes(&bench, &provider).await;
    provider.person("eve", "eve@acme.example", &["eng"]);
    for twist in [
        Twist::OtherIssuer,
        Twist::OtherAudience,
        Twist::ManyAudiences,
        Twist::OtherNonce,
        Twist::NoNonce,
        Twist::Expired,
        Twist::NoExpiry,
        Twist::NoSubject,
        Twist::OtherKey,
        Twist::Unsigned,
        Twist::PublicKeyAsSecret,
        Twist::AnswersForAnother,
    ] {
        provider.twist(twist);
        let mut eve = Browser::new();
        let (status, problem) = eve.signs_in(&bench, &id).await;
        assert_eq!(
            (status, &problem["code"]),
            (401, &json!("sign_in_failed")),
            "{twist:?} {problem}"
        );
        assert!(
            eve.cookies
                .iter()
                .all(|(name, _)| name != "__Host-weir_refresh"),
            "{twist:?}"
        );
    }
    provider.twist(Twist::None);

    // A code works once, in the browser that asked for it, with the state that it was given.
    let mut eve = Browser::new();
    let url = eve.with_code(&bench, &id).await;
    let (status, _) = Browser::new().comes_back(&url).await;
    assert_eq!(status, 401, "another browser");
    let mut mallory = Browser::new();
    let foreign = mallory.with_code(&bench, &id).await;
    let (status, _) = eve.comes_back(&foreign).await;
    assert_eq!(status, 401, "another state");
    let cookies = eve.cookies.clone();
    assert_eq!(eve.comes_back(&url).await.0, 303);
    eve.cookies = cookies;
    let (status, problem) = eve.comes_back(&url).await;
    assert_eq!(status, 401, "{problem}");
    let (status, _) = eve.comes_back(&format!("{url}&error=x")).await;
    assert_eq!(status, 401);

    // Nothing redirects elsewhere.
    for elsewhere in ["//evil.example", "https://evil.example", "/%5Cevil.example"] {
        let url = format!(
            "{}/v1/admin/sign-in/with/{id}?return_to={elsewhere}",
            bench.admin_url
        );
        assert_eq!(eve.get(&url).await.status(), 400, "{elsewhere}");
    }
});

// Threats: A6.
both_stores!(
    what_a_tenants_provider_says_counts_in_that_tenant_alone,
    |bench| {
        let provider = Provider::start().await;
        let id = acmes(&bench, &provider).await;
        let boss = Person::invited(&bench, "boss@globex.example", "globex", "owner")
            .await
            .access;

        // It calls somebody of another tenant its own, and an operator.
        let mut rogue = Browser::new();
        provider.person("boss", "boss@globex.example", &["leads"]);
        let (status, problem) = rogue.signs_in(&bench, &id).await;
        assert_eq!(
            (status, &problem["code"]),
            (409, &json!("link_needed")),
            "{problem}"
        );
        provider.claims(json!({"sub": "x", "email": "new@acme.example", "email_verified": false, "groups": ["leads"]}));
        assert_eq!(rogue.signs_in(&bench, &id).await.0, 403);
        provider.claims(json!({"sub": "x", "email": "new@acme.example", "groups": ["leads"]}));
        assert_eq!(rogue.signs_in(&bench, &id).await.0, 403);

        // They consent, signed in; and are nobody in acme for all that, where groups make no members.
        let order = json!({"creates_people": false});
        let path = format!("/identity-providers/{id}");
        assert_eq!(operate(&bench, Method::PATCH, &path, order).await.0, 200);
        let mut browser = Browser::new();
        let link = json!({"provider": id, "return_to": "/keys"});
        let request = bench
            .http
            .post(format!("{}/v1/admin/me/identities", bench.admin_url))
            .bearer_auth(&boss)
            .json(&link);
        let go: Value = browser.send(request).await.json().await.unwrap();
        provider.person("boss", "somebody@else.example", &["leads"]);
        let back = browser
            .through(go["url"].as_str().unwrap().to_owned())
            .await;
        assert_eq!(browser.comes_back(&back).await.0, 403, "another address");
        provider.person("boss", "boss@globex.example", &["leads"]);
        let back = browser
            .through(go["url"].as_str().unwrap().to_owned())
            .await;
        assert_eq!(browser.comes_back(&back).await.0, 303);
        assert_eq!(rogue.signs_in(&bench, &id).await.0, 403, "no member");

        // A member of both is in acme with it, and nowhere else; and an operator is none.
        let invite = json!({"tenant": "acme", "email": "boss@globex.example", "role": "viewer"});
        let (_, invitation) = operate(&bench, Method::POST, "/invitations", invite).await;
        let (_, token) = invitation["url"].as_str().unwrap().split_once('#').unwrap();
        let accept = ask(
            &bench,
            &boss,
            Method::POST,
            "/invitations/accept",
            json!({"token": token}),
        );
        assert_eq!(accept.await.0, 204);
        assert_eq!(rogue.signs_in(&bench, &id).await.0, 303);
        let me = rogue.me(&bench).await;
        assert_eq!(me["tenant"], "acme", "{me}");
        assert!(!me.to_string().contains("globex\""), "{me}");
        let lent = rogue.token(&bench).await;
        let elsewhere = bench
            .http
            .get(format!("{}/v1/admin/keys", bench.admin_url))
            .bearer_auth(&lent)
            .header("x-weir-tenant", "globex");
        assert_eq!(elsewhere.send().await.unwrap().status(), 404);
        for (method, path, order) in [
            (Method::PATCH, "/me", json!({"name": "mine now"})),
            (Method::DELETE, "/me/sessions", Value::Null),
            (Method::GET, "/me/sessions", Value::Null),
            (
                Method::POST,
                "/me/password",
                json!({"current": "x", "new": "another long password"}),
            ),
            (Method::POST, "/me/identities", json!({"provider": id})),
            (Method::GET, "/me/identities", Value::Null),
        ] {
            let (status, problem) = ask(&bench, &lent, method, path, order).await;
            assert_eq!(status, 403, "{path}: {problem}");
        }
        let invite = json!({"tenant": "globex", "email": "zhang@acme.example", "role": "viewer"});
        assert_eq!(
            ask(&bench, &lent, Method::POST, "/invitations", invite)
                .await
                .0,
            422
        );

        // Nothing of the platform's can be mapped, and nothing above whoever maps.
        let owner = Person::invited(&bench, "owner@acme.example", "acme", "owner")
            .await
            .access;
        let path = format!("/identity-providers/{id}");
        for (order, wanted) in [
            (
                json!({"roles": [{"group": "*", "role": "platform_admin"}]}),
                422,
            ),
            (
                json!({"roles": [{"group": "*", "tenant": "globex", "role": "owner"}]}),
                422,
            ),
            (json!({"roles": [{"group": "*", "role": "nobody"}]}), 422),
            (json!({"allowed_origin": "http://127.0.0.1:1"}), 403),
            (json!({"issuer": "http://169.254.169.254"}), 422),
            (json!({"issuer": "https://169.254.169.254:8443"}), 422),
            (json!({"issuer": "file:///etc/passwd"}), 422),
            (json!({"scopes": ["email"]}), 422),
        ] {
            let (status, problem) = ask(&bench, &owner, Method::PATCH, &path, order.clone()).await;
            assert_eq!(status, wanted, "{order}: {problem}");
        }

        // Unlinked, with the session that came of it.
        let (_, known) = ask(&bench, &boss, Method::GET, "/me/identities", Value::Null).await;
        let identity = format!(
            "/me/identities/{}",
            known["data"][0]["id"].as_str().unwrap()
        );
        assert_eq!(
            ask(&bench, &boss, Method::DELETE, &identity, Value::Null)
                .await
                .0,
            204
        );
        assert_eq!(
            ask(&bench, &lent, Method::GET, "/me", Value::Null).await.0,
            401
        );
        assert_eq!(rogue.signs_in(&bench, &id).await.0, 409);
    }
);

// Threats: S1, S4.
both_stores!(
    a_tenants_provider_leads_to_the_public_network_alone,
    |bench| {
        let trap = Provider::start().await;
        let owner = Person::invited(&bench, "owner@acme.example", "acme", "owner")
            .await
            .access;
        let port = trap.issuer.rsplit_once(':').unwrap().1;
        let address = format!(
            "127.0.0.{}",
            72 + u8::from(bench.stores.kind == Store::Cluster)
        );
        let on_443 = Trap::set(&address);
        for issuer in [
            format!("https://{address}"),
            trap.issuer.clone(),
            format!("https://127.0.0.1:{port}"),
            format!("https://localhost:{port}"),
            "https://127.0.0.1".to_owned(),
            "https://localhost".to_owned(),
            "https://[::1]".to_owned(),
            "https://2130706433".to_owned(),
            "https://169.254.169.254".to_owned(),
        ] {
            let name = issuer.replace(['/', ':', '.', '[', ']'], "-");
            let order = json!({"name": name, "issuer": issuer, "client_id": "weir", "creates_people": true, "roles": [{"group": "*", "role": "viewer"}]});
            let (status, made) =
                ask(&bench, &owner, Method::POST, "/identity-providers", order).await;
            if status == 422 {
                continue;
            }
            assert_eq!(status, 201, "{issuer}: {made}");
            let id = made["id"].as_str().unwrap();
            let answer = Browser::new()
                .get(&format!("{}/v1/admin/sign-in/with/{id}", bench.admin_url))
                .await;
            let status = answer.status();
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(
                (status.as_u16(), &problem["detail"]),
                (502, &json!("The identity provider cannot be asked.")),
                "{issuer}"
            );
        }
        assert_eq!(trap.questions(), 0);
        assert!(on_443.is_none_or(|trap| !trap.was_reached()));
    }
);

// The platform's own provider makes operators, and members of any tenant.
both_stores!(the_platforms_provider_gives_what_operators_say, |bench| {
    let provider = Provider::start().await;
    let order = json!({
        "name": "company", "issuer": provider.issuer, "client_id": CLIENT, "client_secret": SECRET, "creates_people": true,
        "roles": [
            {"group": "sre", "role": "platform_viewer"},
            {"group": "globex", "tenant": "globex", "role": "finance"},
        ],
    });
    let (status, made) = operate(&bench, Method::POST, "/identity-providers", order).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap();
    provider.person("ops", "ops@company.example", &["sre", "globex"]);
    let mut ops = Browser::new();
    assert_eq!(ops.signs_in(&bench, id).await.0, 303);
    let me = ops.me(&bench).await;
    assert_eq!(
        (
            &me["person"]["platform_role"],
            &me["person"]["tenants"][0]["role"]
        ),
        (&json!("platform_viewer"), &json!("finance")),
        "{me}"
    );
    // The provider may know them for days: what may do much harm waits until it has asked again (threats.md, A9).
    let export = async |token: &str| {
        let (status, body) = ask(&bench, token, Method::GET, "/resources", Value::Null).await;
        (status, body["code"].as_str().unwrap_or("").to_owned())
    };
    let token = ops.token(&bench).await;
    assert_eq!(export(&token).await, (403, "proof_needed".to_owned()));
    let url = ops
        .with_code_of(&bench, &format!("{id}?return_to=/keys&again=true"))
        .await;
    assert_eq!(ops.comes_back(&url).await.0, 303);
    let token = ops.token(&bench).await;
    assert_eq!(export(&token).await.0, 200);
    provider.person("ops", "ops@company.example", &["globex"]);
    assert_eq!(ops.signs_in(&bench, id).await.0, 303);
    let me = ops.me(&bench).await;
    assert_eq!(
        (&me["person"]["platform_role"], &me["tenant"]),
        (&Value::Null, &json!("globex")),
        "{me}"
    );
    // Deleted: whoever came by it is out.
    let token = ops.token(&bench).await;
    let path = format!("/identity-providers/{id}");
    assert_eq!(
        operate(&bench, Method::DELETE, &path, Value::Null).await.0,
        204
    );
    assert_eq!(
        ask(&bench, &token, Method::GET, "/me", Value::Null).await.0,
        401
    );
});
