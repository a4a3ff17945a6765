//! Another master key, while Weir serves.

use std::{collections::BTreeSet, fs, process::Stdio, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Bench, Crowd, Process, Setup, Store,
    binary::{failed, succeeded, weir},
    gateway::hello,
    process,
};

const CREDENTIALS: usize = 90;

// Threats: D3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_killed_again_and_again_loses_nothing_embedded() {
    rotated(Store::Embedded).await;
}

// Threats: D3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_killed_again_and_again_loses_nothing_cluster() {
    if Store::cluster_is_there() {
        rotated(Store::Cluster).await;
    }
}

async fn rotated(kind: Store) {
    let mut bench = Bench::without_gateway(kind, Setup::default()).await;
    let keys = bench.stores.folder.path().join("master-keys");
    let old = weir::secrets::Sealer::generate_base64().to_string();
    fs::write(&keys, &old).unwrap();
    let mut environment = bench.environment("one");
    environment.retain(|(name, _)| name != "WEIR_MASTER_KEY");
    environment.push((
        "WEIR_MASTER_KEY_FILE".to_owned(),
        keys.display().to_string(),
    ));
    let server = Process::start(&bench.stores, environment.clone(), &[]).await;
    bench.url.clone_from(&server.url);
    bench.admin_url.clone_from(&server.url);
    bench.apply(&Bench::usual_resources()).await;
    let secrets: Vec<String> = (0..CREDENTIALS)
        .map(|at| format!("sk-one-of-many-{at}"))
        .collect();
    let many = json!({
        "channels": [{"name": "many", "kind": "openai", "base_url": bench.vendor.base_url(), "credentials": secrets}],
        "models": [{"name": "gpt-many", "prices": {"input": "1", "output": "1"}, "routes": [{"channel": "many"}]}],
    });
    bench.apply(&many.to_string()).await;

    // Killed at any moment, while calls go on and secrets are given.
    let crowd = Crowd::served_by(std::slice::from_ref(&server.url), 4);
    let rotate = ["secrets", "rotate"];
    for round in 0..6_u64 {
        let mut rotating = process::weir(environment.clone());
        rotating
            .args(rotate)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut rotating = rotating.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(
            60 + rand::random_range(0..120) * (1 + round),
        ))
        .await;
        rotating.kill().unwrap();
        rotating.wait().unwrap();
        let channel = channel(&bench, "many").await;
        let path = format!("/channels/{}/credentials", channel["id"].as_str().unwrap());
        let more = json!({"value": format!("sk-given-meanwhile-{round}")});
        let given = bench
            .admin(Method::POST, &path)
            .json(&more)
            .send()
            .await
            .unwrap();
        assert_eq!(given.status(), 200);
    }
    // Two at once are one, and the other says so.
    let (one, other) = tokio::join!(weir(&environment, &rotate), weir(&environment, &rotate));
    let (done, refused) = if one.status.success() {
        (one, other)
    } else {
        (other, one)
    };
    let told = succeeded(&done);
    assert!(failed(&refused, 1).contains("another `weir secrets rotate` is under way"));
    let lines: Vec<&str> = told.lines().collect();
    assert!(
        lines[0].contains("seals") && !lines[0].contains(" 0 secrets"),
        "{told}"
    );
    assert!(
        lines[1].contains("opens  0 secrets") && lines.len() == 3,
        "{told}"
    );
    assert!(crowd.end().await > 0);

    // What the server gave and took meanwhile is one log, and every credential works for whoever starts now.
    verified(&bench).await;
    let text = fs::read_to_string(&keys).unwrap();
    let new = text.lines().next().unwrap().to_owned();
    assert!(new != old && text.lines().nth(1) == Some(&old));
    server.terminate();
    assert_eq!(server.ended().await, Some(0));
    let server = Process::start(&bench.stores, environment.clone(), &[]).await;
    bench.url.clone_from(&server.url);
    bench.admin_url.clone_from(&server.url);
    verified(&bench).await;
    let mut used = BTreeSet::new();
    for _ in 0..4 * CREDENTIALS {
        assert_eq!(bench.chat(hello("gpt-many")).await.status(), 200);
        used = bench
            .vendor
            .bill()
            .into_iter()
            .filter_map(|line| line.credential)
            .filter(|one| one.starts_with("sk-one") || one.starts_with("sk-given"))
            .collect();
        if used.len() == CREDENTIALS + 6 {
            break;
        }
    }
    assert_eq!(used.len(), CREDENTIALS + 6);
    server.terminate();
    assert_eq!(server.ended().await, Some(0));

    // The old key may go: what was written under it in the log can then not be shown to be whole.
    fs::write(&keys, &new).unwrap();
    let server = Process::start(&bench.stores, environment.clone(), &[]).await;
    bench.url.clone_from(&server.url);
    bench.admin_url.clone_from(&server.url);
    assert_eq!(bench.chat(hello("gpt-many")).await.status(), 200);
    let verdict: Value = bench
        .admin(Method::GET, "/audit-log/verify")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(verdict["bad_row"], 1, "{verdict}");
    server.terminate();
    assert_eq!(server.ended().await, Some(0));

    // Rolled back.
    fs::write(&keys, format!("{old},{new}")).unwrap();
    let told = succeeded(&weir(&environment, &rotate).await);
    assert!(
        told.lines().nth(1).unwrap().contains("opens  0 secrets"),
        "{told}"
    );
    // Gone too early: it is said, and nothing is touched.
    fs::write(&keys, &new).unwrap();
    let told = failed(&weir(&environment, &["secrets", "status"]).await, 1);
    assert!(
        told.contains("under a master key that is not given"),
        "{told}"
    );
}

async fn channel(bench: &Bench, name: &str) -> Value {
    let list = bench.admin(Method::GET, "/channels").send().await.unwrap();
    let list: Value = list.json().await.unwrap();
    let mut all = list["data"].as_array().unwrap().iter();
    all.find(|channel| channel["name"] == name).unwrap().clone()
}

async fn verified(bench: &Bench) {
    let verdict = bench
        .admin(Method::GET, "/audit-log/verify")
        .send()
        .await
        .unwrap();
    let verdict: Value = verdict.json().await.unwrap();
    assert_eq!(verdict["bad_row"], Value::Null, "{verdict}");
}
