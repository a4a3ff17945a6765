//! Traces over OTLP.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span,
};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use weir_upstream::{Behaviour, Vendor};

use crate::support::{
    SOON, Store, Stores,
    gateway::{KEY, hello},
};

use super::{binary, http};

/// An OTLP collector: keeps the spans that it is sent.
pub struct Collector {
    pub url: String,
    spans: Arc<watch::Sender<Vec<Span>>>,
}

impl Collector {
    pub async fn start() -> Self {
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

    /// All that came so far, as text.
    pub fn text(&self) -> String {
        format!("{:?}", self.spans.borrow())
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
