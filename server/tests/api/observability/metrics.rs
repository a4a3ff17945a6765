//! `/metrics`: names, figures, bounds, and who may read it.

use std::{
    collections::BTreeMap,
    fs::File,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::{
    both_stores,
    clients::tool,
    support::{
        Bench, Raw, SOON, Setup, Store,
        binary::run,
        gateway::{hello, hello_stream},
    },
};

/// All samples of `/metrics` by their series. Read as strictly as the format is: what no scraper could read fails.
pub async fn samples(bench: &Bench) -> BTreeMap<String, f64> {
    let answer = bench
        .http
        .get(format!("{}/metrics", bench.url))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let text = answer.text().await.unwrap();
    let mut samples = BTreeMap::new();
    let mut declared = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("HELP"), Some(_), Some(_)) => {}
                (Some("TYPE"), Some(name), Some("counter" | "gauge" | "histogram")) => {
                    declared.push(name.to_owned())
                }
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let name = series.split('{').next().unwrap();
        assert!(
            declared
                .iter()
                .any(|known| name.starts_with(known.as_str())),
            "{line} is not declared"
        );
        assert!(series == name || series.ends_with('}'), "{line}");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(
            samples.insert(series.to_owned(), value).is_none(),
            "{series} stands there twice"
        );
    }
    samples
}

/// Nor does Prometheus's own tool find anything in them: no name, unit or help that is not as it should be.
async fn promtool_finds_nothing(bench: &Bench) {
    let Some(promtool) = tool("WEIR_TEST_PROMTOOL") else {
        return;
    };
    let answer = bench.http.get(format!("{}/metrics", bench.url)).send();
    let text = answer.await.unwrap().text().await.unwrap();
    let path = bench.stores.folder.path().join("metrics.txt");
    std::fs::write(&path, &text).unwrap();
    let mut command = Command::new(promtool);
    command
        .args(["check", "metrics"])
        .stdin(File::open(&path).unwrap());
    let told = run(command).await;
    assert!(told.status.success(), "{told:?}\n{text}");
    assert!(told.stdout.is_empty() && told.stderr.is_empty(), "{told:?}");
}

