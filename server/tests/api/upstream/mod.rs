//! The side of the vendors: streaming, faults, retries, credentials, and answers out of step (threats.md, U and K).
//!
//! All of it needs a vendor and no store in particular, so the benches here are embedded.

mod credentials;
mod faults;
mod leaving;
mod recordings;
mod replies_out_of_step;
mod retry;
mod stream;
mod timeouts;
mod tls;

use std::time::Duration;

use serde_json::Value;
use weir_upstream::{Line, Vendor};

use crate::support::{
    Bench, SOON, Setup, Store,
    gateway::{KEY, OTHER_KEY},
};

pub const ONE: &str = "sk-vendor-credential-one-1111";
pub const TWO: &str = "sk-vendor-credential-two-2222";
/// The only model of [`bench`], for which the vendor has the same name.
pub const MODEL: &str = "gpt-test";

/// A bench with one channel, `vendor`, that has these further fields, written as YAML in one line.
pub async fn bench(fields: &str) -> Bench {
    bench_with(Vec::new(), fields).await
}

/// The same, with further settings.
pub async fn bench_with(environment: Vec<(&'static str, String)>, fields: &str) -> Bench {
    let channel = format!(r#"{{name: vendor, kind: openai, base_url: "{{vendor}}", {fields}}}"#);
    let route = format!("{{channel: vendor, model: {MODEL}}}");
    start(environment, resources(&channel, &route)).await
}

pub async fn start(environment: Vec<(&'static str, String)>, resources: String) -> Bench {
    let setup = Setup {
        environment,
        resources: Some(resources),
        ..Setup::default()
    };
    Bench::start(Store::Embedded, setup).await
}

/// These channels, a model with these routes, and a key of each of two tenants.
pub fn resources(channels: &str, routes: &str) -> String {
    format!(
        r#"
channels: [{channels}]
models: [{{name: {MODEL}, prices: {{input: "1", output: "2"}}, max_output_tokens: 4096, routes: [{routes}]}}]
tenants:
  - {{name: acme, keys: [{{name: laptop, value: "{KEY}"}}]}}
  - {{name: globex, keys: [{{name: server, value: "{OTHER_KEY}"}}]}}
"#
    )
}

/// Fields of a channel with one credential and one attempt.
pub fn plain() -> String {
    format!("credentials: [{ONE}], retry: {{attempts: 1}}")
}

/// Waits for the vendor to have had so many requests.
pub async fn received(vendor: &Vendor, requests: usize) -> Vec<Line> {
    vendor
        .wait_for(|bill| bill.len() >= requests, SOON)
        .await
        .unwrap()
}

/// The code of an error answer, which also has the request id that the header has.
pub async fn code(answer: reqwest::Response) -> String {
    let id = answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["request_id"], id.as_str(), "{body}");
    assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    body["error"]["code"].as_str().unwrap().to_owned()
}

/// The attempts of an event as the words they failed with; `ok` for one that did not.
pub fn failures(attempts: &Value) -> Vec<&str> {
    let attempts = attempts.as_array().unwrap();
    attempts
        .iter()
        .map(|attempt| attempt["failure"].as_str().unwrap_or("ok"))
        .collect()
}

/// Three times what is promised, as all promised times are asserted.
pub fn three_times(promised: Duration) -> Duration {
    promised * 3
}
