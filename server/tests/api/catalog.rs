//! A change takes effect everywhere (promise 4): at once on the instance that was told, in a second on the others, and
//! within the poll where the word of it is lost. What is revoked ends open streams; nothing else does.

use std::time::{Duration, Instant};

use weir_upstream::{Behaviour, Cut, Fault};

use crate::{
    both_stores,
    support::{
        Bench, Books, Pipe, Process, Raw, SOON, Setup, Store, behind_a_pipe,
        gateway::{self, KEY, hello, hello_stream},
        window,
    },
};

/// Three times the promised second; just that at full length.
fn promised() -> Duration {
    Duration::from_secs(window(3, 1))
}

/// Tenants `one` to `six` with a key each, of every kind of owner.
fn revocable() -> Setup {
    let tenants = r#"
  - {name: one, keys: [{name: k, value: "wk-one-0123456789-abcdefghij"}]}
  - {name: two, keys: [{name: k, value: "wk-two-0123456789-abcdefghij"}]}
  - {name: three, keys: [{name: k, value: "wk-three-0123456789-abcdefghij"}]}
  - {name: four, users: [{email: four@weir.example, role: developer}], keys: [{name: k, user: four@weir.example, value: "wk-four-0123456789-abcdefghij"}]}
  - {name: five, keys: [{name: k, value: "wk-five-0123456789-abcdefghij"}]}
  - {name: six, keys: [{name: k, value: "wk-six-0123456789-abcdefghij"}]}
"#;
    Setup {
        resources: Some(Bench::usual_resources() + tenants),
        environment: vec![("WEIR_CATALOG_POLL", "1s".to_owned())],
        ..Setup::default()
    }
}

fn key(tenant: &str) -> String {
    format!("wk-{tenant}-0123456789-abcdefghij")
}

/// An endless stream of a tenant, its first event read.
async fn open_stream(url: &str, key: &str) -> Raw {
    let mut raw = Raw::connect(url).await;
    raw.post(
        "/v1/chat/completions",
        key,
        &hello_stream("gpt-same").to_string(),
    )
    .await;
    raw.read_until("data: {").await;
    raw
}

async fn status(url: &str, key: &str) -> u16 {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    gateway::status(&http, url, key, "gpt-test").await
}

