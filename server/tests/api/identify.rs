//! Who is calling: every way to carry a key, every restriction, and values that are no keys (threats.md, A1, A11, H2).

use std::{collections::BTreeMap, process::Stdio};

use reqwest::RequestBuilder;
use serde_json::json;
use weir_upstream::Vendor;

use crate::{
    both_stores,
    support::{
        Bench, Process, Raw, SOON, Setup, Store, Stores,
        gateway::{KEY, hello},
        refused,
        stores::ADMIN_TOKEN,
    },
};

const CARRIERS: [&str; 5] = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "?key=",
];

const DISABLED: &str = "wk-disabled-0123456789-abcdefghij-KLM";
const EXPIRED: &str = "wk-expired-0123456789-abcdefghij-KLMN";
const SUSPENDED: &str = "wk-suspended-0123456789-abcdefghij-KL";
const ELSEWHERE: &str = "wk-elsewhere-0123456789-abcdefghij-KL";
const NARROW: &str = "wk-narrow-0123456789-abcdefghij-KLMNO";
const LEAVER: &str = "wk-leaver-0123456789-abcdefghij-KLMNO";
const UNKNOWN: &str = "wk-unknown-0123456789-abcdefghij-KLMN";

fn resources() -> String {
    format!(
        r#"{usual}
  - name: restricted
    users: [{{email: leaver@restricted.example, enabled: false}}]
    keys:
      - {{name: disabled, value: "{DISABLED}", enabled: false}}
      - {{name: expired, value: "{EXPIRED}", expires_at: "2001-01-01T00:00:00Z"}}
      - {{name: elsewhere, value: "{ELSEWHERE}", ip_allow: ["10.0.0.0/8"]}}
      - {{name: narrow, value: "{NARROW}", models: ["gpt-same"]}}
      - {{name: leaver, user: leaver@restricted.example, value: "{LEAVER}"}}
  - name: suspended
    enabled: false
    keys: [{{name: only, value: "{SUSPENDED}"}}]
"#,
        usual = Bench::usual_resources().trim_end()
    )
}

fn restricted() -> Setup {
    Setup {
        resources: Some(resources()),
        ..Setup::default()
    }
}

/// A chat request that carries a key in one of the ways.
fn carrying(bench: &Bench, carriers: &[(&str, &str)]) -> RequestBuilder {
    let in_query: Vec<String> = carriers
        .iter()
        .filter(|(carrier, _)| *carrier == "?key=")
        .map(|(_, key)| format!("key={key}"))
        .collect();
    let url = format!("{}/v1/chat/completions?{}", bench.url, in_query.join("&"));
    let mut request = bench.http.post(url).json(&hello("gpt-test"));
    for (carrier, key) in carriers {
        request = match *carrier {
            "authorization" => request.header("authorization", format!("Bearer {key}")),
            "?key=" => request,
            header => request.header(header, *key),
        };
    }
    request
}

both_stores!(
    /// Threats: A1.
    every_way_to_carry_a_key_meets_every_restriction,
    restricted(),
    |bench| {
        let restrictions = [
            (UNKNOWN, 401, "invalid_api_key"),
            (DISABLED, 401, "key_disabled"),
            (LEAVER, 401, "key_disabled"),
            (SUSPENDED, 401, "key_disabled"),
            (EXPIRED, 401, "key_expired"),
            (ELSEWHERE, 403, "ip_not_allowed"),
            (NARROW, 403, "model_not_allowed"),
        ];
        for carrier in CARRIERS {
            for (key, status, code) in restrictions {
                let answer = carrying(&bench, &[(carrier, key)]).send().await.unwrap();
                let error = refused(answer, status, code).await;
                assert!(!error.to_string().contains(key), "{carrier}: {error}");
            }
            let answer = carrying(&bench, &[(carrier, KEY)]).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{carrier}");
        }
        let received = bench.vendor.requests();
        assert_eq!(received.len(), CARRIERS.len());
        for request in received {
            let head = String::from_utf8_lossy(&request.head).into_owned();
            assert!(!head.contains("wk-") && !head.contains("key="), "{head}");
        }
        // One event for each request of a known key, also of those that were refused; none for strangers.
        let books = bench.books().await;
        let mut counts = BTreeMap::new();
        for event in &books.events {
            let code = event.error_code.clone().unwrap_or_default();
            let (outcome, attempts) = (event.outcome.as_str(), event.attempts.to_string());
            assert_eq!(outcome == "refused", attempts == "[]", "{event:?}");
            *counts.entry(code).or_insert(0) += event.count;
        }
        let expected = [
            ("", 5),
            ("ip_not_allowed", 5),
            ("key_disabled", 15),
            ("key_expired", 5),
            ("model_not_allowed", 5),
        ];
        let expected = expected.map(|(code, count)| (code.to_owned(), count));
        assert_eq!(counts, BTreeMap::from(expected));
        books.assert_sums();
    }
);

