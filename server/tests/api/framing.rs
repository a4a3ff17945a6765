//! Where one request ends, and what is too much of one: framing, heads, request lines (threats.md, H1, H4).

use crate::{
    both_stores,
    support::{Raw, SOON, gateway::KEY},
};

/// A request that is admitted only if somebody ends the one before it where its sender did not.
fn canary() -> String {
    format!("GET /proxy/dedicated/canary HTTP/1.1\r\nhost: weir\r\nx-api-key: {KEY}\r\n\r\n")
}

// Threats: H1.
both_stores!(where_one_request_ends_cannot_be_disputed, |bench| {
    let start =
        format!("POST /proxy/dedicated/first HTTP/1.1\r\nhost: weir\r\nx-api-key: {KEY}\r\n");
    let canary = canary();
    let chunked = "transfer-encoding: chunked\r\n";
    // Framing headers and a body, so that the canary is a second request for one of two readers.
    let shapes = [
        format!(
            "content-length: {}\r\n{chunked}\r\n0\r\n\r\n",
            5 + canary.len()
        ),
        format!("{chunked}content-length: 5\r\n\r\n0\r\n\r\n"),
        format!(
            "content-length: 0\r\ncontent-length: {}\r\n\r\n",
            canary.len()
        ),
        format!("content-length: 0, {}\r\n\r\n", canary.len()),
        "content-length: +0\r\n\r\n".to_owned(),
        "content-length: 0x0\r\n\r\n".to_owned(),
        "content-length: -1\r\n\r\n".to_owned(),
        "content-length: 18446744073709551616\r\n\r\n".to_owned(),
        "content-length: \r\n\r\n".to_owned(),
        "content-length: 0 0\r\n\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
        format!("{chunked}{chunked}\r\n0\r\n\r\n"),
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n".to_owned(),
        format!(
            "transfer-encoding: identity\r\ncontent-length: {}\r\n\r\n",
            canary.len()
        ),
        "transfer-encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "x: y\r\n z\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "content-length : 0\r\n\r\n".to_owned(),
        "x: a\0b\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "x: a\rb\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "x y: z\r\ncontent-length: 0\r\n\r\n".to_owned(),
        format!("{chunked}\r\nffffffffffffffff1\r\n"),
        format!("{chunked}\r\n-1\r\n"),
        format!("{chunked}\r\n0x0\r\n\r\n"),
        format!("{chunked}\r\n5\nhello\r\n0\r\n\r\n"),
        format!("{chunked}\r\n5\r\nhelloo\r\n0\r\n\r\n"),
        format!("{chunked}\r\n\r\n"),
        format!("{chunked}\r\n5\rhello\r\n0\r\n\r\n"),
        format!("{chunked}\r\n5;a\rX\r\nhello\r\n0\r\n\r\n"),
        format!("{chunked}\r\n5;a\nhello\r\n0\r\n\r\n"),
        format!("{chunked}\r\n5;a\0\r\nhello\r\n0\r\n\r\n"),
        format!("{chunked}\r\n5_0\r\nhello\r\n0\r\n\r\n"),
        format!("{chunked}\r\n 5\r\nhello\r\n0\r\n\r\n"),
        "transfer-encoding: \u{b}chunked\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "transfer-encoding: \u{c}chunked\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "transfer-encoding: chunked\0\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "transfer-encoding: , chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n".to_owned(),
        "content-length: 0\r\nx-t\u{eb}st: y\r\n\r\n".to_owned(),
        ": y\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "y\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "connection: upgrade\r\nupgrade: websocket\r\n\r\n".to_owned(),
        "upgrade: WebSocket\r\ncontent-length: 0\r\n\r\n".to_owned(),
    ];
    for shape in &shapes {
        let mut raw = Raw::connect(&bench.url).await;
        raw.send(format!("{start}{shape}{canary}")).await;
        let text = raw.read_to_end(SOON).await;
        assert!(
            ["HTTP/1.1 400", "HTTP/1.1 405", "HTTP/1.1 501"]
                .iter()
                .any(|refused| text.starts_with(refused)),
            "{shape:?}: {text}"
        );
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{shape:?}: {text}");
        let paths: Vec<String> = bench
            .vendor
            .requests()
            .iter()
            .map(|request| request.path.clone())
            .collect();
        assert!(paths.is_empty(), "{shape:?}: {paths:?}");
    }
    // Malformed request lines.
    for line in [
        "GET /v1/models",
        "GET  /v1/models HTTP/1.1",
        "GET /v1/models HTTP/9.9",
        "G\u{1}T / HTTP/1.1",
        "GET /\u{7F} HTTP/1.1",
        "\u{0}",
        "GET /a b HTTP/1.1",
        "{\"model\":1}",
    ] {
        let mut raw = Raw::connect(&bench.url).await;
        raw.send(format!(
            "{line}\r\nhost: weir\r\nx-api-key: {KEY}\r\n\r\n{canary}"
        ))
        .await;
        let text = raw.read_to_end(SOON).await;
        assert!(text.starts_with("HTTP/1.1 400"), "{line:?}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{line:?}: {text}");
    }
    assert!(bench.vendor.requests().is_empty());
});

