//! The model lists, and which channels and models a caller gets to know (threats.md, K6, T11, T12).

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    both_stores,
    support::{
        Bench, Setup,
        binary::{succeeded, token, weir},
        gateway::{KEY, OTHER_KEY, hello},
        refused,
    },
};

const FEW: &str = "wk-few-models-0123456789-abcdefghij-K";

fn granted() -> Setup {
    let resources = format!(
        r#"
channels:
  - {{name: open, kind: openai, base_url: "{{vendor}}", credentials: [sk-open-credential-1111]}}
  - {{name: secret-deal, kind: openai, base_url: "{{vendor}}", credentials: [sk-deal-credential-2222]}}
  - {{name: off, kind: openai, base_url: "{{vendor}}", credentials: [sk-off-credential-3333], enabled: false}}
  - {{name: mine, tenant: acme, kind: openai, base_url: "{{vendor}}", allowed_origin: "{{vendor}}", credentials: [sk-acme-credential-4444]}}
  - {{name: mine, tenant: globex, kind: openai, base_url: "{{vendor}}", allowed_origin: "{{vendor}}", credentials: [sk-globex-credential-5555]}}
  - {{name: secret-deal, tenant: globex, kind: openai, base_url: "{{vendor}}", allowed_origin: "{{vendor}}", credentials: [sk-shadow-credential-6666]}}
models:
  - {{name: plain, prices: {{input: "1.5", output: "2"}}, max_output_tokens: 4096, capabilities: [chat, tools], routes: [{{channel: secret-deal, model: plain, priority: 9}}, {{channel: open, model: plain}}]}}
  - {{name: vendor/with/slashes, prices: {{input: "1"}}, routes: [{{channel: open, model: slashed}}]}}
  - {{name: hidden, prices: {{input: "1"}}, routes: [{{channel: open, model: hidden}}]}}
  - {{name: retired, enabled: false, prices: {{input: "1"}}, routes: [{{channel: open, model: retired}}]}}
  - {{name: own, tenant: acme, prices: {{input: "1"}}, routes: [{{channel: mine, model: own}}]}}
tenants:
  - name: acme
    grants: {{models: [plain, "vendor/*"], channels: [open]}}
    keys:
      - {{name: all, value: "{KEY}"}}
      - {{name: few, value: "{FEW}", models: [plain]}}
  - name: globex
    keys: [{{name: all, value: "{OTHER_KEY}"}}]
"#
    );
    Setup {
        resources: Some(resources),
        ..Setup::default()
    }
}

async fn get(bench: &Bench, path: &str, key: &str) -> reqwest::Response {
    let request = bench.http.get(format!("{}{path}", bench.url));
    request.bearer_auth(key).send().await.unwrap()
}

fn ids(list: &Value) -> Vec<&str> {
    let models = list["data"].as_array().unwrap().iter();
    models.map(|model| model["id"].as_str().unwrap()).collect()
}

both_stores!(
    /// Threats: T11.
    a_list_shows_what_tenant_and_key_may_use_and_nothing_else,
    granted(),
    |bench| {
        let expected = [
            (KEY, vec!["own", "plain", "vendor/with/slashes"]),
            (FEW, vec!["plain"]),
            (OTHER_KEY, vec!["hidden", "plain", "vendor/with/slashes"]),
        ];
        for path in ["/v1/models", "/api/v1/models"] {
            for (key, names) in &expected {
                let answer = get(&bench, path, key).await;
                assert_eq!(answer.status(), 200);
                assert_eq!(answer.headers()["x-request-id"].len(), 36);
                let list: Value = answer.json().await.unwrap();
                assert_eq!(
                    (ids(&list), &list["object"]),
                    (names.clone(), &json!("list"))
                );
            }
        }
        let list: Value = get(&bench, "/v1/models", KEY).await.json().await.unwrap();
        let plain = &list["data"][1];
        let fields = [
            "object",
            "owned_by",
            "provider",
            "max_tokens",
            "input_price",
            "output_price",
            "capabilities",
        ];
        let found: Vec<&Value> = fields.iter().map(|field| &plain[*field]).collect();
        // `secret-deal` goes first for others; its name is none of acme's business.
        let expected = json!(["model", "weir", "open", 4096, "1.5", "2", ["chat", "tools"]]);
        assert_eq!(json!(found), expected);
        assert!(plain["created"].as_i64().unwrap() > 1_600_000_000);
        assert!(!list.to_string().contains("secret-deal"), "{list}");

        let events = bench.books().await.events;
        assert_eq!(events.len(), 7, "each list of a known key is an event");
        assert!(
            events
                .iter()
                .all(|event| event.outcome == "ok" && event.charge_nanos == 0)
        );
    }
);

