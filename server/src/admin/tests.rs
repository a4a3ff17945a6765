//! The management API as a client meets it.

use std::{sync::Arc, time::Duration};

use actix_web::{
    App,
    body::{BoxBody, to_bytes},
    dev::{Service, ServiceResponse},
    http::{Method, header},
    test::{TestRequest, call_service, init_service},
    web,
};
use serde_json::{Value, json};
use weir_api_types::{manage::CredentialState, orders::CredentialCheck, system::SystemStatus};

use super::{AdminKey, Hosts, Prober, ProviderClient, State, configure};
use crate::{
    catalog::Current,
    limits::{self, Limits, Local},
    secrets::Sealer,
    store::{
        Stores,
        testing::{TestStores, all, sqlite},
    },
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PLATFORM: &str = "
channels: [{name: openai, kind: openai, base_url: 'https://api.openai.com/v1', credentials: [sk-first-secret]}]
models: [{name: m, routes: [{channel: openai}]}]
tenants: [{name: acme, groups: [{name: team}], users: [{email: a@acme.example, groups: [team]}]}, {name: other}]
";

fn state(test: &TestStores) -> web::Data<State> {
    let catalog = Arc::new(Current::default());
    let sealer = Arc::new(Sealer::new(&[7; 32]));
    let config = limits::Config {
        reserved_wait: Duration::ZERO,
        are_shared: false,
    };
    actix_rt::spawn(follow(
        test.stores.clone(),
        Arc::clone(&sealer),
        Arc::clone(&catalog),
    ));
    web::Data::new(State {
        stores: test.stores.clone(),
        sealer,
        limits: Limits::new(config, Arc::clone(&catalog), Box::new(Local::default())).0,
        catalog,
        token: AdminKey::new(TOKEN, None).expect("a token"),
        trusted_proxies: Vec::new(),
        hosts: Hosts::new(["https://weir.example"]),
        flush: Box::new(|_| Box::pin(std::future::ready(true))),
        health: Box::new(|_| CredentialState::SetAside { status: 401 }),
        judge: Box::new(|_, _| {}),
        is_up: Box::new(|_| true),
        stranger: Box::new(|_| Ok(())),
        system: Box::new(|| Box::pin(async { SystemStatus::default() })),
        pace: super::pace::Pace::new(1_000_000),
        looks: super::view::Looks::default(),
        told: super::owners::Told::default(),
        mail: None,
        login: super::login::Login {
            passwords: super::login::Passwords::new().expect("threads"),
            tokens: super::login::Tokens::default(),
            providers: super::login::Known::default(),
            has_tls: false,
        },
        public_url: Some("https://weir.example".to_owned()),
    })
}

/// Nobody is called.
fn prober() -> Prober {
    Prober::new(|_, _| Box::pin(async { CredentialCheck::default() }))
}

/// No provider is asked.
fn provider_client() -> ProviderClient {
    ProviderClient::new(|_| Box::pin(async { Err("nobody is asked here".to_owned()) }))
}

/// Shows each version as soon as it is committed, as the job does that reads them.
async fn follow(stores: Stores, sealer: Arc<Sealer>, catalog: Arc<Current>) {
    let mut committed = stores.committed();
    while committed.changed().await.is_ok() {
        committed.mark_unchanged();
        let reading = loop {
            match crate::store::catalog::load(&stores.config, &sealer).await {
                Ok(reading) => break reading,
                // A busy machine may have made it wait too long; or the test's database is gone, and soon the test.
                Err(error) => eprintln!("the configuration is read again: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        catalog.swap(catalog.load().after(reading.delta));
    }
}

fn request(method: Method, path: &str) -> TestRequest {
    TestRequest::default()
        .method(method)
        .uri(&format!("/v1/admin{path}"))
        .insert_header((header::HOST, "localhost:8080"))
        .insert_header((header::AUTHORIZATION, format!("Bearer {TOKEN}")))
}

/// The app under test.
trait Answers:
    Service<actix_http::Request, Response = ServiceResponse<BoxBody>, Error = actix_web::Error>
{
}

impl<S> Answers for S where
    S: Service<actix_http::Request, Response = ServiceResponse<BoxBody>, Error = actix_web::Error>
{
}

/// Status and body; the answer's own headers are checked on the way.
async fn answer<S: Answers>(app: &S, request: TestRequest) -> (u16, Value) {
    let response = call_service(app, request.to_request()).await;
    let status = response.status().as_u16();
    let said = |name: &str| response.headers().get(name).cloned();
    assert_eq!(said("cache-control").expect("a header"), "no-store");
    // No page, whatever stands in it (threats.md, H10).
    assert_eq!(said("x-content-type-options").expect("a header"), "nosniff");
    let id = said("x-request-id").expect("an id");
    let kind = said("content-type");
    let body = to_bytes(response.into_body()).await.expect("a body");
    if body.is_empty() {
        return (status, Value::Null);
    }
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    if status >= 400 {
        assert_eq!(kind.expect("a type"), "application/problem+json");
        assert_eq!(body["request_id"], id.to_str().expect("ASCII"));
        assert_eq!(body["status"], status);
    }
    (status, body)
}

macro_rules! app {
    ($test:expr) => {
        app!(with state($test))
    };
    (with $state:expr) => {
        init_service(
            App::new()
                .app_data($state)
                .app_data(web::Data::new(prober()))
                .app_data(web::Data::new(provider_client()))
                .configure(configure)
                .wrap_fn(|request, service| {
                    let answered = service.call(request);
                    async move { Ok(answered.await?.map_into_boxed_body()) }
                }),
        )
        .await
    };
}

mod at_once;
mod audit;
mod bad_input;
mod foreign;
mod gone;
mod granted;
mod invitations;
mod lists;
mod login;
mod operators;
mod own;
mod own_roles;
mod proofs;
mod replays;
mod roles;
mod settings;
mod taller;
mod things;
mod tokens;
mod view;
mod walls;

fn document(text: &str, query: &str) -> TestRequest {
    request(Method::POST, &format!("/resources/apply{query}"))
        .insert_header((header::CONTENT_TYPE, "application/yaml"))
        .set_payload(text.to_owned())
}

#[actix_rt::test]
async fn nobody_gets_in_without_the_token() {
    let test = sqlite().await;
    let app = app!(&test);
    for path in [
        "/resources",
        "/keys",
        "/tenants",
        "/users",
        "/models",
        "/channels",
        "/usage",
    ] {
        let bare = TestRequest::get()
            .uri(&format!("/v1/admin{path}"))
            .insert_header((header::HOST, "127.0.0.1"));
        let (status, problem) = answer(&app, bare).await;
        assert_eq!(
            (status, &problem["code"]),
            (401, &json!("unauthorized")),
            "{path}"
        );
        assert_eq!(
            answer(&app, request(Method::GET, path)).await.0,
            200,
            "{path}"
        );
    }
    for value in [
        "",
        "Bearer",
        "Bearer x",
        &format!("Basic {TOKEN}"),
        &format!("Bearer  {TOKEN}"),
    ] {
        let wrong =
            request(Method::GET, "/keys").insert_header((header::AUTHORIZATION, value.to_owned()));
        assert_eq!(answer(&app, wrong).await.0, 401, "{value}");
    }
    let two = request(Method::GET, "/keys").append_header((header::AUTHORIZATION, "Bearer x"));
    assert_eq!(answer(&app, two).await.0, 401);
}

#[actix_rt::test]
async fn foreign_hosts_paths_methods_and_bodies_are_turned_away() {
    let test = sqlite().await;
    let app = app!(&test);
    let foreign = request(Method::GET, "/keys").insert_header((header::HOST, "rebound.example"));
    assert_eq!(answer(&app, foreign).await.0, 421);
    let ours = request(Method::GET, "/keys").insert_header((header::HOST, "weir.example"));
    assert_eq!(answer(&app, ours).await.0, 200);
    let form = request(Method::POST, "/keys")
        .insert_header((header::CONTENT_TYPE, "text/plain"))
        .set_payload("{}");
    let json = |text: &'static str| {
        request(Method::POST, "/keys")
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .set_payload(text)
    };
    let large = document(&" ".repeat(8 * 1024 * 1024 + 1), "");
    for (request, status, code) in [
        (request(Method::GET, "/nothing"), 404, "not_found"),
        (request(Method::PUT, "/keys"), 405, "method_not_allowed"),
        (request(Method::GET, "/keys/nothing"), 404, "not_found"),
        (
            request(Method::DELETE, "/keys/00000000-0000-0000-0000-000000000001"),
            404,
            "not_found",
        ),
        (
            request(Method::GET, "/keys?tenant=nobody"),
            404,
            "not_found",
        ),
        (
            request(Method::GET, "/keys?limit=1e9"),
            400,
            "invalid_query",
        ),
        (request(Method::GET, "/keys?limit=0"), 400, "invalid_query"),
        (request(Method::GET, "/keys?cursor=x"), 400, "invalid_query"),
        (
            request(Method::GET, "/keys?sort=password"),
            400,
            "invalid_query",
        ),
        (
            request(Method::GET, "/keys?limit=1&limit=2"),
            400,
            "invalid_query",
        ),
        (
            request(Method::GET, "/usage?by=colour"),
            422,
            "invalid_fields",
        ),
        (
            request(Method::GET, "/usage?colour=red"),
            422,
            "invalid_fields",
        ),
        (form, 415, "unsupported_media_type"),
        (json("{"), 400, "invalid_json"),
        (
            json(r#"{"tenant": "t", "name": "k"} x"#),
            400,
            "invalid_json",
        ),
        (
            json(r#"{"tenant": "t", "name": "k", "role": "owner"}"#),
            422,
            "invalid_fields",
        ),
        (
            json(r#"{"tenant": "nobody", "name": "k"}"#),
            422,
            "invalid_fields",
        ),
        (large, 413, "request_too_large"),
        (document("a: [", ""), 422, "invalid_fields"),
        (document("{}", "?force=true"), 400, "invalid_query"),
        (document("{}", "?prune=yes"), 400, "invalid_query"),
    ] {
        let (answered, problem) = answer(&app, request).await;
        assert_eq!(
            (answered, &problem["code"]),
            (status, &json!(code)),
            "{problem}"
        );
    }
}

#[actix_rt::test]
async fn a_file_goes_in_and_comes_out_and_nothing_in_it_is_expanded() {
    for test in all().await {
        let app = app!(&test);
        let (status, dry) = answer(&app, document(PLATFORM, "?dry_run=true")).await;
        assert_eq!((status, &dry["dry_run"]), (200, &json!(true)));
        let (status, applied) = answer(&app, document(PLATFORM, "")).await;
        assert_eq!((status, &applied["changes"]), (200, &dry["changes"]));
        assert!(!applied.to_string().contains("sk-first-secret"));
        let (_, again) = answer(&app, document(PLATFORM, "")).await;
        assert_eq!(
            (&again["changes"], &again["version"]),
            (&json!([]), &applied["version"])
        );
        let home = std::env::var("HOME").unwrap_or_default();
        let forms = "${HOME} $${HOME} ${x:-${HOME}} {{env.HOME}} ${request_id}";
        let text = format!(
            "tenants: [{{name: acme, users: [{{email: a@acme.example, name: '{forms}'}}]}}]"
        );
        assert_eq!(answer(&app, document(&text, "")).await.0, 200);
        let (_, export) = answer(&app, request(Method::GET, "/resources")).await;
        assert_eq!(export["tenants"][0]["users"][0]["name"], forms);
        assert!(
            home.len() < 2 || !export.to_string().contains(&home),
            "nothing came from the environment"
        );
        let (_, fixed) = answer(&app, document(&export.to_string(), "?prune=true")).await;
        assert_eq!(fixed["changes"], json!([]));
        let (status, refused) = answer(
            &app,
            document(
                "tenants:\n  - {name: t, plan: gold}\n  - {name: u, alerts: []}",
                "",
            ),
        )
        .await;
        assert_eq!(status, 422);
        assert_eq!(
            refused["errors"][0]["message"],
            "plan is not built in this version"
        );
        assert_eq!(refused["errors"][1]["path"], "tenants[1].alerts");
    }
}

#[actix_rt::test]
async fn a_key_lives_from_its_making_to_its_end() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let order = json!({"tenant": "acme", "name": "laptop", "user": "A@acme.example", "ip_allow": ["10.0.0.0/8"]});
        let create = |order: &Value| request(Method::POST, "/keys").set_json(order);
        let (status, made) = answer(&app, create(&order)).await;
        assert_eq!(
            (status, &made["user"]),
            (201, &json!("a@acme.example")),
            "{made}"
        );
        let value = made["value"].as_str().expect("a value").to_owned();
        assert!(value.starts_with("wk-"));
        assert_eq!(answer(&app, create(&order)).await.1["code"], "name_taken");
        let bad = json!({"tenant": "acme", "name": "x", "expires_at": "soon", "ip_allow": ["x"]});
        let (_, refused) = answer(&app, create(&bad)).await;
        assert_eq!(refused["errors"][0]["path"], "expires_at", "{refused}");
        let path = format!("/keys/{}", made["id"].as_str().expect("an id"));
        let patch = json!({"enabled": false, "expires_at": "2030-01-01T00:00:00Z"});
        let (status, changed) = answer(&app, request(Method::PATCH, &path).set_json(&patch)).await;
        assert_eq!((status, &changed["enabled"]), (200, &json!(false)));
        assert_eq!(changed["expires_at"], "2030-01-01T00:00:00Z");
        let forever = json!({"expires_at": null});
        let (_, changed) = answer(&app, request(Method::PATCH, &path).set_json(&forever)).await;
        assert_eq!(
            (&changed["expires_at"], &changed["enabled"]),
            (&Value::Null, &json!(false))
        );
        let (_, list) = answer(&app, request(Method::GET, "/keys?tenant=acme")).await;
        assert_eq!(list["data"].as_array().map(Vec::len), Some(1));
        assert!(!list.to_string().contains(&value), "a value is shown once");
        assert_eq!(
            answer(&app, request(Method::GET, "/keys?tenant=other"))
                .await
                .1["data"],
            json!([])
        );
        assert_eq!(answer(&app, request(Method::DELETE, &path)).await.0, 204);
        assert_eq!(answer(&app, request(Method::GET, &path)).await.0, 404);
    }
}

#[actix_rt::test]
async fn lists_show_what_there_is_page_by_page_and_no_secret() {
    for test in all().await {
        let app = app!(&test);
        answer(&app, document(PLATFORM, "")).await;
        let (_, channels) = answer(&app, request(Method::GET, "/channels")).await;
        let credential = &channels["data"][0]["credentials"][0];
        assert_eq!(
            credential["state"],
            json!({"is": "set_aside", "status": 401})
        );
        assert_eq!(credential["hint"], "sk-…");
        let (_, models) = answer(&app, request(Method::GET, "/models")).await;
        assert_eq!(models["data"][0]["routes"][0]["channel"], "openai");
        let (_, users) = answer(&app, request(Method::GET, "/users?tenant=acme")).await;
        assert_eq!(
            users["data"][0]["memberships"][0]["groups"],
            json!(["team"])
        );
        assert_eq!(
            answer(&app, request(Method::GET, "/users?tenant=other"))
                .await
                .1["data"],
            json!([])
        );
        let (_, first) = answer(&app, request(Method::GET, "/tenants?limit=1")).await;
        let cursor = first["next_cursor"].as_str().expect("a cursor");
        let (_, second) = answer(
            &app,
            request(Method::GET, &format!("/tenants?limit=1&cursor={cursor}")),
        )
        .await;
        let names = [&first["data"][0]["name"], &second["data"][0]["name"]];
        assert!(
            names.contains(&&json!("acme")) && names.contains(&&json!("other")),
            "{names:?}"
        );
    }
}

#[actix_rt::test]
async fn usage_says_whether_it_is_complete() {
    let test = sqlite().await;
    let app = app!(&test);
    let asked = request(Method::GET, "/usage?by=model&wait=1s").to_request();
    let response = call_service(&app, asked).await;
    assert_eq!(
        response
            .headers()
            .get("x-weir-usage-complete")
            .expect("a header"),
        "true"
    );
    assert_eq!(to_bytes(response.into_body()).await.expect("a body"), "[]");
}

#[actix_rt::test]
async fn the_clis_client_speaks_to_a_running_server() {
    use crate::{cli::Client, secrets::Secret};
    use weir_api_types::{apply::Applied, manage::TenantItem};

    let test = sqlite().await;
    let state = state(&test);
    let server =
        actix_web::HttpServer::new(move || App::new().app_data(state.clone()).configure(configure));
    let server = server.workers(1).bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", server.addrs()[0]);
    let running = server.run();
    let handle = running.handle();
    actix_rt::spawn(running);
    let client = Client::new(&url, Some(Secret::new(TOKEN))).expect("a client");
    let wanted = crate::resources::read::parse(PLATFORM).expect("resources");
    let path = "/v1/admin/resources/apply";
    let answer = client.send_json(Method::POST, path, &wanted).await;
    let applied: Applied = answer.expect("an answer").json().expect("what was applied");
    assert_eq!(applied.changes.len(), 6);
    let tenants: Vec<TenantItem> = client.list("/v1/admin/tenants", &[]).await.expect("a list");
    assert_eq!(tenants.len(), 2);
    let unknown = client.get("/v1/admin/keys/nothing").await.map(drop);
    let said = unknown.expect_err("no such key").to_string();
    assert!(
        said.starts_with("There is no such key. (not_found, request "),
        "{said}"
    );
    handle.stop(false).await;
}
