//! Every code of the data plane, and the page that lists them.

/// Every code of the data plane: status, code, what it means and what to do.
pub const CODES: &[(u16, &str, &str)] = &[
    (
        400,
        "invalid_json",
        "The body is not JSON, has a doubled key that Weir acts on, or is nested too deeply. Mend the body.",
    ),
    (
        400,
        "invalid_value",
        "A field has a type or value that is not allowed; `param` names it.",
    ),
    (
        400,
        "invalid_multipart",
        "The multipart body is malformed or names the model twice.",
    ),
    (
        400,
        "invalid_path",
        "The path holds a dot segment, a backslash, a control character or a broken escape.",
    ),
    (400, "missing_model", "The endpoint needs a `model`."),
    (
        400,
        "cost_not_bounded",
        "A hard budget applies, and nothing says what the call may come to at most: no output bound and no ceiling, media \
         without a stated maximum, or no price. Bound the call.",
    ),
    (
        400,
        "several_api_keys",
        "The request carries two different keys. Send one.",
    ),
    (
        400,
        "invalid_header",
        "A header that may stand in a request once only was sent twice; `param` names it.",
    ),
    (
        400,
        "websocket_not_supported",
        "The path speaks no WebSocket. Send a plain request.",
    ),
    (
        400,
        "broken_body",
        "The request's body ended before its announced end.",
    ),
    (
        401,
        "invalid_api_key",
        "No key, or one that Weir does not know.",
    ),
    (
        401,
        "key_disabled",
        "The key, its owner or its tenant is disabled.",
    ),
    (
        401,
        "key_expired",
        "The key's time is over. Make a new one.",
    ),
    (
        403,
        "ip_not_allowed",
        "The key may not be used from this address.",
    ),
    (
        403,
        "model_not_allowed",
        "The tenant knows the model; this key may not use it.",
    ),
    (
        404,
        "model_not_found",
        "No such model, or it is not granted to the tenant.",
    ),
    (
        404,
        "channel_not_found",
        "No such channel, or it is not granted to the tenant or the key.",
    ),
    (
        404,
        "not_on_shared_channel",
        "The vendor would keep what is sent; that needs a channel dedicated to the tenant.",
    ),
    (404, "unknown_path", "Weir has no such path."),
    (
        405,
        "method_not_allowed",
        "The path does not take this method.",
    ),
    (
        408,
        "request_timeout",
        "The request's body came too slowly.",
    ),
    (
        413,
        "request_too_large",
        "The body is larger than the setting allows.",
    ),
    (
        415,
        "encoded_body",
        "Bodies with a content-encoding are not read. Send the body as it is.",
    ),
    (
        429,
        "rate_limit_exceeded",
        "A limit is used up; the message says which. Wait for `retry-after`. Also: too many requests without a valid key came \
         from this address.",
    ),
    (
        429,
        "budget_exceeded",
        "A hard budget is spent, or has less than this call may come to; the message gives both figures and when it begins anew. \
         Its status is 402 where the setting says so.",
    ),
    (
        429,
        "budget_reserved",
        "What is left of a hard budget is reserved by calls that are under way. Try again in a second.",
    ),
    (500, "internal_error", "Weir failed. Report the request id."),
    (
        502,
        "upstream_error",
        "The upstream could not be reached, broke off, or refused Weir's own credential.",
    ),
    (
        502,
        "output_bound_exceeded",
        "A hard budget applies, and the upstream went on far beyond the output that was bounded: it was cut off.",
    ),
    (
        503,
        "no_healthy_upstream",
        "No channel of the model can take the call now. Try again.",
    ),
    (
        503,
        "overloaded",
        "This instance takes no more calls now, or is stopping and ended the call. Try again.",
    ),
    (
        503,
        "spool_full",
        "Usage cannot be recorded, so nothing is served. The operator must free disk space.",
    ),
    (
        504,
        "upstream_timeout",
        "The upstream did not answer in time.",
    ),
];

/// The reference page of the codes, as `docs/errors.md` holds it.
pub fn markdown() -> String {
    let rows: String = CODES
        .iter()
        .map(|(status, code, meaning)| format!("| {status} | `{code}` | {meaning} |\n"))
        .collect();
    format!(
        "# Error codes\n\nErrors have the caller's dialect's own JSON shape, the request id and one of these stable codes. \
         Generated from `server/src/proxy/error/codes.rs`.\n\n| status | code | meaning, and what to do |\n| --- | --- | --- |\n{rows}"
    )
}
