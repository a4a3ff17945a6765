//! Management from outside: by the command line, through the log, with settings that hold everywhere.

mod insight;

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    both_stores,
    support::{
        Bench, Store,
        binary::{failed, succeeded, token, weir},
        gateway::{self, KEY, OTHER_KEY, hello},
        stores::ADMIN_TOKEN,
        trap::Trap,
    },
};

async fn cli(bench: &Bench, arguments: &[&str]) -> std::process::Output {
    weir(
        &[("WEIR_URL".to_owned(), bench.url.clone()), token()],
        arguments,
    )
    .await
}

/// What a command prints as JSON.
async fn told(bench: &Bench, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    let printed = succeeded(&cli(bench, &arguments).await);
    serde_json::from_str(&printed).unwrap()
}

both_stores!(a_command_with_a_key_of_its_own_makes_one_thing, |bench| {
    let once = ["--tenant", "acme", "--idempotency-key", "monday"];
    let token = [
        &[
            "service-tokens",
            "create",
            "--name",
            "ci",
            "--role",
            "viewer",
        ],
        &once[..],
    ]
    .concat();
    let (first, second) = (told(&bench, &token).await, told(&bench, &token).await);
    assert_eq!(first[0]["id"], second[0]["id"], "{first} {second}");
    assert!(
        first[0]["value"].is_string() && second[0]["value"].is_null(),
        "{second}"
    );
    // As a table nothing is there to be taken for its value.
    let third = cli(&bench, &token).await;
    assert_eq!(succeeded(&third), "");
    let said = String::from_utf8_lossy(&third.stderr).into_owned();
    assert!(said.contains("done before"), "{said}");
    let guest = [
        &[
            "invitations",
            "create",
            "--email",
            "eve@acme.example",
            "--role",
            "viewer",
        ],
        &once[..],
    ]
    .concat();
    assert!(succeeded(&cli(&bench, &guest).await).contains("/invitation#"));
    let again = cli(&bench, &guest).await;
    assert_eq!(succeeded(&again), "", "nobody was mailed to");
    let key = [&["keys", "create", "--name", "robot"], &once[..]].concat();
    let (first, second) = (told(&bench, &key).await, told(&bench, &key).await);
    assert_eq!(first[0]["id"], second[0]["id"], "{first} {second}");
    let other = [&["keys", "create", "--name", "another"], &once[..]].concat();
    let refused = failed(&cli(&bench, &other).await, 5);
    assert!(refused.contains("idempotency_key_used"), "{refused}");
});