both_stores!(
    /// Threats: H1.
    what_is_well_framed_is_sent_on_in_weirs_own_framing,
    |bench| {
        let start =
            format!("POST /proxy/dedicated/first HTTP/1.1\r\nhost: weir\r\nx-api-key: {KEY}\r\n");
        let get =
            format!("GET /proxy/dedicated/first HTTP/1.1\r\nhost: weir\r\nx-api-key: {KEY}\r\n");
        let shapes = [
            (format!("{start}content-length: 5\r\n\r\n{{   }}"), "{   }"),
            (
                format!("{start}transfer-encoding: chunked\r\n\r\n5;ext=1\r\n{{   }}\r\n0\r\n\r\n"),
                "{   }",
            ),
            (
                format!(
                    "{start}Transfer-Encoding: CHUNKED\r\n\r\n2\r\n{{ \r\n003\r\n  }}\r\n0\r\nx: trailer\r\n\r\n"
                ),
                "{   }",
            ),
            (format!("{start}\r\n"), ""),
            (format!("{get}content-length: 5\r\n\r\n{{   }}"), "{   }"),
            (format!("\r\n{start}content-length: 0\r\n\r\n"), ""),
        ];
        for (shape, body) in shapes {
            let before = bench.vendor.requests().len();
            let mut raw = Raw::connect(&bench.url).await;
            raw.send(format!("{shape}{}", canary())).await;
            assert_eq!(raw.answer().await.unwrap().status, 200, "{shape}");
            // Admitted twice, booked twice, in order: both readers agree.
            let pair = bench
                .vendor
                .wait_for(|lines| lines.len() == before + 2, SOON)
                .await;
            assert!(pair.is_ok(), "{shape}");
            let received = bench.vendor.requests();
            let found = &received[before..];
            assert_eq!(
                (found[0].path.as_str(), &found[0].body[..]),
                ("/first", body.as_bytes()),
                "{shape}"
            );
            assert_eq!(found[1].path, "/canary");
            let heads = found[0].headers.iter().filter(|(name, _)| {
                ["content-length", "transfer-encoding"]
                    .contains(&name.to_ascii_lowercase().as_str())
            });
            assert!(heads.count() <= 1, "{:?}", found[0].headers);
            assert_eq!(found[0].header("x"), None, "a trailer is no header");
        }
        // Some callers left before their second answer: their events come when the calls have ended.
        let admitted = bench.vendor.requests().len();
        bench
            .books_when(|books| books.events.len() == admitted)
            .await;
    }
);

// Threats: H4.
both_stores!(a_head_beyond_the_bound_is_431, |bench| {
    let many: String = (0..200).map(|at| format!("x-{at}: y\r\n")).collect();
    let large = format!("x: {}\r\n", "y".repeat(200 << 10));
    let long = format!("/v1/models?{}", "a".repeat(300 << 10));
    for (target, headers) in [
        ("/v1/models", &many),
        ("/v1/models", &large),
        (&*long, &String::new()),
    ] {
        let mut raw = Raw::connect(&bench.url).await;
        raw.send(format!(
            "GET {target} HTTP/1.1\r\nhost: weir\r\nx-api-key: {KEY}\r\n"
        ))
        .await;
        use tokio::io::AsyncWriteExt as _;
        // The other side may have had enough before all is sent.
        drop(raw.0.write_all(format!("{headers}\r\n").as_bytes()).await);
        let text = raw.read_to_end(SOON).await;
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 431"),
            "{text}"
        );
        assert!(headers != &many || !text.is_empty());
    }
    assert_eq!(
        bench
            .http
            .get(format!("{}/health", bench.url))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
});
