//! Limits: so many requests, tokens or calls at once, whatever they stand on.

mod budgets;
mod clocks;
mod fleet;
mod redis;
mod shared_budgets;
mod slices;
mod spent;

use std::time::{Duration, Instant};

use serde_json::json;
use weir_upstream::Behaviour;

use crate::{
    both_stores,
    support::{
        Bench, SOON, Setup,
        gateway::{KEY, OTHER_KEY, hello, hello_stream},
        refused,
    },
};

/// Three requests an hour.
const THREE: &str = "limits: [{metric: requests, per: hour, max: 3}]";

async fn statuses(bench: &Bench, calls: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..calls {
        statuses.push(bench.chat(hello("gpt-test")).await.status().as_u16());
    }
    statuses
}

both_stores!(a_limit_holds_whatever_it_stands_on, |bench| {
    let files = [
        ("platform", format!("platform: {{{THREE}}}")),
        ("model", format!("models: [{{name: gpt-test, {THREE}}}]")),
        ("channel", format!("channels: [{{name: vendor, {THREE}}}]")),
        ("tenant", format!("tenants: [{{name: acme, {THREE}}}]")),
        (
            "group",
            format!("tenants: [{{name: acme, groups: [{{name: platform-team, {THREE}}}]}}]"),
        ),
        (
            "user",
            format!("tenants: [{{name: acme, users: [{{email: zhang@acme.example, {THREE}}}]}}]"),
        ),
        (
            "key",
            format!("tenants: [{{name: acme, keys: [{{name: laptop, {THREE}}}]}}]"),
        ),
    ];
    let names = [
        "",
        "gpt-test",
        "vendor",
        "acme",
        "platform-team",
        "zhang@acme.example",
        "laptop",
    ];
    let mut served = 0;
    for ((scope, file), name) in files.iter().zip(names) {
        bench.apply(file).await;
        for left in [2, 1, 0] {
            let answer = bench.chat(hello("gpt-test")).await;
            assert_eq!(answer.status(), 200, "{scope}");
            // A channel's limit is the operator's business: what the caller has left, it does not tell.
            if *scope != "channel" {
                assert_eq!(
                    answer.headers()["x-ratelimit-limit-requests"],
                    "3",
                    "{scope}"
                );
                assert_eq!(
                    answer.headers()["x-ratelimit-remaining-requests"],
                    left.to_string()
                );
                assert!(answer.headers().contains_key("x-ratelimit-reset-requests"));
            }
        }
        served += 3;
        let answer = bench.chat(hello("gpt-test")).await;
        let headers = answer.headers().clone();
        let error = refused(answer, 429, "rate_limit_exceeded").await;
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("3 requests per hour") && message.contains(scope),
            "{message}"
        );
        assert!(message.contains(name), "{message}");
        // A bucket of three an hour has one again after twenty minutes.
        let after: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1_195..=1_200).contains(&after), "{after}");
        assert_eq!(headers["x-should-retry"], "true");
        assert_eq!(headers["x-ratelimit-remaining-requests"], "0");
        assert_eq!(bench.vendor.requests().len(), served, "{scope}");
        // Others are not held up by what is not theirs.
        let other = bench
            .http
            .post(format!("{}/v1/chat/completions", bench.url));
        let other = other
            .bearer_auth(OTHER_KEY)
            .json(&hello("gpt-test"))
            .send()
            .await
            .unwrap();
        let shared = ["platform", "model", "channel"].contains(scope);
        assert_eq!(other.status() == 429, shared, "{scope}");
        served += usize::from(!shared);
        // Taken away, it counts no more.
        bench.apply(&file.replace(THREE, "limits: []")).await;
        assert_eq!(statuses(&bench, 1).await, [200], "{scope}");
        served += 1;
    }
    let books = bench.books().await;
    let limited = books
        .events
        .iter()
        .filter(|event| event.error_code.as_deref() == Some("rate_limit_exceeded"));
    assert_eq!(limited.map(|event| event.count).sum::<i32>(), 7 + 3);
    assert!(
        books
            .events
            .iter()
            .filter(|event| event.status == 429)
            .all(|event| event.outcome == "refused")
    );
});