both_stores!(
    /// Threats: A1.
    two_different_keys_are_refused_and_one_key_twice_is_not,
    |bench| {
        for (at, one) in CARRIERS.iter().enumerate() {
            for other in &CARRIERS[at + 1..] {
                let twice = carrying(&bench, &[(one, KEY), (other, KEY)]);
                assert_eq!(twice.send().await.unwrap().status(), 200, "{one} {other}");
                for pair in [
                    [(*one, KEY), (*other, UNKNOWN)],
                    [(*one, UNKNOWN), (*other, KEY)],
                ] {
                    let answer = carrying(&bench, &pair).send().await.unwrap();
                    let error = refused(answer, 400, "several_api_keys").await;
                    assert!(!error.to_string().contains("wk-"), "{error}");
                }
            }
            let twice = carrying(&bench, &[(one, KEY), (one, UNKNOWN)]);
            refused(twice.send().await.unwrap(), 400, "several_api_keys").await;
        }
        assert_eq!(bench.vendor.requests().len(), 10);
    }
);

const TWINS: [&str; 2] = [
    "wk-twins-have-the-same-beginning-A-and-the-same-long-end",
    "wk-twins-have-the-same-beginning-B-and-the-same-long-end",
];

both_stores!(
    /// One name and one model list for each of two tenants, whose keys differ in one letter in the middle: whatever looked
    /// at less than the whole key, or kept an answer for whoever asks next, would mix them up.
    ///
    /// Threats: T3.
    keys_that_differ_in_one_letter_are_never_taken_for_each_other,
    Setup {
        resources: Some(format!(
            r#"{usual}
  - {{name: twin-one, grants: {{models: [gpt-test]}}, keys: [{{name: twin, value: "{}"}}]}}
  - {{name: twin-two, grants: {{models: [gpt-same]}}, keys: [{{name: twin, value: "{}"}}]}}
"#,
            TWINS[0],
            TWINS[1],
            usual = Bench::usual_resources().trim_end()
        )),
        ..Setup::default()
    },
    |bench| {
        let asked = (0..80).map(|n: usize| {
            let (key, model) = (TWINS[n % 2], ["gpt-test", "gpt-same"][n / 2 % 2]);
            let call = bench.http.post(format!("{}/v1/chat/completions", bench.url));
            let call = call.bearer_auth(key).json(&hello(model)).send();
            async move { (n.is_multiple_of(2) == (model == "gpt-test"), call.await.unwrap().status()) }
        });
        for (granted, status) in futures_util::future::join_all(asked).await {
            assert_eq!(status, if granted { 200 } else { 404 });
        }
        let books = bench.books().await;
        let mut counts: BTreeMap<(uuid::Uuid, &str, &str), i32> = BTreeMap::new();
        for event in &books.events {
            let of = (event.tenant_id, event.model.as_str(), event.outcome.as_str());
            *counts.entry(of).or_default() += event.count;
        }
        let mut kinds: Vec<(&str, &str, i32)> =
            counts.iter().map(|((_, model, outcome), count)| (*model, *outcome, *count)).collect();
        kinds.sort_unstable();
        assert_eq!(
            kinds,
            [("gpt-same", "ok", 20), ("gpt-same", "refused", 20), ("gpt-test", "ok", 20), ("gpt-test", "refused", 20)]
        );
        let tenants: std::collections::BTreeSet<_> = counts.keys().map(|(tenant, ..)| tenant).collect();
        assert_eq!(tenants.len(), 2, "each in its own tenant's books: {counts:?}");
    }
);

