//! The HTTP front: request ids, CORS, paths, targets, framing, and what never passes from an upstream (threats.md, H1–H5,
//! H9, H10, P1).

use reqwest::Method;
use serde_json::Value;
use weir_upstream::Behaviour;

use crate::{
    both_stores,
    support::{
        Raw, SOON, Setup, assert_refused,
        gateway::{KEY, hello, hello_stream},
        refused,
        stores::ADMIN_TOKEN,
    },
};

both_stores!(
    every_answer_has_weirs_own_id_and_the_callers_label,
    |bench| {
        let asked = [
            (Method::POST, "/v1/chat/completions", 200),
            (Method::POST, "/v1/embeddings", 404),
            (Method::GET, "/v1/models", 200),
            (Method::GET, "/v1/chat/completions", 405),
            (Method::GET, "/nowhere", 404),
            (Method::OPTIONS, "/v1/chat/completions", 204),
            (Method::GET, "/proxy/absent/x", 404),
        ];
        let mut ids = Vec::new();
        for key in [KEY, "wk-nobody"] {
            for (method, path, status) in &asked {
                let request = bench
                    .http
                    .request(method.clone(), format!("{}{path}", bench.url))
                    .bearer_auth(key)
                    .header("x-request-id", "not-mine")
                    .header("x-client-request-id", "order-66")
                    .json(&hello("gpt-same"));
                let answer = request.send().await.unwrap();
                if key == KEY && *path != "/v1/embeddings" {
                    assert_eq!(answer.status().as_u16(), *status, "{path}");
                }
                let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
                assert_eq!(header("x-client-request-id"), "order-66", "{path}");
                assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
                assert!(
                    header("content-security-policy").starts_with("sandbox"),
                    "{path}"
                );
                assert_eq!(header("access-control-allow-origin"), "*", "{path}");
                ids.push(header("x-request-id"));
            }
        }
        assert!(
            ids.iter()
                .all(|id| id.len() == 36 && id.as_bytes()[14] == b'7'),
            "UUIDv7: {ids:?}"
        );
        let books = bench.books().await;
        assert!(
            books
                .events
                .iter()
                .all(|event| ids.contains(&event.id.to_string()))
        );
        assert!(
            books
                .events
                .iter()
                .all(|event| event.client_request_id.as_deref() == Some("order-66"))
        );
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 14);

        // Without one of its own, a caller's `x-request-id` is the label; what no header should hold is no label.
        for (name, value, label) in [
            ("x-request-id", "abc", Some("abc")),
            ("x-client-request-id", "a b", None),
            ("x-client-request-id", "", None),
        ] {
            let answer = bench
                .post("/v1/chat/completions")
                .header(name, value)
                .send()
                .await
                .unwrap();
            let echoed = answer
                .headers()
                .get("x-client-request-id")
                .map(|value| value.to_str().unwrap());
            assert_eq!(echoed, label);
        }
        let long = "x".repeat(129);
        let answer = bench
            .post("/v1/chat/completions")
            .header("x-request-id", long)
            .send()
            .await
            .unwrap();
        assert!(answer.headers().get("x-client-request-id").is_none());
    }
);

