//! What a browser makes of an answer: the real one decides whether a page's script runs.

use std::{path::Path, time::Duration};

use tokio::process::Command;
use weir_upstream::Behaviour;

use crate::support::{Bench, Setup, Store, gateway::KEY};

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
