//! The file that `serve --resources` names.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Binary, SOON, Store, Stores,
    binary::{failed, weir},
    gateway::KEY,
};

use super::write;

/// The models that a key sees, once they fit.
async fn models_when(
    url: &str,
    http: &reqwest::Client,
    fits: impl Fn(&[String]) -> bool,
) -> Vec<String> {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = http
            .get(format!("{url}/v1/models"))
            .bearer_auth(KEY)
            .send()
            .await
            .unwrap();
        let body: Value = answer.json().await.unwrap();
        let models = body["data"].as_array().into_iter().flatten();
        let names: Vec<String> = models
            .map(|model| model["id"].as_str().unwrap().to_owned())
            .collect();
        if fits(&names) || Instant::now() > deadline {
            return names;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_watched_file(kind: Store) {
    let stores = Stores::create(kind).await;
    let file = |models: &str| {
        format!(
            "tenants: [{{name: acme, keys: [{{name: laptop, value: \"{KEY}\"}}]}}]\nmodels:\n{models}"
        )
    };
    let path = write(
        stores.folder.path(),
        "platform.yaml",
        &file("  - name: first\n"),
    );
    let server = Binary::serve(
        &stores.environment("one"),
        &["--resources", &path, "--watch"],
    )
    .await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(
        models_when(&server.url, &http, |_| true).await,
        ["first"],
        "applied before it is ready"
    );

    // As editors and Kubernetes do it: another file in the old one's place.
    let next = write(
        stores.folder.path(),
        "next.yaml",
        &file("  - name: first\n  - name: second\n"),
    );
    std::fs::rename(next, &path).unwrap();
    let names = models_when(&server.url, &http, |names| names.len() == 2).await;
    assert_eq!(names, ["first", "second"]);

    // One good change and one bad: the whole file is refused.
    std::fs::write(
        &path,
        file("  - name: third\n  - name: fourth\n    colour: red\n"),
    )
    .unwrap();
    let refused = server
        .logged("line 5 column 5: unknown field `colour`")
        .await;
    assert!(refused.contains("configuration file refused"), "{refused}");
    assert!(refused.contains("the old configuration stays"), "{refused}");
    assert_eq!(
        models_when(&server.url, &http, |_| true).await,
        ["first", "second"]
    );

    std::fs::write(
        &path,
        file("  - name: first\n    enabled: false\n  - name: third\n"),
    )
    .unwrap();
    let names = models_when(&server.url, &http, |names| {
        names.contains(&"third".to_owned())
    })
    .await;
    assert_eq!(names, ["second", "third"]);
    assert_eq!(server.stop().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_file_is_applied_when_it_changes_and_refused_whole_when_broken() {
    a_watched_file(Store::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_file_does_the_same_on_a_cluster() {
    if Store::cluster_is_there() {
        a_watched_file(Store::Cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_broken_at_the_start_stops_it_with_line_and_reason() {
    let stores = Stores::create(Store::Embedded).await;
    let path = write(
        stores.folder.path(),
        "platform.yaml",
        "models:\n  - name: a\n    colour: red\n",
    );
    let said = failed(
        &weir(&stores.environment("one"), &["serve", "--resources", &path]).await,
        1,
    );
    assert!(
        said.contains("line 3 column 5: unknown field `colour`"),
        "{said}"
    );
}
