//! Traces on their way out: OTLP over HTTP with protobuf, in batches, from a thread of its own.
//!
//! They are sent only when the environment names a collector, by the standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT`,
//! `…_HEADERS`, `…_TIMEOUT`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_…`). A request never waits for them: when the collector
//! is away the queue fills and further spans are dropped, which the log says now and then.

use std::{
    env,
    time::{Duration, Instant},
};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter, TracerProviderBuilder},
};

use super::{Error, Repeated};

const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// The way out for spans.
#[derive(Debug)]
pub(super) struct Traces(SdkTracerProvider);

/// Traces as the environment asks for them; `None` when it names no collector or switches them off.
pub(super) fn from_environment(instance: &str) -> Result<Option<Traces>, Error> {
    let is_set = |name: &&&str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_off =
        |name: &str, word: &str| env::var(name).is_ok_and(|value| value.eq_ignore_ascii_case(word));
    let Some(variable) = ENDPOINTS.iter().find(is_set) else {
        return Ok(None);
    };
    if is_off("OTEL_SDK_DISABLED", "true") || is_off("OTEL_TRACES_EXPORTER", "none") {
        return Ok(None);
    }
    Traces::to(None, instance)
        .map(Some)
        .map_err(|error| Error::Traces(format!("{variable}: {error}")))
}

impl Traces {
    /// Traces to an endpoint, or to the one that the environment names.
    fn to(
        endpoint: Option<&str>,
        instance: &str,
    ) -> Result<Self, opentelemetry_otlp::ExporterBuildError> {
        let builder = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary);
        let exporter = match endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint).build()?,
            None => builder.build()?,
        };
        let repeated = Repeated::new(1, Duration::from_secs(60));
        let exporter = Telling { exporter, repeated };
        Ok(Self(
            provider(instance).with_batch_exporter(exporter).build(),
        ))
    }

    pub(super) fn provider(&self) -> &SdkTracerProvider {
        &self.0
    }

    /// Sends what is queued and stops, within the given time.
    pub(super) fn shutdown(&self, at_most: Duration) {
        if let Err(error) = self.0.shutdown_with_timeout(at_most) {
            tracing::warn!(%error, "some traces were not sent before the end");
        }
    }
}

/// What makes spans, before it is told where they go. It records every span: which requests are traced is decided before
/// there is one, see [`Tracer`](super::Tracer).
pub(super) fn provider(instance: &str) -> TracerProviderBuilder {
    let mut resource = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance.to_owned()),
    ]);
    if env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("weir");
    }
    SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource.build())
}

/// Says in the log, once a minute at most, that spans do not arrive.
#[derive(Debug)]
struct Telling<E> {
    exporter: E,
    repeated: Repeated,
}

impl<E: SpanExporter> SpanExporter for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;
        if let Err(error) = &sent
            && let Some(suppressed) = self.repeated.allow("traces", (), Instant::now())
        {
            tracing::warn!(%error, spans, suppressed, "traces could not be sent");
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
    };

    use super::*;
    use crate::telemetry::Tracer;

    #[test]
    fn spans_reach_a_collector_at_the_end_at_the_latest() {
        let collector = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = collector.local_addr().expect("an address");
        let received = std::thread::spawn(move || {
            let (mut connection, _) = collector.accept().expect("a connection");
            let mut head = Vec::new();
            while !head.windows(20).any(|part| part == b"/v1/chat/completions") {
                let mut part = [0; 4096];
                let read = connection.read(&mut part).expect("bytes");
                assert_ne!(read, 0, "the span's name has not come");
                head.extend_from_slice(&part[..read]);
            }
            connection
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .expect("answered");
            String::from_utf8_lossy(&head).into_owned()
        });
        let traces =
            Traces::to(Some(&format!("http://{address}/v1/traces")), "here").expect("traces");
        drop(Tracer::new(traces.provider(), 1.0).request("POST", "/v1/chat/completions", None));
        traces.shutdown(Duration::from_secs(5));
        let received = received.join().expect("received");
        assert!(
            received.starts_with("POST /v1/traces HTTP/1.1\r\n"),
            "{received}"
        );
        assert!(
            received.contains("content-type: application/x-protobuf"),
            "{received}"
        );
    }

    #[test]
    fn a_collector_that_hangs_holds_nobody_up() {
        let collector = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = collector.local_addr().expect("an address");
        let traces =
            Traces::to(Some(&format!("http://{address}/v1/traces")), "here").expect("traces");
        let tracer = Tracer::new(traces.provider(), 1.0);
        let start = Instant::now();
        for _ in 0..20_000 {
            drop(tracer.request("POST", "/v1/chat/completions", None));
        }
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
        traces.shutdown(Duration::from_millis(100));
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{:?}",
            start.elapsed()
        );
    }

    #[test]
    fn an_endpoint_that_is_none_is_refused() {
        assert!(Traces::to(Some("not an endpoint"), "here").is_err());
    }
}
