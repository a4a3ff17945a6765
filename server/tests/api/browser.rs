//! What a browser makes of an answer: the real one decides whether a page's script runs.

use std::{path::Path, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use weir_upstream::Behaviour;

use crate::support::{Bench, Setup, Store, gateway::KEY, people::Person, stores::ADMIN_TOKEN};

/// A browser on a small machine takes some seconds to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Opens an address in Chromium, until the page has loaded, and returns the document as it stood then.
async fn open(profile: &Path, url: &str) -> String {
    let mut chromium = Command::new("chromium");
    chromium
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-background-networking",
            "--no-first-run",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(url)
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, chromium.output())
        .await
        .expect("the page loads in time")
        .expect("Debian's package chromium: `make setup-test` installs it");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// How often a script told the vendor that it ran.
fn runs(bench: &Bench) -> usize {
    let requests = bench.vendor.requests();
    let told = requests
        .iter()
        .filter(|request| request.path.starts_with("/ran"));
    told.count()
}

/// Threats: P1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_an_upstream_runs_no_script() {
    let bench = Bench::start(Store::Embedded, Setup::default()).await;
    let profile = tempfile::tempdir().unwrap();
    let vendor = bench.vendor.root_url();
    // The script waits until the vendor has its word, so that none is under way when the browser ends.
    let script = format!(
        "var x=new XMLHttpRequest();x.open('GET','{vendor}/ran',false);try{{x.send()}}catch(e){{}}"
    );
    let pages = [
        (
            "text/html",
            format!("<!doctype html><title>page</title><p>loaded<script>{script}</script>"),
        ),
        (
            "image/svg+xml",
            format!(
                "<svg xmlns='http://www.w3.org/2000/svg'><text>loaded</text><script>{script}</script></svg>"
            ),
        ),
    ];
    for (kind, page) in pages {
        bench.vendor.set_default(Behaviour {
            body: Some(page),
            ..Behaviour::default().with_header("content-type", kind)
        });
        let before = runs(&bench);
        let direct = open(profile.path(), &format!("{vendor}/v1/page")).await;
        assert!(direct.contains("loaded"), "{direct}");
        assert_eq!(runs(&bench), before + 1, "{kind}: it runs where it may");
        let address = format!("{}/proxy/dedicated/v1/page?key={KEY}", bench.url);
        let relayed = open(profile.path(), &address).await;
        assert!(relayed.contains("loaded"), "{relayed}");
        assert_eq!(runs(&bench), before + 1, "{kind}");
    }
}

/// What a page of another origin tries, each with what its script learns: a status, or that the browser kept the answer from it.
const TRIES: &str = r#"
function ask(method, url, kind, body, bearer, withCookies) {
  const call = new XMLHttpRequest();
  call.open(method, url, false);
  call.withCredentials = Boolean(withCookies);
  if (kind) call.setRequestHeader('content-type', kind);
  if (bearer) call.setRequestHeader('authorization', 'Bearer ' + bearer);
  try { call.send(body); return call.status; } catch { return 'kept'; }
}
const json = 'application/json';
const person = JSON.stringify({email: 'guest@acme.example', password: 'the password of guest@acme.example'});
const group = (name) => JSON.stringify({tenant: 'acme', name});
document.body.textContent = JSON.stringify({
  sign_in: ask('POST', ADMIN + '/sign-in', json, person),
  sign_in_as_text: ask('POST', ADMIN + '/sign-in', 'text/plain', person),
  sign_in_for_a_cookie: ask('POST', ADMIN + '/sign-in', json, person, null, true),
  keys: ask('GET', ADMIN + '/keys', null, null, TOKEN),
  change: ask('POST', ADMIN + '/groups', json, group('by-json'), TOKEN),
  change_as_text: ask('POST', ADMIN + '/groups', 'text/plain', group('by-text'), TOKEN),
  models: ask('GET', PUBLIC + '/v1/models', null, null, KEY),
  models_with_cookies: ask('GET', PUBLIC + '/v1/models', null, null, KEY, true),
});
"#;

/// What the page learnt.
async fn tried(bench: &Bench, profile: &Path) -> Value {
    let names = json!({"ADMIN": format!("{}/v1/admin", bench.admin_url), "PUBLIC": bench.url, "TOKEN": ADMIN_TOKEN, "KEY": KEY});
    let page = format!(
        "<!doctype html><title>page</title><body><script>const {{ADMIN, PUBLIC, TOKEN, KEY}} = {names};{TRIES}</script>"
    );
    bench.vendor.set_default(Behaviour {
        body: Some(page),
        ..Behaviour::default().with_header("content-type", "text/html")
    });
    let url = format!("{}/v1/page", bench.vendor.root_url());
    let document = open(profile, &url).await;
    let told = document.split_once("<body>").and_then(|(_, rest)| {
        let (told, _) = rest.split_once("</body>")?;
        serde_json::from_str(told).ok()
    });
    told.unwrap_or_else(|| panic!("{document}"))
}

/// What was done, newest first.
async fn done(bench: &Bench) -> Vec<String> {
    let log = bench.admin(Method::GET, "/audit-log?limit=50");
    let log: Value = log.send().await.unwrap().json().await.unwrap();
    let rows = log["data"].as_array().unwrap().iter();
    let actions = rows.map(|row| row["action"].as_str().unwrap().to_owned());
    actions.collect()
}

/// Threats: H6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_does_and_learns_what_operators_allow() {
    let bench = Bench::start(Store::Embedded, Setup::default()).await;
    let profile = tempfile::tempdir().unwrap();
    Person::invited(&bench, "guest@acme.example", "acme", "owner").await;
    let before = done(&bench).await;
    let kept = "kept";
    // Keys are in the caller's hands, so that programs in a browser may call; cookies are nobody's business there.
    assert_eq!(
        tried(&bench, profile.path()).await,
        json!({
            "sign_in": kept, "sign_in_as_text": kept, "sign_in_for_a_cookie": kept,
            "keys": kept, "change": kept, "change_as_text": kept,
            "models": 200, "models_with_cookies": kept,
        })
    );
    assert_eq!(done(&bench).await, before);
    // Its origin is named: it may do what whoever gave it a token may. Signing in, with its cookie, is
    // for Weir's own pages.
    let origin = bench.vendor.root_url();
    let allow = bench
        .admin(Method::PATCH, "/settings")
        .json(&json!({"cors_origins": [origin]}));
    assert_eq!(allow.send().await.unwrap().status(), 200);
    assert_eq!(
        tried(&bench, profile.path()).await,
        json!({
            "sign_in": 403, "sign_in_as_text": 415, "sign_in_for_a_cookie": kept,
            "keys": 200, "change": 201, "change_as_text": 415,
            "models": 200, "models_with_cookies": kept,
        })
    );
}
