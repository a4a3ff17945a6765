//! The books: every token that the vendor billed, once, whatever became of the calls (promise 2; B1, B6).

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use weir_entity::usage_event;
use weir_upstream::{Behaviour, Cut, Fault, Line};

use crate::{
    both_stores,
    support::{
        Bench, Books, Mark, Raw, SOON, Setup,
        gateway::{KEY, OTHER_KEY, hello, hello_stream},
        marked::{billed, booked},
        window,
    },
};

/// The usual resources, and models whose upstream names say how the vendor misbehaves.
pub fn mixed() -> Setup {
    let models = r#"
  - {name: slow, prices: {input: "1", output: "3"}, routes: [{channel: vendor, model: stub-slow-4ms-tokens-24}]}
  - {name: cut, prices: {input: "1", output: "3"}, routes: [{channel: vendor, model: stub-tokens-24-reset-9}]}
  - {name: falls-back, prices: {input: "1", output: "3"}, routes: [{channel: vendor, model: stub-status-500, priority: 9}, {channel: vendor, model: gpt-better, priority: 1}]}
  - {name: reset-first, prices: {input: "1", output: "3"}, routes: [{channel: vendor, model: resets, priority: 9}, {channel: vendor, model: gpt-better, priority: 1}]}
  - {name: breaks, prices: {input: "1", output: "3"}, routes: [{channel: vendor, model: stub-status-503}]}
tenants:"#;
    let resources = Bench::usual_resources().replacen("\ntenants:", models, 1);
    Setup {
        resources: Some(resources),
        ..Setup::default()
    }
}

/// How a caller behaves.
#[derive(Debug, Clone, Copy)]
enum Leaves {
    /// Reads to the end.
    No,
    Fin,
    Rst,
}

/// One call of the mixture.
#[derive(Debug, Clone, Copy)]
struct Plan {
    model: &'static str,
    streamed: bool,
    leaves: Leaves,
    /// SSE events to be read before leaving.
    after: usize,
}

fn plan(n: u64) -> Plan {
    let call = |model, streamed| Plan {
        model,
        streamed,
        leaves: Leaves::No,
        after: 0,
    };
    let leaving = |leaves| Plan {
        leaves,
        after: (n / 12 % 12) as usize + 1,
        ..call("slow", true)
    };
    match n % 12 {
        0 => call("gpt-test", false),
        1 => call("gpt-test", true),
        2 => call("gpt-same", true),
        3 => call("slow", true),
        4 => call("unpriced", false),
        5 => call("cut", true),
        6 => call("falls-back", true),
        7 => call("falls-back", false),
        8 => call("reset-first", false),
        9 => call("breaks", n % 24 == 9),
        10 => leaving(Leaves::Fin),
        _ => leaving(Leaves::Rst),
    }
}

/// Sends a call and reads of its answer what the plan says; the events it has read.
async fn perform(url: &str, mark: Mark, plan: Plan) -> usize {
    let body = match plan.streamed {
        true => hello_stream(plan.model),
        false => hello(plan.model),
    }
    .to_string();
    let mut raw = Raw::connect(url).await;
    let key = if mark.0.is_multiple_of(3) {
        OTHER_KEY
    } else {
        KEY
    };
    raw.send(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: weir\r\nconnection: close\r\nauthorization: Bearer {key}\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        mark.headers(),
        body.len()
    ))
    .await;
    if matches!(plan.leaves, Leaves::No) {
        let text = raw.read_to_end(3 * SOON).await;
        return text.matches("data: {").count();
    }
    let read = read_events(&mut raw, plan.after).await;
    match plan.leaves {
        Leaves::Fin => raw.leave().await,
        _ => raw.reset(),
    }
    read
}

/// Reads until so many events have come; how many did.
async fn read_events(raw: &mut Raw, count: usize) -> usize {
    let mut text = String::new();
    while text.matches("data: {").count() < count {
        text.push_str(&raw.read_until("\n\n").await);
    }
    text.matches("data: {").count()
}

fn attempts(event: &usage_event::Model) -> &Vec<Value> {
    event.attempts.as_array().unwrap()
}

/// What an attempt was booked with.
fn tokens(attempt: &Value) -> (u64, u64) {
    let count = |name: &str| attempt["usage"][name].as_u64().unwrap();
    (count("input"), count("output"))
}

