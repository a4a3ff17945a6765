//! Budgets: so much money, so many tokens or requests in a period, and not a nano-dollar more.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_upstream::Behaviour;

use crate::{
    both_stores,
    support::{
        Bench,
        gateway::{KEY, hello},
        refused,
    },
};

/// A model of a price at which a call of a hundred tokens costs two thousandths of a dollar.
pub(super) const PRICED: &str = "models: [{name: gpt-test, prices: {input: '10', output: '20'}}]";

pub(super) fn tenant(budget: &str) -> String {
    format!("tenants: [{{name: acme, budgets: [{budget}]}}]")
}

/// Calls from many clients at once until the budget ends; what is reserved by others is waited for.
async fn spend(bench: &Arc<Bench>, clients: usize, bound: Option<u32>) -> usize {
    let clients = (0..clients).map(|_| {
        let bench = Arc::clone(bench);
        tokio::spawn(async move {
            let mut served = 0;
            loop {
                let mut body = hello("gpt-test");
                if let Some(bound) = bound {
                    body["max_tokens"] = json!(bound);
                }
                let answer = bench.chat(body).await;
                match answer.status().as_u16() {
                    200 => served += 1,
                    429 => {
                        let error: Value = answer.json().await.unwrap();
                        match error["error"]["code"].as_str().unwrap() {
                            "budget_reserved" => {}
                            "budget_exceeded" => return served,
                            other => panic!("{other}"),
                        }
                    }
                    other => panic!("{other}: {}", answer.text().await.unwrap()),
                }
            }
        })
    });
    let served = futures_util::future::join_all(clients).await;
    served.into_iter().map(Result::unwrap).sum()
}

/// What acme's calls were charged, in nano-dollars, by the books.
pub(super) async fn charged(bench: &Bench) -> i64 {
    let books = bench.books().await;
    books.assert_sums();
    books.events.iter().map(|event| event.charge_nanos).sum()
}

async fn hard_budget(bench: Bench, bound: Option<u32>) {
    let bench = Arc::new(bench);
    bench.apply(PRICED).await;
    // Slow enough that all clients' calls are under way together when the end is near.
    let slow = Behaviour::tokens(100).with_first_byte_delay_ms(50);
    bench.vendor.set_default(slow);
    bench
        .apply(&tenant(
            "{amount: '1.00', period: month, mode: hard, alert_at: [50, 80]}",
        ))
        .await;
    spend(&bench, 64, bound).await;
    let spent = charged(&bench).await;
    assert!(spent <= 1_000_000_000, "{spent}");
    assert!(spent >= 950_000_000, "{spent}");
}

// Threats: B4.
both_stores!(many_clients_spend_a_hard_budget_and_no_more, |bench| {
    hard_budget(bench, Some(200)).await;
});

// Threats: B4.
both_stores!(a_hard_budget_holds_for_calls_without_a_bound, |bench| {
    hard_budget(bench, None).await;
});

both_stores!(
    a_spent_budget_says_what_it_had_and_when_it_begins_anew,
    |bench| {
        bench.apply(PRICED).await;
        bench.vendor.set_default(Behaviour::tokens(100));
        bench
            .apply(&tenant(
                "{amount: '0.01', period: month, alert_at: [50, 100]}",
            ))
            .await;
        let mut body = hello("gpt-test");
        body["max_tokens"] = json!(100);
        let mut served = 0;
        let error = loop {
            let answer = bench.chat(body.clone()).await;
            if answer.status() != 200 {
                assert_eq!(answer.headers()["x-should-retry"], "false");
                assert!(!answer.headers().contains_key("retry-after"));
                break refused(answer, 429, "budget_exceeded").await;
            }
            served += 1;
        };
        assert_eq!(error["type"], "insufficient_quota");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("$0.01 of the tenant 'acme'"), "{message}");
        assert!(message.contains("It begins anew at 20"), "{message}");
        let spent = charged(&bench).await;
        assert!(served >= 3 && spent <= 10_000_000, "{served} {spent}");
        assert_eq!(bench.chat(body).await.status(), 429);
        // A threshold and the refusal are told once each.
        let alerts = alerts(&bench, 2).await;
        let kinds: Vec<_> = alerts
            .iter()
            .map(|alert| (alert["kind"].clone(), alert["percent"].clone()))
            .collect();
        assert_eq!(
            kinds,
            [(json!("crossed"), json!(50)), (json!("refused"), json!(0))]
        );
        assert_eq!(alerts[0]["amount"], 10_000_000);
    }
);

