//! The trace of one request: a span for the way through Weir and a child for each attempt upstream.
//!
//! Attributes follow OpenTelemetry's conventions for HTTP and generative AI; no prompt and no answer is among them. Weir
//! alone decides what is traced: a caller's `traceparent` says where a trace belongs, and its sampling flag counts for
//! nothing (threats.md, D5). A request that is not traced passes the caller's `traceparent` on as it came, and costs
//! nothing else.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use weir_api_types::channel::Kind;

use super::{escape::cut, traceparent::Traceparent};

/// Longest text of an attribute.
const VALUE_BYTES: usize = 256;

/// Starts the spans of requests.
#[derive(Debug, Clone)]
pub struct Tracer(Option<On>);

#[derive(Debug, Clone)]
struct On {
    tracer: SdkTracer,
    /// The bits of an `f64`.
    sample: Arc<AtomicU64>,
}

/// The span of a request; it ends when dropped.
#[derive(Debug)]
pub struct RequestSpan {
    /// What the caller sent, if it was well formed.
    parent: Option<Traceparent>,
    recording: Option<Box<Recording>>,
}

#[derive(Debug)]
struct Recording {
    tracer: SdkTracer,
    span: Span,
    /// The span as the parent of attempts.
    context: Context,
}

/// The span of one attempt; it ends when dropped.
#[derive(Debug)]
pub struct AttemptSpan {
    parent: Option<Traceparent>,
    span: Option<Box<Span>>,
}

/// What is known of a request when it has ended. What is `None` is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct End<'a> {
    pub status: u16,
    /// Weir's code of the refusal or failure.
    pub error: Option<&'a str>,
    /// The tenant's name or id.
    pub tenant: Option<&'a str>,
    /// The proxy key's name or id, never its value.
    pub key: Option<&'a str>,
    pub channel: Option<&'a str>,
    pub provider: Option<Kind>,
    /// What is done: `chat`, `text_completion`, `embeddings`, …
    pub operation: Option<&'a str>,
    /// The public model's name.
    pub model: Option<&'a str>,
    /// The model as the upstream's answer calls it.
    pub response_model: Option<&'a str>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub attempts: u32,
}

/// What is known of an attempt when it begins.
#[derive(Debug, Clone, Copy)]
pub struct Begin<'a> {
    pub operation: &'a str,
    pub provider: Kind,
    pub channel: &'a str,
    pub upstream_model: &'a str,
    pub host: &'a str,
    pub port: u16,
}

impl Tracer {
    /// Traces nothing.
    pub fn off() -> Self {
        Self(None)
    }

    pub(super) fn new(provider: &SdkTracerProvider, sample: f64) -> Self {
        let tracer = provider.tracer("weir");
        let sample = Arc::new(AtomicU64::new(sample.to_bits()));
        Self(Some(On { tracer, sample }))
    }

    /// From now on traces another share of requests, from 0 to 1.
    pub fn set_sample(&self, sample: f64) {
        if let Some(on) = &self.0 {
            on.sample.store(sample.to_bits(), Ordering::Relaxed);
        }
    }

    /// Begins the span of a request. `endpoint` is the path's shape; `traceparent` is the header's value.
    pub fn request(&self, method: &str, endpoint: &str, traceparent: Option<&str>) -> RequestSpan {
        let parent = traceparent.and_then(|header| header.parse::<Traceparent>().ok());
        let chosen = self.0.as_ref().filter(|on| on.chooses());
        let recording = chosen.map(|on| Box::new(on.begin(method, endpoint, parent)));
        RequestSpan { parent, recording }
    }
}

impl On {
    fn chooses(&self) -> bool {
        let sample = f64::from_bits(self.sample.load(Ordering::Relaxed));
        sample >= 1.0 || rand::random::<f64>() < sample
    }

    fn begin(&self, method: &str, endpoint: &str, parent: Option<Traceparent>) -> Recording {
        let context = match parent {
            Some(parent) => Context::new().with_remote_span_context(parent.context()),
            None => Context::new(),
        };
        let builder = self
            .tracer
            .span_builder(format!("{method} {endpoint}"))
            .with_kind(SpanKind::Server)
            .with_attributes([
                text("http.request.method", method),
                text("http.route", endpoint),
            ]);
        let span = self.tracer.build_with_context(builder, &context);
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        Recording {
            tracer: self.tracer.clone(),
            span,
            context,
        }
    }
}