both_stores!(things_are_made_shown_changed_and_deleted_by_name, |bench| {
    let tenant = told(
        &bench,
        &[
            "tenants",
            "create",
            "umbrella",
            "--set",
            "time_zone=Asia/Tokyo",
            "--set",
            "policies.own_channels=true",
        ],
    )
    .await;
    assert_eq!(tenant["policies"]["own_channels"], true, "{tenant}");
    told(
        &bench,
        &["groups", "create", "team", "--tenant", "umbrella"],
    )
    .await;
    told(
        &bench,
        &[
            "users",
            "create",
            "eve@umbrella.example",
            "--tenant",
            "umbrella",
            "--set",
            "groups=[team]",
        ],
    )
    .await;
    let user = told(
        &bench,
        &[
            "users",
            "change",
            "eve@umbrella.example",
            "--tenant",
            "umbrella",
            "--set",
            "role=admin",
        ],
    )
    .await;
    assert_eq!(
        (&user["role"], &user["groups"]),
        (&json!("admin"), &json!(["team"]))
    );
    let budget = json!({"scope": "group", "tenant": "umbrella", "name": "team", "rule": {"amount": "5", "period": "month"}});
    let file = bench.stores.folder.path().join("budget.json");
    std::fs::write(&file, budget.to_string()).unwrap();
    let budget = told(&bench, &["budgets", "create", "-f", file.to_str().unwrap()]).await;
    let id = budget["id"].as_str().unwrap();
    let changed = told(
        &bench,
        &[
            "budgets",
            "change",
            id,
            "--set",
            "rule={amount: '7', period: month}",
        ],
    )
    .await;
    assert_eq!(changed["amount"], 7_000_000_000_u64, "{changed}");
    let (base, key) = (bench.vendor.base_url(), "laptop");
    let set = format!("base_url={base}");
    let channel = told(
        &bench,
        &[
            "channels",
            "create",
            "second",
            "--set",
            "kind=openai",
            "--set",
            &set,
            "--set",
            "credentials=[sk-a]",
        ],
    )
    .await;
    assert!(!channel.to_string().contains("sk-a"), "{channel}");
    let rotated = told(
        &bench,
        &["keys", "rotate", key, "--tenant", "acme", "--grace", "2h"],
    )
    .await;
    assert!(
        rotated["value"].as_str().unwrap().starts_with("wk-"),
        "{rotated}"
    );
    assert_eq!(
        bench.chat(hello("gpt-test")).await.status(),
        200,
        "the value before"
    );

    // Table, CSV and YAML say the same.
    let table = succeeded(&cli(&bench, &["tenants", "show", "umbrella"]).await);
    assert!(
        table.contains("time_zone") && table.contains("Asia/Tokyo"),
        "{table}"
    );
    let csv = succeeded(&cli(&bench, &["tenants", "show", "umbrella", "-o", "csv"]).await);
    assert!(csv.lines().nth(1).unwrap().contains("Asia/Tokyo"), "{csv}");
    let yaml = succeeded(&cli(&bench, &["tenants", "show", "umbrella", "-o", "yaml"]).await);
    assert!(yaml.contains("time_zone: Asia/Tokyo"), "{yaml}");

    let absent = failed(&cli(&bench, &["tenants", "show", "nobody"]).await, 3);
    assert!(absent.contains("there is no tenant"), "{absent}");
    let refused = failed(
        &cli(
            &bench,
            &["tenants", "change", "umbrella", "--set", "colour=red"],
        )
        .await,
        5,
    );
    assert!(refused.contains("colour"), "{refused}");
    succeeded(&cli(&bench, &["channels", "delete", "second"]).await);
    succeeded(&cli(&bench, &["tenants", "delete", "umbrella"]).await);
    let script = succeeded(&cli(&bench, &["completions", "bash"]).await);
    assert!(script.contains("_weir"));
});

both_stores!(
    a_request_is_found_in_the_log_by_what_is_known_of_it,
    |bench| {
        let answer = bench.chat(hello("gpt-test")).await;
        let id = answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let cost = answer.headers()["x-weir-cost"].to_str().unwrap().to_owned();
        assert_eq!(bench.chat(hello("no-such-model")).await.status(), 404);
        let shown = told(&bench, &["logs", "show", &id]).await;
        let nanos = |text: &str| (text.parse::<f64>().unwrap() * 1e9).round() as i64;
        assert_eq!(
            nanos(shown["cost_usd"].as_str().unwrap()),
            nanos(&cost),
            "{shown}"
        );
        assert_eq!(
            (&shown["key"], &shown["model"]),
            (&json!("laptop"), &json!("gpt-test"))
        );
        assert_eq!(shown["attempts"][0]["channel"], "vendor");
        for (words, found) in [
            (vec!["--key", "laptop"], 2),
            (vec!["--key", "laptop", "--status", "200"], 1),
            (vec!["--status", "4xx"], 1),
            (vec!["--error", "model_not_found", "--tenant", "acme"], 1),
            (vec!["--model", "gpt-test"], 1),
            (vec!["--tenant", "globex"], 0),
            (vec!["--min-cost-usd", "0.000000001"], 1),
            (
                vec!["--user", "zhang@acme.example", "--max-ms", "600000"],
                2,
            ),
        ] {
            let list = told(&bench, &[&["logs"], &*words].concat()).await;
            assert_eq!(list.as_array().unwrap().len(), found, "{words:?}: {list}");
        }
        let usage = told(&bench, &["usage", "--by", "error", "--details"]).await;
        let of = |error: &str| {
            let rows = usage.as_array().unwrap().iter();
            rows.clone()
                .find(|row| row["error"] == error)
                .unwrap()
                .clone()
        };
        assert_eq!(of("model_not_found")["details"]["success_rate"], 0.0);
        let total = &of("")["details"]["total_ms"];
        assert!(total["p50"].as_f64().unwrap() > 0.0, "{usage}");
        assert!(total["p99"].as_f64() >= total["p50"].as_f64());
    }
);