both_stores!(
    /// Streams and whole answers, fallbacks after an error and after a reset, calls cut by the vendor and by the caller.
    every_token_that_the_vendor_billed_is_booked_once_whatever_became_of_the_calls,
    mixed(),
    |bench| {
        let calls_made: u64 = window(300, 3_000);
        bench.vendor.on_model("resets", Behaviour::fault(Fault::Reset(Cut::BeforeHead)));
        // Fresh upstream connections, so that a reset is never taken for a stale one and sent twice inside an attempt.
        let url = bench.url.clone();
        let read: HashMap<Mark, usize> = stream::iter((0..calls_made).map(Mark))
            .map(|mark| {
                let url = url.clone();
                async move { (mark, perform(&url, mark, plan(mark.0)).await) }
            })
            .buffer_unordered(24)
            .collect()
            .await;
        let books = bench.books_when(|books| books.events.len() as u64 >= calls_made).await;
        assert_eq!(books.events.len() as u64, calls_made, "none lost, none double");
        let (events, bill) = (booked(&books), billed(&bench.vendor));
        for mark in (0..calls_made).map(Mark) {
            check(mark, events[&mark], &bill[&mark], read[&mark]);
        }
        let cut = books.events.iter().filter(|event| event.outcome == "cut_by_client");
        assert!(cut.count() >= 25, "half of those who left were in time");
        books.assert_sums();
        assert_independent_sum(&books);
    }
);

/// A call's event against the vendor's lines.
fn check(mark: Mark, event: &usage_event::Model, lines: &[Line], read: usize) {
    let plan = plan(mark.0);
    let context = format!("{mark:?} {plan:?}\n{event:#?}\n{lines:#?}");
    let attempts = attempts(event);
    let outcome = event.outcome.as_str();
    match (plan.model, plan.leaves) {
        ("breaks", _) => {
            assert_eq!(
                (outcome, attempts.len()),
                ("upstream_error", 2),
                "{context}"
            );
            assert_eq!((event.cost_nanos, event.charge_nanos), (0, 0), "{context}");
        }
        ("cut", _) => assert_eq!(outcome, "cut_by_upstream", "{context}"),
        (_, Leaves::No) => assert_eq!(outcome, "ok", "{context}"),
        // On a busy machine the end may come before the caller has left.
        (_, _) => assert!(["cut_by_client", "ok"].contains(&outcome), "{context}"),
    }
    // A reset before any byte on a kept connection is sent once more inside its attempt.
    if plan.model != "reset-first" {
        assert_eq!(attempts.len(), lines.len(), "{context}");
    }
    let (last, line) = (attempts.last().unwrap(), lines.last().unwrap());
    let (input, output) = tokens(last);
    if line.usage_reported && outcome == "ok" {
        assert!(!event.estimated, "{context}");
    }
    // Who leaves between the usage and the end has seen the vendor's own figures all the same.
    if line.status == Some(200) && !event.estimated {
        assert_eq!(
            (input, output),
            (line.tokens.input, line.tokens.output),
            "{context}"
        );
    } else if line.status == Some(200) {
        // What the caller has seen is booked (the first event carries the role, one token each in the others), and
        // never more than the vendor has generated, but for the tokenizer's word on a cut text.
        let seen = read.saturating_sub(1) as u64;
        assert!(
            output + 1 >= seen && output <= line.tokens.output + secret(seen, event.total_us),
            "{seen} {context}"
        );
        assert!(
            input > 0 && input <= 4 * line.tokens.input + 16,
            "{context}"
        );
    }
    let price = |input: u64, output: u64| match plan.model {
        "gpt-test" | "gpt-same" => 1_000 * input + 2_000 * output,
        "unpriced" => 0,
        _ => 1_000 * input + 3_000 * output,
    } as i64;
    assert_eq!(event.charge_nanos, price(input, output), "{context}");
    let cost: i64 = attempts
        .iter()
        .map(tokens)
        .map(|(input, output)| price(input, output))
        .sum();
    assert_eq!(event.cost_nanos, cost, "{context}");
    assert_eq!(event.unpriced, plan.model == "unpriced", "{context}");
}

/// How much more than the vendor has written an estimate may be: the tokenizer's word on a cut text; and of a call that
/// showed nothing, what its model may have thought in secret meanwhile, at 40 tokens a second.
pub fn secret(seen: u64, took_us: i64) -> u64 {
    let thought = u64::try_from(took_us).unwrap() / 25_000;
    if seen == 0 { thought + 1 } else { 1 }
}

