//! What the platform pays for: its channels, which tenants use at its prices and as far as it grants them.

use weir_api_types::{
    manage::AnyRole,
    resources::{Role, RoleName},
};

use super::{
    roles::{by, text, token},
    *,
};

/// `open` is granted to acme, `deal` is not, and `mine` is its own.
const FILE: &str = "
channels:
  - {name: open, kind: openai, base_url: 'https://vendor.example/v1', credentials: [sk-open-secret]}
  - {name: deal, kind: openai, base_url: 'https://vendor.example/v1', credentials: [sk-deal-secret]}
  - {name: mine, tenant: acme, kind: openai, base_url: 'https://vendor.example/v1', credentials: [sk-mine-secret]}
models:
  - {name: dear, prices: {input: '100'}, routes: [{channel: open}]}
  - {name: special, tenant: acme, prices: {input: '50'}, routes: [{channel: open, model: dear}]}
tenants:
  - {name: acme, grants: {models: [], channels: [open]}, policies: {own_channels: true}}
";

/// A token of acme's owner.
async fn owner<S: Answers>(app: &S) -> String {
    let (status, made) = answer(app, document(FILE, "")).await;
    assert_eq!(status, 200, "{made}");
    let role = AnyRole::Tenant(RoleName::BuiltIn(Role::Owner));
    let (status, made) = answer(app, token("owner", Some("acme"), &role)).await;
    assert_eq!(status, 201, "{made}");
    text(&made["value"])
}

/// What is answered, without the word that was asked with.
async fn said<S: Answers>(app: &S, call: TestRequest, word: &str) -> (u16, String) {
    let (status, mut body) = answer(app, call).await;
    body["request_id"].take();
    (status, body.to_string().replace(word, "_"))
}

// Threats: K6, B8, T2, T11.
#[actix_rt::test]
async fn a_tenants_model_leads_to_its_own_channels_alone() {
    for test in all().await {
        let app = app!(&test);
        let owner = owner(&app).await;
        let model = |channel: &str| {
            json!({
                "name": "free", "prices": {"input": "0", "output": "0"},
                "routes": [{"channel": channel, "model": "dear"}],
            })
        };
        let make = |channel: &str| by(&owner, "POST", "/models").set_json(model(channel));
        let absent = said(&app, make("nowhere"), "nowhere").await;
        assert_eq!(absent.0, 422, "{absent:?}");
        for channel in ["open", "deal", "platform/open"] {
            assert_eq!(
                said(&app, make(channel), channel).await,
                absent,
                "{channel}"
            );
        }
        let (status, made) = answer(&app, make("mine")).await;
        assert_eq!(status, 201, "{made}");
        let own = format!("/models/{}", text(&made["id"]));
        let lead = |channel: &str| {
            let order = json!({"routes": [{"channel": channel, "model": "dear"}]});
            by(&owner, "PATCH", &own).set_json(order)
        };
        assert_eq!(said(&app, lead("open"), "open").await, absent);
        let order = json!({"prices": {"input": "1"}});
        let (status, body) = answer(&app, by(&owner, "PATCH", &own).set_json(order)).await;
        assert_eq!(status, 200, "{body}");
        // What operators have the platform's channel do for the tenant stays as they say.
        let (_, models) = answer(&app, request(Method::GET, "/models?tenant=acme&q=special")).await;
        let special = format!("/models/{}", text(&models["data"][0]["id"]));
        for call in [
            by(&owner, "PATCH", &special).set_json(json!({"prices": {"input": "0"}})),
            by(&owner, "PATCH", &special).set_json(json!({"routes": []})),
            by(&owner, "PATCH", &special).set_json(json!({"enabled": true})),
            by(&owner, "DELETE", &special),
        ] {
            let (status, refused) = answer(&app, call).await;
            assert_eq!(
                (status, &refused["code"]),
                (403, &json!("forbidden")),
                "{refused}"
            );
        }
        // Nor do its people bound it.
        let rule = json!({"metric": "requests", "per": "minute", "max": 5});
        let bound = json!({"scope": "model", "tenant": "acme", "name": "special", "rule": rule});
        let (status, limit) = answer(&app, request(Method::POST, "/limits").set_json(&bound)).await;
        assert_eq!(status, 201, "{limit}");
        let limit = format!("/limits/{}", text(&limit["id"]));
        let mut more = rule.clone();
        more["max"] = json!(5_000);
        let mut own_bound = bound.clone();
        own_bound["name"] = json!("free");
        for (call, wanted) in [
            (
                by(&owner, "PATCH", &limit).set_json(json!({"rule": more})),
                403,
            ),
            (by(&owner, "DELETE", &limit), 403),
            (by(&owner, "POST", "/limits").set_json(&bound), 403),
            (by(&owner, "POST", "/limits").set_json(&own_bound), 201),
        ] {
            let (status, body) = answer(&app, call).await;
            assert_eq!(status, wanted, "{body}");
        }
        let (_, models) = answer(&app, request(Method::GET, "/models?tenant=acme&q=special")).await;
        assert_eq!(models["data"][0]["prices"]["input"], "50", "{models}");
        let change = json!({"prices": {"input": "49"}});
        let (status, body) = answer(&app, request(Method::PATCH, &special).set_json(change)).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(answer(&app, by(&owner, "DELETE", &own)).await.0, 204);
    }
}

// Threats: K6, T11.
#[actix_rt::test]
async fn a_channel_that_is_not_granted_is_to_a_key_as_one_that_is_not_there() {
    for test in all().await {
        let app = app!(&test);
        let owner = owner(&app).await;
        let make = |channel: &str| {
            let order = json!({"name": format!("k-{channel}"), "channels": [{"channel": channel}]});
            by(&owner, "POST", "/keys").set_json(order)
        };
        let absent = said(&app, make("nowhere"), "nowhere").await;
        assert_eq!(absent.0, 422, "{absent:?}");
        for channel in ["deal", "platform/deal"] {
            assert_eq!(
                said(&app, make(channel), channel).await,
                absent,
                "{channel}"
            );
        }
        let mut made = Value::Null;
        for channel in ["open", "mine"] {
            let status;
            (status, made) = answer(&app, make(channel)).await;
            assert_eq!(status, 201, "{made}");
        }
        let key = format!("/keys/{}", text(&made["id"]));
        let keep = |channel: &str| {
            let order = json!({"channels": [{"channel": channel}]});
            by(&owner, "PATCH", &key).set_json(order)
        };
        assert_eq!(said(&app, keep("deal"), "deal").await, absent);
        assert_eq!(answer(&app, keep("open")).await.0, 200);
    }
}
