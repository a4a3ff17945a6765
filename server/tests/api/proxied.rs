//! `/proxy/{channel}/{path}` and the session paths: what passes, what stops, and what is checked on the way (threats.md, K2,
//! K6, K7, H2, B2, B5).

use reqwest::Method;
use serde_json::{Value, json};
use weir_upstream::Behaviour;

use crate::{
    both_stores,
    support::{
        Bench, Setup,
        gateway::{KEY, hello},
        refused,
    },
};

const NARROW: &str = "wk-narrow-0123456789-abcdefghij-KLMNO";

fn channels() -> Setup {
    let more = r#"
  - {name: listed, kind: custom, base_url: "{vendor}", credentials: [sk-listed-credential-4444], proxy_paths: ["/v1/listed", "/v1/below/*"]}
  - {name: beta, tenant: acme, kind: openai, base_url: "{vendor}", allowed_origin: "{vendor}", credentials: [sk-beta-credential-5555], settings: {allow_beta: true}}
  - {name: query, tenant: acme, kind: custom, base_url: "{vendor}", allowed_origin: "{vendor}", credentials: [sk-query-credential-6666], auth: {query: {name: token, value: "{secret}"}}}
  - {name: header, tenant: acme, kind: custom, base_url: "{vendor}", allowed_origin: "{vendor}", credentials: [sk-header-credential-7777], auth: {header: x-custom-auth, value: "Key {secret}"}}
models:"#;
    let key = format!(
        "\"\n      - {{name: narrow, value: \"{NARROW}\", models: [gpt-same]}}\n  - name: globex"
    );
    let resources = Bench::usual_resources()
        .replacen("\nmodels:", more, 1)
        .replacen(
            "\"}\n  - name: globex",
            &format!("\"}}{}", key.trim_start_matches('"')),
            1,
        );
    Setup {
        resources: Some(resources),
        ..Setup::default()
    }
}

both_stores!(
    every_method_but_a_few_goes_through_with_its_query_and_its_body,
    channels(),
    |bench| {
        for (method, status) in [
            (Method::GET, 200),
            (Method::HEAD, 200),
            (Method::POST, 200),
            (Method::PUT, 200),
            (Method::PATCH, 200),
            (Method::DELETE, 200),
            (Method::OPTIONS, 204),
            (Method::TRACE, 405),
            ("PROPFIND".parse().unwrap(), 405),
        ] {
            let before = bench.vendor.requests().len();
            let url = format!("{}/proxy/dedicated/v1/thing/%41?b=2&a=1&b=%20", bench.url);
            let body = if method == Method::GET || method == Method::HEAD {
                ""
            } else {
                " {\"x\" : 1.50,\n\"x\":2}"
            };
            let asked = bench
                .http
                .request(method.clone(), url)
                .bearer_auth(KEY)
                .header("content-type", "application/json")
                .body(body);
            let answer = asked.send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{method}");
            let received = bench.vendor.requests();
            if status != 200 {
                assert_eq!(received.len(), before, "{method}");
                continue;
            }
            let sent = received.last().unwrap();
            // The base URL ends in /v1; the path is appended to the vendor's root.
            assert_eq!(
                (sent.method.as_str(), sent.path.as_str()),
                (method.as_str(), "/v1/thing/%41?b=2&a=1&b=%20")
            );
            assert_eq!(sent.body, body, "byte for byte");
            assert_eq!(
                sent.header("authorization"),
                Some("Bearer sk-dedicated-credential-3333")
            );
        }
        let books = bench.books().await;
        assert_eq!(
            books
                .events
                .iter()
                .filter(|event| event.outcome == "ok")
                .count(),
            6
        );
        assert!(
            books
                .events
                .iter()
                .all(|event| event.endpoint == "/proxy" && event.dialect == "none")
        );
    }
);