both_stores!(
    a_route_takes_so_many_a_second_and_the_rest_goes_elsewhere,
    |bench| {
        let routes = "routes: [{channel: vendor, model: first, priority: 2, max_rps: 2}, {channel: vendor, model: second}]";
        bench
            .apply(&format!("models: [{{name: gpt-test, {routes}}}]"))
            .await;
        let calls = (0..12).map(|_| bench.chat(hello("gpt-test")));
        let began = Instant::now();
        let answers = futures_util::future::join_all(calls).await;
        assert!(answers.iter().all(|answer| answer.status() == 200));
        let requests = bench.vendor.requests();
        let first = requests
            .iter()
            .filter(|request| request.body.windows(7).any(|at| at == b"\"first\""));
        let most = 2 + 2 * (began.elapsed().as_secs() as usize + 1);
        let first = first.count();
        assert!((2..=most).contains(&first), "{first}");
    }
);

both_stores!(
    /// Threats: A1.
    an_address_is_counted_before_anybody_is_identified,
    |bench| {
        bench.apply("platform: {limits: [{metric: requests, per: hour, max: 4, each: ip}]}").await;
        let call = |key: &'static str| {
            let call = bench.http.post(format!("{}/v1/chat/completions", bench.url));
            call.bearer_auth(key).json(&hello("gpt-test")).send()
        };
        let wrong = "wk-nobody-0123456789-abcdefghij";
        for (key, status) in [(wrong, 401), (KEY, 200), (wrong, 401), (OTHER_KEY, 200)] {
            assert_eq!(call(key).await.unwrap().status(), status);
        }
        for key in [wrong, KEY] {
            let error = refused(call(key).await.unwrap(), 429, "rate_limit_exceeded").await;
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("4 requests per hour for each address"), "{message}");
        }
        assert_eq!(bench.vendor.requests().len(), 2);
        // Only the known key's refusal is in the books.
        let books = bench.books().await;
        assert_eq!(books.events.len(), 3);
    }
);

both_stores!(tokens_are_counted_as_they_turn_out_to_be, |bench| {
    bench
        .apply("tenants: [{name: acme, limits: [{metric: tokens, per: hour, max: 1000}]}]")
        .await;
    bench.vendor.set_default(Behaviour::tokens(900));
    let call = |most: u32| {
        let mut body = hello("gpt-test");
        body["max_tokens"] = json!(most);
        bench.chat(body)
    };
    let first = call(100).await;
    assert_eq!(first.status(), 200);
    let remaining: u64 = first.headers()["x-ratelimit-remaining-tokens"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        (800..900).contains(&remaining),
        "{remaining} {:?}",
        first.headers()
    );
    // What was reserved was too little: the truth, which several instances are told in a moment, leaves less.
    let began = Instant::now();
    let (error, calls) = loop {
        let answer = call(1).await;
        if answer.status() != 200 {
            break (
                refused(answer, 429, "rate_limit_exceeded").await,
                bench.vendor.requests().len(),
            );
        }
        assert!(began.elapsed() < SOON, "the truth never counted");
    };
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("1000 tokens per hour"),
        "{error}"
    );
    // Two calls are more than there was; a few may come before the first is settled.
    assert!((2..=6).contains(&calls), "{calls}");
    assert_eq!(call(1).await.status(), 429);
});

both_stores!(so_many_calls_at_once_and_no_slot_leaks, |bench| {
    bench
        .apply("tenants: [{name: acme, limits: [{metric: concurrent, max: 2}]}]")
        .await;
    let slow = Behaviour::tokens(50).with_chunk_delay_ms(100);
    bench.vendor.on_model("gpt-same", slow);
    for way in ["read", "left", "failed"] {
        let open = async || {
            let answer = bench.chat(hello_stream("gpt-same")).await;
            assert_eq!(answer.status(), 200, "{way}");
            answer
        };
        let (first, second) = (open().await, open().await);
        let error = refused(
            bench.chat(hello("gpt-test")).await,
            429,
            "rate_limit_exceeded",
        )
        .await;
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("2 concurrent requests"),
            "{error}"
        );
        match way {
            "read" => {
                assert!(first.text().await.unwrap().ends_with("data: [DONE]\n\n"));
                // The slot is free before the last byte: the next call may come at once.
                assert_eq!(statuses(&bench, 1).await, [200]);
                drop(second);
            }
            _ => drop((first, second)),
        }
        // A caller who leaves gives its slot back as soon as that is seen.
        let began = Instant::now();
        while statuses(&bench, 1).await != [200] {
            assert!(began.elapsed() < SOON, "{way}: a slot leaked");
        }
        let mut both = Vec::new();
        while both.len() < 2 {
            let answer = bench.chat(hello_stream("gpt-same")).await;
            if answer.status() == 200 {
                both.push(answer);
            }
            assert!(began.elapsed() < SOON, "{way}: a slot leaked");
        }
        drop(both);
        let began = Instant::now();
        loop {
            let pair = tokio::join!(bench.chat(hello("gpt-test")), bench.chat(hello("gpt-test")));
            if pair.0.status() == 200 && pair.1.status() == 200 {
                break;
            }
            assert!(began.elapsed() < SOON, "{way}: a slot leaked");
        }
    }
});

