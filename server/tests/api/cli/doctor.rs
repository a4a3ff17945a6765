//! `weir doctor` on what is well, and on what is not.

use std::os::unix::fs::PermissionsExt as _;

use super::{failed, succeeded, weir};
use crate::support::{Binary, Store, Stores, redis_server::RedisServer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_finds_what_is_wrong_and_nothing_else() {
    let stores = Stores::create(Store::Embedded).await;
    let environment = stores.environment("one");
    let before = weir(&environment, &["doctor"]).await;
    assert!(String::from_utf8_lossy(&before.stdout).contains("`weir serve` makes it"));
    assert_eq!(before.status.code(), Some(1));
    let server = Binary::serve(&environment, &[]).await;
    let well = succeeded(&weir(&environment, &["doctor"]).await);
    assert_eq!(
        well,
        "settings: ok\ndata directory: ok\nmaster key: ok\nstores: ok\n"
    );
    assert_eq!(server.stop().await.0, Some(0));

    let data = stores.folder.path().join("one");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let sick = weir(&environment, &["doctor"]).await;
    let told = String::from_utf8_lossy(&sick.stdout).into_owned();
    assert!(told.contains("is open to others: chmod 700 it"), "{told}");
    failed(&sick, 1);
}

/// A Redis in foreign hands or without a lock (threats.md, R1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_says_what_is_amiss_with_redis() {
    let stores = Stores::create(Store::Embedded).await;
    let redis = RedisServer::start();
    let with = |url: String| {
        let mut environment = stores.environment("one");
        environment.push(("WEIR_REDIS_URL".to_owned(), url));
        environment
    };
    let server = Binary::serve(&stores.environment("one"), &[]).await;
    let told = async |url: String| succeeded(&weir(&with(url), &["doctor"]).await);

    redis.ask(&["config", "set", "maxmemory", "100mb"]);
    redis.ask(&["config", "set", "maxmemory-policy", "allkeys-lru"]);
    redis.ask(&["set", "somebody:else", "1"]);
    let open = told(redis.url.clone()).await;
    for amiss in [
        "redis: ok\nredis: warning: it asks for no password",
        "others keep keys in the same database",
        "maxmemory-policy allkeys-lru",
    ] {
        assert!(open.contains(amiss), "{open}");
    }

    redis.empty();
    redis.ask(&["config", "set", "maxmemory-policy", "noeviction"]);
    let user = |name: &str, rights: &[&str]| {
        let set = ["acl", "setuser", name, "on", ">a-password"];
        assert!(redis.ask(&[&set, rights].concat()).contains("OK"));
        redis
            .url
            .replace("redis://", &format!("redis://{name}:a-password@"))
    };
    let wide = told(user("wide", &["~*", "&*", "+@all"])).await;
    assert!(
        wide.contains("redis: warning: its user may touch every key"),
        "{wide}"
    );
    let narrow = user(
        "narrow",
        &["~weir:*", "&weir:*", "+@all", "-@dangerous", "+info"],
    );
    let narrow = told(narrow).await;
    assert!(narrow.ends_with("stores: ok\nredis: ok\n"), "{narrow}");

    let blind = user("blind", &["~weir:*", "&weir:*", "+@all", "-@dangerous"]);
    let blind = weir(&with(blind), &["doctor"]).await;
    let said = String::from_utf8_lossy(&blind.stdout).into_owned();
    assert!(
        said.contains("no permissions to run the 'info' command"),
        "{said}"
    );
    assert!(!said.contains("a-password"), "{said}");
    failed(&blind, 1);
    assert_eq!(server.stop().await.0, Some(0));
}
