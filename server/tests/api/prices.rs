//! What a call is billed at: the price in force, whatever the model is called (B8).

use serde_json::json;

use crate::{
    both_stores,
    support::{
        Bench, Setup,
        gateway::{hello, hello_stream},
    },
};

/// A moment so many days from now, as a file gives it.
fn moment(days: i64) -> String {
    let day = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
    day.to_string()
}

fn dated() -> Setup {
    let (long_ago, yesterday, tomorrow) = (moment(-400), moment(-1), moment(1));
    let models = format!(
        r#"
  - {{name: raised-tomorrow, prices: [{{from: "{long_ago}", input: "1", output: "2"}}, {{from: "{tomorrow}", input: "100", output: "200"}}], routes: [{{channel: vendor, model: dated}}]}}
  - {{name: raised-yesterday, prices: [{{from: "{long_ago}", input: "1", output: "2"}}, {{from: "{yesterday}", input: "7", output: "9"}}], routes: [{{channel: vendor, model: dated}}]}}
  - {{name: priced-tomorrow, prices: [{{from: "{tomorrow}", input: "1", output: "2"}}], routes: [{{channel: vendor, model: dated}}]}}
  - {{name: alias, prices: {{input: "5", output: "6"}}, routes: [{{channel: vendor, model: gpt-test-upstream, weight: 1}}]}}
tenants:"#
    );
    Setup {
        resources: Some(Bench::usual_resources().replacen("\ntenants:", &models, 1)),
        ..Setup::default()
    }
}

both_stores!(
    a_call_is_billed_at_the_price_in_force_when_it_began,
    dated(),
    |bench| {
        let rates = [
            ("raised-tomorrow", 1_000, 2_000, false),
            ("raised-yesterday", 7_000, 9_000, false),
            ("priced-tomorrow", 0, 0, true),
            ("unpriced", 0, 0, true),
            ("alias", 5_000, 6_000, false),
        ];
        for (model, ..) in rates {
            let answer = bench.chat(hello(model)).await;
            assert_eq!(answer.status(), 200, "{model}");
        }
        // A change of price counts from the next call.
        bench
            .apply(r#"{models: [{name: alias, prices: {input: "8", output: "9"}}]}"#)
            .await;
        assert_eq!(bench.chat(hello("alias")).await.status(), 200);
        let books = bench.books().await;
        let expected = rates.into_iter().chain([("alias", 8_000, 9_000, false)]);
        assert_eq!(books.events.len(), 6);
        for (event, (model, input, output, unpriced)) in books.events.iter().zip(expected) {
            let charge = input * event.input_tokens + output * event.output_tokens;
            assert_eq!(
                (
                    event.model.as_str(),
                    event.charge_nanos,
                    event.cost_nanos,
                    event.unpriced
                ),
                (model, charge, charge, unpriced),
                "{event:#?}"
            );
            assert_eq!(event.price.is_none(), unpriced, "an event keeps its rates");
            assert!(event.input_tokens > 0 && event.output_tokens > 0);
        }
        let metrics = bench
            .http
            .get(format!("{}/metrics", bench.url))
            .send()
            .await
            .unwrap();
        let metrics = metrics.text().await.unwrap();
        assert!(
            metrics
                .lines()
                .any(|line| line.contains("unpriced") && line.ends_with(" 2")),
            "an unpriced call is never silent: {metrics}"
        );
        books.assert_sums();
    }
);

both_stores!(
    /// B8: by every path and spelling, the one price or no call.
    /// Threats: B8.
    a_model_has_its_price_by_whatever_name_and_path_it_is_reached,
    dated(),
    |bench| {
        // What a shared channel serves is known by name, exactly: everything else never leaves.
        for name in [
            "GPT-TEST",
            "models/gpt-test",
            "gpt-test-2024-07-18",
            "ft:gpt-test:acme::1",
            " gpt-test",
            "gpt-test ",
            "gpt-test-upstream",
            "gpt%2Dtest",
        ] {
            let answer = bench.chat(hello(name)).await;
            assert_eq!(answer.status(), 404, "{name}");
        }
        // Under `/proxy/` the body goes untouched, so only the vendor's own name will do.
        for name in ["GPT-TEST-UPSTREAM", "models/gpt-test-upstream", "gpt-4o", "gpt-test"] {
            let answer = bench
                .post("/proxy/vendor/v1/chat/completions")
                .json(&hello(name))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 404, "{name}");
        }
        assert!(bench.vendor.bill().is_empty());
        let refused = bench.books().await.events.len();

        for (path, model) in [
            ("/v1/chat/completions", "gpt-test"),
            ("/api/v1/chat/completions", "gpt-test"),
            ("/v1/vendor/chat/completions", "gpt-test"),
            ("/proxy/vendor/v1/chat/completions", "gpt-test-upstream"),
        ] {
            for body in [hello(model), hello_stream(model)] {
                let answer = bench.post(path).json(&body).send().await.unwrap();
                assert_eq!(answer.status(), 200, "{path}");
                drop(answer.bytes().await.unwrap());
            }
        }
        let books = bench.books().await;
        let calls: Vec<_> = books.calls().collect();
        assert_eq!((calls.len(), books.events.len()), (8, refused + 8));
        for event in calls {
            // Two public models lead to the vendor's name: under `/proxy/` the first by name has the price.
            let (model, input, output) = match event.endpoint.as_str() {
                "/proxy" => ("alias", 5_000, 6_000),
                _ => ("gpt-test", 1_000, 2_000),
            };
            assert_eq!((event.model.as_str(), event.unpriced), (model, false), "{event:#?}");
            assert!(event.output_tokens > 0);
            let charge = input * event.input_tokens + output * event.output_tokens;
            assert_eq!(event.charge_nanos, charge, "{event:#?}");
        }
        let bill = bench.vendor.bill();
        assert!(bill.iter().all(|line| line.model.as_deref() == Some("gpt-test-upstream")));
        books.assert_sums();
    }
);

both_stores!(
    /// The vendor's own name for a model that two public ones share: it must not choose the cheaper by chance.
    the_upstream_name_under_proxy_finds_a_price_that_a_route_gives,
    |bench| {
        let answer = bench
            .post("/proxy/vendor/v1/chat/completions")
            .json(&hello("gpt-test-upstream"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let books = bench.books().await;
        let event = books.only();
        assert_eq!((event.model.as_str(), event.unpriced), ("gpt-test", false));
        assert_eq!(event.charge_nanos, 1_000 * event.input_tokens + 2_000 * event.output_tokens);
    }
);

both_stores!(
    a_model_that_only_a_dedicated_channel_knows_is_flagged_and_its_tokens_are_booked,
    |bench| {
        let body = json!({"model": "house-model-7b", "messages": [{"role": "user", "content": "Hello there"}]});
        let answer = bench
            .post("/proxy/dedicated/v1/chat/completions")
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let books = bench.books().await;
        let (event, line) = (books.only(), &bench.vendor.bill()[0]);
        assert_eq!(
            (event.input_tokens as u64, event.output_tokens as u64),
            (line.tokens.input, line.tokens.output)
        );
        assert_eq!(
            (
                event.unpriced,
                event.charge_nanos,
                event.estimated,
                event.model.as_str()
            ),
            (true, 0, false, "house-model-7b")
        );
        books.assert_sums();
    }
);