both_stores!(
    a_browser_may_ask_from_anywhere_without_credentials,
    |bench| {
        for path in [
            "/v1/chat/completions",
            "/v1/models",
            "/proxy/dedicated/v1/x",
            "/api/v1/models",
        ] {
            for origin in [
                "https://app.example",
                "null",
                "https://weir.example.evil.com",
            ] {
                let preflight = bench
                    .http
                    .request(Method::OPTIONS, format!("{}{path}", bench.url))
                    .header("origin", origin)
                    .header("access-control-request-method", "POST")
                    .header(
                        "access-control-request-headers",
                        "authorization,x-stainless-os",
                    );
                let answer = preflight.send().await.unwrap();
                let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
                assert_eq!(answer.status(), 204);
                assert_eq!(header("access-control-allow-origin"), "*");
                assert_eq!(
                    header("access-control-allow-headers"),
                    "authorization,x-stainless-os"
                );
                assert!(header("access-control-allow-methods").contains("POST"));
                assert!(
                    answer
                        .headers()
                        .get("access-control-allow-credentials")
                        .is_none()
                );
            }
        }
        let answer = bench.chat(hello("gpt-same")).await;
        let exposed = answer.headers()["access-control-expose-headers"]
            .to_str()
            .unwrap()
            .to_owned();
        for name in ["x-request-id", "x-weir-cost", "retry-after"] {
            assert!(exposed.contains(name), "{exposed}");
        }
        assert_eq!(
            bench.vendor.requests().len(),
            1,
            "no preflight went upstream"
        );
        assert_eq!(bench.books().await.events.len(), 1);
        // Management says nothing of the kind.
        let preflight = bench
            .http
            .request(Method::OPTIONS, format!("{}/v1/admin/keys", bench.url))
            .header("origin", "https://app.example")
            .header("access-control-request-method", "POST");
        let answer = preflight.send().await.unwrap();
        assert!(
            answer
                .headers()
                .get("access-control-allow-origin")
                .is_none()
        );
    }
);

both_stores!(
    /// Threats: P1.
    nothing_that_acts_on_an_origin_passes_from_an_upstream,
    |bench| {
        let hostile = [
            ("set-cookie", "session=evil"),
            ("set-cookie2", "session=evil"),
            ("location", "https://evil.example/"),
            ("refresh", "0; url=https://evil.example/"),
            ("clear-site-data", "\"*\""),
            ("service-worker-allowed", "/"),
            ("alt-svc", "h3=\":443\""),
            ("strict-transport-security", "max-age=1"),
            ("content-security-policy", "default-src *"),
            ("access-control-allow-origin", "https://evil.example"),
            ("access-control-allow-credentials", "true"),
            ("x-request-id", "req_upstream"),
            ("x-client-request-id", "forged"),
            ("x-weir-cost", "0"),
            ("x-weir-channel", "forged"),
            ("openai-organization", "org-secret"),
            ("www-authenticate", "Basic"),
            ("link", "<https://evil.example>; rel=preload"),
            ("nel", "{}"),
            ("report-to", "{}"),
            ("sourcemap", "https://evil.example/x.map"),
            ("x-harmless", "passes"),
        ];
        let mut behaviour = Behaviour::default();
        for (name, value) in hostile {
            behaviour = behaviour.with_header(name, value);
        }
        let page = Behaviour {
            body: Some("<script>steal()</script>".to_owned()),
            ..behaviour.clone().with_header("content-type", "text/html")
        };
        let redirect = Behaviour {
            status: Some(302),
            ..behaviour.clone()
        };
        let failure = Behaviour {
            status: Some(422),
            ..behaviour.clone()
        };
        bench.vendor.set_default(behaviour);
        let mut answers = vec![
            bench.chat(hello("gpt-same")).await,
            bench.chat(hello_stream("gpt-same")).await,
        ];
        for other in [page, redirect, failure] {
            bench.vendor.push(other);
            let asked = bench
                .http
                .get(format!("{}/proxy/dedicated/v1/page", bench.url));
            answers.push(asked.bearer_auth(KEY).send().await.unwrap());
        }
        let statuses: Vec<u16> = answers
            .iter()
            .map(|answer| answer.status().as_u16())
            .collect();
        assert_eq!(statuses, [200, 200, 200, 302, 422]);
        for answer in answers {
            let headers = format!("{:?}", answer.headers());
            for word in [
                "evil",
                "forged",
                "org-secret",
                "max-age=1",
                "h3=",
                "clear-site",
                "service-worker",
                "Basic",
                "\"nel\"",
                "report-to",
            ] {
                assert!(!headers.contains(word), "{word}: {headers}");
            }
            assert_eq!(answer.headers()["x-harmless"], "passes");
            assert_eq!(
                answer.headers()["x-weir-upstream-request-id"],
                "req_upstream"
            );
            assert_eq!(
                answer.headers()["content-security-policy"],
                "sandbox; default-src 'none'"
            );
            assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
            assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
            assert_eq!(
                answer
                    .headers()
                    .get_all("access-control-allow-origin")
                    .iter()
                    .count(),
                1
            );
        }
    }
);

