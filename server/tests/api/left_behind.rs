//! What somebody had stops with what gave it to them, on every instance: each cause with all that they carry.

use std::time::{Duration, Instant};

use reqwest::{Method, header};
use serde_json::{Value, json};
use weir_upstream::Behaviour;

use crate::support::{
    Bench, Pair, Raw, Setup, Store,
    gateway::{self, hello_stream},
    pair,
    people::Person,
    window,
};

/// Three times what is promised, on a busy machine; just that at full length.
fn promised() -> Duration {
    Duration::from_secs(window(3, 1))
}
/// The same without Redis.
fn promised_alone() -> Duration {
    Duration::from_secs(window(15, 5))
}

/// What is left of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Works,
    /// Nobody is known by it any more.
    Unknown,
    /// They are known, and may do nothing with it.
    Powerless,
}
use Left::{Powerless, Unknown, Works};

/// What becomes of everything that somebody has.
struct Case {
    cause: &'static str,
    /// The method, the path and what is ordered; `{user}`, `{tenant}`, `{token}` are ids.
    order: (Method, &'static str, Value),
    /// Whether they do it themselves.
    own: bool,
    key: Left,
    stream: Left,
    access: Left,
    cookie: Left,
    service: Left,
}

fn cases() -> Vec<Case> {
    let case = |cause, order, left: [Left; 5]| Case {
        cause,
        order,
        own: false,
        key: left[0],
        stream: left[1],
        access: left[2],
        cookie: left[3],
        service: left[4],
    };
    vec![
        case(
            "the person is switched off",
            (Method::PATCH, "/users/{user}", json!({"enabled": false})),
            [Unknown, Unknown, Unknown, Unknown, Works],
        ),
        case(
            "the person is taken out of their only tenant",
            (Method::DELETE, "/users/{user}?tenant={name}", Value::Null),
            [Unknown, Unknown, Unknown, Unknown, Works],
        ),
        case(
            "the tenant is suspended",
            (
                Method::PATCH,
                "/tenants/{tenant}",
                json!({"enabled": false}),
            ),
            [Unknown, Unknown, Unknown, Unknown, Unknown],
        ),
        case(
            "the tenant is deleted",
            (Method::DELETE, "/tenants/{tenant}", Value::Null),
            [Unknown, Unknown, Unknown, Unknown, Unknown],
        ),
        case(
            "the models are granted no longer",
            (
                Method::PATCH,
                "/tenants/{tenant}",
                json!({"grants": {"models": ["none-of-them"]}}),
            ),
            [Powerless, Powerless, Works, Works, Works],
        ),
        case(
            "the channels are granted no longer",
            (
                Method::PATCH,
                "/tenants/{tenant}",
                json!({"grants": {"channels": ["none-of-them"]}}),
            ),
            [Powerless, Powerless, Works, Works, Works],
        ),
        case(
            "the key is deleted",
            (Method::DELETE, "/keys/{key}", Value::Null),
            [Unknown, Unknown, Works, Works, Works],
        ),
        case(
            "the role is lowered",
            (Method::PATCH, "/users/{user}", json!({"role": "finance"})),
            [Works, Works, Powerless, Works, Works],
        ),
        case(
            "the key is switched off",
            (Method::PATCH, "/keys/{key}", json!({"enabled": false})),
            [Unknown, Unknown, Works, Works, Works],
        ),
        case(
            "the service token is switched off",
            (
                Method::PATCH,
                "/service-tokens/{token}",
                json!({"enabled": false}),
            ),
            [Works, Works, Works, Works, Unknown],
        ),
        Case {
            own: true,
            ..case(
                "they sign out everywhere",
                (Method::DELETE, "/me/sessions", Value::Null),
                [Works, Works, Unknown, Unknown, Works],
            )
        },
    ]
}

/// Keys that are none any more are tried over and over.
fn setup() -> Setup {
    let mut setup = Setup::patient();
    let often = ("WEIR_PROXY_UNIDENTIFIED_PER_MINUTE", "100000".to_owned());
    setup.environment.push(often);
    setup
}

// Threats: T7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_behind_embedded() {
    let mut bench = Bench::without_gateway(Store::Embedded, setup()).await;
    bench.start_again().await;
    let urls = [bench.url.clone()];
    apply(&bench, false).await;
    for (at, case) in cases().into_iter().enumerate() {
        ends(&bench, &urls, at, &case, promised()).await;
    }
}

// Threats: T7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_behind_on_two_instances_without_redis() {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = Bench::without_gateway(Store::Cluster, setup()).await;
    let pair = Pair::start(&mut bench).await;
    apply(&bench, true).await;
    // Nobody tells the second one of anything from here on.
    pair.second_pipe.cut();
    let there = pair.second.url.clone();
    let degraded = async || {
        let health = bench
            .http
            .get(format!("{there}/health"))
            .send()
            .await
            .unwrap();
        let health: Value = health.json().await.unwrap();
        health["status"] == "degraded"
    };
    let began = Instant::now();
    while !degraded().await {
        assert!(began.elapsed() < 2 * promised_alone());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (at, case) in cases().into_iter().enumerate() {
        ends(&bench, &pair.urls(), at, &case, promised_alone()).await;
    }
}

