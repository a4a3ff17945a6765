//! How a tenant begins: an operator, an owner and a developer with a second factor, a key, a stream, the books, and the end of the
//! key. By the command line and by plain HTTP, embedded and on two instances.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    clients::tool,
    support::{
        Bench, Crowd, Pair, Setup, Store,
        binary::{self, succeeded, weir_with_input},
        gateway,
        stores::ADMIN_TOKEN,
        window,
    },
};

/// How people ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    CommandLine,
    Http,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_begins_embedded_by_the_command_line() {
    embedded(Way::CommandLine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_begins_embedded_by_plain_http() {
    embedded(Way::Http).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_begins_on_two_instances_by_the_command_line() {
    on_two_instances(Way::CommandLine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_begins_on_two_instances_by_plain_http() {
    on_two_instances(Way::Http).await;
}

async fn embedded(way: Way) {
    let bench = Bench::start(Store::Embedded, Setup::default()).await;
    let urls = [bench.url.clone(), bench.url.clone()];
    begins(&bench, &urls, way).await;
}

async fn on_two_instances(way: Way) {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = Bench::without_gateway(Store::Cluster, Setup::patient()).await;
    let pair = Pair::start(&mut bench).await;
    bench.apply(&Bench::usual_resources()).await;
    begins(&bench, &pair.urls(), way).await;
}

/// Somebody who asks an instance.
struct Asks<'a> {
    bench: &'a Bench,
    way: Way,
    token: String,
}

impl Asks<'_> {
    /// The same question in both ways: the command's words, or a method, a path and an order.
    async fn ask(
        &self,
        url: &str,
        words: &[&str],
        method: Method,
        path: &str,
        order: Value,
    ) -> Value {
        match self.way {
            Way::CommandLine => {
                let words = [words, &["--output", "json"]].concat();
                let printed = self.command(url, &words, "").await;
                serde_json::from_str(&printed).unwrap_or_default()
            }
            Way::Http => self.http(url, method, path, order).await,
        }
    }

    /// What a command prints that gets these lines.
    async fn command(&self, url: &str, words: &[&str], lines: &str) -> String {
        let environment = [
            ("WEIR_URL".to_owned(), url.to_owned()),
            ("WEIR_TOKEN".to_owned(), self.token.clone()),
        ];
        succeeded(&weir_with_input(&environment, words, lines).await)
    }

    async fn http(&self, url: &str, method: Method, path: &str, order: Value) -> Value {
        let request = self
            .bench
            .http
            .request(method, format!("{url}/v1/admin{path}"));
        let mut request = request.bearer_auth(&self.token);
        if !order.is_null() {
            request = request.json(&order);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.text().await.unwrap();
        assert!((200..300).contains(&status), "{path}: {status} {body}");
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        // The command line prints a list as a list.
        match answer.get("data") {
            Some(data) if data.is_array() => data.clone(),
            _ => answer,
        }
    }
}

async fn begins(bench: &Bench, urls: &[String; 2], way: Way) {
    let [first, second] = urls;
    let who = |token: &str| Asks {
        bench,
        way,
        token: token.to_owned(),
    };
    let operator = who(ADMIN_TOKEN);

    // The operator makes the tenant on one instance, and invites its owner on the other.
    let words = ["tenants", "create", "umbrella"];
    let order = json!({"name": "umbrella"});
    operator
        .ask(first, &words, Method::POST, "/tenants", order)
        .await;
    invited(&operator, second, "umbrella", "owner", "owner").await;
    let owner = who(&signed_in(bench, first, way, "owner", None).await);
    // The owner invites a developer, and says what they may spend.
    invited(&owner, first, "umbrella", "dev", "developer").await;
    let budget = json!({"scope": "user", "name": "dev@umbrella.example", "rule": {"amount": "1.00", "period": "month", "mode": "hard"}});
    let file = bench.stores.folder.path().join("budget.json");
    std::fs::write(&file, budget.to_string()).unwrap();
    let words = ["budgets", "create", "-f", file.to_str().unwrap()];
    owner
        .ask(second, &words, Method::POST, "/budgets", budget)
        .await;

    // The developer takes a second factor, and signs in with it.
    let plain = who(&signed_in(bench, first, way, "dev", None).await);
    let code = second_factor(&plain, first).await;
    let developer = who(&signed_in(bench, first, way, "dev", Some(&code)).await);
    let me = developer
        .ask(second, &["me"], Method::GET, "/me", Value::Null)
        .await;
    assert_eq!(me["person"]["second_factor"], true, "{me}");
    let words = ["me", "keys", "create", "laptop"];
    let name = json!({"name": "laptop"});
    let key = developer
        .ask(first, &words, Method::POST, "/me/keys", name)
        .await;
    let value = key["value"].as_str().unwrap();
    for url in urls {
        eventually(bench, url, value, 200).await;
    }

    // A stream with the vendor's own client, found in the log and in the sums, to the nano-dollar.
    let request = streamed(second, value).await;
    let path = "/usage?by=user&wait=5s";
    let used = developer.ask(
        second,
        &["usage", "--by", "user", "--wait"],
        Method::GET,
        path,
        Value::Null,
    );
    let used = used.await;
    let used = used.get(0).unwrap_or(&used);
    assert_eq!(used["user"], "dev@umbrella.example", "{used}");
    let path = "/requests?key=laptop&status=200&wait=5s&limit=1000";
    let words = [
        "logs", "--key", "laptop", "--status", "200", "--limit", "1000",
    ];
    let logged = developer
        .ask(first, &words, Method::GET, path, Value::Null)
        .await;
    let logged = logged.as_array().unwrap();
    let costs = logged.iter().map(|item| nanos(&item["cost_usd"]));
    assert_eq!(costs.sum::<i64>(), nanos(&used["cost_usd"]), "{used}");
    if let Some(request) = request {
        assert!(
            logged
                .iter()
                .any(|item| item["id"] == request && item["streamed"] == true),
            "{logged:?}"
        );
        let words = ["logs", "show", &request];
        let path = format!("/requests/{request}");
        let shown = developer
            .ask(second, &words, Method::GET, &path, Value::Null)
            .await;
        assert_eq!(shown["user"], "dev@umbrella.example", "{shown}");
    }

    // Rotated while calls go on: none fails. Switched off: it stops everywhere.
    let path = format!("/keys/{}", key["id"].as_str().unwrap());
    let crowd = Crowd::with_key(urls, 4, value);
    let words = ["keys", "rotate", "laptop"];
    let rotate = format!("{path}/rotate");
    let rotated = owner
        .ask(second, &words, Method::POST, &rotate, json!({}))
        .await;
    let next = rotated["value"].as_str().unwrap().to_owned();
    for url in urls {
        eventually(bench, url, &next, 200).await;
    }
    assert!(crowd.end().await > 0);
    match way {
        Way::CommandLine => {
            let words = ["keys", "disable", "laptop"];
            owner.command(first, &words, "").await;
        }
        Way::Http => drop(
            owner
                .http(first, Method::PATCH, &path, json!({"enabled": false}))
                .await,
        ),
    }
    let switched_off = Instant::now();
    for url in urls {
        eventually(bench, url, &next, 401).await;
        eventually(bench, url, value, 401).await;
    }
    let took = switched_off.elapsed();
    assert!(took < a_second(), "{took:?}");
    match way {
        Way::CommandLine => {
            operator.command(second, &["audit", "verify"], "").await;
        }
        Way::Http => {
            let verdict = operator
                .http(second, Method::GET, "/audit-log/verify", Value::Null)
                .await;
            assert_eq!(verdict["bad_row"], Value::Null, "{verdict}");
        }
    }
}

fn email(name: &str) -> String {
    format!("{name}@umbrella.example")
}

fn password(name: &str) -> String {
    format!("the password of {name}")
}

/// Somebody is invited, and comes.
async fn invited(by: &Asks<'_>, url: &str, tenant: &str, name: &str, role: &str) {
    let email = email(name);
    let words = [
        "invitations",
        "create",
        "--tenant",
        tenant,
        "--email",
        &email,
        "--role",
        role,
    ];
    let order = json!({"tenant": tenant, "email": email, "role": role});
    let invitation = by
        .ask(url, &words, Method::POST, "/invitations", order)
        .await;
    let link = invitation["url"].as_str().unwrap();
    if by.way == Way::CommandLine {
        let words = ["invitations", "accept", "--name", name, "--url", url];
        let lines = format!("{link}\n{}\n", password(name));
        succeeded(&weir_with_input(&[], &words, &lines).await);
        return;
    }
    let (_, token) = link.split_once('#').unwrap();
    let order = json!({"token": token, "name": name, "password": password(name)});
    let accept = by
        .bench
        .http
        .post(format!("{url}/v1/admin/invitations/accept"));
    assert_eq!(accept.json(&order).send().await.unwrap().status(), 204);
}

async fn signed_in(bench: &Bench, url: &str, way: Way, name: &str, code: Option<&str>) -> String {
    let email = email(name);
    match way {
        Way::CommandLine => {
            let words = ["sign-in", "--email", &email, "--url", url];
            let lines = format!("{}\n{}\n", password(name), code.unwrap_or_default());
            let told = weir_with_input(&[], &words, &lines).await;
            succeeded(&told).trim().to_owned()
        }
        Way::Http => {
            let order = json!({"email": email, "password": password(name), "code": code});
            let request = bench
                .http
                .post(format!("{url}/v1/admin/sign-in"))
                .json(&order);
            let answer: Value = request.send().await.unwrap().json().await.unwrap();
            let token = answer["access_token"].as_str();
            token.unwrap_or_else(|| panic!("{answer}")).to_owned()
        }
    }
}

/// Puts a second factor in force; a code that works after that.
async fn second_factor(of: &Asks<'_>, url: &str) -> String {
    let seed = match of.way {
        Way::CommandLine => {
            let words = ["me", "second-factor", "begin", "--output", "json"];
            let printed = of.command(url, &words, &password("dev")).await;
            serde_json::from_str(&printed).unwrap()
        }
        Way::Http => {
            let proof = json!({"password": password("dev")});
            of.http(url, Method::POST, "/me/second-factor", proof).await
        }
    };
    let secret = totp_rs::Secret::Encoded(seed["secret"].as_str().unwrap().to_owned());
    let (secret, name) = (secret.to_bytes().unwrap(), String::new());
    let totp = totp_rs::TOTP::new(totp_rs::Algorithm::SHA1, 6, 0, 30, secret, None, name).unwrap();
    let now_s = || weir::clock::now_ms().unsigned_abs() / 1_000;
    let now = totp.generate(now_s());
    match of.way {
        Way::CommandLine => {
            let words = ["me", "second-factor", "confirm"];
            of.command(url, &words, &now).await;
        }
        Way::Http => {
            let (path, code) = ("/me/second-factor/confirm", json!({"code": now}));
            of.http(url, Method::POST, path, code).await;
        }
    }
    // A code works once: the next step's.
    totp.generate(now_s() + 30)
}

/// Streams an answer with OpenAI's own client; the request's id.
async fn streamed(url: &str, key: &str) -> Option<String> {
    let mut command = Command::new(tool("WEIR_TEST_PYTHON")?);
    command
        .args(["-B", "tests/clients/stream_once.py"])
        .env("WEIR_BASE_URL", format!("{url}/v1"))
        .env("WEIR_KEY", key)
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null());
    let told = succeeded(&binary::run(command).await);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert!(
        !told["text"].as_str().unwrap().is_empty() && told["usage"].as_u64() > Some(0),
        "{told}"
    );
    Some(told["request"].as_str().unwrap().to_owned())
}

fn nanos(dollars: &Value) -> i64 {
    let digits = dollars.as_str().unwrap().replace('.', "");
    digits.parse().unwrap()
}

/// Three times the second that is promised, as the machine may be busy; just that at full length.
fn a_second() -> Duration {
    Duration::from_secs(window(3, 1))
}

/// A call is answered so within a second.
async fn eventually(bench: &Bench, url: &str, key: &str, wanted: u16) {
    let asked = async {
        while gateway::status(&bench.http, url, key, "gpt-test").await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let asked = tokio::time::timeout(a_second(), asked).await;
    asked.unwrap_or_else(|_| panic!("{url} does not answer {wanted}"));
}
