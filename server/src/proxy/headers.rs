//! Which headers pass and which stop here, both ways.
//!
//! Upstream, an inference call carries a short list; under `/proxy/` everything end-to-end passes but credentials,
//! cookies, forwarding and account headers. Back, neither framing nor cookies nor what tells about the shared account
//! ever passes. Weir's own headers are added last, so that nothing a caller or an upstream sends can remove them.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::header_name;

/// Request headers that pass on the inference paths.
const REQUEST_PASS: &[&str] = &[
    "accept",
    "accept-language",
    "content-type",
    "user-agent",
    "x-stainless-lang",
];

/// Never sent on, whatever the path: hop-by-hop (RFC 9110, section 7.6.1), what Weir sets itself, credentials, cookies.
const REQUEST_STOP: &[&str] = &[
    "accept-encoding",
    "api-key",
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "cookie2",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "max-forwards",
    "ocp-apim-subscription-key",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "referer",
    "te",
    "traceparent",
    "tracestate",
    "baggage",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-api-key",
    "x-client-request-id",
    "x-goog-api-key",
    "x-http-method-override",
    "x-method-override",
    "x-real-ip",
    "x-request-id",
    "x-original-url",
    "x-rewrite-url",
];

/// Beginnings of headers that are never sent on: forwarding, Weir's own, and those that name a vendor's account.
const REQUEST_STOP_PREFIXES: &[&str] = &[
    "x-forwarded-",
    "x-weir-",
    "sec-",
    "access-control-",
    "openai-organization",
    "openai-project",
    "x-goog-user-project",
    "x-ms-",
    "x-amz-",
    "x-portkey-",
    "x-litellm-",
    "cf-",
    "true-client-ip",
];

/// Beta flags of vendors: they pass if the channel allows them.
const BETA: &[&str] = &["openai-beta", "anthropic-beta"];

/// Answer headers that never pass. The last group would act on the portal's origin (threats.md, P1).
const ANSWER_STOP: &[&str] = &[
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "set-cookie",
    "set-cookie2",
    "www-authenticate",
    "x-powered-by",
    "x-request-id",
    "request-id",
    "openai-organization",
    "openai-project",
    "anthropic-organization-id",
    "cf-ray",
    "cf-cache-status",
    "service-worker-allowed",
    "clear-site-data",
    "alt-svc",
    "refresh",
    "strict-transport-security",
    "content-security-policy",
    "content-security-policy-report-only",
    "x-content-type-options",
    "x-frame-options",
    "nel",
    "report-to",
    "reporting-endpoints",
    "link",
    "location",
    "sourcemap",
    "x-sourcemap",
    "x-client-request-id",
];

const ANSWER_STOP_PREFIXES: &[&str] = &[
    "access-control-",
    "x-weir-",
    "x-ratelimit-",
    "anthropic-ratelimit-",
    "sec-",
    "cross-origin-",
];

/// The headers of an inference call: a list.
pub fn for_inference(caller: &HeaderMap, allow_beta: bool) -> HeaderMap {
    let named = named_by_connection(caller);
    let passes = |name: &HeaderName| {
        let text = name.as_str();
        (REQUEST_PASS.contains(&text) || (allow_beta && BETA.contains(&text)))
            && !named.iter().any(|other| other == text)
    };
    pick(caller, passes)
}

/// The headers of a call under `/proxy/`: everything but a list. An idempotency key passes on a channel of the tenant's
/// own alone: callers who share a credential would share its keys, and one would get another's answer.
pub fn for_proxy(caller: &HeaderMap, allow_beta: bool, is_dedicated: bool) -> HeaderMap {
    let named = named_by_connection(caller);
    let passes = |name: &HeaderName| {
        let text = name.as_str();
        !REQUEST_STOP.contains(&text)
            && !REQUEST_STOP_PREFIXES
                .iter()
                .any(|prefix| text.starts_with(prefix))
            && (is_dedicated || text != "idempotency-key")
            && (allow_beta || !BETA.contains(&text))
            && !named.iter().any(|other| other == text)
    };
    pick(caller, passes)
}