// Threats: T7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_behind_on_two_instances() {
    if !Store::cluster_is_there() {
        return;
    }
    let mut bench = Bench::without_gateway(Store::Cluster, setup()).await;
    let pair = Pair::start(&mut bench).await;
    apply(&bench, true).await;
    for (at, case) in cases().into_iter().enumerate() {
        ends(&bench, &pair.urls(), at, &case, promised()).await;
    }
}

async fn apply(bench: &Bench, everywhere: bool) {
    bench.vendor.on_model(
        "gpt-same",
        Behaviour::tokens(100_000).with_chunk_delay_ms(20),
    );
    match everywhere {
        true => pair::apply_everywhere(bench, &Bench::usual_resources()).await,
        false => drop(bench.apply(&Bench::usual_resources()).await),
    }
}

async fn operate(bench: &Bench, method: Method, path: &str, order: &Value) -> Value {
    let mut request = bench.admin(method, path);
    if !order.is_null() {
        request = request.json(order);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.text().await.unwrap();
    assert!((200..300).contains(&status), "{path}: {status} {body}");
    serde_json::from_str(&body).unwrap_or_default()
}

fn id(of: &Value) -> String {
    of["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{of}"))
        .to_owned()
}

async fn ends(bench: &Bench, urls: &[String], at: usize, case: &Case, told: Duration) {
    let name = format!("t{at}");
    let tenant = operate(bench, Method::POST, "/tenants", &json!({"name": name})).await;
    let email = format!("dev@{name}.example");
    let dev = Person::invited(bench, &email, &name, "developer").await;
    let own = |method: Method, url: &str, path: &str| {
        let request = bench.http.request(method, format!("{url}/v1/admin{path}"));
        request.bearer_auth(&dev.access)
    };
    let key = own(Method::POST, &bench.admin_url, "/me/keys").json(&json!({"name": "laptop"}));
    let key: Value = key.send().await.unwrap().json().await.unwrap();
    let value = key["value"].as_str().unwrap_or_else(|| panic!("{key}"));
    let order = json!({"tenant": name, "name": "ci", "role": "viewer"});
    let token = operate(bench, Method::POST, "/service-tokens", &order).await;
    let list = operate(
        bench,
        Method::GET,
        &format!("/users?tenant={name}"),
        &Value::Null,
    )
    .await;
    let user = id(&list["data"][0]);

    // The last instance has the stream, and the first one is told.
    let there = urls.last().unwrap();
    becomes(case, told, "key", Works, async || {
        by_key(bench, there, value).await
    })
    .await;
    let mut stream = Raw::connect(there).await;
    let asked = hello_stream("gpt-same").to_string();
    stream.post("/v1/chat/completions", value, &asked).await;
    stream.read_until("data: {").await;
    let (method, path, order) = &case.order;
    let path = path
        .replace("{user}", &user)
        .replace("{tenant}", &id(&tenant))
        .replace("{token}", &id(&token))
        .replace("{key}", &id(&key))
        .replace("{name}", &name);
    match case.own {
        true => {
            let done = own(method.clone(), &urls[0], &path).send().await.unwrap();
            assert_eq!(done.status(), 204);
        }
        false => drop(operate(bench, method.clone(), &path, order).await),
    }
    let done = Instant::now();

    if case.stream != Works {
        stream.read_until("data: {\"error\":").await;
        assert!(
            done.elapsed() < told,
            "{}: {:?}",
            case.cause,
            done.elapsed()
        );
    }
    let service = token["value"].as_str().unwrap();
    for url in urls {
        becomes(case, told, "key", case.key, async || {
            by_key(bench, url, value).await
        })
        .await;
        becomes(case, told, "access token", case.access, async || {
            known_as(own(Method::GET, url, "/me/keys").send().await.unwrap())
        })
        .await;
        becomes(case, told, "service token", case.service, async || {
            let request = bench
                .http
                .get(format!("{url}/v1/admin/keys"))
                .bearer_auth(service);
            known_as(request.send().await.unwrap())
        })
        .await;
    }
    // Refreshed once: the cookie is replaced by that.
    becomes(
        case,
        told.min(promised()),
        "cookie",
        case.cookie,
        async || {
            let refresh = bench.http.post(format!("{there}/v1/admin/sign-in/refresh"));
            known_as(
                refresh
                    .header(header::COOKIE, &dev.cookie)
                    .send()
                    .await
                    .unwrap(),
            )
        },
    )
    .await;
    if case.stream == Works {
        // It goes on, long after it would have been ended.
        for _ in 0..10 {
            stream.read_until("data: {").await;
        }
    }
    stream.reset();
}

/// What a call with a key is answered.
async fn by_key(bench: &Bench, url: &str, key: &str) -> Left {
    match gateway::status(&bench.http, url, key, "gpt-test").await {
        200 => Works,
        401 => Unknown,
        // Their models, or their channels, are none of theirs any more.
        404 | 503 => Powerless,
        other => panic!("{other}"),
    }
}

fn known_as(answer: reqwest::Response) -> Left {
    match answer.status().as_u16() {
        200 => Works,
        401 => Unknown,
        403 => Powerless,
        other => panic!("{other}"),
    }
}

async fn becomes(
    case: &Case,
    told: Duration,
    what: &str,
    wanted: Left,
    ask: impl AsyncFn() -> Left,
) {
    let began = Instant::now();
    loop {
        let found = ask().await;
        if found == wanted {
            return;
        }
        assert!(
            began.elapsed() < told,
            "{}: {what}: {found:?}, not {wanted:?}",
            case.cause
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