both_stores!(
    settings_hold_at_once_and_a_draining_installation_takes_no_calls,
    |bench| {
        let ready = async || {
            let url = format!("{}/ready", bench.url);
            bench.http.get(url).send().await.unwrap().status().as_u16()
        };
        assert_eq!(ready().await, 200);
        told(&bench, &["settings", "change", "--set", "mode=drain"]).await;
        assert_eq!(ready().await, 503);
        let refused = failed(
            &cli(&bench, &["groups", "create", "late", "--tenant", "acme"]).await,
            6,
        );
        assert!(refused.contains("read_only"), "{refused}");
        assert_eq!(
            bench.chat(hello("gpt-test")).await.status(),
            200,
            "who comes all the same"
        );
        told(&bench, &["settings", "change", "--set", "mode=normal"]).await;
        assert_eq!(ready().await, 200);

        let status = told(&bench, &["status"]).await;
        assert_eq!(
            (&status["status"], &status["checks"]["database"]["status"]),
            (&json!("ok"), &json!("up"))
        );
        assert!(
            status["process"]["resident_bytes"].as_u64().unwrap() > 1 << 20,
            "{status}"
        );
        let stats = told(&bench, &["stats"]).await;
        assert_eq!(stats["tenants"], 2, "{stats}");
        bench.books().await;
        let providers = told(&bench, &["providers"]).await;
        let vendor = providers
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == "vendor");
        assert_eq!(vendor.unwrap()["requests"], 1, "{providers}");
        assert!(
            status["process"]["connections"].as_u64() > Some(0),
            "{status}"
        );
        let url = format!("{}/health/detailed", bench.admin_url);
        let closed = bench.http.get(&url).bearer_auth(KEY).send().await.unwrap();
        assert_eq!(closed.status(), 401);
    }
);

both_stores!(
    /// Threats: S1, S4.
    a_tenant_s_own_channel_leads_to_the_public_network_alone,
    |bench| {
        let admin = async |method: Method, path: &str, order: Value| {
            let url = format!("{}/v1/admin{path}", bench.admin_url);
            let request = bench.http.request(method, url).bearer_auth(ADMIN_TOKEN);
            let answer = request.json(&order).send().await.unwrap();
            let status = answer.status().as_u16();
            (status, answer.json::<Value>().await.unwrap_or_default())
        };
        let channel = |base: &str| json!({"tenant": "globex", "name": "own", "kind": "openai", "base_url": base, "credentials": ["sk-own-credential-9999"]});
        // Other protocols and ports are refused when they are saved.
        for base in [
            "http://vendor.example/v1",
            "https://vendor.example:8443/v1",
            "https://vendor.example:6379",
            "unix:/run/docker.sock",
            "file:///etc/passwd",
            "gopher://127.0.0.1:6379/_FLUSHALL",
            "ftp://vendor.example",
            "ws://vendor.example",
            "https://api.vendor.example@127.0.0.1/v1",
            "https://vendor.example/v1\r\nx: y",
            "https://vendor.example/%0d%0aFLUSHALL?x",
            "https:///v1",
            "https://vendor.example#@127.0.0.1",
            "https://127.0.0.1\\@vendor.example",
        ] {
            let (status, refused) = admin(Method::POST, "/channels", channel(base)).await;
            assert_eq!(status, 422, "{base}: {refused}");
        }
        // Private addresses when they are dialled, all with the same words.
        let mut words = Vec::new();
        // Each store's test its own, as both run at once.
        let address = format!("127.0.0.{}", 70 + u8::from(bench.stores.kind == Store::Cluster));
        let trap = Trap::set(&address);
        let trapped = format!("https://{address}/v1");
        for base in [trapped.as_str(), "https://127.0.0.1/v1", "https://localhost/v1", "https://169.254.169.254/v1", "https://2130706433/v1"] {
            let (status, made) = admin(Method::POST, "/channels", channel(base)).await;
            assert_eq!(status, 201, "{base}: {made}");
            let path = format!("/channels/{}", made["id"].as_str().unwrap());
            let validate = format!("{path}/credentials/{}/validate", made["pool"][0]["id"].as_str().unwrap());
            let (status, check) = admin(Method::POST, &validate, json!({})).await;
            assert_eq!((status, &check["works"]), (200, &json!(false)), "{check}");
            words.push(check["error"].as_str().unwrap().to_owned());
            let url = format!("{}/v1/own/chat/completions", bench.url);
            let call = bench.http.post(url).bearer_auth(OTHER_KEY).json(&hello("gpt-test"));
            assert_eq!(call.send().await.unwrap().status(), 502, "{base}");
            assert_eq!(admin(Method::DELETE, &path, json!({})).await.0, 204);
        }
        words.dedup();
        assert_eq!(words.len(), 1, "{words:?}");
        assert!(trap.is_none_or(|trap| !trap.was_reached()));
        // An operator's word for this very origin lifts it, and a tenant's own people cannot give it.
        let mut order = channel(&bench.vendor.base_url());
        order["allowed_origin"] = order["base_url"].clone();
        let (status, made) = admin(Method::POST, "/channels", order).await;
        assert_eq!(status, 201, "{made}");
        let validate = format!(
            "/channels/{}/credentials/{}/validate",
            made["id"].as_str().unwrap(),
            made["pool"][0]["id"].as_str().unwrap()
        );
        let (_, check) = admin(Method::POST, &validate, json!({})).await;
        assert_eq!((&check["works"], &check["status"]), (&json!(true), &json!(200)), "{check}");
        let asked = bench.vendor.requests();
        let asked = asked.last().unwrap();
        assert_eq!(asked.header("authorization"), Some("Bearer sk-own-credential-9999"));
    }
);