/// The rollups against sums made here, dimension by dimension.
pub fn assert_independent_sum(books: &Books) {
    type Key<'a> = (
        uuid::Uuid,
        uuid::Uuid,
        &'a str,
        &'a str,
        Option<uuid::Uuid>,
        Option<uuid::Uuid>,
        &'a str,
        i64,
    );
    let mut sums: BTreeMap<Key<'_>, [i64; 5]> = BTreeMap::new();
    for event in &books.events {
        let quarter = event.started_ms - event.started_ms.rem_euclid(900_000);
        let key = (
            event.tenant_id,
            event.key_id,
            event.model.as_str(),
            event.outcome.as_str(),
            event.channel_id,
            event.credential_id,
            event.error_code.as_deref().unwrap_or_default(),
            quarter,
        );
        let sum = sums.entry(key).or_default();
        let figures = [
            i64::from(event.count),
            event.input_tokens,
            event.output_tokens,
            event.cost_nanos,
            event.charge_nanos,
        ];
        sum.iter_mut()
            .zip(figures)
            .for_each(|(sum, figure)| *sum += figure);
    }
    for rollup in &books.rollups {
        let key = (
            rollup.tenant_id,
            rollup.key_id,
            rollup.model.as_str(),
            rollup.outcome.as_str(),
            rollup.channel_id,
            rollup.credential_id,
            rollup.error_code.as_str(),
            rollup.quarter_ms,
        );
        let figures = [
            rollup.requests,
            rollup.input_tokens,
            rollup.output_tokens,
            rollup.cost_nanos,
            rollup.charge_nanos,
        ];
        assert_eq!(sums.remove(&key), Some(figures), "{rollup:#?}");
    }
    assert!(sums.is_empty(), "not in the rollups: {sums:?}");
}

both_stores!(
    /// B6: by FIN and by RST, before the first byte, after each of the first twelve events, and right after the end.
    /// Threats: B6.
    a_caller_who_leaves_at_any_moment_pays_for_what_was_generated_and_nothing_else,
    mixed(),
    |bench| {
        let slow = Behaviour::tokens(40).with_chunk_delay_ms(15);
        bench.vendor.on_model("stub-slow-4ms-tokens-24", slow);
        bench.vendor.on_model("gpt-same", Behaviour::default().with_first_byte_delay_ms(60_000));
        let moments = (0..28).map(|n| (Mark(n), (n / 2) as usize, n % 2 == 0));
        let url = bench.url.clone();
        let leaving = moments.map(|(mark, after, by_fin)| {
            let url = url.clone();
            let vendor = &bench.vendor;
            let model = match after {
                0 => "gpt-same",
                13 => "gpt-test",
                _ => "slow",
            };
            async move {
                let body = hello_stream(model).to_string();
                let mut raw = Raw::connect(&url).await;
                raw.send(format!(
                    "POST /v1/chat/completions HTTP/1.1\r\nhost: weir\r\nauthorization: Bearer {KEY}\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    mark.headers(),
                    body.len()
                ))
                .await;
                match after {
                    0 => {
                        let trace = mark.traceparent();
                        let arrived = |lines: &[Line]| {
                            let requests = vendor.requests();
                            let ours = requests.iter().find(|request| request.header("traceparent") == Some(&trace));
                            ours.is_some_and(|ours| lines.iter().any(|line| line.serial == ours.serial && line.tokens.input > 0))
                        };
                        vendor.wait_for(arrived, SOON).await.unwrap();
                    }
                    13 => drop(raw.read_until("[DONE]").await),
                    after => drop(read_events(&mut raw, after).await),
                }
                if by_fin { raw.leave().await } else { raw.reset() }
                (mark, after)
            }
        });
        let left: Vec<(Mark, usize)> = stream::iter(leaving).buffer_unordered(28).collect().await;
        let books = bench.books_when(|books| books.events.len() >= 28).await;
        assert_eq!(books.events.len(), 28);
        let (events, bill) = (booked(&books), billed(&bench.vendor));
        for (mark, after) in left {
            let (event, line) = (events[&mark], &bill[&mark][0]);
            let context = format!("after {after}: {event:#?} {line:#?}");
            assert_eq!(bill[&mark].len(), 1, "{context}");
            if after == 13 {
                assert_eq!((event.outcome.as_str(), event.estimated), ("ok", false), "{context}");
                assert_eq!((event.input_tokens as u64, event.output_tokens as u64), (line.tokens.input, line.tokens.output));
                continue;
            }
            assert_eq!((event.outcome.as_str(), event.estimated), ("cut_by_client", true), "{context}");
            let output = event.output_tokens as u64;
            let seen = after.saturating_sub(1) as u64;
            assert!(output + 1 >= seen && output <= line.tokens.output + secret(seen, event.total_us), "{context}");
            // Promised: cancelled within a second. Forty tokens would have taken 600 ms, so most were never made.
            assert!(line.tokens.output < 40, "{context}");
        }
        books.assert_sums();
    }
);