both_stores!(
    a_path_that_does_not_exist_says_so_and_names_the_one_that_was_meant,
    |bench| {
        for path in [
            "/chat/completions",
            "/completions",
            "/embeddings",
            "/models",
            "/openai/v1/chat/completions",
        ] {
            let asked = bench.post(path).json(&hello("gpt-same"));
            let error = refused(asked.send().await.unwrap(), 404, "unknown_path").await;
            let meant = format!(
                "/v1/{}",
                path.split('/')
                    .skip_while(|part| ["", "v1", "openai"].contains(part))
                    .collect::<Vec<_>>()
                    .join("/")
            );
            assert!(
                error["message"].as_str().unwrap().contains(&meant),
                "{path}: {error}"
            );
        }
        for path in [
            "/nowhere",
            "/v1",
            "/v1/",
            "/v2/chat/completions",
            "/v1/chat",
            "/.env",
            "/%3Cscript%3E",
        ] {
            let error = refused(bench.post(path).send().await.unwrap(), 404, "unknown_path").await;
            assert!(
                !error["message"].as_str().unwrap().contains("script"),
                "{error}"
            );
        }
    }
);

// Threats: H3.
both_stores!(a_path_that_servers_read_differently_goes_nowhere, |bench| {
    // The raw target, and the status: 400 where it is read by Weir, 404 where it leads nowhere.
    let targets = [
        "/proxy/dedicated/..",
        "/proxy/dedicated/v1/../../v1/admin",
        "/proxy/dedicated/%2e%2e/x",
        "/proxy/dedicated/%2E%2e/x",
        "/proxy/dedicated/%252e%252e/x",
        "/proxy/dedicated/a%2f..%2fx",
        "/proxy/dedicated/a%5cx",
        "/proxy/dedicated/a\\x",
        "/proxy/dedicated//evil.example/x",
        "/proxy/dedicated/a//x",
        "/proxy/dedicated/a/..;x=1/x",
        "/proxy/dedicated/a%00x",
        "/proxy/dedicated/a%0d%0aset-cookie:x",
        "/proxy/dedicated/a%250d%250ax",
        "/proxy/dedicated/a%zz",
        "/proxy/dedicated/a%2",
        "/proxy/../v1/admin/keys",
        "/proxy/%2e%2e/v1/admin/keys",
        "//proxy/dedicated/x",
        "/v1/../proxy/dedicated/x",
        "/v1/models/..%2fx",
        "/v1/files/%2e%2e/x",
    ];
    for target in targets {
        let mut raw = Raw::connect(&bench.url).await;
        raw.send(format!(
            "GET {target} HTTP/1.1\r\nhost: weir\r\nx-api-key: {KEY}\r\n\r\n"
        ))
        .await;
        let answer = raw.answer().await.unwrap();
        assert!([400, 404].contains(&answer.status), "{target}: {answer:?}");
        assert!(!answer.head.contains("set-cookie"), "{answer:?}");
    }
    assert!(bench.vendor.requests().is_empty());
    // What is only unusual goes on as it was written.
    for rest in [
        "/v1/a%20b",
        "/v1/a%2Fb",
        "/v1/%E4%B8%AD",
        "/v1/a;x=1",
        "/v1/a+b~c",
        "/v1/x/",
        "/v1/...x",
        "/v1/a%3Fb",
    ] {
        let mut raw = Raw::connect(&bench.url).await;
        raw.send(format!("GET /proxy/dedicated{rest}?q=%2e%2e&r=a/../b HTTP/1.1\r\nhost: weir\r\nx-api-key: {KEY}\r\n\r\n")).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, 200, "{rest}: {answer:?}");
        let sent = bench.vendor.requests().last().unwrap().path.clone();
        assert_eq!(sent, format!("{rest}?q=%2e%2e&r=a/../b"));
    }
});