/// Asks until the status is this, and says how long it took.
async fn status_becomes(url: &str, key: &str, wanted: u16) -> Duration {
    let began = Instant::now();
    while status(url, key).await != wanted {
        assert!(began.elapsed() < SOON, "it never became {wanted}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

/// Revokes each tenant's key in its own way.
async fn revoke(bench: &Bench, tenant: &str) {
    match tenant {
        "one" => drop(bench.apply("{tenants: [{name: one, keys: [{name: k, enabled: false}]}]}").await),
        "two" => {
            let keys = bench.admin(reqwest::Method::GET, "/keys?tenant=two").send().await.unwrap();
            let keys: serde_json::Value = keys.json().await.unwrap();
            let id = keys["data"][0]["id"].as_str().unwrap().to_owned();
            let deleted = bench.admin(reqwest::Method::DELETE, &format!("/keys/{id}")).send().await.unwrap();
            assert_eq!(deleted.status(), 204);
        }
        "three" => drop(bench.apply("{tenants: [{name: three, enabled: false}]}").await),
        "four" => drop(bench.apply("{tenants: [{name: four, users: [{email: four@weir.example, enabled: false}]}]}").await),
        "five" => {
            // A file that no longer names the key.
            let resources = "{tenants: [{name: acme}, {name: globex}, {name: one}, {name: two}, {name: three}, {name: four}, {name: five, keys: []}, {name: six}]}";
            let pruned = bench
                .admin(reqwest::Method::POST, "/resources/apply?prune=true")
                .header("content-type", "application/yaml")
                .body(resources);
            let pruned = pruned.send().await.unwrap();
            assert!(pruned.status().is_success(), "{}", pruned.text().await.unwrap());
        }
        // The whole tenant.
        _ => {
            let resources = "{tenants: [{name: acme}, {name: globex}, {name: one}, {name: two}, {name: three}, {name: four}, {name: five}]}";
            let pruned = bench
                .admin(reqwest::Method::POST, "/resources/apply?prune=true")
                .header("content-type", "application/yaml")
                .body(resources);
            let pruned = pruned.send().await.unwrap();
            assert!(pruned.status().is_success(), "{}", pruned.text().await.unwrap());
        }
    }
}

both_stores!(
    /// Key disabled, key deleted, tenant disabled, user disabled, key pruned, tenant pruned.
    /// Threats: T7.
    whatever_is_revoked_is_refused_at_once_and_its_open_streams_end_with_an_error,
    revocable(),
    |bench| {
        bench.vendor.on_model("gpt-same", Behaviour::tokens(100_000).with_chunk_delay_ms(20));
        let mut bystander = open_stream(&bench.url, KEY).await;
        for tenant in ["one", "two", "three", "four", "five", "six"] {
            let mut stream = open_stream(&bench.url, &key(tenant)).await;
            revoke(&bench, tenant).await;
            let revoked = Instant::now();
            assert_eq!(status(&bench.url, &key(tenant)).await, 401, "{tenant}: at once");
            let text = stream.read_until("\"key_disabled\"").await;
            assert!(revoked.elapsed() < promised(), "{tenant}: {:?}", revoked.elapsed());
            assert!(text.contains("data: {\"error\":"), "the dialect's error event: {text}");
        }
        // Nobody else's stream has ended.
        bystander.read_until("data: {").await;
        bystander.reset();
        bench.vendor.wait_for(|bill| bill.iter().all(|line| line.end.is_some()), SOON).await.unwrap();
        let books = bench.books_when(|books| books.calls().count() == 7).await;
        let cut: Vec<_> = books.calls().filter(|event| event.outcome == "cut_by_weir").collect();
        assert_eq!(cut.len(), 6, "{books:#?}");
        for event in cut {
            assert!(event.estimated && event.output_tokens > 0 && event.charge_nanos > 0, "{event:#?}");
            assert_eq!((event.error_code.as_deref(), event.status), (Some("key_disabled"), 200));
        }
        books.assert_sums();
    }
);

both_stores!(
    a_grant_that_is_withdrawn_ends_the_streams_that_use_it,
    revocable(),
    |bench| {
        bench.vendor.on_model(
            "gpt-same",
            Behaviour::tokens(100_000).with_chunk_delay_ms(20),
        );
        let withdrawals = [
            ("one", "grants: {models: [gpt-test]}", "model_not_allowed"),
            ("three", "grants: {channels: []}", "channel_not_found"),
        ];
        let mut bystander = open_stream(&bench.url, KEY).await;
        for (tenant, withdrawal, code) in withdrawals {
            let mut stream = open_stream(&bench.url, &key(tenant)).await;
            let withdrawn = Instant::now();
            let resources = format!("{{tenants: [{{name: {tenant}, {withdrawal}}}]}}");
            bench.apply(&resources).await;
            stream.read_until(&format!("\"{code}\"")).await;
            assert!(
                withdrawn.elapsed() < promised(),
                "{tenant}: {:?}",
                withdrawn.elapsed()
            );
        }
        bystander.read_until("data: {").await;
        bystander.reset();
    }
);

both_stores!(
    a_call_that_waits_for_its_first_byte_ends_when_its_key_is_revoked,
    revocable(),
    |bench| {
        bench
            .vendor
            .set_default(Behaviour::default().with_first_byte_delay_ms(60_000));
        let mut waiting = Raw::connect(&bench.url).await;
        waiting
            .post(
                "/v1/chat/completions",
                &key("one"),
                &hello_stream("gpt-same").to_string(),
            )
            .await;
        bench
            .vendor
            .wait_for(
                |bill| bill.first().is_some_and(|line| line.tokens.input > 0),
                SOON,
            )
            .await
            .unwrap();
        revoke(&bench, "one").await;
        let revoked = Instant::now();
        let text = waiting.read_until("\"key_disabled\"").await;
        assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
        bench.vendor.client_left(1, SOON).await.unwrap();
        assert!(revoked.elapsed() < promised());
        let books = bench.books().await;
        let event = books.only();
        assert_eq!(
            (event.outcome.as_str(), event.status, event.estimated),
            ("cut_by_weir", 401, true)
        );
        assert!(event.input_tokens > 0);
    }
);

both_stores!(
    /// Revoked between the vendor's head and its first event: nothing has woken the relay since it began.
    a_stream_that_is_silent_after_its_head_ends_when_its_key_is_revoked,
    revocable(),
    |bench| {
        bench.vendor.set_default(Behaviour::fault(Fault::Hang(Cut::AfterHead)));
        let mut stream = Raw::connect(&bench.url).await;
        stream.post("/v1/chat/completions", &key("one"), &hello_stream("gpt-same").to_string()).await;
        stream.read_until("\r\n\r\n").await;
        revoke(&bench, "one").await;
        let revoked = Instant::now();
        stream.read_until("\"key_disabled\"").await;
        assert!(revoked.elapsed() < promised());
        assert_eq!(bench.books().await.only().outcome, "cut_by_weir");
    }
);

both_stores!(
    a_revoked_caller_who_reads_nothing_cannot_keep_its_upstream_call_open,
    revocable(),
    |bench| {
        // More than all buffers between vendor and caller hold.
        let long = "river ".repeat(4_000);
        let event = format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{long}\"}}}}]}}\n\n"
        );
        bench
            .vendor
            .set_default(Behaviour::body(event.repeat(1_500)).with_chunk_bytes(60_000));
        let mut stuck = Raw::connect(&bench.url).await;
        stuck
            .post(
                "/v1/chat/completions",
                &key("one"),
                &hello_stream("gpt-same").to_string(),
            )
            .await;
        stuck.read_until("data: {").await;
        // Stuck is when the vendor cannot write any more.
        let (mut pieces, mut still) = (0, 0);
        while still < 5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let written = bench.vendor.bill()[0].pieces;
            still = if written == pieces { still + 1 } else { 0 };
            pieces = written;
        }
        assert!(
            bench.vendor.bill()[0].end.is_none(),
            "all of it fits into the buffers"
        );
        revoke(&bench, "one").await;
        let revoked = Instant::now();
        bench.vendor.client_left(1, SOON).await.unwrap();
        assert!(revoked.elapsed() < promised(), "{:?}", revoked.elapsed());
        let books = bench.books_when(|books| !books.events.is_empty()).await;
        let event = books.only();
        assert_eq!(
            (event.outcome.as_str(), event.error_code.as_deref()),
            ("cut_by_weir", Some("key_disabled"))
        );
        assert!(event.estimated && event.output_tokens > 0);
        drop(stuck);
    }
);

both_stores!(
    every_other_change_counts_from_the_next_call_and_cuts_nothing,
    revocable(),
    |bench| {
        bench
            .vendor
            .on_model("gpt-same", Behaviour::tokens(60).with_chunk_delay_ms(20));
        let mut streams = Vec::new();
        for tenant in ["one", "two", "three"] {
            streams.push(open_stream(&bench.url, &key(tenant)).await);
        }
        let yesterday = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24);
        let file = format!(
            r#"{{tenants: [
                {{name: one, keys: [{{name: k, expires_at: "{yesterday}"}}]}},
                {{name: two, keys: [{{name: k, models: [embed-test]}}]}},
                {{name: three, keys: [{{name: k, ip_allow: ["10.9.8.7/32"]}}]}}]}}"#
        );
        bench.apply(&file).await;
        for (tenant, status_now) in [("one", 401), ("two", 403), ("three", 403)] {
            assert_eq!(
                status(&bench.url, &key(tenant)).await,
                status_now,
                "{tenant}"
            );
        }
        for stream in &mut streams {
            let text = stream.read_until("[DONE]").await;
            assert!(!text.contains("\"error\""), "{text}");
        }
        let books = bench.books().await;
        assert_eq!(
            books.calls().filter(|event| event.outcome == "ok").count(),
            3
        );
    }
);

