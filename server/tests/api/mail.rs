//! Mail: links that stand in no answer, lead where the installation says, and come no oftener than a tenant may send.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Bench, Setup, Store, smtp::MailServer, stores::ADMIN_TOKEN};

/// An installation that mails.
async fn mailing(server: &MailServer) -> Bench {
    let setup = Setup {
        environment: vec![
            ("WEIR_SMTP_URL", server.url.clone()),
            ("WEIR_MAIL_FROM", "Weir <weir@weir.example>".to_owned()),
            ("WEIR_PUBLIC_URL", "https://weir.example".to_owned()),
        ],
        ..Setup::default()
    };
    Bench::start(Store::Embedded, setup).await
}

fn asking(bench: &Bench, path: &str, order: &Value) -> reqwest::RequestBuilder {
    let url = format!("{}/v1/admin{path}", bench.admin_url);
    bench.http.post(url).bearer_auth(ADMIN_TOKEN).json(order)
}

async fn post(bench: &Bench, path: &str, order: Value) -> (u16, Value) {
    let answer = asking(bench, path, &order).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json::<Value>().await.unwrap_or_default())
}

/// What a mail says; long lines are folded by `=` at their ends.
fn text(mail: &str) -> String {
    mail.replace("=\n", "").replace("=3D", "=")
}

fn token(mail: &str) -> String {
    let text = text(mail);
    let (_, token) = text.split_once('#').unwrap();
    token.lines().next().unwrap().trim().to_owned()
}

/// An invitation and a link to another password come by mail, and stand in no answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_mailed_where_there_is_a_mail_server() {
    let server = MailServer::start().await;
    let bench = mailing(&server).await;
    let order = json!({"tenant": "acme", "email": "eve@acme.example", "role": "developer"});
    let (status, made) = post(&bench, "/invitations", order).await;
    assert_eq!(
        (status, &made["mailed"], &made["url"]),
        (201, &json!(true), &Value::Null)
    );
    let mail = server.mail(0).await;
    assert!(
        mail.contains("To: eve@acme.example") && mail.contains("invited to acme"),
        "{mail}"
    );
    let password = "the password of eve";
    let order = json!({"token": token(&mail), "name": "Eve", "password": password});
    assert_eq!(post(&bench, "/invitations/accept", order).await.0, 204);

    let asked = |email: &str| {
        post(
            &bench,
            "/password-resets/request",
            json!({ "email": email }),
        )
    };
    assert_eq!(asked("nobody@acme.example").await.0, 202);
    assert_eq!(asked("eve@acme.example").await.0, 202);
    let mail = server.mail(1).await;
    assert!(
        mail.contains("To: eve@acme.example"),
        "nobody else got one: {mail}"
    );
    let another = "another password of eve";
    let order = json!({"token": token(&mail), "password": another});
    assert_eq!(post(&bench, "/password-resets", order).await.0, 204);
    let mail = server.mail(2).await;
    assert!(
        mail.contains("To: eve@acme.example") && mail.contains("set by a link"),
        "{mail}"
    );
    // At once again: no second one.
    assert_eq!(asked("eve@acme.example").await.0, 202);
    let credentials = json!({"email": "eve@acme.example", "password": another});
    assert_eq!(post(&bench, "/sign-in", credentials).await.0, 200);
    assert_eq!(server.count(), 3);
    // Whoever gets another address is told where they were.
    let found = bench.admin(Method::GET, "/users?q=eve@acme");
    let found: Value = found.send().await.unwrap().json().await.unwrap();
    let path = format!("/users/{}", found["data"][0]["id"].as_str().unwrap());
    let order = json!({"email": "eve@elsewhere.example"});
    let moved = bench.admin(Method::PATCH, &path).json(&order).send().await;
    assert_eq!(moved.unwrap().status(), 200);
    let mail = server.mail(3).await;
    assert!(
        mail.contains("To: eve@acme.example") && mail.contains("another address"),
        "{mail}"
    );
}

/// An invitation that cannot be mailed is none, and the log says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_that_no_mail_server_takes_is_withdrawn() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("smtp://{}", closed.local_addr().unwrap());
    drop(closed);
    let setup = Setup {
        environment: vec![
            ("WEIR_SMTP_URL", url),
            ("WEIR_MAIL_FROM", "Weir <weir@weir.example>".to_owned()),
            ("WEIR_PUBLIC_URL", "https://weir.example".to_owned()),
        ],
        ..Setup::default()
    };
    let bench = Bench::start(Store::Embedded, setup).await;
    let order = json!({"tenant": "acme", "email": "eve@acme.example", "role": "developer"});
    let (status, said) = post(&bench, "/invitations", order).await;
    assert_eq!(
        (status, &said["code"]),
        (502, &json!("mail_failed")),
        "{said}"
    );
    let listed = async |path: &str| {
        let found = bench.admin(Method::GET, path).send().await.unwrap();
        found.json::<Value>().await.unwrap()["data"].take()
    };
    assert_eq!(listed("/invitations").await, json!([]));
    let log = listed("/audit-log?limit=2").await;
    assert_eq!(
        (&log[0]["action"], &log[1]["action"]),
        (&json!("invitation:delete"), &json!("invitation:create")),
        "{log}"
    );
}