/// What follows the carrier's name, raw, for values that are nearly keys.
fn odd_values() -> Vec<(String, Vec<u8>)> {
    let mut shapes = Vec::new();
    let upper = KEY.to_uppercase();
    let long = "k".repeat(64 * 1024);
    let values = [
        format!("'{KEY}'"),
        format!("\"{KEY}\""),
        format!("{KEY}%00"),
        format!("{KEY}x"),
        format!("{KEY},"),
        format!("{KEY}, {KEY}"),
        KEY[..KEY.len() - 1].to_owned(),
        upper,
        format!("Bearer {KEY}"),
        "' OR '1'='1".to_owned(),
        "ключ-ключ-ключ-ключ-ключ".to_owned(),
        "0".to_owned(),
        long,
    ];
    for value in &values {
        shapes.push((
            "authorization: Bearer ".to_owned(),
            value.clone().into_bytes(),
        ));
        shapes.push((
            "authorization: Basic ".to_owned(),
            value.clone().into_bytes(),
        ));
        for header in ["x-api-key", "api-key", "x-goog-api-key"] {
            shapes.push((format!("{header}: "), value.clone().into_bytes()));
        }
    }
    shapes.push(("authorization: Bearer  ".to_owned(), KEY.into()));
    shapes.push(("authorization: ".to_owned(), KEY.into()));
    shapes.push(("authorization: Bearer".to_owned(), Vec::new()));
    shapes.push(("x-api-key: ".to_owned(), Vec::new()));
    shapes.push((
        "x-api-key: ".to_owned(),
        [KEY.as_bytes(), b"\xFF\xFE"].concat(),
    ));
    shapes
}

both_stores!(
    /// Threats: A1.
    a_value_that_is_nearly_a_key_gets_the_same_answer_as_any_other,
    Setup {
        environment: vec![("WEIR_PROXY_UNIDENTIFIED_PER_MINUTE", "10000".to_owned())],
        ..Setup::default()
    },
    |bench| {
        let mut answers = Vec::new();
        for (header, value) in odd_values() {
            let head = b"GET /v1/models HTTP/1.1\r\nhost: weir\r\n";
            let request = [head, header.as_bytes(), &value, b"\r\n\r\n"].concat();
            let mut raw = Raw::connect(&bench.url).await;
            raw.send(request).await;
            answers.push((header, raw.answer().await.unwrap()));
        }
        let in_query = [
            "%20{}", "{}%20", "{}%00", "%27{}%27", "{}x", "+{}", "{}%C3%BC", "", "%ZZ{}",
        ];
        for shape in in_query {
            let target = format!("/v1/models?key={}", shape.replace("{}", KEY));
            let mut raw = Raw::connect(&bench.url).await;
            raw.send(format!("GET {target} HTTP/1.1\r\nhost: weir\r\n\r\n"))
                .await;
            answers.push((target, raw.answer().await.unwrap()));
        }
        for (shape, answer) in answers {
            assert_eq!(answer.status, 401, "{shape:?}: {answer:?}");
            let id = answer.head.split("x-request-id: ").nth(1).unwrap()[..36].to_owned();
            let body = answer.body.replace(&id, "ID");
            let same = r#"{"error":{"message":"The API key is not known here. Check that it is a Weir proxy key, copied whole.","type":"invalid_request_error","param":null,"code":"invalid_api_key","request_id":"ID"}}"#;
            assert_eq!(body, same, "{shape:?}");
            assert!(!answer.head.contains(&KEY.to_lowercase()), "{shape:?}");
        }
        assert!(bench.books().await.events.is_empty());
    }
);

both_stores!(
    /// Threats: A12.
    an_address_that_tries_keys_is_slowed_down_and_its_neighbours_are_not,
    Setup {
        environment: vec![
            ("WEIR_PROXY_UNIDENTIFIED_PER_MINUTE", "3".to_owned()),
            ("WEIR_TRUSTED_PROXIES", "127.0.0.0/8".to_owned()),
        ],
        ..Setup::default()
    },
    |bench| {
        let from = |address: &'static str, key: &'static str| {
            carrying(&bench, &[("x-api-key", key)]).header("x-forwarded-for", address)
        };
        for _ in 0..3 {
            refused(
                from("192.0.2.1", UNKNOWN).send().await.unwrap(),
                401,
                "invalid_api_key",
            )
            .await;
        }
        let answer = from("192.0.2.1", UNKNOWN).send().await.unwrap();
        let after: u64 = answer.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((1..=60).contains(&after), "{after}");
        refused(answer, 429, "rate_limit_exceeded").await;
        assert_eq!(from("192.0.2.1", KEY).send().await.unwrap().status(), 200);
        refused(
            from("192.0.2.2", UNKNOWN).send().await.unwrap(),
            401,
            "invalid_api_key",
        )
        .await;
    }
);