both_stores!(each_value_has_a_count_of_its_own, |bench| {
    let second = r#"tenants: [{name: acme, users: [{email: li@acme.example, role: developer}], keys: [
        {name: second, user: zhang@acme.example, value: "wk-second-0123456789-abcdefghij"},
        {name: third, user: li@acme.example, value: "wk-third-0123456789-abcdefghij"},
        {name: free, value: "wk-free-0123456789-abcdefghij"}]}]"#;
    bench.apply(second).await;
    let call = async |key: &str, model: &str| {
        let call = bench
            .http
            .post(format!("{}/v1/chat/completions", bench.url));
        let answer = call
            .bearer_auth(key)
            .json(&hello(model))
            .send()
            .await
            .unwrap();
        answer.status().as_u16()
    };
    let (second, third, free) = (
        "wk-second-0123456789-abcdefghij",
        "wk-third-0123456789-abcdefghij",
        "wk-free-0123456789-abcdefghij",
    );
    let one = |each: &str| {
        format!(
            "tenants: [{{name: acme, limits: [{{metric: requests, per: hour, max: 1, each: {each}}}]}}]"
        )
    };
    bench.apply(&one("user")).await;
    assert_eq!(call(KEY, "gpt-test").await, 200);
    assert_eq!(call(second, "gpt-test").await, 429, "the same user's");
    assert_eq!(call(third, "gpt-test").await, 200);
    assert_eq!(
        call(free, "gpt-test").await,
        200,
        "nobody's key counts for itself"
    );
    assert_eq!(call(free, "gpt-test").await, 429);
    bench.apply(&one("key")).await;
    assert_eq!(call(KEY, "gpt-test").await, 200);
    assert_eq!(call(second, "gpt-test").await, 200);
    assert_eq!(call(second, "gpt-test").await, 429);
    bench.apply(&one("model")).await;
    assert_eq!(call(KEY, "gpt-test").await, 200);
    assert_eq!(call(third, "gpt-same").await, 200);
    assert_eq!(call(KEY, "gpt-same").await, 429);
    bench.apply(&one("ip")).await;
    assert_eq!(call(KEY, "gpt-test").await, 200);
    assert_eq!(call(free, "gpt-same").await, 429);
    assert_eq!(
        call(OTHER_KEY, "gpt-test").await,
        200,
        "another tenant's count is another one"
    );
});

both_stores!(a_limit_can_be_for_some_models_or_one_endpoint, |bench| {
    bench
        .apply("tenants: [{name: acme, limits: [{metric: requests, per: hour, max: 1, model: 'gpt-t*'}, {metric: requests, per: hour, max: 1, endpoint: /v1/embeddings}]}]")
        .await;
    assert_eq!(statuses(&bench, 2).await, [200, 429]);
    assert_eq!(bench.chat(hello("gpt-same")).await.status(), 200);
    let embed = async || {
        let body = json!({"model": "embed-test", "input": "a river"});
        let answer = bench
            .post("/v1/embeddings")
            .json(&body)
            .send()
            .await
            .unwrap();
        answer.status().as_u16()
    };
    assert_eq!((embed().await, embed().await), (200, 429));
    // Lists are counted too, where a limit is for them.
    bench.apply("tenants: [{name: acme, limits: [{metric: requests, per: hour, max: 1, endpoint: /v1/models}]}]").await;
    let list = async || {
        let list = bench
            .http
            .get(format!("{}/v1/models", bench.url))
            .bearer_auth(KEY);
        list.send().await.unwrap().status().as_u16()
    };
    assert_eq!((list().await, list().await), (200, 429));
});