/// The alerts, once there are so many.
pub(super) async fn alerts(bench: &Bench, count: usize) -> Vec<Value> {
    let deadline = tokio::time::Instant::now() + crate::support::SOON;
    loop {
        let list = bench
            .admin(reqwest::Method::GET, "/alerts")
            .send()
            .await
            .unwrap();
        let list: Value = list.json().await.unwrap();
        let mut found = list["data"].as_array().unwrap().clone();
        if found.len() == count {
            found.reverse();
            found.sort_by_key(|alert| alert["kind"].to_string());
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

both_stores!(a_soft_budget_tells_and_stops_nothing, |bench| {
    bench.apply(PRICED).await;
    bench.vendor.set_default(Behaviour::tokens(100));
    bench
        .apply(&tenant(
            "{amount: '0.005', period: day, mode: soft, alert_at: [40, 80, 100, 200]}",
        ))
        .await;
    for _ in 0..5 {
        // Nothing is set in its calls either.
        let answer = bench.chat(hello("gpt-test")).await;
        assert_eq!(answer.status(), 200);
        assert!(!answer.headers().contains_key("x-weir-adjusted"));
    }
    let alerts = alerts(&bench, 4).await;
    let mut percents: Vec<_> = alerts
        .iter()
        .map(|alert| alert["percent"].as_u64().unwrap())
        .collect();
    percents.sort_unstable();
    assert_eq!(percents, [40, 80, 100, 200]);
});

both_stores!(
    tokens_and_requests_are_budgets_too_and_stand_on_everything,
    |bench| {
        bench.vendor.set_default(Behaviour::tokens(10));
        let on = [
            ("tenant", "tenants: [{name: acme, budgets: BUDGETS}]"),
            (
                "group",
                "tenants: [{name: acme, groups: [{name: platform-team, budgets: BUDGETS}]}]",
            ),
            (
                "user",
                "tenants: [{name: acme, users: [{email: zhang@acme.example, budgets: BUDGETS}]}]",
            ),
            (
                "key",
                "tenants: [{name: acme, keys: [{name: laptop, budgets: BUDGETS}]}]",
            ),
            ("channel", "channels: [{name: vendor, budgets: BUDGETS}]"),
        ];
        let mut body = hello("gpt-test");
        body["max_tokens"] = json!(10);
        // What each has spent so far counts in the next one's budget as well: so each has two calls more than the last.
        let mut before = 0;
        for (scope, file) in on {
            bench
                .apply(&file.replace(
                    "BUDGETS",
                    &format!("[{{requests: {}, period: forever}}]", before + 2),
                ))
                .await;
            for status in [200, 200, 429] {
                let answer = bench.chat(body.clone()).await;
                let found = answer.status();
                assert_eq!(found, status, "{scope}: {}", answer.text().await.unwrap());
            }
            before += 2;
            bench.apply(&file.replace("BUDGETS", "[]")).await;
        }
        // Every call has had some tokens: as many again are not there.
        let books = bench.books().await;
        let used: i64 = books
            .events
            .iter()
            .map(|event| event.input_tokens + event.output_tokens)
            .sum();
        bench
            .apply(&tenant(&format!(
                "{{tokens: {}, period: month}}",
                used + 120
            )))
            .await;
        assert_eq!(bench.chat(body.clone()).await.status(), 200);
        let error = refused(bench.chat(body).await, 429, "budget_exceeded").await;
        assert!(
            error["message"].as_str().unwrap().contains("tokens"),
            "{error}"
        );
    }
);

both_stores!(a_call_without_a_bound_gets_one_and_is_told, |bench| {
    bench.apply("models: [{name: gpt-test, prices: {input: '10', output: '20'}, max_output_tokens: 3000}]").await;
    bench
        .apply(&tenant("{amount: '10.00', period: month}"))
        .await;
    bench.vendor.set_default(Behaviour::tokens(10));
    let sent = |bench: &Bench| {
        let last = bench.vendor.requests().last().unwrap().body.clone();
        let body: Value = serde_json::from_slice(&last).unwrap();
        body["max_tokens"].as_u64()
    };
    // The model's ceiling.
    let answer = bench.chat(hello("gpt-test")).await;
    assert_eq!(answer.headers()["x-weir-adjusted"], "max_tokens=3000");
    assert_eq!(sent(&bench), Some(3000));
    // A tenth of what is left.
    bench
        .apply(&tenant("{amount: '0.40', period: month}"))
        .await;
    let answer = bench.chat(hello("gpt-test")).await;
    let adjusted = answer.headers()["x-weir-adjusted"]
        .to_str()
        .unwrap()
        .to_owned();
    let tokens: u64 = adjusted
        .strip_prefix("max_tokens=")
        .unwrap()
        .parse()
        .unwrap();
    assert!((1_900..=2_000).contains(&tokens), "{adjusted}");
    assert_eq!(sent(&bench), Some(tokens));
    // At least so much that an answer makes sense.
    bench
        .apply(&tenant("{amount: '0.03', period: month}"))
        .await;
    let answer = bench.chat(hello("gpt-test")).await;
    assert_eq!(answer.headers()["x-weir-adjusted"], "max_tokens=1024");
    // A caller's own word stands.
    let mut body = hello("gpt-test");
    body["max_tokens"] = json!(7);
    let answer = bench.chat(body).await;
    assert!(!answer.headers().contains_key("x-weir-adjusted"));
    assert_eq!(sent(&bench), Some(7));
    // Each of several choices has its part.
    bench
        .apply(&tenant("{amount: '10.00', period: month}"))
        .await;
    let mut body = hello("gpt-test");
    body["n"] = json!(3);
    let answer = bench.chat(body).await;
    assert_eq!(answer.headers()["x-weir-adjusted"], "max_tokens=3000");
});

// Threats: B4, B5.
both_stores!(
    what_nobody_can_bound_does_not_go_under_a_hard_budget,
    |bench| {
        bench
            .apply(&tenant("{amount: '10.00', period: month}"))
            .await;
        let picture = json!({"model": "gpt-test", "max_tokens": 5, "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://pictures.example/a.png"}}]}]});
        let bodies = [
            ("/v1/chat/completions", picture),
            ("/v1/chat/completions", hello("unpriced")),
            (
                "/proxy/dedicated/v1/fine_tuning/jobs",
                json!({"training_file": "file-1"}),
            ),
            ("/proxy/dedicated/v1/chat/completions", hello("gpt-same")),
        ];
        for (path, body) in bodies {
            let answer = bench.post(path).json(&body).send().await.unwrap();
            let error = refused(answer, 400, "cost_not_bounded").await;
            assert!(
                error["message"]
                    .as_str()
                    .unwrap()
                    .contains("the tenant 'acme'"),
                "{error}"
            );
        }
        assert!(bench.vendor.requests().is_empty());
        // What generates nothing is let through.
        let list = bench
            .http
            .get(format!("{}/proxy/dedicated/v1/models", bench.url));
        assert_eq!(list.bearer_auth(KEY).send().await.unwrap().status(), 200);
        // Requests can always be counted.
        bench.apply(&tenant("{requests: 100, period: month}")).await;
        assert_eq!(bench.chat(hello("unpriced")).await.status(), 200);
    }
);