both_stores!(
    a_key_of_another_gateway_works_on_and_keeps_what_it_was_when_it_is_rotated,
    |bench| {
        // What the other gateway gave out; nobody tells it to this one.
        let value = "sk-litellm-0123456789abcdef0123";
        let digest = Sha256::digest(value.as_bytes());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let set = format!("sha256={digest}");
        told(
            &bench,
            &[
                "keys", "create", "--name", "moved", "--tenant", "acme", "--set", &set,
            ],
        )
        .await;
        let call =
            async |key: &str| gateway::status(&bench.http, &bench.url, key, "gpt-test").await;
        assert_eq!(call(value).await, 200);
        let rotated = told(&bench, &["keys", "rotate", "moved", "--tenant", "acme"]).await;
        let next = rotated["value"].as_str().unwrap();
        assert_eq!((call(value).await, call(next).await), (200, 200));
        let usage = told(
            &bench,
            &["usage", "--by", "key", "--key", "moved", "--source", "api"],
        )
        .await;
        assert_eq!(
            (&usage[0]["key"], &usage[0]["requests"], &usage[1]),
            (&json!("moved"), &json!(3), &Value::Null),
            "{usage}"
        );
        let failed = told(&bench, &["usage", "--error", "model_not_found"]).await;
        assert_eq!(failed[0]["requests"], 0, "{failed}");
        // The log's facets say names, and ids for whoever asks on.
        let facets = told(
            &bench,
            &["logs", "facets", "--by", "key,model,channel,outcome"],
        )
        .await;
        let facets = facets.as_array().unwrap();
        let names: Vec<&Value> = facets.iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["moved", "gpt-test", "vendor", "ok"], "{facets:?}");
        assert!(facets.iter().all(|one| one["requests"] == 3), "{facets:?}");
        let key = facets[0]["value"].as_str().unwrap();
        let found = told(&bench, &["logs", "--key", key]).await;
        assert_eq!(found.as_array().unwrap().len(), 3, "{found}");
    }
);

both_stores!(
    both_values_of_a_rotated_key_work_until_the_grace_of_the_first_is_over,
    |bench| {
        const GRACE: Duration = Duration::from_secs(5);
        let began = Instant::now();
        let rotate = [
            "keys", "rotate", "laptop", "--tenant", "acme", "--grace", "5s",
        ];
        let rotated = told(&bench, &rotate).await;
        let next = rotated["value"].as_str().unwrap();
        let ask = async |key: &str| gateway::status(&bench.http, &bench.url, key, "gpt-test").await;
        assert_eq!((ask(KEY).await, ask(next).await), (200, 200));
        let over = async {
            while ask(KEY).await != 401 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let over = tokio::time::timeout(3 * GRACE, over).await;
        assert!(over.is_ok(), "its grace does not end");
        assert!(began.elapsed() >= GRACE, "{:?}", began.elapsed());
        assert_eq!(ask(next).await, 200);
        // One identity: what both called is one key's.
        bench.books().await;
        let usage = told(&bench, &["usage", "--by", "key"]).await;
        let keys = usage.as_array().unwrap();
        assert_eq!(
            (keys.len(), &keys[0]["key"]),
            (1, &json!("laptop")),
            "{usage}"
        );
    }
);