both_stores!(a_leaky_bucket_lets_calls_wait_their_turn, |bench| {
    bench
        .apply("tenants: [{name: acme, limits: [{metric: requests, per: second, max: 1, algorithm: leaky_bucket, max_wait: 1500ms}]}]")
        .await;
    let began = Instant::now();
    let calls = (0..4).map(|_| async {
        let status = bench.chat(hello("gpt-test")).await.status().as_u16();
        (status, began.elapsed())
    });
    let answers = futures_util::future::join_all(calls).await;
    // At once and after a second; the others would wait longer than they may.
    let served = answers.iter().filter(|(status, _)| *status == 200);
    let served: Vec<Duration> = served.map(|(_, at)| *at).collect();
    assert_eq!(served.len(), 2, "{answers:?}");
    assert!(
        served.iter().max().unwrap() >= &Duration::from_secs(1),
        "{answers:?}"
    );
    let refused = answers.iter().filter(|(status, _)| *status == 429);
    assert_eq!(refused.count(), 2, "{answers:?}");
});

both_stores!(
    a_changed_limit_counts_at_once_and_keeps_what_is_used,
    |bench| {
        for algorithm in ["token_bucket", "sliding_window", "fixed_window"] {
            let file = |max: u32| {
                format!(
                    "tenants: [{{name: acme, limits: [{{metric: requests, per: day, max: {max}, algorithm: {algorithm}}}]}}]"
                )
            };
            bench.apply(&file(4)).await;
            assert_eq!(statuses(&bench, 3).await, [200; 3], "{algorithm}");
            bench.apply(&file(3)).await;
            assert_eq!(statuses(&bench, 1).await, [429], "{algorithm}");
            bench.apply(&file(5)).await;
            assert_eq!(statuses(&bench, 3).await, [200, 200, 429], "{algorithm}");
        }
    }
);

both_stores!(
    a_burst_of_many_at_once_gets_no_more_than_there_is,
    Setup::patient(),
    |bench| {
        for algorithm in ["token_bucket", "sliding_window", "fixed_window"] {
            bench
            .apply(&format!("tenants: [{{name: acme, limits: [{{metric: requests, per: day, max: 20, algorithm: {algorithm}}}]}}]"))
            .await;
            let calls = (0..100).map(|_| bench.chat(hello("gpt-test")));
            let answers = futures_util::future::join_all(calls).await;
            let served = answers
                .iter()
                .filter(|answer| answer.status() == 200)
                .count();
            assert_eq!(served, 20, "{algorithm}");
        }
        assert_eq!(bench.vendor.requests().len(), 60);
    }
);

both_stores!(
    /// Threats: T4.
    a_tenant_with_hanging_calls_takes_its_part_and_no_more,
    Setup {
        environment: vec![("WEIR_LIMITS_TENANT_REQUESTS", "20".to_owned())],
        ..Setup::default()
    },
    |bench| {
        bench.vendor.on_model("gpt-same", Behaviour::tokens(5).with_first_byte_delay_ms(60_000));
        let mut hanging: Vec<_> = (0..20).map(|_| Box::pin(bench.chat(hello("gpt-same")))).collect();
        let all = futures_util::future::select_all(hanging.iter_mut());
        let arrived = bench.vendor.wait_for(|lines| lines.len() == 20, SOON);
        tokio::select! {
            _ = all => panic!("the vendor does not answer"),
            arrived = arrived => assert!(arrived.is_ok()),
        }
        let error = refused(bench.chat(hello("gpt-test")).await, 429, "rate_limit_exceeded").await;
        assert!(error["message"].as_str().unwrap().contains("under way"), "{error}");
        let other = bench.http.post(format!("{}/v1/chat/completions", bench.url));
        let other = other.bearer_auth(OTHER_KEY).json(&hello("gpt-test")).send().await.unwrap();
        assert_eq!(other.status(), 200);
        // When they end, whatever way, there is room again.
        drop(hanging);
        let began = Instant::now();
        while statuses(&bench, 1).await != [200] {
            assert!(began.elapsed() < SOON, "the tenant stays shut out");
        }
    }
);