both_stores!(an_image_reserves_what_its_model_states, |bench| {
    bench
        .apply(&tenant("{amount: '0.50', period: month}"))
        .await;
    let with = |tokens: u64| {
        format!(
            "models: [{{name: gpt-test, prices: {{input: '10', output: '20'}}, max_image_tokens: {tokens}}}]"
        )
    };
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let picture = json!({"model": "gpt-test", "max_tokens": 5, "messages": [{"role": "user", "content": [image, image]}]});
    // Two of them are half a dollar and a little text.
    bench.apply(&with(25_000)).await;
    let error = refused(bench.chat(picture.clone()).await, 429, "budget_exceeded").await;
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("may come to $0.50"),
        "{error}"
    );
    bench.apply(&with(1_000)).await;
    assert_eq!(bench.chat(picture).await.status(), 200);
});

// Threats: B15.
both_stores!(every_attempt_counts_for_its_channel, |bench| {
    bench
        .apply("channels: [{name: vendor, retry: {attempts: 3, on: ['5xx']}, budgets: [{requests: 5, period: month}]}]")
        .await;
    bench.vendor.set_default(Behaviour::status(500));
    let mut body = hello("gpt-test");
    body["max_tokens"] = json!(5);
    assert_eq!(bench.chat(body.clone()).await.status(), 500);
    assert_eq!(bench.vendor.requests().len(), 3);
    // Two are left; then the channel takes no more, and what the vendor said is told.
    assert_eq!(bench.chat(body.clone()).await.status(), 500);
    assert_eq!(bench.vendor.requests().len(), 5);
    let error = refused(bench.chat(body).await, 429, "budget_exceeded").await;
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("the channel 'vendor'"),
        "{error}"
    );
    assert_eq!(bench.vendor.requests().len(), 5);
});

both_stores!(
    a_vendor_that_ignores_its_bound_is_cut_off_and_what_it_sent_is_booked,
    |bench| {
        bench.apply(PRICED).await;
        bench
            .apply(&tenant("{amount: '1.00', period: month, alert_at: [100]}"))
            .await;
        // A hundred tokens are asked for; it would go on for long.
        bench.vendor.on_model(
            "gpt-test-upstream",
            Behaviour::tokens(200_000).with_chunk_delay_ms(1),
        );
        let mut body = hello("gpt-test");
        (body["max_tokens"], body["stream"]) = (json!(100), json!(true));
        let text = bench.chat(body.clone()).await.text().await.unwrap();
        assert!(
            text.contains("output_bound_exceeded"),
            "{}",
            &text[text.len() - 300..]
        );
        let books = bench.books_when(|books| books.events.len() == 1).await;
        let event = books.only();
        assert_eq!(
            (event.outcome.as_str(), event.estimated),
            ("cut_by_weir", true)
        );
        // Beyond its bound, yet by far not all of it; and it counts.
        assert!(
            (100..2_000).contains(&event.output_tokens),
            "{}",
            event.output_tokens
        );
        let list = bench
            .admin(reqwest::Method::GET, "/budgets")
            .send()
            .await
            .unwrap();
        let list: Value = list.json().await.unwrap();
        assert_eq!(list["data"][0]["spent"], event.charge_nanos, "{list}");
        // Without a hard budget it may talk.
        bench
            .apply(&tenant("{amount: '1.00', period: month, mode: soft}"))
            .await;
        bench
            .vendor
            .on_model("gpt-test-upstream", Behaviour::tokens(3_000));
        let text = bench.chat(body).await.text().await.unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"));
    }
);