// Threats: H5.
both_stores!(weir_is_never_an_open_proxy, |bench| {
    let trap = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let at = trap.local_addr().unwrap();
    let key = format!("x-api-key: {KEY}\r\n");
    let requests = [
        (
            format!("CONNECT {at} HTTP/1.1\r\nhost: {at}\r\n{key}\r\n"),
            405,
        ),
        (format!("CONNECT {at} HTTP/1.1\r\nhost: {at}\r\n\r\n"), 405),
        (
            format!("TRACE /v1/models HTTP/1.1\r\nhost: weir\r\n{key}\r\n"),
            405,
        ),
        (
            format!("TRACE /proxy/dedicated/v1/x HTTP/1.1\r\nhost: weir\r\n{key}\r\n"),
            405,
        ),
        (
            "TRACE /v1/models HTTP/1.1\r\nhost: weir\r\n\r\n".to_owned(),
            405,
        ),
        (
            "TRACE /nowhere HTTP/1.1\r\nhost: weir\r\n\r\n".to_owned(),
            405,
        ),
        (
            format!("GET http://{at}/nowhere HTTP/1.1\r\nhost: weir\r\n{key}\r\n"),
            404,
        ),
        (
            format!("GET http://{at}/v1/models HTTP/1.1\r\nhost: {at}\r\n{key}\r\n"),
            200,
        ),
        (
            format!("GET http://user:pass@{at}/v1/models HTTP/1.1\r\nhost: {at}\r\n{key}\r\n"),
            200,
        ),
        (
            format!("GET /v1/models HTTP/1.1\r\nhost: {at}\r\nx-forwarded-host: {at}\r\n{key}\r\n"),
            200,
        ),
        (
            format!(
                "GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nhost: weir\r\n{key}\r\n"
            ),
            404,
        ),
        (
            format!("GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: b\r\n{key}\r\n"),
            400,
        ),
        (format!("GET /v1/models HTTP/1.1\r\n{key}\r\n"), 400),
    ];
    for (request, status) in requests {
        let mut raw = Raw::connect(&bench.url).await;
        raw.send(&request).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        assert!(
            !answer.body.contains("x-api-key"),
            "TRACE shows nothing: {answer:?}"
        );
        if status == 405 {
            let id = &answer.head.split("x-request-id: ").nth(1).unwrap()[..36];
            assert_refused(&answer.body, "method_not_allowed", id);
        }
    }
    // `*` is no path either.
    let mut raw = Raw::connect(&bench.url).await;
    raw.send("OPTIONS * HTTP/1.1\r\nhost: weir\r\n\r\n").await;
    assert!(raw.answer().await.unwrap().status < 500);
    assert!(trap.accept().is_err(), "somebody connected to the trap");
    assert!(bench.vendor.requests().is_empty());

    // A name that somebody else points at this machine opens no management.
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
    ] {
        let mut raw = Raw::connect(&bench.url).await;
        raw.send(format!("GET /v1/admin/keys HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\r\n")).await;
        assert_eq!(raw.answer().await.unwrap().status, 421, "{host}");
        // Nor what is open to this machine without a token.
        for (path, wanted) in [("/metrics", 401), ("/health/detailed", 421)] {
            let mut raw = Raw::connect(&bench.url).await;
            raw.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"))
                .await;
            assert_eq!(raw.answer().await.unwrap().status, wanted, "{host}{path}");
        }
    }
    let get = async |path: &str| bench.http.get(format!("{}{path}", bench.url)).send().await;
    assert_eq!(get("/metrics").await.unwrap().status(), 200);
    let refused = get("/health/detailed").await.unwrap();
    assert_eq!(refused.status(), 401);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["code"], "unauthorized", "{refused}");
});