/// The samples once they fit: a request is counted at its end, which the caller may see a moment earlier.
async fn samples_when(
    bench: &Bench,
    fits: impl Fn(&BTreeMap<String, f64>) -> bool,
) -> BTreeMap<String, f64> {
    let deadline = Instant::now() + SOON;
    loop {
        let samples = samples(bench).await;
        if fits(&samples) {
            return samples;
        }
        assert!(
            Instant::now() < deadline,
            "the metrics never came to fit: {samples:#?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

both_stores!(
    /// Threats: D6.
    metrics_have_the_names_of_the_design_and_count_what_was_billed,
    |bench| {
        bench.chat(hello("gpt-test")).await.bytes().await.unwrap();
        bench
            .chat(hello_stream("gpt-test"))
            .await
            .bytes()
            .await
            .unwrap();
        bench.chat(hello("unpriced")).await.bytes().await.unwrap();
        bench
            .http
            .get(format!("{}/v1/models", bench.url))
            .bearer_auth("wk-nobody")
            .send()
            .await
            .unwrap();
        bench.books().await;
        let requests =
            "gateway_requests_total{model=\"gpt-test\",provider=\"vendor\",status=\"200\"}";
        let found = samples_when(&bench, |found| {
            found.get(requests) == Some(&2.0) && found.get("gateway_spool_events") == Some(&0.0)
        })
        .await;

        let billed = &bench.vendor.totals_by_model()["gpt-test-upstream"];
        let tokens = |kind: &str| {
            let series = format!(
                "gateway_tokens_used_total{{model=\"gpt-test\",provider=\"vendor\",type=\"{kind}\"}}"
            );
            found.get(&series).copied().unwrap_or_default() as u64
        };
        assert_eq!(
            (tokens("input") + tokens("cached_read"), tokens("output")),
            (billed.input, billed.output)
        );
        for (series, value) in [
            (
                "gateway_request_duration_seconds_count{model=\"gpt-test\",provider=\"vendor\"}",
                2.0,
            ),
            (
                "gateway_first_byte_seconds_count{model=\"gpt-test\",provider=\"vendor\"}",
                2.0,
            ),
            (
                "gateway_attempts_total{provider=\"vendor\",reason=\"ok\"}",
                3.0,
            ),
            ("gateway_requests_in_flight", 0.0),
            ("gateway_overhead_seconds_count", 3.0),
            ("gateway_unpriced_total", 1.0),
            (
                "gateway_unidentified_total{reason=\"invalid_api_key\"}",
                1.0,
            ),
            ("gateway_channel_up{provider=\"vendor\"}", 1.0),
            ("gateway_store_up{store=\"database\"}", 1.0),
        ] {
            assert_eq!(found.get(series), Some(&value), "{series}: {found:#?}");
        }
        assert!(found["gateway_catalog_lag_seconds"] < 5.0);
        assert_eq!(
            found.get("gateway_store_up{store=\"redis\"}").copied(),
            (bench.stores.kind == Store::Cluster).then_some(1.0)
        );
        promtool_finds_nothing(&bench).await;
        for process in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_start_time_seconds",
        ] {
            assert!(found[process] > 0.0, "{process}");
        }
    }
);

// Threats: D6.
both_stores!(names_that_callers_make_up_become_other, |bench| {
    let before = samples(&bench).await.len();
    for number in 0..300 {
        let answer = bench
            .chat(hello(&format!("made-up-{number}\"}} forged 1")))
            .await;
        assert_eq!(answer.status(), 404);
    }
    let other = "gateway_requests_total{model=\"other\",provider=\"none\",status=\"404\"}";
    let found = samples_when(&bench, |found| found.get(other) == Some(&300.0)).await;
    promtool_finds_nothing(&bench).await;
    assert_eq!(
        found["gateway_refusals_total{code=\"model_not_found\"}"],
        300.0
    );
    assert!(
        !found
            .keys()
            .any(|series| series.contains("made-up") || series.contains("forged"))
    );
    // One pair of labels with its histograms, and nothing for each name.
    assert!(
        found.len() < before + 60,
        "{before} series became {}",
        found.len()
    );
});

both_stores!(
    /// What actix answers below any handler.
    a_connection_that_ends_below_any_handler_is_counted,
    Setup {
        environment: vec![
            ("WEIR_PROXY_HEAD_TIMEOUT", "300ms".to_owned()),
            ("WEIR_PROXY_KEEP_ALIVE", "300ms".to_owned()),
        ],
        ..Setup::default()
    },
    |bench| {
        let served = "GET /health HTTP/1.1\r\nhost: weir\r\n\r\n";
        let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(200 << 10));
        for (sent, ends) in [
            ("no HTTP at all\r\n\r\n", "HTTP/1.1 400"),
            (&large, "HTTP/1.1 431"),
            ("GET / HTTP/1.1\r\n", "HTTP/1.1 408"),
        ] {
            let mut raw = Raw::connect(&bench.url).await;
            // The other side may have had enough before all is sent.
            drop(raw.0.write_all(sent.as_bytes()).await);
            let text = raw.read_to_end(SOON).await;
            assert!(
                text.starts_with(ends) || (text.is_empty() && sent == large),
                "{text:?} to {:.40?}", sent
            );
        }
        for (sent, ends) in [
            ("GET / HTTP/1.1\r\nbad header\r\n\r\n", "HTTP/1.1 400"),
            ("GET / HTTP/1.1\r\n", ""),
        ] {
            let mut second = Raw::connect(&bench.url).await;
            second.send(served).await;
            assert_eq!(second.answer().await.unwrap().status, 200);
            second.send(sent).await;
            let text = second.read_to_end(SOON).await;
            assert!(text.starts_with(ends) && text.is_empty() == ends.is_empty(), "{text}");
        }
        // One that is idle, or has left, did nothing wrong.
        let mut idle = Raw::connect(&bench.url).await;
        idle.send(served).await;
        assert_eq!(idle.answer().await.unwrap().status, 200);
        assert!(idle.is_closed(SOON).await);
        drop(Raw::connect(&bench.url).await);

        let counted = |samples: &BTreeMap<String, f64>| {
            ["malformed", "too_large", "slow"]
                .map(|reason| samples.get(&format!("gateway_bad_heads_total{{reason=\"{reason}\"}}")).copied())
        };
        let expected = [Some(2.0), Some(1.0), Some(2.0)];
        let samples = samples_when(&bench, |samples| counted(samples) == expected).await;
        assert_eq!(counted(&samples), expected);
    }
);

both_stores!(
    /// Threats: D6.
    metrics_beyond_this_machine_need_their_token,
    Setup {
        environment: vec![(
            "WEIR_METRICS_TOKEN",
            "metrics-token-0123456789-0123456789".to_owned()
        )],
        ..Setup::default()
    },
    |bench| {
        // Through a proxy on this machine, everybody comes from loopback.
        let ask = |token: Option<&'static str>| {
            let request = bench
                .http
                .get(format!("{}/metrics", bench.url))
                .header("x-forwarded-for", "203.0.113.9");
            match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            }
            .send()
        };
        assert_eq!(ask(None).await.unwrap().status(), 401);
        assert_eq!(
            ask(Some("metrics-token-0123456789-0123456780"))
                .await
                .unwrap()
                .status(),
            401
        );
        assert_eq!(
            ask(Some("metrics-token-0123456789-0123456789"))
                .await
                .unwrap()
                .status(),
            200
        );
        // A token of the platform that may, and one of a tenant's owner, who may not.
        for (order, status) in [
            (json!({"name": "scraper", "role": "platform_viewer"}), 200),
            (json!({"name": "owner", "tenant": "acme", "role": "owner"}), 401),
        ] {
            let made = bench.admin(reqwest::Method::POST, "/service-tokens").json(&order);
            let made: Value = made.send().await.unwrap().json().await.unwrap();
            let request = bench
                .http
                .get(format!("{}/metrics", bench.url))
                .header("x-forwarded-for", "203.0.113.9")
                .bearer_auth(made["value"].as_str().unwrap());
            assert_eq!(request.send().await.unwrap().status(), status, "{order}");
        }
        assert_eq!(
            bench
                .http
                .get(format!("{}/metrics", bench.url))
                .send()
                .await
                .unwrap()
                .status(),
            200
        );
    }
);

both_stores!(
    /// Threats: A12.
    strangers_are_slowed_down_and_known_keys_are_not,
    Setup {
        environment: vec![("WEIR_PROXY_UNIDENTIFIED_PER_MINUTE", "5".to_owned())],
        ..Setup::default()
    },
    |bench| {
        let guess = || {
            bench
                .http
                .get(format!("{}/v1/models", bench.url))
                .bearer_auth("wk-guessed")
                .send()
        };
        for _ in 0..5 {
            assert_eq!(guess().await.unwrap().status(), 401);
        }
        let refused = guess().await.unwrap();
        assert_eq!(refused.status(), 429);
        let header = |name: &str| -> u64 {
            let value = refused.headers()[name].to_str().unwrap();
            value.parse().unwrap()
        };
        let (wait, wait_ms) = (header("retry-after"), header("retry-after-ms"));
        assert!((1..=60).contains(&wait), "{wait}");
        assert!(wait * 1000 >= wait_ms, "{wait} s is before {wait_ms} ms");
        let body: Value = refused.json().await.unwrap();
        assert_eq!(body["error"]["code"], "rate_limit_exceeded");
        assert_eq!(
            bench.chat(hello("gpt-test")).await.status(),
            200,
            "from the same address"
        );
    }
);