impl RequestSpan {
    /// Whether anything is recorded: attributes that are dear to make need not be made otherwise.
    pub fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    /// Begins the span of an attempt.
    pub fn attempt(&self, begin: &Begin<'_>) -> AttemptSpan {
        let span = self.recording.as_ref().map(|recording| {
            let name = format!(
                "{} {}",
                begin.operation,
                cut(begin.upstream_model, VALUE_BYTES)
            );
            let builder = recording
                .tracer
                .span_builder(name)
                .with_kind(SpanKind::Client)
                .with_attributes([
                    text("gen_ai.operation.name", begin.operation),
                    KeyValue::new("gen_ai.provider.name", provider_name(begin.provider)),
                    text("gen_ai.request.model", begin.upstream_model),
                    text("weir.channel", begin.channel),
                    text("server.address", begin.host),
                    KeyValue::new("server.port", i64::from(begin.port)),
                ]);
            Box::new(
                recording
                    .tracer
                    .build_with_context(builder, &recording.context),
            )
        });
        AttemptSpan {
            parent: self.parent,
            span,
        }
    }

    /// Ends the span with what has become known.
    pub fn end(mut self, end: &End<'_>) {
        let Some(mut recording) = self.recording.take() else {
            return;
        };
        let texts = [
            ("gen_ai.operation.name", end.operation),
            ("gen_ai.provider.name", end.provider.map(provider_name)),
            ("gen_ai.request.model", end.model),
            ("gen_ai.response.model", end.response_model),
            ("error.type", end.error),
            ("weir.tenant", end.tenant),
            ("weir.key", end.key),
            ("weir.channel", end.channel),
        ];
        let numbers = [
            ("http.response.status_code", Some(u64::from(end.status))),
            ("gen_ai.usage.input_tokens", end.input_tokens),
            ("gen_ai.usage.output_tokens", end.output_tokens),
            ("weir.attempts", Some(u64::from(end.attempts))),
        ];
        let texts = texts
            .into_iter()
            .filter_map(|(name, value)| Some(text(name, value?)));
        let numbers = numbers
            .into_iter()
            .filter_map(|(name, value)| Some(number(name, value?)));
        let span = &mut recording.span;
        span.set_attributes(texts.chain(numbers));
        // By the conventions a server's span is in error for what is the server's fault alone.
        if end.status >= 500 {
            span.set_status(Status::error(end.error.unwrap_or_default().to_owned()));
        }
        span.end();
    }
}

impl AttemptSpan {
    /// The `traceparent` to send upstream: this attempt's, or the caller's own where nothing is recorded.
    pub fn traceparent(&self) -> Option<String> {
        let own = self
            .span
            .as_ref()
            .map(|span| Traceparent::of(span.span_context()));
        own.or(self.parent)
            .map(|traceparent| traceparent.to_string())
    }

    /// Ends the span; `failure` is a word of a bounded set, such as `connect`.
    pub fn end(mut self, status: Option<u16>, failure: Option<&str>) {
        let Some(span) = self.span.as_mut() else {
            return;
        };
        if let Some(status) = status {
            span.set_attribute(number("http.response.status_code", u64::from(status)));
        }
        if let Some(failure) = failure {
            span.set_attribute(text("error.type", failure));
            span.set_status(Status::error(failure.to_owned()));
        }
        span.end();
    }
}

/// The vendor's name as the conventions list it.
fn provider_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Openai => "openai",
        Kind::Anthropic => "anthropic",
        Kind::Gemini => "gcp.gemini",
        Kind::Dashscope => "alibaba_cloud",
        Kind::AzureOpenai => "azure.ai.openai",
        Kind::Custom => "custom",
    }
}

fn text(name: &'static str, value: &str) -> KeyValue {
    KeyValue::new(name, cut(value, VALUE_BYTES).into_owned())
}