both_stores!(
    /// Threats: O3.
    management_leaves_the_public_listener_for_its_own,
    Setup {
        environment: vec![("WEIR_ADMIN_LISTEN", "127.0.0.1:0".to_owned())],
        ..Setup::default()
    },
    |bench| {
        assert_ne!(bench.url, bench.admin_url);
        let get = async |base: &str, path: &str| {
            let request = bench
                .http
                .get(format!("{base}{path}"))
                .bearer_auth(ADMIN_TOKEN);
            request.send().await.unwrap()
        };
        for path in [
            "/",
            "/docs",
            "/docs/readme",
            "/docs/api/",
            "/metrics",
            "/health/detailed",
            "/v1/admin/openapi.json",
            "/v1/admin/sign-in",
            "/v1/admin/keys",
            "/v1/admin/nothing",
            "/v1/admin",
            "/assets/style.css",
        ] {
            refused(get(&bench.url, path).await, 404, "unknown_path").await;
        }
        for path in [
            "/",
            "/docs",
            "/docs/readme",
            "/docs/api/",
            "/metrics",
            "/health/detailed",
            "/v1/admin/openapi.json",
            "/v1/admin/keys",
            "/health",
            "/ready",
            "/assets/style.css",
        ] {
            assert_eq!(get(&bench.admin_url, path).await.status(), 200, "{path}");
        }
        for path in [
            "/v1/models",
            "/v1/chat/completions",
            "/proxy/dedicated/v1/x",
        ] {
            assert_eq!(get(&bench.admin_url, path).await.status(), 404, "{path}");
        }
        assert_eq!(bench.chat(hello("gpt-same")).await.status(), 200);
        let health: Value = get(&bench.url, "/health").await.json().await.unwrap();
        assert_eq!(health["status"], "ok");
        // Not to a page of another name that leads there.
        let mut raw = Raw::connect(&bench.admin_url).await;
        raw.send("GET /metrics HTTP/1.1\r\nhost: evil.example\r\n\r\n")
            .await;
        assert_eq!(raw.answer().await.unwrap().status, 401);
        // Metrics are open there, also to a scraper behind a proxy.
        let scraped = bench
            .http
            .get(format!("{}/metrics", bench.admin_url))
            .header("x-forwarded-for", "192.0.2.1");
        assert_eq!(scraped.send().await.unwrap().status(), 200);
    }
);

both_stores!(
    a_connection_is_kept_unless_a_refusal_left_a_body_unread_and_says_so,
    |bench| {
        let mut raw = Raw::connect(&bench.url).await;
        let hello = hello("gpt-same").to_string();
        let get = |key: &str| {
            format!("GET /v1/models HTTP/1.1\r\nhost: weir\r\nx-api-key: {key}\r\n\r\n")
        };
        for key in [KEY, "wk-nobody", KEY] {
            raw.send(get(key)).await;
            let answer = raw.answer().await.expect("the connection is kept");
            assert_eq!(answer.status, if key == KEY { 200 } else { 401 });
            assert!(!answer.head.contains("connection: close"), "{answer:?}");
        }
        for _ in 0..2 {
            raw.post("/v1/chat/completions", KEY, &hello).await;
            assert_eq!(
                raw.answer().await.expect("the connection is kept").status,
                200
            );
        }
        raw.post("/v1/chat/completions", "wk-nobody", &hello).await;
        let answer = raw.answer().await.unwrap();
        assert!(
            answer.status == 401 && answer.head.contains("connection: close"),
            "{answer:?}"
        );
        assert!(raw.is_closed(SOON).await);
    }
);