both_stores!(
    /// Threats: H2.
    without_configured_proxies_nobody_is_believed_about_an_address,
    restricted(),
    |bench| {
        let claims = [
            ("x-forwarded-for", "10.1.2.3"),
            ("forwarded", "for=10.1.2.3"),
            ("x-real-ip", "10.1.2.3"),
            ("true-client-ip", "10.1.2.3"),
            ("cf-connecting-ip", "10.1.2.3"),
        ];
        for (name, value) in claims {
            let request = carrying(&bench, &[("x-api-key", ELSEWHERE)]).header(name, value);
            let error = refused(request.send().await.unwrap(), 403, "ip_not_allowed").await;
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("127.0.0.1"), "{message}");
        }
        assert!(bench.vendor.requests().is_empty());
    }
);

both_stores!(
    /// Threats: H2.
    a_chain_of_configured_proxies_is_followed_to_the_first_that_is_none,
    Setup {
        environment: vec![(
            "WEIR_TRUSTED_PROXIES",
            "127.0.0.0/8,192.0.2.0/24".to_owned()
        )],
        ..restricted()
    },
    |bench| {
        // Lines of X-Forwarded-For, and the address that is meant; 10.0.0.0/8 may use the key.
        let chains: [(&[&str], &str); 12] = [
            (&["10.1.2.3"], ""),
            (&["203.0.113.9, 10.1.2.3"], ""),
            (&["10.1.2.3, 192.0.2.7"], ""),
            (&["10.1.2.3", "192.0.2.7"], ""),
            (&["::ffff:10.1.2.3"], ""),
            (&["10.1.2.3:4711"], ""),
            (&["10.1.2.3, 203.0.113.9"], "203.0.113.9"),
            (&["10.1.2.3", "203.0.113.9"], "203.0.113.9"),
            (&["10.1.2.3, unknown"], "127.0.0.1"),
            (&["10.1.2.3,"], "127.0.0.1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&[], "127.0.0.1"),
        ];
        for (lines, seen) in chains {
            let mut request = carrying(&bench, &[("x-api-key", ELSEWHERE)]);
            for line in lines {
                request = request.header("x-forwarded-for", *line);
            }
            let answer = request.send().await.unwrap();
            if seen.is_empty() {
                assert_eq!(answer.status(), 200, "{lines:?}");
                continue;
            }
            let error = refused(answer, 403, "ip_not_allowed").await;
            let message = error["message"].as_str().unwrap();
            assert!(
                message.contains(&format!(" {seen}.")),
                "{lines:?}: {message}"
            );
        }
    }
);

both_stores!(
    an_ipv4_caller_of_an_ipv6_listener_is_known_by_its_ipv4_address,
    Setup {
        environment: vec![("WEIR_LISTEN", "[::]:0".to_owned())],
        resources: Some(Bench::usual_resources().replace(
            &format!("value: \"{KEY}\""),
            &format!("value: \"{KEY}\", ip_allow: [\"127.0.0.1\"]"),
        )),
        ..Setup::default()
    },
    |bench| {
        let port = bench.url.rsplit_once(':').unwrap().1;
        let url = format!("http://127.0.0.1:{port}/v1/models");
        let answer = bench.http.get(url).bearer_auth(KEY).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
);

/// `?key=` on every kind of path, with the log at its most talkative.
/// Threats: A11.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_the_url_reaches_neither_vendor_nor_log_nor_answer() {
    let stores = Stores::create(Store::Embedded).await;
    let vendor = Vendor::spawn();
    let log = stores.folder.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let mut environment = stores.environment("one");
    environment.push(("WEIR_LOG".to_owned(), "trace".to_owned()));
    let process = Process::start_logging(&stores, environment, Stdio::from(file)).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let resources = Bench::usual_resources().replace("{vendor}", &vendor.base_url());
    let applied = http
        .post(format!("{}/v1/admin/resources/apply", process.url))
        .bearer_auth(ADMIN_TOKEN)
        .header("content-type", "application/yaml")
        .body(resources);
    assert_eq!(applied.send().await.unwrap().status(), 200);

    let hello = hello("gpt-test").to_string();
    let mut answers = String::new();
    let requests = [
        ("GET", "/v1/models?alt=sse&key=", "", 200),
        ("POST", "/v1/chat/completions?key=", &*hello, 200),
        ("POST", "/v1/chat/completions?%6Bey=", "{", 400),
        ("GET", "/proxy/dedicated/v1/echo?a=1&key=", "", 200),
        ("GET", "/proxy/nowhere/v1/echo?key=", "", 404),
        ("GET", "/proxy/dedicated/a/../b?key=", "", 400),
        ("GET", "/nowhere?key=", "", 404),
        ("GET", "/chat/completions?key=", "", 404),
        ("TRACE", "/v1/models?key=", "", 405),
        ("OPTIONS", "/v1/models?key=", "", 204),
    ];
    for (method, target, body, status) in requests {
        for key in [KEY, UNKNOWN] {
            let length = body.len();
            let request = format!(
                "{method} {target}{key} HTTP/1.1\r\nhost: weir\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            let mut raw = Raw::connect(&process.url).await;
            raw.send(request).await;
            let answer = raw.answer().await.unwrap();
            if key == KEY {
                assert_eq!(answer.status, status, "{target}: {answer:?}");
            }
            answers += &format!("{answer:?}");
        }
    }
    let mut raw = Raw::connect(&process.url).await;
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    raw.send(format!(
        "GET /proxy/dedicated/v1/realtime?key={KEY} HTTP/1.1\r\nhost: weir\r\n{upgrade}\r\n"
    ))
    .await;
    answers += &raw.read_to_end(SOON).await;
    process.terminate();
    assert_eq!(process.ended().await, Some(0));

    let log = std::fs::read_to_string(log).unwrap();
    assert!(
        log.contains("/v1/chat/completions"),
        "the log says something: {log}"
    );
    let received = vendor.requests();
    assert_eq!(received.len(), 2, "the answered chat and the echo");
    let heads: String = received
        .iter()
        .map(|request| String::from_utf8_lossy(&request.head).into_owned())
        .collect();
    assert!(heads.contains("/v1/echo?a=1 "), "{heads}");
    for (place, text) in [("log", &log), ("vendor", &heads), ("answers", &answers)] {
        for key in [KEY, UNKNOWN] {
            let line = text.lines().find(|line| line.contains(&key[3..]));
            assert_eq!(line, None, "{place}");
        }
    }
}

/// A fresh installation gives nothing to whoever comes first (threats.md, A7).
/// Threats: A7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_installation_has_no_door_for_whoever_comes_first() {
    let bench = Bench::start(
        Store::Embedded,
        Setup {
            resources: Some("tenants: []".to_owned()),
            ..Setup::default()
        },
    )
    .await;
    let paths = [
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
        ("POST", "/proxy/x/v1/chat/completions"),
        ("GET", "/v1/admin/resources"),
        ("POST", "/v1/admin/resources/apply"),
        ("GET", "/v1/admin/keys"),
        ("POST", "/v1/admin/keys"),
        ("GET", "/v1/admin/usage"),
        ("POST", "/v1/admin/setup"),
        ("GET", "/v1/admin/nothing"),
        ("POST", "/register"),
    ];
    for (method, path) in paths {
        for token in ["", "admin", "wk-", "wa-"] {
            let method = method.parse().unwrap();
            let request = bench.http.request(method, format!("{}{path}", bench.url));
            let answer = request
                .bearer_auth(token)
                .json(&json!({}))
                .send()
                .await
                .unwrap();
            let status = answer.status().as_u16();
            assert!([401, 404].contains(&status), "{path} {token:?}: {status}");
        }
    }
}

// Threats: A12.
both_stores!(
    whoever_tries_tokens_of_management_waits_and_whoever_has_one_does_not,
    Setup {
        environment: vec![("WEIR_PROXY_UNIDENTIFIED_PER_MINUTE", "5".to_owned())],
        ..Setup::default()
    },
    |bench| {
        let shown = async |token: &str| {
            let url = format!("{}/v1/admin/keys", bench.admin_url);
            let answer = bench.http.get(url).bearer_auth(token).send().await.unwrap();
            let retry = answer.headers().contains_key("retry-after");
            (answer.status().as_u16(), retry)
        };
        for at in 0..5 {
            let guess = format!("wst-{at:040}");
            assert_eq!(shown(&guess).await, (401, false), "{guess}");
        }
        for guess in [
            "wst-0000000000000000000000000000000000000009",
            "no token at all",
            "a.b.c",
        ] {
            assert_eq!(shown(guess).await, (429, true), "{guess}");
        }
        assert_eq!(shown(ADMIN_TOKEN).await, (200, false));
        // Who shows nothing tries nothing.
        let url = format!("{}/v1/admin/keys", bench.admin_url);
        assert_eq!(bench.http.get(url).send().await.unwrap().status(), 401);
        let metrics = bench.http.get(format!("{}/metrics", bench.admin_url));
        let metrics = metrics.bearer_auth(ADMIN_TOKEN).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        for line in [
            r#"gateway_unidentified_total{reason="unauthorized"} 5"#,
            r#"gateway_unidentified_total{reason="rate_limit_exceeded"} 3"#,
        ] {
            assert!(metrics.contains(line), "{line}: {metrics}");
        }
    }
);