fn number(name: &'static str, value: u64) -> KeyValue {
    KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SpanData, SpanExporter},
    };
    use parking_lot::Mutex;

    use super::*;
    use crate::telemetry::traces;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().extend(batch);
            Ok(())
        }
    }

    fn tracer(sample: f64) -> (Tracer, Kept, SdkTracerProvider) {
        let kept = Kept::default();
        let provider = traces::provider("here")
            .with_simple_exporter(kept.clone())
            .build();
        (Tracer::new(&provider, sample), kept, provider)
    }

    const BEGIN: Begin<'_> = Begin {
        operation: "chat",
        provider: Kind::Openai,
        channel: "openai",
        upstream_model: "gpt-4o-mini-2024",
        host: "api.openai.com",
        port: 443,
    };

    fn attribute(span: &SpanData, name: &str) -> Option<String> {
        let found = span
            .attributes
            .iter()
            .find(|attribute| attribute.key.as_str() == name)?;
        Some(found.value.to_string())
    }

    #[test]
    fn a_request_and_its_attempts_are_spans_of_the_callers_trace() {
        let (tracer, kept, _provider) = tracer(1.0);
        let request = tracer.request("POST", "/v1/chat/completions", Some(PARENT));
        let first = request.attempt(&BEGIN);
        first.end(None, Some("connect"));
        let second = request.attempt(&BEGIN);
        let sent = second.traceparent().expect("a traceparent");
        second.end(Some(200), None);
        request.end(&End {
            status: 200,
            tenant: Some("acme"),
            key: Some("zhang"),
            channel: Some("openai"),
            provider: Some(Kind::Openai),
            operation: Some("chat"),
            model: Some("gpt-4o-mini"),
            response_model: Some("gpt-4o-mini-2024"),
            input_tokens: Some(12),
            output_tokens: Some(34),
            attempts: 2,
            error: None,
        });
        let spans = kept.0.lock();
        let [first, second, request] = &spans[..] else {
            panic!("{spans:?}");
        };
        for span in spans.iter() {
            assert_eq!(
                span.span_context.trace_id().to_string(),
                "0af7651916cd43dd8448eb211c80319c"
            );
        }
        assert_eq!(request.parent_span_id.to_string(), "b7ad6b7169203331");
        assert_eq!(first.parent_span_id, request.span_context.span_id());
        assert_eq!(second.parent_span_id, request.span_context.span_id());
        let expected = format!(
            "00-{}-{}-01",
            second.span_context.trace_id(),
            second.span_context.span_id()
        );
        assert_eq!(sent, expected);
        assert_eq!(request.name, "POST /v1/chat/completions");
        assert_eq!(second.name, "chat gpt-4o-mini-2024");
        assert_eq!(attribute(first, "error.type").as_deref(), Some("connect"));
        for (name, value) in [
            ("http.response.status_code", "200"),
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "openai"),
            ("gen_ai.request.model", "gpt-4o-mini"),
            ("gen_ai.response.model", "gpt-4o-mini-2024"),
            ("gen_ai.usage.input_tokens", "12"),
            ("gen_ai.usage.output_tokens", "34"),
            ("weir.tenant", "acme"),
            ("weir.key", "zhang"),
            ("weir.channel", "openai"),
            ("weir.attempts", "2"),
        ] {
            assert_eq!(attribute(request, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(attribute(request, "error.type"), None);
    }

    #[test]
    fn a_dropped_span_ends() {
        let (tracer, kept, _provider) = tracer(1.0);
        let request = tracer.request("POST", "/v1/chat/completions", None);
        drop(request.attempt(&BEGIN));
        drop(request);
        assert_eq!(kept.0.lock().len(), 2);
    }

    #[test]
    fn the_callers_sampling_flag_decides_nothing() {
        let sampled = format!("{}1", &PARENT[..PARENT.len() - 1]);
        let (tracer, kept, _provider) = tracer(0.0);
        let request = tracer.request("POST", "/v1/chat/completions", Some(&sampled));
        assert!(!request.is_recording());
        assert_eq!(request.attempt(&BEGIN).traceparent(), Some(sampled));
        request.end(&End::default());
        assert!(kept.0.lock().is_empty());
    }

    #[test]
    fn without_a_trace_the_callers_own_is_passed_on() {
        let request = Tracer::off().request("POST", "/v1/chat/completions", Some(PARENT));
        assert_eq!(
            request.attempt(&BEGIN).traceparent().as_deref(),
            Some(PARENT)
        );
        let request = Tracer::off().request("POST", "/v1/chat/completions", None);
        assert_eq!(request.attempt(&BEGIN).traceparent(), None);
    }

    #[test]
    fn long_values_are_cut() {
        let (tracer, kept, _provider) = tracer(1.0);
        let request = tracer.request("POST", "/v1/chat/completions", None);
        request.end(&End {
            model: Some(&"m".repeat(100_000)),
            status: 500,
            error: Some("upstream_error"),
            ..End::default()
        });
        let spans = kept.0.lock();
        assert!(
            attribute(&spans[0], "gen_ai.request.model").is_some_and(|model| model.len() < 300)
        );
        assert_eq!(spans[0].status, Status::error("upstream_error"));
    }
}
