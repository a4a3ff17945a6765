//! What metrics, the access log and the trace are told of a request when all is known.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::http::Method;
use weir_dialect::neutral::Usage;

use super::super::{Shared, endpoint::Endpoint};
use crate::{
    catalog::{Channel, Model},
    metering::{Outcome, UsageEvent},
    telemetry::{
        access_log,
        metrics::{self, TokenType},
        span::{End, RequestSpan},
    },
    tenancy::{ModelId, ProxyKey, Tenant},
};

/// What is told to metrics, log and trace when all is known.
pub(super) struct Open {
    pub(super) method: Method,
    pub(super) address: IpAddr,
    pub(super) tenant: Arc<Tenant>,
    pub(super) key: Arc<ProxyKey>,
    pub(super) span: RequestSpan,
    pub(super) in_flight: metrics::InFlight,
}

/// Of the channel and model tried last.
#[derive(Default, Clone)]
pub(super) struct Told {
    pub(super) channel: Option<Arc<Channel>>,
    pub(super) model: Option<Arc<Model>>,
    pub(super) response_model: Option<String>,
}

impl Told {
    fn channel_name(&self) -> Option<&str> {
        self.channel.as_ref().map(|channel| channel.name.as_str())
    }

    pub(super) fn model_id(&self) -> Option<ModelId> {
        self.model.as_ref().map(|model| model.id)
    }

    pub(super) fn tokenizer(&self) -> Option<String> {
        self.model
            .as_ref()
            .and_then(|model| model.tokenizer.clone())
    }
}

impl Open {
    /// Tells metrics, log and trace.
    pub(super) fn tell(self, shared: &Shared, event: &UsageEvent, told: &Told, endpoint: Endpoint) {
        let attempted = !event.attempts.is_empty();
        let usage = &event.usage;
        let tokens = by_type(usage);
        let total = Duration::from_micros(event.total_us);
        let first_byte = event.first_byte_us.map(Duration::from_micros);
        let overhead = attempted.then(|| Duration::from_micros(event.overhead_us));
        shared.metrics.request(&metrics::Request {
            provider: told.channel_name(),
            model: told.model.as_ref().map(|model| model.name.as_str()),
            status: event.status,
            total,
            first_byte,
            overhead,
            tokens: &tokens,
            estimated: event.estimated,
            unpriced: event.unpriced,
        });
        let model = Some(event.model.as_str()).filter(|model| !model.is_empty());
        let attempts = event.attempts.len() as u32;
        let counted = |tokens: u64| attempted.then_some(tokens);
        // A key's flood of refused calls is some lines and a count.
        let is_told = || {
            event.outcome != Outcome::Refused
                || shared.refused.admit("refused", event.key, Instant::now())
        };
        if access_log::is_on() && is_told() {
            access_log::write(&access_log::Line {
                id: &event.id,
                tenant: Some(&self.tenant.name),
                key: Some(&self.key.name),
                method: self.method.as_str(),
                endpoint: endpoint.label(),
                model,
                channel: told.channel_name(),
                status: event.status,
                input_tokens: counted(usage.input),
                output_tokens: counted(usage.output),
                charge: Some(&event.charge),
                first_byte,
                total,
                overhead,
                attempts,
                outcome: event.outcome.as_str(),
                code: event.error_code.as_deref(),
                client: self.address,
            });
        }
        self.span.end(&End {
            status: event.status,
            error: event.error_code.as_deref(),
            tenant: Some(&self.tenant.name),
            key: Some(&self.key.name),
            channel: told.channel_name(),
            provider: told.channel.as_ref().map(|channel| channel.kind),
            operation: Some(endpoint.operation()),
            model,
            response_model: told.response_model.as_deref(),
            input_tokens: counted(usage.input),
            output_tokens: counted(usage.output),
            attempts,
        });
        drop(self.in_flight);
    }
}

/// A usage as the metric counts it: each token under one type.
fn by_type(usage: &Usage) -> [(TokenType, u64); 9] {
    let input_parts =
        usage.cached_read + usage.cached_write + usage.audio_input + usage.image_input;
    let output_parts = usage.reasoning + usage.audio_output + usage.image_output;
    [
        (TokenType::Input, usage.input.saturating_sub(input_parts)),
        (TokenType::CachedRead, usage.cached_read),
        (TokenType::CachedWrite, usage.cached_write),
        (TokenType::AudioInput, usage.audio_input),
        (TokenType::ImageInput, usage.image_input),
        (TokenType::Output, usage.output.saturating_sub(output_parts)),
        (TokenType::Reasoning, usage.reasoning),
        (TokenType::AudioOutput, usage.audio_output),
        (TokenType::ImageOutput, usage.image_output),
    ]
}