both_stores!(
    /// Threats: T11.
    one_model_is_found_by_its_name_and_the_rest_are_no_secret,
    granted(),
    |bench| {
        for (path, name) in [
            ("/v1/models/plain", "plain"),
            ("/v1/models/vendor/with/slashes", "vendor/with/slashes"),
            ("/v1/models/vendor%2Fwith%2Fslashes", "vendor/with/slashes"),
            ("/api/v1/models/pl%61in", "plain"),
            ("/v1/models/own", "own"),
        ] {
            let answer = get(&bench, path, KEY).await;
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.json::<Value>().await.unwrap()["id"], name);
        }
        // Not granted, disabled, another tenant's and absent are told alike.
        let mut told = Vec::new();
        for name in [
            "hidden",
            "retired",
            "absent",
            "Plain",
            "plain%20",
            "plain.",
            "pla%E2%80%8Bin",
        ] {
            let answer = get(&bench, &format!("/v1/models/{name}"), KEY).await;
            let error = refused(answer, 404, "model_not_found").await;
            let message = error["message"].as_str().unwrap();
            told.push(message.split('\'').next_back().unwrap().to_owned());
        }
        told.dedup();
        assert_eq!(told.len(), 1, "{told:?}");
        refused(
            get(&bench, "/v1/models/own", OTHER_KEY).await,
            404,
            "model_not_found",
        )
        .await;
        refused(
            get(&bench, "/v1/models/hidden", FEW).await,
            404,
            "model_not_found",
        )
        .await;
        refused(
            get(&bench, "/v1/models/own", FEW).await,
            403,
            "model_not_allowed",
        )
        .await;

        let head = bench
            .http
            .head(format!("{}/v1/models", bench.url))
            .bearer_auth(KEY);
        let head = head.send().await.unwrap();
        assert_eq!(head.status(), 200);
        assert!(head.headers()["content-length"].to_str().unwrap() != "0");
        assert!(head.text().await.unwrap().is_empty());
        for method in [Method::POST, Method::DELETE, Method::PUT] {
            let asked = bench
                .http
                .request(method, format!("{}/v1/models/plain", bench.url));
            refused(
                asked.bearer_auth(KEY).send().await.unwrap(),
                405,
                "method_not_allowed",
            )
            .await;
        }
    }
);

both_stores!(
    /// Threats: K6, T11.
    a_channel_that_was_not_granted_is_absent_in_every_form_of_path,
    granted(),
    |bench| {
        // Name of the channel, who asks, and the credential by which the vendor is called, or none.
        let table = [
            ("open", KEY, Some("sk-open-credential-1111")),
            ("open", OTHER_KEY, Some("sk-open-credential-1111")),
            ("secret-deal", KEY, None),
            ("secret-deal", OTHER_KEY, Some("sk-shadow-credential-6666")),
            ("mine", KEY, Some("sk-acme-credential-4444")),
            ("mine", OTHER_KEY, Some("sk-globex-credential-5555")),
            ("off", KEY, None),
            ("off", OTHER_KEY, None),
            ("absent", KEY, None),
            ("Open", KEY, None),
            ("open%20", KEY, None),
            ("open.", KEY, None),
            ("%D0%BEpen", KEY, None),
            ("%2e%2e", KEY, None),
        ];
        let mut messages = Vec::new();
        for (channel, key, credential) in table {
            for path in ["/v1/{}/chat/completions", "/proxy/{}/v1/chat/completions"] {
                if channel == "%2e%2e" {
                    continue;
                }
                let before = bench.vendor.requests().len();
                let url = format!("{}{}", bench.url, path.replace("{}", channel));
                let asked = bench.http.post(url).bearer_auth(key).json(&hello("plain"));
                let answer = asked.send().await.unwrap();
                let received = bench.vendor.requests();
                let Some(credential) = credential else {
                    let error = refused(answer, 404, "channel_not_found").await;
                    let message = error["message"].as_str().unwrap().to_owned();
                    messages.push(message.split('\'').next_back().unwrap().to_owned());
                    assert_eq!(received.len(), before, "{path} {channel}");
                    continue;
                };
                // On a channel of its own that no route names, a tenant may use any model.
                assert_eq!(
                    answer.status(),
                    200,
                    "{path} {channel}: {}",
                    answer.text().await.unwrap()
                );
                let sent = received.last().unwrap().header("authorization").unwrap();
                assert_eq!(sent, format!("Bearer {credential}"), "{path} {channel}");
            }
        }
        messages.dedup();
        assert_eq!(
            messages.len(),
            1,
            "not granted and absent are told alike: {messages:?}"
        );
    }
);

