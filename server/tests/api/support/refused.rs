//! What every refusal must look like.

use serde_json::Value;

/// Fails unless the answer is OpenAI's error with this status and code, the request id, and the headers that every answer
/// of the data plane has. The error.
pub async fn refused(answer: reqwest::Response, status: u16, code: &str) -> Value {
    let headers = answer.headers().clone();
    let found = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert_eq!(found, status, "{text}");
    let header = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    };
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(
        header("content-security-policy"),
        "sandbox; default-src 'none'"
    );
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_refused(&text, code, &header("x-request-id"))
}

/// The same of a body alone.
pub fn assert_refused(body: &str, code: &str, request_id: &str) -> Value {
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    let error = body["error"].clone();
    assert_eq!(error["code"], code, "{body}");
    assert_eq!(error["request_id"], request_id, "{body}");
    assert_eq!(request_id.len(), 36, "a UUID: {request_id:?}");
    let words = |name: &str| error[name].as_str().is_some_and(|text| !text.is_empty());
    assert!(
        words("message") && words("type") && error.get("param").is_some(),
        "{body}"
    );
    error
}
