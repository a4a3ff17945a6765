//! What an operator sees: metrics, the access log, traces, health. And what nobody may ever see in a log.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span,
};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use weir_upstream::{Behaviour, Vendor};

use crate::{
    both_stores,
    support::{
        Bench, Binary, Raw, SOON, Setup, Store, Stores,
        binary::{run, succeeded},
        gateway::{KEY, hello, hello_stream},
        stores::ADMIN_TOKEN,
    },
};

/// All samples of `/metrics` by their series. Read as strictly as the format is: what no scraper could read fails.
async fn samples(bench: &Bench) -> BTreeMap<String, f64> {
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
            for link in links(&answer.text().await.unwrap()) {
                if link.starts_with("https://") {
                    continue;
                }
                assert!(link.starts_with('/'), "{page}: {link}");
                assert_eq!(get(&link).await.status(), 200, "{page}: {link}");
            }
        }
        assert_eq!(get("/docs/nothing").await.status(), 404);
    }
);

/// The binary on stores of its own before a vendor, with the usual resources.
async fn binary(stores: &Stores, vendor: &Vendor, further: &[(&str, &str)]) -> Binary {
    let mut environment = stores.environment("one");
    environment.extend(
        further
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let server = Binary::serve(&environment, &[]).await;
    let file = stores.folder.path().join("usual.yaml");
    std::fs::write(
        &file,
        Bench::usual_resources().replace("{vendor}", &vendor.base_url()),
    )
    .unwrap();
    succeeded(
        &server
            .weir(&["apply", "-f", &file.display().to_string()])
            .await,
    );
    server
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_leaves_one_line_that_says_what_an_operator_asks() {
    let (stores, vendor, http) = (
        Stores::create(Store::Embedded).await,
        Vendor::spawn(),
        http(),
    );
    let server = binary(&stores, &vendor, &[("WEIR_LOG_FORMAT", "json")]).await;
    let chat = |body: Value| {
        let request = http.post(format!(
            "{}/v1/chat/completions?key=query-secret-key",
            server.url
        ));
        request.bearer_auth("query-secret-key").json(&body).send()
    };
    assert_eq!(chat(hello("gpt-test")).await.unwrap().status(), 401);
    let url = format!("{}/v1/chat/completions?harmless=query-canary", server.url);
    let answer = http
        .post(url)
        .bearer_auth(KEY)
        .json(&hello_stream("gpt-test"))
        .send()
        .await
        .unwrap();
    let id = answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    answer.bytes().await.unwrap();
    server.logged(&id).await;
    let (code, log) = server.stop().await;
    assert_eq!(code, Some(0));

    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    let of = |id: &str| {
        lines
            .iter()
            .filter(|line| line["id"] == id)
            .collect::<Vec<_>>()
    };
    let [line] = of(&id)[..] else { panic!("{log}") };
    let billed = &vendor.bill()[0].tokens;
    let nanos = 1_000 * billed.input + 2_000 * billed.output;
    let expected = json!({
        "timestamp": line["timestamp"], "level": "INFO", "target": "access", "id": id, "tenant": "acme", "key": "laptop",
        "method": "POST", "endpoint": "/v1/chat/completions", "model": "gpt-test", "channel": "vendor", "status": 200,
        "input_tokens": billed.input, "output_tokens": billed.output, "charge_usd": format!("0.{nanos:09}"),
        "first_byte_ms": line["first_byte_ms"], "total_ms": line["total_ms"], "overhead_us": line["overhead_us"],
        "attempts": 1, "outcome": "ok", "client": "127.0.0.1",
    });
    assert_eq!(line, &expected);
    let first_byte = line["first_byte_ms"].as_f64().unwrap();
    assert!(first_byte > 0.0 && line["total_ms"].as_f64().unwrap() >= first_byte);
    assert!(line["overhead_us"].as_u64().unwrap() > 0);
    for secret in [
        KEY,
        "query-secret-key",
        "query-canary",
        "hello to the river",
    ] {
        assert!(!log.contains(secret), "{log}");
    }
    // At the default level libraries are heard only when something is wrong.
    for line in &lines {
        let target = line["target"].as_str().unwrap();
        assert!(
            target.starts_with("weir") || target == "access" || line["level"] != "INFO",
            "{line}"
        );
    }
    assert!(
        lines.len() < 40,
        "a start and two calls said too much: {log}"
    );
}

/// What may never stand in a log, plain or in the forms that logs and URLs put it in.
fn forms(secret: &str) -> Vec<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let escaped = serde_json::to_string(secret).unwrap();
    let in_url: String = secret
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    vec![
        secret.to_owned(),
        escaped.trim_matches('"').to_owned(),
        in_url,
        STANDARD.encode(secret),
    ]
}

fn leaks<'a>(text: &str, secrets: &[&'a str]) -> Vec<&'a str> {
    let found = secrets
        .iter()
        .filter(|secret| forms(secret).iter().any(|form| text.contains(form)));
    found.copied().collect()
}