both_stores!(
    /// Threats: K6, T12.
    names_that_look_like_others_or_like_paths_are_refused_when_saved,
    |bench| {
        let words = [
            "admin",
            "chat",
            "models",
            "completions",
            "embeddings",
            "v1",
            "proxy",
            "files",
        ];
        let look_alikes = [
            "OpenAI",
            "\u{43E}penai",
            "open\u{200B}ai",
            "openai\u{202E}",
            "a/b",
            "a b",
            "..",
        ];
        for name in words.iter().chain(&look_alikes) {
            let channel =
                json!({"name": name, "kind": "openai", "base_url": "http://127.0.0.1:1/v1"});
            let answer = bench
                .try_apply(&json!({"channels": [channel]}).to_string())
                .await;
            assert_eq!(answer.status(), 422, "{name:?}");
        }
        for name in ["a\u{200B}", "a\u{202E}b", "a\u{0}", "a\nb", "\u{FEFF}a", ""] {
            for kind in ["models", "tenants"] {
                let answer = bench
                    .try_apply(&json!({kind: [{"name": name}]}).to_string())
                    .await;
                assert_eq!(answer.status(), 422, "{kind} {name:?}");
            }
        }
        // A name is one however it was composed, and trimmed; a look-up is exact.
        let model = |name: &str| json!({"models": [{"name": name, "routes": [{"channel": "vendor", "model": "m"}]}]});
        bench.apply(&model(" caf\u{E9} ").to_string()).await;
        bench.apply(&model("cafe\u{301}").to_string()).await;
        let list: Value = get(&bench, "/v1/models", KEY).await.json().await.unwrap();
        let found = ids(&list).iter().filter(|id| id.starts_with("caf")).count();
        assert_eq!(found, 1, "{list}");
        assert_eq!(bench.chat(hello("caf\u{E9}")).await.status(), 200);
        for name in [" caf\u{E9}", "cafe\u{301}", "CAF\u{C9}", "caf\u{E9}."] {
            refused(bench.chat(hello(name)).await, 404, "model_not_found").await;
        }
    }
);

both_stores!(
    /// Threats: T11.
    what_is_granted_is_told_without_what_lies_behind_it,
    granted(),
    |bench| {
        let order = json!({"tenant": "acme", "name": "dev", "role": "developer"});
        let made = bench.admin(Method::POST, "/service-tokens").json(&order);
        let made: Value = made.send().await.unwrap().json().await.unwrap();
        let developer = made["value"].as_str().unwrap();
        let told = get(&bench, "/v1/admin/granted", developer).await;
        assert_eq!(told.status(), 200);
        let told: Value = told.json().await.unwrap();
        let names = |told: &Value| -> Vec<String> {
            let models = told["models"].as_array().unwrap().iter();
            models.map(|model| model["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&told), ["plain", "vendor/with/slashes"]);
        let plain = &told["models"][0];
        assert_eq!(
            (&plain["prices"]["input"], &plain["channels"], &plain["max_output_tokens"]),
            (&json!("1.5"), &json!(["open"]), &json!(4096)),
            "{plain}"
        );
        assert_eq!(told["channels"], json!([{"name": "open", "kind": "openai", "up": true}]));
        // Neither what is granted to others nor where anything goes.
        let text = told.to_string();
        for word in ["secret-deal", "hidden", "retired", "off", "slashed", "sk-", "http", "127.0.0.1"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        let foreign = get(&bench, "/v1/admin/granted?tenant=globex", developer).await;
        assert_eq!(foreign.status(), 404);
        let words = ["models", "granted", "--tenant", "globex", "--output", "json"];
        let server = [("WEIR_URL".to_owned(), bench.admin_url.clone()), token()];
        let told = succeeded(&weir(&server, &words).await);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(names(&told), ["hidden", "plain", "vendor/with/slashes"]);
    }
);
