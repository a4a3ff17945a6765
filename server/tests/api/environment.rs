//! What arrives through the API is never expanded from the server's environment (threats.md, K3).

use std::process::Stdio;

use serde_json::{Value, json};
use weir_upstream::Vendor;

use crate::support::{Process, Store, Stores, gateway::KEY, stores::ADMIN_TOKEN};

const CANARY: &str = "canary-in-the-environment-of-the-server-4711";

/// Threats: K3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_in_a_field_stays_as_it_is_written_or_is_refused() {
    for kind in [Store::Embedded, Store::Cluster] {
        if kind == Store::Embedded || Store::cluster_is_there() {
            case(kind).await;
        }
    }
}

async fn case(kind: Store) {
    let stores = Stores::create(kind).await;
    let vendor = Vendor::spawn();
    let log = stores.folder.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let mut environment = stores.environment("one");
    let further = [
        ("OPENAI_API_KEY", CANARY),
        ("CANARY", CANARY),
        ("HOME", CANARY),
        ("WEIR_LOG", "debug"),
    ];
    environment.extend(further.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let process = Process::start_logging(&stores, environment, Stdio::from(file)).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let apply = async |resources: &Value| {
        let request = http
            .post(format!("{}/v1/admin/resources/apply", process.url))
            .bearer_auth(ADMIN_TOKEN);
        let answer = request
            .header("content-type", "application/yaml")
            .body(resources.to_string())
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let mut seen = String::new();
    let forms = [
        "${WEIR_MASTER_KEY}",
        "${OPENAI_API_KEY}",
        "$${CANARY}",
        "${x:-${HOME}}",
        "{{env.CANARY}}",
        "$CANARY",
        "${CANARY:0:99}",
        "%CANARY%",
        "$(printenv CANARY)",
    ];
    for (at, form) in forms.iter().enumerate() {
        let channel = format!("channel-{at}");
        // Every text that a channel, a model and a tenant have, first where it may be anything.
        let resources = json!({
            "channels": [{
                "name": channel, "kind": "custom", "base_url": vendor.base_url(),
                "auth": {"header": "x-key", "value": format!("{{secret}} {form}")},
                "credentials": [format!("credential-{form}")],
                "proxy_paths": ["/v1/thing"],
            }],
            "models": [{"name": format!("model {form}"), "capabilities": ["chat"], "routes": [{"channel": channel, "model": format!("upstream {form}")}]}],
            "tenants": [{
                "name": format!("tenant {form}"),
                "grants": {"models": [format!("{form}*"), "*"], "channels": ["*"]},
                "groups": [{"name": format!("group {form}")}],
                "users": [{"email": format!("u{at}@acme.example"), "name": form, "department": form, "contact": form}],
                "keys": [{"name": format!("key {form}"), "value": format!("{KEY}-{at}"), "models": [format!("{form}*"), "*"]}],
            }],
        });
        let (status, text) = apply(&resources).await;
        assert_eq!(status, 200, "{form}: {text}");
        seen += &text;
        for path in [
            format!("/proxy/{channel}/v1/thing"),
            format!("/v1/{channel}/chat/completions"),
        ] {
            let request = http
                .post(format!("{}{path}", process.url))
                .bearer_auth(format!("{KEY}-{at}"));
            let answer = request
                .json(&json!({"model": format!("upstream {form}"), "messages": []}))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200, "{path} {form}");
            seen += &format!("{:?}", answer.headers());
            let sent = vendor.requests().last().unwrap().clone();
            assert_eq!(
                sent.header("x-key"),
                Some(&*format!("credential-{form} {form}"))
            );
        }
        // Where a plain form is asked for, it is none.
        let bad = [
            json!({"channels": [{"name": form, "kind": "openai", "base_url": vendor.base_url()}]}),
            json!({"channels": [{"name": "bad", "kind": "openai", "base_url": form}]}),
            json!({"channels": [{"name": "bad", "kind": "openai", "base_url": format!("http://{form}/v1")}]}),
            json!({"channels": [{"name": "bad", "kind": "custom", "base_url": vendor.base_url(), "auth": {"header": format!("x {form}"), "value": "{secret}"}}]}),
            json!({"channels": [{"name": "bad", "kind": "custom", "base_url": vendor.base_url(), "proxy_paths": [form]}]}),
            json!({"models": [{"name": "bad", "prices": {"input": form}}]}),
            json!({"tenants": [{"name": "bad", "time_zone": form}]}),
            json!({"tenants": [{"name": "bad", "users": [{"email": form}]}]}),
            json!({"tenants": [{"name": "bad", "keys": [{"name": "bad", "ip_allow": [form]}]}]}),
            json!({"tenants": [{"name": "bad", "keys": [{"name": "bad", "expires_at": form}]}]}),
            json!({"tenants": [{"name": "bad", "keys": [{"name": "bad", "value": form}]}]}),
        ];
        for resources in bad {
            let (status, text) = apply(&resources).await;
            assert_eq!(status, 422, "{resources}: {text}");
            seen += &text;
        }
    }
    let read = async |path: &str| {
        let request = http
            .get(format!("{}{path}", process.url))
            .bearer_auth(ADMIN_TOKEN);
        request.send().await.unwrap().text().await.unwrap()
    };
    let export = read("/v1/admin/resources").await;
    assert!(export.contains("tenant "), "{export}");
    for path in [
        "/v1/admin/keys",
        "/v1/admin/channels",
        "/v1/admin/models",
        "/v1/admin/users",
        "/v1/admin/tenants",
        "/metrics",
        "/health",
    ] {
        seen += &read(path).await;
    }
    seen += &export;
    // What was exported is what there is: applying it changes nothing.
    let request = http
        .post(format!("{}/v1/admin/resources/apply", process.url))
        .bearer_auth(ADMIN_TOKEN);
    let again = request
        .header("content-type", "application/yaml")
        .body(export)
        .send()
        .await
        .unwrap();
    let status = again.status();
    let again = again.text().await.unwrap();
    assert_eq!(status, 200, "{again}");
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["changes"], json!([]), "{again}");

    process.terminate();
    assert_eq!(process.ended().await, Some(0));
    seen += &std::fs::read_to_string(log).unwrap();
    for request in vendor.requests() {
        seen += &String::from_utf8_lossy(&request.head);
        seen += &String::from_utf8_lossy(&request.body);
    }
    let master = stores
        .environment("one")
        .into_iter()
        .find(|(name, _)| name == "WEIR_MASTER_KEY")
        .unwrap()
        .1;
    for secret in [CANARY, &master, ADMIN_TOKEN] {
        assert_eq!(seen.lines().find(|line| line.contains(secret)), None);
    }
}