/// A second instance on the same stores, and what lies between it and Redis.
async fn second(bench: &Bench) -> (Process, Pipe) {
    let redis = std::env::var("WEIR_TEST_REDIS_URL").unwrap();
    behind_a_pipe(bench, "two", &redis).await
}

// Threats: T7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_instance_is_told_over_redis_and_notices_by_itself_when_the_word_is_lost() {
    if !Store::cluster_is_there() {
        return;
    }
    // So long a poll that within the promised second only Redis can have told.
    let mut setup = revocable();
    setup.environment = vec![("WEIR_CATALOG_POLL", "5s".to_owned())];
    let bench = Bench::start(Store::Cluster, setup).await;
    bench.vendor.on_model(
        "gpt-same",
        Behaviour::tokens(100_000).with_chunk_delay_ms(20),
    );
    let (other, redis) = second(&bench).await;
    for tenant in ["one", "two", "three", "four"] {
        assert_eq!(status(&other.url, &key(tenant)).await, 200);
    }
    let mut stream = open_stream(&other.url, &key("one")).await;
    revoke(&bench, "one").await;
    let told = Instant::now();
    assert!(status_becomes(&other.url, &key("one"), 401).await < promised());
    stream.read_until("\"key_disabled\"").await;
    assert!(told.elapsed() < promised(), "{:?}", told.elapsed());

    // The word is lost: the poll finds it. Five seconds are promised.
    let mut stream = open_stream(&other.url, &key("three")).await;
    redis.cut();
    tokio::time::sleep(window(Duration::ZERO, Duration::from_secs(20))).await;
    revoke(&bench, "three").await;
    assert_eq!(
        status(&other.url, &key("four")).await,
        200,
        "nothing else has changed"
    );
    let health = bench
        .http
        .get(format!("{}/health", other.url))
        .send()
        .await
        .unwrap();
    let health: serde_json::Value = health.json().await.unwrap();
    assert_eq!(health["status"], "degraded", "{health}");
    assert!(status_becomes(&other.url, &key("three"), 401).await < Duration::from_secs(15));
    stream.read_until("\"key_disabled\"").await;

    // The other way round, and Redis back: what the second is told, the first knows.
    redis.restore();
    let file = r#"{models: [{name: brand-new, prices: {input: "1", output: "1"}, routes: [{channel: vendor, model: new}]}]}"#;
    let applied = bench
        .http
        .post(format!("{}/v1/admin/resources/apply", other.url))
        .bearer_auth(crate::support::stores::ADMIN_TOKEN)
        .header("content-type", "application/yaml")
        .body(file)
        .send()
        .await
        .unwrap();
    assert!(applied.status().is_success());
    let began = Instant::now();
    while bench.chat(hello("brand-new")).await.status() != 200 {
        assert!(began.elapsed() < Duration::from_secs(8));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    other.terminate();
    assert_eq!(other.ended().await, Some(0));
    // What both served is in the same books.
    let books = bench
        .books_when(|books: &Books| books.calls().count() >= 7)
        .await;
    let instances: std::collections::BTreeSet<&str> = books
        .events
        .iter()
        .map(|event| event.instance.as_str())
        .collect();
    assert_eq!(instances.into_iter().collect::<Vec<_>>(), ["one", "two"]);
    books.assert_sums();
}

both_stores!(
    a_new_key_and_a_new_model_serve_the_very_next_call,
    |bench| {
        for n in 0..5 {
            let value = format!("wk-fresh-{n}-0123456789-abcdefghij");
            assert_eq!(status(&bench.url, &value).await, 401);
            let file = format!(
                r#"{{models: [{{name: fresh-{n}, routes: [{{channel: vendor, model: fresh}}]}}], tenants: [{{name: acme, keys: [{{name: fresh-{n}, value: "{value}"}}]}}]}}"#
            );
            bench.apply(&file).await;
            let call = bench
                .http
                .post(format!("{}/v1/chat/completions", bench.url))
                .bearer_auth(&value);
            let answer = call
                .json(&hello(&format!("fresh-{n}")))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200);
        }
    }
);
