//! The client of the management API.
//!
//! The token comes from `WEIR_TOKEN`, or from the file that an embedded server on this machine keeps; that one is sent
//! to this machine only. There is no flag for it: the arguments of a process can be read by others.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use awc::{
    ClientRequest,
    error::PayloadError,
    http::{
        Method, Uri,
        header::{self, HeaderValue},
    },
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use weir_api_types::{manage::Page, problem::Problem};

use super::{
    exit::{Exit, Failure},
    lost::{Lost, Repeats},
    wire::Secure,
};
use crate::secrets::Secret;

/// Applying a large file takes its time.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Sooner than that, so that it is told apart from an answer that does not come.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer: an export of a large platform.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// Rows asked for at a time.
const ROWS: &str = "limit=1000";
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// In the data directory of an embedded server.
const TOKEN_FILE: &str = "admin-token";

/// Which server a command speaks to.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// The server's address.
    #[arg(
        long,
        env = "WEIR_URL",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub url: String,
    /// Where an embedded server on this machine keeps its token; WEIR_TOKEN goes first.
    #[arg(
        long,
        env = "WEIR_DATA_DIR",
        default_value = "./data",
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,
    /// In which of several tenants somebody who is signed in calls.
    #[arg(long, env = "WEIR_TENANT", value_name = "NAME")]
    pub acting_in: Option<String>,
    /// As whose owner one of the platform's people looks; nothing is changed so.
    #[arg(long, env = "WEIR_VIEW_AS", value_name = "TENANT")]
    pub view_as: Option<String>,
    /// What the same command makes with the same text within a day is made once.
    #[arg(long, value_name = "TEXT")]
    pub idempotency_key: Option<String>,
}

/// A client of one server.
pub struct Client {
    http: awc::Client,
    /// Without a slash at its end; the scheme is always `http`, as TLS is made below.
    base: String,
    token: Option<Secret>,
    /// Headers that say in which tenant.
    tenants: Vec<(&'static str, HeaderValue)>,
    /// Goes with what makes something.
    idempotency_key: Option<HeaderValue>,
}

/// An answer that was a success.
pub struct Answer {
    body: Bytes,
    /// The `ETag`.
    tag: Option<HeaderValue>,
    complete: Option<bool>,
}

impl Target {
    /// A client with the token that belongs to this server.
    pub fn client(&self) -> anyhow::Result<Client> {
        let token = self.token()?;
        let client = Client::new(&self.url, Some(token))?;
        let mut tenants = Vec::new();
        for (name, tenant) in [
            ("x-weir-tenant", &self.acting_in),
            ("x-weir-view-as", &self.view_as),
        ] {
            if let Some(tenant) = tenant {
                // Names have any letters, and go in UTF-8.
                let value = HeaderValue::from_bytes(tenant.as_bytes());
                let value = value.with_context(|| format!("{tenant:?} is no tenant's name"))?;
                tenants.push((name, value));
            }
        }
        let idempotency_key = match &self.idempotency_key {
            Some(key) => {
                let value = HeaderValue::from_str(key);
                Some(value.with_context(|| format!("{key:?} is no idempotency key"))?)
            }
            None => None,
        };
        Ok(Client {
            tenants,
            idempotency_key,
            ..client
        })
    }

    fn token(&self) -> anyhow::Result<Secret> {
        if let Ok(token) = std::env::var("WEIR_TOKEN") {
            return Ok(Secret::new(token.trim()));
        }
        let path = self.data_dir.join(TOKEN_FILE);
        if !is_local(&self.url) {
            bail!("set WEIR_TOKEN: {} is not this machine", self.url);
        }
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "WEIR_TOKEN is not set and {} cannot be read",
                path.display()
            )
        })?;
        Ok(Secret::new(text.trim()))
    }
}