/// The headers of an upstream's answer that the caller may see.
pub fn of_answer(upstream: HeaderMap) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let named = named_by_connection(&upstream);
    upstream.into_iter().filter(move |(name, _)| {
        let text = name.as_str();
        !ANSWER_STOP.contains(&text)
            && !ANSWER_STOP_PREFIXES
                .iter()
                .any(|prefix| text.starts_with(prefix))
            && !named.iter().any(|other| other == text)
    })
}

fn pick(from: &HeaderMap, passes: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let mut picked = HeaderMap::with_capacity(8);
    for (name, value) in from.iter().filter(|(name, _)| passes(name)) {
        picked.append(name.clone(), value.clone());
    }
    picked
}

/// Headers that `Connection` declares hop-by-hop, in lower case. Those that a request cannot do without are never given
/// up: a caller who lists `content-type` there wants to have Weir and the vendor read different things.
fn named_by_connection(headers: &HeaderMap) -> Vec<String> {
    // Byte by byte: what stands beside a name, no text perhaps, does not save it.
    let lines = headers.get_all(header::CONNECTION);
    let names = lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase());
    names.filter(|name| name != "content-type").collect()
}

/// The label that a caller gave its request: `x-client-request-id`, else `x-request-id`, if it is at most 128 visible
/// ASCII characters.
pub fn client_request_id(caller: &HeaderMap) -> Option<&str> {
    let value = caller
        .get(header_name::X_CLIENT_REQUEST_ID)
        .or_else(|| caller.get(header_name::X_REQUEST_ID))?;
    let text = value.to_str().ok()?;
    (!text.is_empty() && text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_graphic()))
        .then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        map
    }

    fn names(map: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    const HOSTILE: &[(&str, &str)] = &[
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("connection", "close, Content-Type, X-Custom"),
        ("idempotency-key", "1"),
        ("x-custom", "1"),
        ("x-other", "2"),
        ("authorization", "Bearer wk-1"),
        ("x-api-key", "wk-1"),
        ("cookie", "a=b"),
        ("host", "evil.example"),
        ("x-forwarded-for", "1.2.3.4"),
        ("openai-organization", "org-other"),
        ("openai-beta", "assistants=v2"),
        ("te", "trailers"),
        ("expect", "100-continue"),
        ("x-weir-cost", "1"),
    ];

    #[test]
    fn a_name_in_connection_counts_whatever_stands_beside_it() {
        let mut fields = map(&[("x-custom", "1"), ("x-other", "2")]);
        let line = HeaderValue::from_bytes(b"X-Custom,\xDB").expect("a value");
        fields.append(header::CONNECTION, line);
        assert_eq!(names(&for_proxy(&fields, false, false)), ["x-other"]);
    }

    #[test]
    fn inference_calls_carry_a_short_list() {
        assert_eq!(
            names(&for_inference(&map(HOSTILE), false)),
            ["accept", "content-type"]
        );
        assert_eq!(
            names(&for_inference(&map(HOSTILE), true)),
            ["accept", "content-type", "openai-beta"]
        );
    }

    #[test]
    fn proxied_calls_lose_credentials_cookies_and_account_headers() {
        assert_eq!(
            names(&for_proxy(&map(HOSTILE), false, false)),
            ["accept", "content-type", "x-other"]
        );
    }

    #[test]
    fn answers_lose_framing_cookies_and_what_tells_the_account() {
        let answer = map(&[
            ("content-type", "application/json"),
            ("openai-processing-ms", "20"),
            ("set-cookie", "a=b"),
            ("openai-organization", "org-1"),
            ("x-ratelimit-remaining-requests", "3"),
            ("access-control-allow-origin", "*"),
            ("x-weir-cost", "0"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("retry-after", "3"),
        ]);
        let mut passed: Vec<String> = of_answer(answer)
            .map(|(name, _)| name.to_string())
            .collect();
        passed.sort_unstable();
        assert_eq!(
            passed,
            ["content-type", "openai-processing-ms", "retry-after"]
        );
    }

    #[test]
    fn a_callers_id_is_a_bounded_label() {
        assert_eq!(
            client_request_id(&map(&[("x-request-id", "abc")])),
            Some("abc")
        );
        assert_eq!(
            client_request_id(&map(&[
                ("x-request-id", "abc"),
                ("x-client-request-id", "def")
            ])),
            Some("def")
        );
        assert_eq!(client_request_id(&map(&[("x-request-id", "a b")])), None);
        assert_eq!(client_request_id(&map(&[])), None);
    }
}