both_stores!(
    /// Threats: K7, H2.
    end_to_end_headers_pass_and_what_is_the_callers_or_names_an_account_stops,
    channels(),
    |bench| {
        let passing = [
            ("x-custom", "1"),
            ("accept-language", "de"),
            ("user-agent", "mine/1.0"),
            ("idempotency-key", "k"),
            ("range", "bytes=0-1"),
        ];
        let stopping = [
            ("cookie", "a=b"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-host", "evil"),
            ("forwarded", "for=1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("via", "1.1 x"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("keep-alive", "5"),
            ("openai-organization", "org-other"),
            ("openai-project", "proj-other"),
            ("x-goog-user-project", "other"),
            ("x-ms-client-principal", "other"),
            ("x-amz-security-token", "other"),
            ("openai-beta", "assistants=v2"),
            ("anthropic-beta", "paid-extra"),
            ("x-weir-cost", "1"),
            ("x-request-id", "mine"),
            ("x-client-request-id", "mine"),
            ("origin", "https://a.example"),
            ("referer", "https://a.example/?key=wk-x"),
            ("sec-fetch-mode", "cors"),
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/v1/organization"),
            ("x-hop", "1"),
        ];
        let inference = ["/v1/chat/completions", "/v1/dedicated/chat/completions"];
        for path in inference.iter().chain(&["/proxy/dedicated/v1/thing"]) {
            let mut request = bench.post(path).json(&hello("gpt-same"));
            for (name, value) in passing.iter().chain(&stopping) {
                request = request.header(*name, *value);
            }
            let answer = request
                .header("connection", "x-hop, authorization, content-type")
                .send()
                .await
                .unwrap();
            assert_eq!(
                answer.status(),
                200,
                "{path}: {}",
                answer.text().await.unwrap()
            );
            let sent = bench.vendor.requests().last().unwrap().clone();
            for (name, value) in stopping {
                assert_eq!(
                    sent.header(name).filter(|found| found.contains(value)),
                    None,
                    "{path} {name}"
                );
            }
            assert_eq!(
                sent.header("content-type"),
                Some("application/json"),
                "{path}"
            );
            assert!(
                sent.header("authorization")
                    .unwrap()
                    .starts_with("Bearer sk-"),
                "{path}"
            );
            assert_eq!(sent.header("accept-encoding"), Some("identity"), "{path}");
            assert_eq!(
                sent.header("host"),
                Some(&*bench.vendor.addr.to_string()),
                "{path}"
            );
            if path.starts_with("/proxy") {
                for (name, value) in passing {
                    assert_eq!(sent.header(name), Some(value), "{path}");
                }
            } else {
                assert_eq!(
                    (sent.header("x-custom"), sent.header("range")),
                    (None, None),
                    "{path}"
                );
            }
            let head = String::from_utf8_lossy(&sent.head).into_owned();
            assert!(!head.contains("wk-"), "{head}");
        }
        // A channel may allow beta flags; account headers never come from a caller.
        let request = bench
            .post("/proxy/beta/v1/thing")
            .header("openai-beta", "assistants=v2")
            .header("openai-organization", "org-other");
        assert_eq!(request.send().await.unwrap().status(), 200);
        let sent = bench.vendor.requests().last().unwrap().clone();
        assert_eq!(
            (
                sent.header("openai-beta"),
                sent.header("openai-organization")
            ),
            (Some("assistants=v2"), None)
        );
    }
);

both_stores!(
    a_credential_goes_where_the_channel_says_and_a_callers_own_is_replaced,
    channels(),
    |bench| {
        let asked = bench.post("/proxy/query/v1/thing?token=mine&a=1&tok%65n=mine");
        assert_eq!(asked.send().await.unwrap().status(), 200);
        assert_eq!(
            bench.vendor.requests()[0].path,
            "/v1/thing?a=1&token=sk-query-credential-6666"
        );
        let asked = bench
            .post("/proxy/header/v1/thing")
            .header("x-custom-auth", "mine");
        assert_eq!(asked.send().await.unwrap().status(), 200);
        let sent = &bench.vendor.requests()[1];
        let values: Vec<&str> = sent
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("x-custom-auth"))
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(values, ["Key sk-header-credential-7777"]);
        assert_eq!(sent.header("authorization"), None);
    }
);

both_stores!(
    a_shared_channel_passes_its_paths_and_a_dedicated_one_all_but_the_account,
    channels(),
    |bench| {
        let ask = async |channel: &str, path: &str| {
            let request = bench
                .http
                .get(format!("{}/proxy/{channel}{path}", bench.url));
            request.bearer_auth(KEY).send().await.unwrap()
        };
        for path in [
            "/v1/listed",
            "/v1/listed/",
            "/v1/l%69sted",
            "/v1/below/a",
            "/v1/below/a/b",
        ] {
            assert_eq!(ask("listed", path).await.status(), 200, "{path}");
        }
        for path in [
            "",
            "/",
            "/v1/listed/x",
            "/v1/below",
            "/v1/belowx",
            "/V1/listed",
            "/v1%2Flisted",
            "/v1/l%2569sted",
            "/v1/chat/completions",
            "/v1/models",
        ] {
            refused(ask("listed", path).await, 404, "not_on_shared_channel").await;
        }
        for path in [
            "/v1/files",
            "/v1/models",
            "/v1/responses/resp_1",
            "/v1/assistants",
            "/v1/fine_tuning/jobs",
            "/v1/chat/completions/x",
        ] {
            refused(ask("vendor", path).await, 404, "not_on_shared_channel").await;
            assert_ne!(
                ask("dedicated", path).await.headers().get("x-weir-channel"),
                None,
                "{path}"
            );
        }
        let before = bench.vendor.requests().len();
        for path in [
            "/v1/organization/users",
            "/v1/organization/admin_api_keys",
            "/v1/Organization/costs",
            "/organization",
            "/v1/%6frganization/users",
            "/v1/%256frganization/users",
            "/v1%2forganization/users",
            "/v1/organization%2fusers",
            "/v1;x=1/organization/users",
            "/v1/organization;x=1/users",
            "/v1/projects/p/api_keys",
            "/dashboard/billing/usage",
            "/v1/dashboard/billing",
            "/v1/usage",
        ] {
            refused(ask("dedicated", path).await, 404, "not_on_shared_channel").await;
        }
        assert_eq!(
            bench.vendor.requests().len(),
            before,
            "nothing went upstream"
        );
    }
);

both_stores!(
    a_proxied_model_is_checked_priced_by_its_route_and_left_as_it_was_written,
    channels(),
    |bench| {
        let path = "/proxy/vendor/v1/chat/completions";
        let ask = async |key: &str, body: &str| {
            let request = bench
                .http
                .post(format!("{}{path}", bench.url))
                .bearer_auth(key);
            request
                .header("content-type", "application/json")
                .body(body.to_owned())
                .send()
                .await
                .unwrap()
        };
        let spaced = "{ \"messages\" : [{\"role\":\"user\",\"content\":\"hi\"}],\n\t\"model\":\"gpt-test-upstream\" , \"x\":1e2 }";
        let answer = ask(KEY, spaced).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        assert_eq!(answer.headers()["x-weir-model"], "gpt-test");
        assert_eq!(bench.vendor.requests()[0].body, spaced, "byte for byte");
        let streamed =
            r#"{"model":"gpt-same","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
        let answer = ask(KEY, streamed).await;
        assert!(answer.text().await.unwrap().ends_with("data: [DONE]\n\n"));
        assert_eq!(
            bench.vendor.requests()[1].body,
            streamed,
            "no usage is asked for"
        );

        // The vendor reads the name as it stands: one that is only Weir's would be another model there.
        refused(
            ask(KEY, &hello("gpt-test").to_string()).await,
            404,
            "model_not_found",
        )
        .await;
        refused(
            ask(KEY, &hello("absent").to_string()).await,
            404,
            "model_not_found",
        )
        .await;
        refused(ask(NARROW, spaced).await, 403, "model_not_allowed").await;
        refused(
            ask(KEY, r#"{"model":"gpt-same","model":"gpt-test-upstream"}"#).await,
            400,
            "invalid_json",
        )
        .await;
        refused(ask(KEY, "[1]").await, 400, "invalid_json").await;
        let form = "--edge\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nabsent\r\n--edge--\r\n";
        let asked = bench
            .post("/proxy/vendor/v1/audio/transcriptions")
            .header("content-type", "multipart/form-data; boundary=edge");
        refused(
            asked.body(form).send().await.unwrap(),
            404,
            "model_not_found",
        )
        .await;
        // What an operator listed is looked at too, whatever it calls itself.
        for kind in ["application/json", "text/plain", "application/octet-stream"] {
            let asked = bench
                .post("/proxy/listed/v1/listed")
                .header("content-type", kind);
            refused(
                asked
                    .body(" \n{\"model\":\"absent\"}")
                    .send()
                    .await
                    .unwrap(),
                404,
                "model_not_found",
            )
            .await;
        }
        let large = format!("{}{{\"model\":\"absent\"}}", " ".repeat(2 << 20));
        let asked = bench
            .post("/proxy/listed/v1/listed")
            .header("content-type", "text/plain");
        refused(
            asked.body(large).send().await.unwrap(),
            404,
            "model_not_found",
        )
        .await;
        // What is no JSON passes there.
        let asked = bench
            .post("/proxy/listed/v1/listed")
            .header("content-type", "audio/wav");
        assert_eq!(
            asked
                .body(vec![7u8; 2 << 20])
                .send()
                .await
                .unwrap()
                .status(),
            200
        );
        assert_eq!(bench.vendor.requests().len(), 3);

        let books = bench.books().await;
        let priced: Vec<_> = books
            .calls()
            .map(|event| (event.model.as_str(), event.unpriced, event.estimated))
            .collect();
        assert_eq!(
            &priced[..2],
            [("gpt-test", false, false), ("gpt-same", false, true)]
        );
        let first = books.calls().next().unwrap();
        let line = &bench.vendor.bill()[0];
        assert_eq!(
            (first.input_tokens as u64, first.output_tokens as u64),
            (line.tokens.input, line.tokens.output)
        );
        assert_eq!(
            first.charge_nanos,
            1_000 * first.input_tokens + 2_000 * first.output_tokens
        );
        books.assert_sums();
    }
);

// Threats: T13.
both_stores!(sessions_labels_stay_here_and_name_the_end_user, |bench| {
    let bodies = [
        (
            r#"{"session_id":"s-1","user_id":"u-7","model":"gpt-same","messages":[]}"#,
            r#"{"model":"gpt-same","messages":[]}"#,
        ),
        (
            r#"{"model":"gpt-same","messages":[] , "user_id":"u-7"}"#,
            r#"{"model":"gpt-same","messages":[]}"#,
        ),
        (
            r#"{"model":"gpt-same","user_id":"u-7","messages":[],"session_id":null}"#,
            r#"{"model":"gpt-same","messages":[]}"#,
        ),
    ];
    for (body, sent) in bodies {
        let asked = bench
            .post("/api/v1/chat/completions")
            .header("content-type", "application/json")
            .body(body);
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        let received = bench.vendor.requests().last().unwrap().clone();
        let sent: Value = serde_json::from_str(sent).unwrap();
        assert_eq!(
            (received.json(), received.path.as_str()),
            (sent, "/v1/chat/completions")
        );
    }
    let asked = bench
        .post("/api/v1/embeddings")
        .json(&json!({"model": "embed-test", "input": "a", "user_id": "u-7"}));
    assert_eq!(asked.send().await.unwrap().status(), 200);
    assert_eq!(
        bench.vendor.requests().last().unwrap().json(),
        json!({"model": "embed-test", "input": "a"})
    );
    // On the plain path they are the vendor's to judge, and no label.
    let asked = bench
        .post("/v1/chat/completions")
        .json(&json!({"model": "gpt-same", "messages": [], "user_id": "u-8"}));
    assert_eq!(asked.send().await.unwrap().status(), 200);
    assert_eq!(
        bench.vendor.requests().last().unwrap().json()["user_id"],
        "u-8"
    );
    for bad in [
        json!(1),
        json!(""),
        json!("x".repeat(257)),
        json!("a\nb"),
        json!([]),
    ] {
        for field in ["user_id", "session_id"] {
            let body = json!({"model": "gpt-same", "messages": [], field: bad});
            let answer = bench
                .post("/api/v1/chat/completions")
                .json(&body)
                .send()
                .await
                .unwrap();
            assert_eq!(refused(answer, 400, "invalid_value").await["param"], field);
        }
    }
    let books = bench.books().await;
    let users: Vec<_> = books
        .calls()
        .map(|event| event.end_user.as_deref())
        .collect();
    assert_eq!(
        users,
        [Some("u-7"), Some("u-7"), Some("u-7"), Some("u-7"), None]
    );
    let endpoints: Vec<_> = books.calls().map(|event| event.endpoint.as_str()).collect();
    assert_eq!(
        &endpoints[2..],
        [
            "/api/v1/chat/completions",
            "/api/v1/embeddings",
            "/v1/chat/completions"
        ]
    );
});

both_stores!(
    /// Threats: K4.
    an_upstreams_refusal_is_relayed_without_any_piece_of_the_credential,
    channels(),
    |bench| {
        bench.vendor.set_default(Behaviour {
            status: Some(422),
            body: Some(
                "{\"error\":{\"message\":\"bad key sk-dedicated-credential-3333 for x\"}}"
                    .to_owned(),
            ),
            ..Behaviour::default()
        });
        let answer = bench
            .post("/proxy/dedicated/v1/thing")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 422);
        let text = answer.text().await.unwrap();
        assert!(
            text.contains("bad key ") && !text.contains("credential"),
            "{text}"
        );
    }
);