impl Client {
    /// A client of the server at a URL.
    pub fn new(url: &str, token: Option<Secret>) -> anyhow::Result<Self> {
        let url = url.trim_end_matches('/');
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
        let host = uri
            .host()
            .with_context(|| format!("{url:?} names no host"))?;
        let builder = awc::Client::builder()
            .timeout(TIMEOUT)
            .disable_redirects()
            .no_default_headers();
        let (http, port) = match uri.scheme_str() {
            Some("http") => (builder.finish(), 80),
            Some("https") => {
                let connector = awc::Connector::new().connector(Secure::new()?);
                (
                    builder
                        .connector(connector.timeout(CONNECT_TIMEOUT))
                        .finish(),
                    443,
                )
            }
            _ => bail!("{url:?} begins with neither http:// nor https://"),
        };
        let port = uri.port_u16().unwrap_or(port);
        let path = uri.path().trim_end_matches('/');
        Ok(Self {
            http,
            base: format!("http://{host}:{port}{path}"),
            token,
            tenants: Vec::new(),
            idempotency_key: None,
        })
    }

    /// Asks for something.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(self.request(Method::GET, path), None).await
    }

    /// Sends an order in JSON.
    pub async fn send_json(
        &self,
        method: Method,
        path: &str,
        order: &impl Serialize,
    ) -> anyhow::Result<Answer> {
        let makes = method == Method::POST;
        let mut request = self.request(method, path);
        if let (Some(key), true) = (&self.idempotency_key, makes) {
            request = request.insert_header((IDEMPOTENCY_KEY, key.clone()));
        }
        self.send(request, Some(serde_json::to_vec(order)?)).await
    }

    /// Orders a change, of what has this tag if one is given.
    pub async fn patch(
        &self,
        path: &str,
        order: &impl Serialize,
        tag: Option<HeaderValue>,
    ) -> anyhow::Result<Answer> {
        let mut request = self.request(Method::PATCH, path);
        if let Some(tag) = tag {
            request = request.insert_header((header::IF_MATCH, tag));
        }
        self.send(request, Some(serde_json::to_vec(order)?)).await
    }

    /// Asks a question that takes more words than a path has: nothing is changed, and each time it is asked anew.
    pub async fn ask(&self, path: &str, question: &impl Serialize) -> anyhow::Result<Answer> {
        let request = self.request(Method::POST, path);
        let body = serde_json::to_vec(question)?;
        self.exchange(request, Some(body), Repeats::Anyhow).await
    }

    /// Deletes something.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(self.request(Method::DELETE, path), None).await
    }

    /// A whole list, page after page.
    pub async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
    ) -> anyhow::Result<Vec<T>> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let filters = with_query(path, query);
            let join = if filters.contains('?') { '&' } else { '?' };
            let mut page_path = format!("{filters}{join}{ROWS}");
            if let Some(cursor) = &cursor {
                page_path = format!("{page_path}&cursor={}", encode(cursor));
            }
            let page: Page<T> = self.get(&page_path).await?.json()?;
            items.extend(page.data);
            match page.next_cursor {
                // The same place again would be asked for without end.
                Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
                _ => return Ok(items),
            }
        }
    }

    fn request(&self, method: Method, path: &str) -> ClientRequest {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in &self.tenants {
            request = request.insert_header((*name, value.clone()));
        }
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    async fn send(&self, request: ClientRequest, body: Option<Vec<u8>>) -> anyhow::Result<Answer> {
        let repeats = match request.headers().contains_key(IDEMPOTENCY_KEY) {
            true => Repeats::UnderItsKey,
            false if *request.get_method() == Method::GET => Repeats::Anyhow,
            false => Repeats::Twice,
        };
        self.exchange(request, body, repeats).await
    }

    async fn exchange(
        &self,
        request: ClientRequest,
        body: Option<Vec<u8>>,
        repeats: Repeats,
    ) -> anyhow::Result<Answer> {
        let json = (header::CONTENT_TYPE, "application/json");
        let sent = match body {
            Some(body) => request.insert_header(json).send_body(body).await,
            None => request.send().await,
        };
        let mut answer = sent.map_err(|error| {
            let said = format!("no answer from {}: {error}", self.base);
            Lost::of_request(&error).failure(repeats, said)
        })?;
        let status = answer.status();
        let length = answer.headers().get(header::CONTENT_LENGTH);
        let length: Option<usize> = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let body = answer.body().limit(MAX_ANSWER_BYTES).await;
        // Awc takes a connection that ends too early for the end of the answer.
        let body = body.and_then(|body| match length {
            Some(length) if body.len() < length => Err(PayloadError::Incomplete(None)),
            _ => Ok(body),
        });
        if !status.is_success() {
            // The status is known even where what was said with it is lost.
            let mut failure = refused(status.as_u16(), &body.unwrap_or_default());
            // Said by something in between, which may have let it through.
            let is_between = failure.code.is_none() && matches!(status.as_u16(), 502 | 504);
            if is_between && repeats != Repeats::Anyhow {
                failure = Lost::NoAnswer.failure(repeats, failure.said);
            }
            bail!(failure);
        }
        let body = body.map_err(|error| {
            let said = format!("no whole answer from {}: {error}", self.base);
            Lost::of_answer(&error).failure(repeats, said)
        })?;
        if answer.headers().contains_key("idempotency-replayed") {
            eprintln!(
                "weir: this was done before, with the same idempotency key: nothing is done now"
            );
        }
        let complete = answer.headers().get("x-weir-usage-complete");
        Ok(Answer {
            complete: complete.map(|value| value == "true"),
            tag: answer.headers().get(header::ETAG).cloned(),
            body,
        })
    }
}

