//! Health, readiness and the documents.

use serde_json::{Value, json};
use weir_upstream::Behaviour;

use crate::{
    both_stores,
    support::{Store, gateway::hello},
};

use super::metrics::samples;

both_stores!(health_and_readiness_say_how_it_is, |bench| {
    let get = async |path: &str| {
        let answer = bench
            .http
            .get(format!("{}{path}", bench.url))
            .send()
            .await
            .unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let (status, health) = get("/health").await;
    let redis = if bench.stores.kind == Store::Cluster {
        "up"
    } else {
        "unused"
    };
    assert_eq!(
        (
            status,
            &health["status"],
            &health["version"],
            &health["checks"]["database"]["status"],
            &health["checks"]["redis"]["status"]
        ),
        (
            200,
            &"ok".into(),
            &env!("CARGO_PKG_VERSION").into(),
            &"up".into(),
            &redis.into()
        )
    );
    assert!(health["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(get("/ready").await, (200, json!({"status": "ready"})));

    // No channel can serve: degraded, and still alive.
    bench.vendor.set_default(Behaviour::status(401));
    for _ in 0..2 {
        bench.chat(hello("gpt-same")).await;
    }
    bench
        .admin(reqwest::Method::GET, "/channels")
        .send()
        .await
        .unwrap();
    bench
        .apply("channels: [{name: dedicated, tenant: acme, enabled: false}]")
        .await;
    let (status, health) = get("/health").await;
    assert_eq!(
        (status, &health["status"]),
        (200, &"degraded".into()),
        "{health}"
    );
    assert_eq!(health["checks"]["providers"]["up"], 0, "{health}");
    assert_eq!(get("/ready").await.0, 200);
    let found = samples(&bench).await;
    assert_eq!(found["gateway_channel_up{provider=\"vendor\"}"], 0.0);
});

both_stores!(
    documents_are_served_and_every_link_in_them_leads_somewhere,
    |bench| {
        let get = async |path: &str| {
            bench
                .http
                .get(format!("{}{path}", bench.url))
                .send()
                .await
                .unwrap()
        };
        let links = |page: &str| -> Vec<String> {
            let found = page.split("href=\"").skip(1);
            found
                .map(|rest| rest[..rest.find('"').unwrap()].to_owned())
                .collect()
        };
        let index = get("/docs").await.text().await.unwrap();
        let pages: Vec<String> = links(&index)
            .into_iter()
            .filter(|link| link.starts_with("/docs/"))
            .collect();
        assert!(pages.len() >= 7, "{pages:?}");
        for page in pages {
            let answer = get(&page).await;
            assert_eq!(answer.status(), 200, "{page}");
            let policy = answer.headers()["content-security-policy"]
                .to_str()
                .unwrap();
            assert!(policy.starts_with("default-src 'none'"), "{policy}");
            let text = answer.text().await.unwrap();
            for link in links(&text) {
                if link.starts_with("https://") {
                    continue;
                }
                if let Some(place) = link.strip_prefix('#') {
                    assert!(text.contains(&format!("id=\"{place}\"")), "{page}: {link}");
                    continue;
                }
                let here = url::Url::parse(&format!("http://weir.example{page}")).unwrap();
                let there = here.join(&link).unwrap();
                assert_eq!(there.host_str(), Some("weir.example"), "{page}: {link}");
                assert_eq!(get(there.path()).await.status(), 200, "{page}: {link}");
            }
        }
        assert_eq!(get("/docs/nothing").await.status(), 404);
    }
);