both_stores!(
    /// B1: what a caller calls its requests identifies nothing.
    /// Threats: B1.
    one_request_id_on_two_hundred_calls_of_two_tenants_gives_two_hundred_events,
    |bench| {
        let mut bench = bench;
        let mut ids = std::collections::HashSet::new();
        for key in [KEY, OTHER_KEY] {
            let calls = stream::iter(0..100).map(|_| {
                let call = bench.http.post(format!("{}/v1/chat/completions", bench.url)).bearer_auth(key);
                call.header("x-request-id", "one-for-all").json(&hello("gpt-test")).send()
            });
            let answers: Vec<_> = calls.buffer_unordered(20).collect().await;
            for answer in answers {
                let answer = answer.unwrap();
                assert_eq!(answer.status(), 200);
                assert_eq!(answer.headers()["x-client-request-id"], "one-for-all");
                ids.insert(answer.headers()["x-request-id"].to_str().unwrap().to_owned());
            }
            // What waits in the spool is replayed by the next start.
            bench.stop().await;
            bench.start_again().await;
        }
        assert_eq!(ids.len(), 200);
        let books = bench.books().await;
        assert_eq!(books.events.len(), 200);
        assert!(books.events.iter().all(|event| event.client_request_id.as_deref() == Some("one-for-all") && ids.contains(&event.id.to_string())));
        let tenants: BTreeMap<_, usize> = books.events.iter().fold(BTreeMap::new(), |mut counts, event| {
            *counts.entry(event.tenant_id).or_default() += 1;
            counts
        });
        assert_eq!(tenants.into_values().collect::<Vec<_>>(), [100, 100]);
        let billed = bench.vendor.counters();
        assert_eq!(books.tokens(), (billed.input_tokens, billed.output_tokens));
        books.assert_sums();
    }
);

both_stores!(
    fifty_refusals_in_a_second_share_events_whose_counts_add_up,
    |bench| {
        let refused = stream::iter(0..50).map(|_| bench.chat(hello("no-such-model")));
        let answers: Vec<_> = refused.buffer_unordered(25).collect().await;
        assert!(answers.iter().all(|answer| answer.status() == 404));
        let books = bench.books().await;
        let count: i32 = books.events.iter().map(|event| event.count).sum();
        assert_eq!(count, 50);
        // Two seconds may have been touched: ten of its own and a shared one each.
        assert!(books.events.len() <= 22, "{} events", books.events.len());
        assert!(books.events.iter().all(|event| event.error_code.as_deref()
            == Some("model_not_found")
            && event.charge_nanos == 0));
        assert!(bench.vendor.bill().is_empty());
        books.assert_sums();
    }
);

both_stores!(
    half_a_minute_of_silence_before_the_first_byte_is_cancelled_with_its_caller,
    |bench| {
        bench
            .vendor
            .push(Behaviour::default().with_first_byte_delay_ms(30_000));
        let mut raw = Raw::connect(&bench.url).await;
        raw.post("/v1/chat/completions", KEY, &hello("gpt-test").to_string())
            .await;
        bench
            .vendor
            .wait_for(
                |bill| bill.first().is_some_and(|line| line.tokens.input > 0),
                SOON,
            )
            .await
            .unwrap();
        tokio::time::sleep(window(Duration::ZERO, Duration::from_secs(25))).await;
        let left = std::time::Instant::now();
        raw.leave().await;
        let seen = bench.vendor.client_left(1, SOON).await.unwrap();
        assert!(seen - left < Duration::from_secs(3), "a second is promised");
        let books = bench.books_when(|books| !books.events.is_empty()).await;
        let event = books.only();
        assert_eq!(
            (event.outcome.as_str(), event.status, event.estimated),
            ("cut_by_client", 499, true)
        );
        assert!(event.input_tokens > 0 && event.first_byte_us.is_none());
    }
);