/// Threats: A5.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_in_a_request_says_where_a_mailed_link_leads() {
    let server = MailServer::start().await;
    let bench = mailing(&server).await;
    let poisoned = |path: &str, order: Value| {
        asking(&bench, path, &order)
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "http")
            .header("forwarded", "host=evil.example;proto=http")
            .header("x-original-host", "evil.example")
            .header("origin", "https://weir.example")
    };
    let order = json!({"tenant": "acme", "email": "eve@acme.example", "role": "viewer"});
    let made = poisoned("/invitations", order).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let invited = server.mail(0).await;
    let order = json!({"token": token(&invited), "name": "Eve", "password": "the password of eve"});
    assert_eq!(post(&bench, "/invitations/accept", order).await.0, 204);
    let order = json!({"email": "eve@acme.example"});
    // A host that is none of this installation's is answered by nothing.
    let foreign = asking(&bench, "/password-resets/request", &order);
    let foreign = foreign.header("host", "evil.example").send().await.unwrap();
    assert_eq!(foreign.status(), 421);
    let asked = poisoned("/password-resets/request", order)
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), 202);
    let reset = server.mail(1).await;
    for (mail, place) in [(&invited, "/invitation#"), (&reset, "/reset-password#")] {
        let text = text(mail);
        assert!(
            text.contains(&format!("https://weir.example{place}")),
            "{text}"
        );
        assert!(!text.contains("evil"), "{text}");
    }
    assert_eq!(server.count(), 2);
}

/// Threats: T9.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_sends_so_many_invitations_a_day_and_no_more() {
    const A_DAY: usize = 200;
    let server = MailServer::start().await;
    let bench = mailing(&server).await;
    let invite = |tenant: &'static str, at: usize| {
        let email = format!("e{at}@{tenant}.example");
        let order = json!({"tenant": tenant, "email": email, "role": "viewer"});
        post(&bench, "/invitations", order)
    };
    let mut said = Vec::new();
    for at in 0..A_DAY + 20 {
        let (status, body) = invite("acme", at).await;
        if status != 201 {
            assert_eq!(body["code"], "too_many_tries", "{body}");
        }
        said.push(status);
    }
    let sent = said.iter().filter(|status| **status == 201).count();
    assert_eq!(sent, A_DAY, "{said:?}");
    assert!(said[..A_DAY].iter().all(|status| *status == 201));
    assert!(said[A_DAY..].iter().all(|status| *status == 429));
    // One that is taken back was sent all the same.
    let listed = bench.admin(Method::GET, "/invitations?tenant=acme&limit=1");
    let listed: Value = listed.send().await.unwrap().json().await.unwrap();
    let path = format!("/invitations/{}", listed["data"][0]["id"].as_str().unwrap());
    let gone = bench.admin(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    assert_eq!(invite("acme", 999).await.0, 429);
    // It is that tenant's alone to wait.
    assert_eq!(invite("globex", 0).await.0, 201);
    server.mail(A_DAY).await;
    assert_eq!(server.count(), A_DAY + 1);
}

/// Threats: T15.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_are_told_who_changes_where_their_calls_go() {
    let server = MailServer::start().await;
    let bench = mailing(&server).await;
    for (email, role) in [
        ("boss@acme.example", "owner"),
        ("second@acme.example", "owner"),
        ("dev@acme.example", "developer"),
    ] {
        let order = json!({"tenant": "acme", "email": email, "role": role});
        assert_eq!(post(&bench, "/users", order).await.0, 201);
    }
    let policies = json!({"policies": {"own_channels": true}});
    let tenants = bench.admin(Method::GET, "/tenants?q=acme");
    let tenants: Value = tenants.send().await.unwrap().json().await.unwrap();
    let path = format!("/tenants/{}", tenants["data"][0]["id"].as_str().unwrap());
    let allowed = bench
        .admin(Method::PATCH, &path)
        .json(&policies)
        .send()
        .await;
    assert_eq!(allowed.unwrap().status(), 200);
    let order = json!({"tenant": "acme", "name": "ops", "role": "admin"});
    let (_, token) = post(&bench, "/service-tokens", order).await;
    let ops = token["value"].as_str().unwrap();
    let channel = |name: &str| {
        let url = format!("{}/v1/admin/channels", bench.admin_url);
        let order = json!({"name": name, "kind": "openai", "base_url": "https://elsewhere.example/v1", "credentials": ["sk-elsewhere"]});
        bench.http.post(url).bearer_auth(ops).json(&order).send()
    };
    assert_eq!(channel("elsewhere").await.unwrap().status(), 201);
    for (at, owner) in ["boss@acme.example", "second@acme.example"]
        .iter()
        .enumerate()
    {
        let mail = server.mail(at).await;
        assert!(
            mail.contains(&format!("To: {owner}")) && text(&mail).contains("changes channels"),
            "{mail}"
        );
    }
    // One letter for a while: the next thing that is mailed is an invitation.
    assert_eq!(channel("further").await.unwrap().status(), 201);
    let order = json!({"tenant": "acme", "email": "eve@acme.example", "role": "developer"});
    assert_eq!(post(&bench, "/invitations", order).await.0, 201);
    assert!(server.mail(2).await.contains("To: eve@acme.example"));
}
