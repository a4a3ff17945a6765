//! Numbers that readers take differently, or that would make money out of nothing (threats.md, B3).

use proptest::{prelude::*, strategy::ValueTree as _};
use serde_json::{Value, json};

use crate::{
    both_stores,
    support::{Bench, Setup, Store, refused},
};

use super::{CHAT, post, with};

both_stores!(
    /// Threats: B3.
    a_number_that_readers_take_differently_is_refused_in_every_field,
    |bench| {
        let zeros = format!("1{}", "0".repeat(399));
        let bad = [
            "-1",
            "-0",
            "0",
            "1.5",
            "1.0",
            "1e0",
            "1e308",
            "1e-30",
            "4294967296",
            "9007199254740993",
            "9223372036854775808",
            "18446744073709551616",
            "\"5\"",
            "true",
            "[]",
            "{}",
            &zeros,
        ];
        let fields = [
            "max_tokens",
            "max_completion_tokens",
            "max_output_tokens",
            "n",
            "best_of",
        ];
        for field in fields {
            for number in bad {
                let answer = post(&bench, CHAT, with(&format!(r#""{field}":{number}"#))).await;
                let error = refused(answer, 400, "invalid_value").await;
                assert_eq!(error["param"], field, "{number}");
            }
            for number in ["NaN", "Infinity", "+1", "01", "0x10", "1_000", "１"] {
                let answer = post(&bench, CHAT, with(&format!(r#""{field}":{number}"#))).await;
                let error: Value = answer.json().await.unwrap();
                let code = error["error"]["code"].as_str().unwrap();
                assert!(
                    ["invalid_json", "invalid_value"].contains(&code),
                    "{number}: {error}"
                );
            }
            let answer = post(&bench, CHAT, with(&format!(r#""{field}":null"#))).await;
            assert_eq!(answer.status(), 200, "{field}");
        }
        // Factors whose product overflows a small integer are counted, not wrapped.
        let answer = post(
            &bench,
            CHAT,
            with(r#""max_tokens":4294967295,"n":4294967295"#),
        )
        .await;
        assert!(
            answer.status().as_u16() < 500,
            "{}",
            answer.text().await.unwrap()
        );
        let books = bench.books().await;
        assert!(books.events.iter().all(|event| event.charge_nanos >= 0));
        books.assert_sums();
    }
);

/// A number as some program might write it.
fn any_number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i128>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        "-?[0-9]{1,40}(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        Just("null".to_owned()),
    ]
}

/// Threats: B3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_number_in_any_field_makes_a_server_error_or_a_negative_charge() {
    let bench = Bench::start(Store::Embedded, Setup::default()).await;
    let fields = [
        "max_tokens",
        "max_completion_tokens",
        "n",
        "best_of",
        "temperature",
        "seed",
        "top_logprobs",
    ];
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = (0..fields.len(), any_number());
    for _ in 0..150 {
        let (field, number) = strategy.new_tree(&mut runner).unwrap().current();
        let body = with(&format!(
            r#""{}":{number},"max_output_tokens":5"#,
            fields[field]
        ));
        let status = post(&bench, CHAT, body.clone()).await.status().as_u16();
        assert!([200, 400].contains(&status), "{body}: {status}");
    }
    let books = bench.books().await;
    assert!(
        books
            .events
            .iter()
            .all(|event| event.charge_nanos >= 0 && event.input_tokens >= 0)
    );
    books.assert_sums();
}

// Threats: B3.
both_stores!(prices_are_exact_decimals_or_refused_by_name, |bench| {
    let zeros = format!("1{}", "0".repeat(399));
    let bad = [
        "-1",
        "1e308",
        "1e-30",
        "NaN",
        "",
        "1,5",
        "0x10",
        "9007199254740993",
        &zeros,
        "0.00000000000000000001",
    ];
    for price in bad {
        let model = json!({"name": "odd", "prices": {"input": price}, "routes": []});
        let answer = bench
            .try_apply(&json!({"models": [model]}).to_string())
            .await;
        assert_eq!(answer.status(), 422, "{price}");
        let problem: Value = answer.json().await.unwrap();
        let named = problem["errors"][0].to_string();
        assert!(named.contains("models[0].prices"), "{price}: {problem}");
    }
    // A JSON number is a float somewhere on its way: only texts are prices.
    let model = json!({"name": "odd", "prices": {"input": 0.1}, "routes": []});
    let status = bench
        .try_apply(&json!({"models": [model]}).to_string())
        .await
        .status();
    assert!(status.is_client_error(), "{status}");
});