impl Answer {
    pub fn json<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body).context("the answer is not what this version expects")
    }

    /// What it is that was shown, for a change of just that.
    pub fn tag(&self) -> Option<HeaderValue> {
        self.tag.clone()
    }

    /// Of a question about usage that waited: whether all that was answered before is in it.
    pub fn complete(&self) -> Option<bool> {
        self.complete
    }
}

/// A path with those of the words that have a value.
pub fn with_query(path: &str, words: &[(&str, Option<&str>)]) -> String {
    let mut whole = path.to_owned();
    for (word, value) in words {
        if let Some(value) = value {
            let join = if whole.contains('?') { '&' } else { '?' };
            whole.push_str(&format!("{join}{word}={}", encode(value)));
        }
    }
    whole
}

/// What the server said in so many words, with its request id.
fn refused(status: u16, body: &[u8]) -> Failure {
    let exit = Exit::of_status(status);
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        let said: String = String::from_utf8_lossy(body).chars().take(200).collect();
        return Failure::new(exit, format!("the server answered {status}: {said}"));
    };
    let mut said = format!("{} ({}", problem.detail, problem.code);
    if !problem.request_id.is_empty() {
        said.push_str(&format!(", request {}", problem.request_id));
    }
    said.push(')');
    if problem.errors.len() > 1 {
        for error in &problem.errors {
            said.push_str(&format!("\n  {error}"));
        }
    }
    let code = Some(problem.code);
    Failure { exit, said, code }
}

fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~,:".contains(&byte);
    text.bytes()
        .map(|byte| match byte {
            byte if plain(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// Whether a URL leads to this very machine.
fn is_local(url: &str) -> bool {
    let host = url.parse::<Uri>().ok();
    let host = host.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_this_machine_stays_on_it() {
        for (url, local) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("https://localhost", true),
            ("http://localhost.evil.example", false),
            ("http://127.0.0.1@evil.example", false),
            ("https://weir.example", false),
        ] {
            assert_eq!(is_local(url), local, "{url}");
        }
    }

    #[test]
    fn queries_carry_any_value() {
        let words = [
            ("tenant", Some("a&b=ü")),
            ("user", None),
            ("by", Some("model,key")),
        ];
        assert_eq!(
            with_query("/x", &words),
            "/x?tenant=a%26b%3D%C3%BC&by=model,key"
        );
    }

    #[test]
    fn a_failure_is_told_in_the_servers_words() {
        let body = br#"{"type":"t","title":"t","status":422,"detail":"2 fields are refused; see errors.","code":"invalid_fields","request_id":"01","errors":[{"path":"a","message":"m"},{"path":"b","message":"n"}]}"#;
        let failure = refused(422, body);
        assert_eq!(
            failure.said,
            "2 fields are refused; see errors. (invalid_fields, request 01)\n  m (a)\n  n (b)"
        );
        assert_eq!(
            (failure.exit, failure.code.as_deref()),
            (Exit::Refused, Some("invalid_fields"))
        );
        let failure = refused(502, b"bad gateway");
        assert_eq!(failure.said, "the server answered 502: bad gateway");
        assert_eq!((failure.exit, failure.code), (Exit::TryAgain, None));
    }
}