async fn no_secret_is_logged(kind: Store, format: &str) {
    let (stores, vendor, http) = (Stores::create(kind).await, Vendor::spawn(), http());
    let environment = stores.environment("one");
    let named = |name: &str| {
        environment
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    };
    let master_key = named("WEIR_MASTER_KEY").unwrap();
    let password = "canary-database-password";
    // The server trusts anybody from this machine, so any password opens it.
    let database =
        named("WEIR_DATABASE_URL").map(|url| url.replacen('@', &format!(":{password}@"), 1));
    let mut further = vec![("WEIR_LOG", "trace"), ("WEIR_LOG_FORMAT", format)];
    if let Some(url) = &database {
        assert!(url.contains(password), "{url}");
        further.push(("WEIR_DATABASE_URL", url));
    }
    let server = binary(&stores, &vendor, &further).await;
    let prompt = "canary-prompt of the \"river\" 河";
    let answer = "canary-answer of the mountain";
    let body = json!({"model": "gpt-test", "messages": [{"role": "user", "content": prompt}], "user": "canary-end-user"});
    vendor.on_model("gpt-test-upstream", Behaviour::body(json!({
        "id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    }).to_string()));
    let url = |path: &str| format!("{}{path}", server.url);
    let nearly = format!("{}X", &KEY[..KEY.len() - 1]);
    let carriers = |request: reqwest::RequestBuilder, key: &str| -> Vec<reqwest::RequestBuilder> {
        let plain = ["x-api-key", "api-key", "x-goog-api-key"];
        let mut all: Vec<_> = plain
            .iter()
            .map(|name| request.try_clone().unwrap().header(*name, key))
            .collect();
        all.push(request.try_clone().unwrap().bearer_auth(key));
        all.push(request.try_clone().unwrap().header(
            "sec-websocket-protocol",
            format!("openai-insecure-api-key.{key}"),
        ));
        all
    };
    for key in [KEY, nearly.as_str()] {
        for path in [
            "/v1/chat/completions",
            "/v1/nothing",
            "/proxy/vendor/chat/completions",
            "/proxy/../x",
            "/nothing/at/all",
            "/v1/admin/keys",
        ] {
            let in_query = http.post(url(&format!("{path}?key={key}"))).json(&body);
            let in_headers = carriers(http.post(url(path)).json(&body), key);
            for request in in_headers.into_iter().chain([in_query]) {
                drop(request.send().await.unwrap().bytes().await);
            }
        }
    }
    // What goes wrong is told in the log, and must be told without what it was about.
    let broken = format!("{{\"model\": \"gpt-test\", \"messages\": \"{prompt}");
    let sent = |body: String| {
        http.post(url("/v1/chat/completions"))
            .bearer_auth(KEY)
            .header("content-type", "application/json")
            .body(body)
            .send()
    };
    assert_eq!(sent(broken).await.unwrap().status(), 400);
    for behaviour in [
        Behaviour::status(500),
        Behaviour::fault(weir_upstream::Fault::Refuse),
        Behaviour::fault(weir_upstream::Fault::TruncatedJson),
        Behaviour::fault(weir_upstream::Fault::Gzip),
        Behaviour::body(format!(
            "Incorrect API key provided: sk-vendor-credential-one-1111, {prompt}"
        ))
        .with_header("x-echo", KEY),
        Behaviour::status(401),
    ] {
        vendor.push(behaviour.clone());
        vendor.push(behaviour);
        drop(sent(body.to_string()).await.unwrap().bytes().await);
    }
    drop(server.weir(&["usage", "--by", "key"]).await);
    let (code, log) = server.stop().await;
    assert_eq!(code, Some(0));
    assert!(
        log.lines().filter(|line| line.contains("access")).count() > 5,
        "the calls are in the log: {log}"
    );
    let secrets = [
        KEY,
        &nearly,
        "sk-vendor-credential-one-1111",
        "sk-vendor-credential-two-2222",
        &master_key,
        ADMIN_TOKEN,
        password,
        prompt,
        "canary-prompt",
        answer,
        "canary-answer",
    ];
    assert_eq!(leaks(&log, &secrets), Vec::<&str>::new(), "{log}");
    // The search itself works.
    assert_eq!(
        leaks(&format!("{log}{}", forms(prompt)[1]), &secrets),
        [prompt, "canary-prompt"]
    );
    // Nor does anything on disk hold them in the clear: books, spool, in-flight record, configuration.
    for secret in [
        KEY,
        "sk-vendor-credential-",
        "canary-prompt",
        "canary-answer",
        password,
    ] {
        let mut grep = std::process::Command::new("grep");
        grep.args(["-rlaF", secret])
            .arg(stores.folder.path().join("one"));
        let found = run(grep).await;
        assert_eq!(
            found.status.code(),
            Some(1),
            "{secret}: {}",
            String::from_utf8_lossy(&found.stdout)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_the_log_at_its_loudest() {
    no_secret_is_logged(Store::Embedded, "text").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_the_log_of_a_cluster_at_its_loudest() {
    if Store::cluster_is_there() {
        no_secret_is_logged(Store::Cluster, "json").await;
    }
}

/// An OTLP collector: keeps the spans that it is sent.
struct Collector {
    url: String,
    spans: Arc<watch::Sender<Vec<Span>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::new(watch::Sender::new(Vec::new()));
        let kept = Arc::clone(&spans);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(collect(connection, Arc::clone(&kept)));
            }
        });
        Self { url, spans }
    }

    /// The spans of one trace, once there are so many.
    async fn trace(&self, id: &[u8], count: usize) -> Vec<Span> {
        let of_trace = |spans: &Vec<Span>| -> Vec<Span> {
            spans
                .iter()
                .filter(|span| span.trace_id == id)
                .cloned()
                .collect()
        };
        let mut following = self.spans.subscribe();
        let found = following.wait_for(|spans| of_trace(spans).len() >= count);
        let found = tokio::time::timeout(SOON, found).await.is_ok();
        let spans = of_trace(&self.spans.borrow());
        assert!(found, "{spans:#?}");
        spans
    }
}

async fn collect(
    mut connection: TcpStream,
    kept: Arc<watch::Sender<Vec<Span>>>,
) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
            if connection.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
        assert!(text.starts_with("post /v1/traces http/1.1"), "{text}");
        assert!(
            text.contains("content-type: application/x-protobuf"),
            "{text}"
        );
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let end = head + 4 + length.unwrap().trim().parse::<usize>().unwrap();
        while read.len() < end {
            connection.read_buf(&mut read).await?;
        }
        let export = ExportTraceServiceRequest::decode(&read[head + 4..end]).unwrap();
        read.drain(..end);
        let spans = export
            .resource_spans
            .into_iter()
            .flat_map(|resource| resource.scope_spans);
        let spans: Vec<Span> = spans.flat_map(|scope| scope.spans).collect();
        kept.send_modify(|all| all.extend(spans));
        connection
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await?;
    }
}

/// A span's attributes as text.
fn attributes(span: &Span) -> BTreeMap<String, String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let told = span.attributes.iter().map(|attribute| {
        let value = match attribute.value.clone().and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        };
        (attribute.key.clone(), value)
    });
    told.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_and_its_attempts_are_traced_into_the_callers_trace() {
    let (stores, vendor, http, collector) = (
        Stores::create(Store::Embedded).await,
        Vendor::spawn(),
        http(),
        Collector::start().await,
    );
    let server = binary(
        &stores,
        &vendor,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ],
    )
    .await;
    vendor.push(Behaviour::status(500));
    let request = http
        .post(format!("{}/v1/chat/completions", server.url))
        .bearer_auth(KEY);
    let answer = request
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        )
        .header("tracestate", "other=1")
        .header("baggage", "evil=1")
        .json(&hello("gpt-test"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-weir-attempts"], "2");
    answer.bytes().await.unwrap();

    let trace: Vec<u8> = (0..16)
        .map(|at| {
            u8::from_str_radix(&"0af7651916cd43dd8448eb211c80319c"[2 * at..2 * at + 2], 16).unwrap()
        })
        .collect();
    let spans = collector.trace(&trace, 3).await;
    let request = spans
        .iter()
        .find(|span| span.name == "POST /v1/chat/completions")
        .unwrap();
    let mut attempts: Vec<&Span> = spans
        .iter()
        .filter(|span| span.name == "chat gpt-test-upstream")
        .collect();
    attempts.sort_by_key(|span| span.start_time_unix_nano);
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    assert_eq!(hex(&request.parent_span_id), "b7ad6b7169203331");
    assert_eq!(attempts.len(), 2);
    let received = vendor.requests();
    for (attempt, received) in attempts.iter().zip(&received) {
        assert_eq!(attempt.parent_span_id, request.span_id);
        let sent = format!(
            "00-0af7651916cd43dd8448eb211c80319c-{}-01",
            hex(&attempt.span_id)
        );
        assert_eq!(
            received.header("traceparent"),
            Some(sent.as_str()),
            "the vendor's spans hang below the attempt"
        );
        assert_eq!(received.header("tracestate"), Some("other=1"));
        assert_eq!(received.header("baggage"), None);
    }
    let billed = &vendor.bill()[1].tokens;
    let (input, output) = (billed.input.to_string(), billed.output.to_string());
    let told = attributes(request);
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-test"),
        ("gen_ai.usage.input_tokens", &input),
        ("gen_ai.usage.output_tokens", &output),
        ("http.response.status_code", "200"),
        ("weir.tenant", "acme"),
        ("weir.channel", "vendor"),
        ("weir.attempts", "2"),
    ] {
        assert_eq!(
            told.get(name).map(String::as_str),
            Some(value),
            "{name}: {told:#?}"
        );
    }
    let failed = attributes(attempts[0]);
    assert_eq!(failed["http.response.status_code"], "500");
    assert!(failed.contains_key("error.type"), "{failed:#?}");
    let answered = attributes(attempts[1]);
    assert_eq!(
        (
            answered["gen_ai.request.model"].as_str(),
            answered["http.response.status_code"].as_str()
        ),
        ("gpt-test-upstream", "200")
    );
    let shown = format!("{spans:?}");
    assert!(
        !shown.contains(KEY) && !shown.contains("river") && !shown.contains("sk-vendor"),
        "{shown}"
    );
    assert_eq!(server.stop().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_delays_nobody() {
    let (stores, vendor, http) = (
        Stores::create(Store::Embedded).await,
        Vendor::spawn(),
        http(),
    );
    // It takes connections, and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let server = binary(
        &stores,
        &vendor,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
        ],
    )
    .await;
    let started = Instant::now();
    for _ in 0..100 {
        let request = http
            .post(format!("{}/v1/chat/completions", server.url))
            .bearer_auth(KEY);
        let answer = request.json(&hello("gpt-test")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    }
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(server.stop().await.0, Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
}
