//! A request's account while it is under way: what becomes its usage event, its metrics, its span and its log line.
//!
//! Opened once the caller is known, and closed exactly once: by `refuse`, by `close`, or, when the caller leaves and
//! actix drops the request, by `Drop`, which only hands over. What an attempt cost is decided here from what the
//! observer saw: reported usage as it is, everything else estimated and marked.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use weir_dialect::{
    neutral::{Observation, Usage},
    openai::{Input, Limits, Observer},
};

use super::{
    Shared,
    endpoint::Endpoint,
    error::Refusal,
    identify::Caller,
    plausible::{Carried, believed},
};
use crate::{
    billing::Money,
    metering::{
        Attempt, Outcome, Source, UsageEvent,
        inflight::Start,
        recorder::{Draft, Flight},
    },
    routing::{Candidate, health::Lease},
    telemetry::{
        access_log,
        metrics::{self, TokenType},
        span::{AttemptSpan, Begin, End, RequestSpan},
    },
    tenancy::{ModelId, RequestId},
};

/// One request's account.
pub struct Account {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    started: Instant,
    event: UsageEvent,
    flight: Option<Flight>,
    current: Option<Current>,
    last: Told,
    /// Taken when the account is closed.
    open: Option<Open>,
}

/// What is told to metrics, log and trace when all is known.
struct Open {
    method: String,
    address: IpAddr,
    tenant: String,
    key: String,
    span: RequestSpan,
    _in_flight: metrics::InFlight,
}

/// The attempt under way.
struct Current {
    attempt: Attempt,
    began: Instant,
    candidate: Candidate,
    lease: Option<Lease>,
    span: AttemptSpan,
    observer: Option<Observer>,
    input: Input,
    /// The most tokens that the call lets the model generate, if it says.
    bound: Option<u64>,
    relayed_bytes: u64,
}

impl Current {
    fn carried(&self) -> Carried {
        let input = &self.input;
        let is_text = input.media_bytes == 0 && input.images + input.audios + input.files == 0;
        Carried {
            request_bytes: is_text.then_some(input.text_bytes),
            took: self.began.elapsed(),
        }
    }

    fn believed(&self, seen: &Observation) -> Option<Usage> {
        believed(seen, self.carried())
    }
}

/// Of the channel and model tried last.
#[derive(Default, Clone)]
struct Told {
    channel: Option<String>,
    kind: Option<weir_api_types::channel::Kind>,
    model: Option<String>,
    model_id: Option<ModelId>,
    tokenizer: Option<String>,
    response_model: Option<String>,
}

/// What a request is, once its body has been read.
#[derive(Debug, Default)]
pub struct Asked<'a> {
    pub model: Option<&'a str>,
    pub streamed: bool,
    pub request_bytes: u64,
    pub end_user: Option<&'a str>,
}

/// Tokens of an attempt as far as they are known.
enum Spent {
    Known(Usage),
    /// Input is estimated; the text is still to be counted.
    ToCount {
        usage: Usage,
        text: String,
    },
}

impl Account {
    /// Opens the account of a request whose caller is known.
    pub fn open(
        shared: &Arc<Shared>,
        caller: &Caller,
        endpoint: Endpoint,
        id: RequestId,
        started: Instant,
        head: Head<'_>,
    ) -> Self {
        let event = UsageEvent {
            id,
            tenant: caller.tenant.id,
            key: caller.key.id,
            user: caller.user,
            group: caller.group,
            started_ms: id.at_ms(),
            endpoint: endpoint.label().to_owned(),
            dialect: endpoint.dialect().to_owned(),
            model: String::new(),
            source: Source::Api,
            outcome: Outcome::CutByClient,
            status: 499,
            error_code: None,
            streamed: false,
            count: 1,
            usage: Usage::default(),
            estimated: false,
            unpriced: false,
            cost: Money::ZERO,
            charge: Money::ZERO,
            rates: None,
            first_byte_us: None,
            total_us: 0,
            overhead_us: 0,
            request_bytes: 0,
            response_bytes: 0,
            client_request_id: head.client_request_id.map(str::to_owned),
            upstream_request_id: None,
            end_user: None,
            attempts: Vec::new(),
            instance: shared.instance.clone(),
        };
        let open = Open {
            method: head.method.to_owned(),
            address: caller.address,
            tenant: caller.tenant.name.clone(),
            key: caller.key.name.clone(),
            span: shared
                .tracer
                .request(head.method, endpoint.label(), head.traceparent),
            _in_flight: shared.metrics.in_flight(),
        };
        Self {
            shared: Arc::clone(shared),
            endpoint,
            started,
            event,
            flight: None,
            current: None,
            last: Told::default(),
            open: Some(open),
        }
    }

    pub fn id(&self) -> RequestId {
        self.event.id
    }

    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// How many attempts there were, the one under way included.
    pub fn attempts(&self) -> usize {
        self.event.attempts.len() + usize::from(self.current.is_some())
    }

    /// Takes note of what the body asks for.
    pub fn asked(&mut self, asked: &Asked<'_>) {
        self.event.model = asked.model.map(bounded).unwrap_or_default();
        self.event.streamed = asked.streamed;
        self.event.request_bytes = asked.request_bytes;
        self.event.end_user = asked.end_user.map(bounded);
    }

    /// Closes the account of a request that no upstream saw.
    pub fn refuse(mut self, refusal: &Refusal) {
        self.event.outcome = Outcome::Refused;
        self.event.status = refusal.status();
        self.event.error_code = Some(refusal.code().to_owned());
        self.event.total_us = micros(self.started.elapsed());
        self.shared.metrics.refusal(refusal.code());
        if let Some(open) = self.open.take() {
            open.tell(&self.shared, &self.event, &self.last, self.endpoint);
        }
        if let Err(error) = self.shared.recorder.record(self.event.clone()) {
            tracing::warn!(%error, "a refusal waits in memory");
        }
    }

    /// Puts the call on record. Nothing leaves before this.
    pub fn record(&mut self) -> Result<(), Refusal> {
        let event = &self.event;
        let start = Start {
            id: event.id,
            tenant: event.tenant,
            key: event.key,
            user: event.user,
            group: event.group,
            started_ms: event.started_ms,
            endpoint: &event.endpoint,
            dialect: &event.dialect,
            model: &event.model,
            source: event.source,
            streamed: event.streamed,
            request_bytes: event.request_bytes,
            client_request_id: event.client_request_id.as_deref(),
            end_user: event.end_user.as_deref(),
            instance: &event.instance,
        };
        let flight = self.shared.recorder.begin(&start).map_err(|error| {
            tracing::error!(%error, "a call cannot be put on record");
            Refusal::SpoolFull
        })?;
        self.flight = Some(flight);
        Ok(())
    }

    /// Begins an attempt; the one before must have been ended. Returns the `traceparent` to send on.
    pub fn begin_attempt(
        &mut self,
        candidate: &Candidate,
        lease: Option<Lease>,
        input: Input,
        bound: Option<u64>,
    ) -> Option<String> {
        let channel = &candidate.channel;
        let model_id = candidate.model.as_ref().map(|model| model.id);
        self.last = Told {
            channel: Some(channel.name.clone()),
            kind: Some(channel.kind),
            model: candidate.model.as_ref().map(|model| model.name.clone()),
            model_id,
            tokenizer: candidate
                .model
                .as_ref()
                .and_then(|model| model.tokenizer.clone()),
            response_model: None,
        };
        if let Some(model) = &candidate.model {
            self.event.model = model.name.clone();
        }
        self.event.rates = candidate.rates.clone();
        let upstream_model = candidate.upstream_model.clone().unwrap_or_default();
        let begin = Begin {
            operation: self.endpoint.operation(),
            provider: channel.kind,
            channel: &channel.name,
            upstream_model: &upstream_model,
            host: &channel.base.host,
            port: channel.base.port,
        };
        let span = self.open.as_ref().map(|open| open.span.attempt(&begin));
        let estimate = self.estimated_input(model_id, &input);
        let attempt = Attempt {
            channel: channel.id,
            credential: lease.as_ref().map(|lease| lease.credential.id),
            upstream_model,
            started_us: micros(self.started.elapsed()),
            took_us: 0,
            status: None,
            failure: None,
            usage: Usage {
                input: estimate,
                ..Usage::default()
            },
            estimated: true,
            cost: Money::ZERO,
        };
        if self.event.attempts.is_empty() {
            self.event.overhead_us = attempt.started_us;
        }
        if let Some(flight) = &mut self.flight {
            flight.attempt(&attempt);
        }
        let span = span?;
        let traceparent = span.traceparent();
        let began = Instant::now();
        let candidate = candidate.clone();
        self.current = Some(Current {
            attempt,
            began,
            candidate,
            lease,
            span,
            observer: None,
            input,
            bound,
            relayed_bytes: 0,
        });
        traceparent
    }

    /// The credential of the attempt under way.
    pub fn lease(&self) -> Option<&Lease> {
        self.current
            .as_ref()
            .and_then(|current| current.lease.as_ref())
    }

    /// Ends an attempt that gave the caller nothing. `reached` says whether the vendor may have worked on it.
    pub fn end_attempt(&mut self, status: Option<u16>, reason: &'static str, reached: bool) {
        let Some(mut current) = self.current.take() else {
            return;
        };
        self.shared
            .metrics
            .attempt(&current.candidate.channel.name, reason);
        let spent = match (reached, current.observer.take()) {
            (true, observer) => self.spent(&current, observer.map(Observer::finish).as_ref()),
            (false, _) => Spent::Known(Usage::default()),
        };
        let attempt = &mut current.attempt;
        attempt.status = status;
        attempt.failure = Some(reason.to_owned());
        attempt.took_us = micros(current.began.elapsed());
        attempt.estimated = reached;
        attempt.usage = match spent {
            Spent::Known(usage) => usage,
            // A retried answer is not counted to the token: it is the vendor's side of the cost, marked estimated.
            Spent::ToCount { usage, text } => Usage {
                output: usage.output + bytes_as_tokens(text.len()),
                ..usage
            },
        };
        if let Some(flight) = &mut self.flight {
            flight.attempt_over(attempt);
        }
        current.span.end(status, Some(reason));
        self.event.attempts.push(current.attempt);
    }

    /// An upstream answered with a head that will be relayed.
    pub fn answered(&mut self, status: u16, upstream_request_id: Option<String>, is_stream: bool) {
        self.event.upstream_request_id = upstream_request_id.as_deref().map(bounded);
        if let Some(current) = &mut self.current {
            current.attempt.status = Some(status);
            let limits = Limits::default();
            current.observer = Some(if is_stream {
                Observer::stream(limits)
            } else {
                Observer::json(limits)
            });
        }
    }

    /// Takes note of bytes of the answer, before they are sent on. What has been seen so far.
    pub fn observe(&mut self, bytes: &[u8]) -> Option<&Observation> {
        let current = self.current.as_mut()?;
        let carried = current.carried();
        let observer = current.observer.as_mut()?;
        observer.feed(bytes);
        current.relayed_bytes += bytes.len() as u64;
        if let Some(flight) = &mut self.flight {
            let seen = observer.seen();
            flight.relayed(current.relayed_bytes, seen.generated_bytes);
            if let Some(usage) = believed(seen, carried) {
                flight.usage(&usage);
            }
        }
        Some(observer.seen())
    }

    /// The first byte of an answer's body is about to be sent on.
    pub fn first_byte(&mut self) {
        if self.event.first_byte_us.is_none() {
            self.event.first_byte_us = Some(micros(self.started.elapsed()));
        }
    }

    /// The charge as far as the upstream has reported usage, for `x-weir-cost`.
    pub fn charge_so_far(&self) -> Option<Money> {
        let current = self.current.as_ref()?;
        let usage = believed(current.observer.as_ref()?.seen(), current.carried())?;
        current
            .candidate
            .rates
            .as_ref()
            .map(|rates| rates.cost(&usage))
    }

    /// Closes the account: the event is in the spool when this returns.
    pub async fn close(&mut self, outcome: Outcome, status: u16, code: Option<&'static str>) {
        let (closed, wait) = oneshot::channel();
        self.conclude(outcome, status, code, Some(closed));
        match wait.await {
            Ok(charge) => self.event.charge = charge,
            Err(_) => tracing::error!(id = %self.event.id, "a usage event was not confirmed"),
        }
    }

    /// Closes the account, if it is open, of an answer that is dropped on Weir's own account: only hands over.
    pub fn abandon(&mut self, outcome: Outcome, status: u16, code: &'static str) {
        self.conclude(outcome, status, Some(code), None);
    }

    /// Whether the account has been closed.
    pub fn is_closed(&self) -> bool {
        self.open.is_none()
    }

    /// The charge, once the account is closed.
    pub fn charge(&self) -> Money {
        self.event.charge
    }

    fn conclude(
        &mut self,
        outcome: Outcome,
        status: u16,
        code: Option<&'static str>,
        closed: Option<oneshot::Sender<Money>>,
    ) {
        let Some(open) = self.open.take() else { return };
        self.event.outcome = outcome;
        self.event.status = status;
        self.event.error_code = code.map(str::to_owned);
        self.event.total_us = micros(self.started.elapsed());
        let text = self
            .current
            .take()
            .and_then(|current| self.conclude_attempt(current, outcome));
        self.event.price();
        let event = self.event.clone();
        let (shared, told, endpoint) = (Arc::clone(&self.shared), self.last.clone(), self.endpoint);
        let done = move |event: &UsageEvent| {
            open.tell(&shared, event, &told, endpoint);
            if let Some(closed) = closed
                && closed.send(event.charge).is_err()
            {
                tracing::trace!("the caller left while the account was closed");
            }
        };
        match (self.flight.take(), text) {
            (Some(flight), Some(text)) => {
                let attempt = event.attempts.len().saturating_sub(1);
                let draft = Draft {
                    event,
                    text,
                    attempt,
                    tokenizer: self.last.tokenizer.clone(),
                    model: self.last.model_id,
                    done: Box::new(done),
                };
                self.shared.recorder.settle_later(flight, draft);
            }
            (Some(flight), None) => {
                if let Err(error) = flight.finish(event.clone()) {
                    tracing::warn!(%error, "a usage event waits in memory");
                }
                done(&event);
            }
            (None, _) => {
                if let Err(error) = self.shared.recorder.record(event.clone()) {
                    tracing::warn!(%error, "a usage event waits in memory");
                }
                done(&event);
            }
        }
    }

    /// Ends the attempt that was relayed. The text that is still to be counted, if any.
    fn conclude_attempt(&mut self, mut current: Current, outcome: Outcome) -> Option<String> {
        let took = current.began.elapsed();
        let seen = current.observer.take().map(Observer::finish);
        self.last.response_model = seen.as_ref().and_then(|seen| seen.model.clone());
        self.event.response_bytes = current.relayed_bytes;
        let reason = match outcome {
            Outcome::Ok | Outcome::ClientError => "ok",
            other => other.as_str(),
        };
        self.shared
            .metrics
            .attempt(&current.candidate.channel.name, reason);
        let is_error = current.attempt.status.is_some_and(|status| status >= 400);
        let spent = if is_error {
            let reported = seen.as_ref().and_then(|seen| current.believed(seen));
            Spent::Known(reported.unwrap_or_default())
        } else {
            self.spent(&current, seen.as_ref())
        };
        let is_reported = seen
            .as_ref()
            .is_some_and(|seen| current.believed(seen).is_some());
        let attempt = &mut current.attempt;
        attempt.took_us = micros(took);
        attempt.failure = matches!(outcome, Outcome::CutByUpstream | Outcome::UpstreamError)
            .then(|| reason.to_owned());
        let text = match spent {
            Spent::Known(usage) => {
                attempt.usage = usage;
                attempt.estimated = !is_reported && !is_error;
                if let (Some(model), true) = (self.last.model_id, is_reported) {
                    self.learn(model, &usage, seen.as_ref(), &current.input, took);
                }
                None
            }
            Spent::ToCount { usage, text } => {
                attempt.usage = usage;
                attempt.estimated = true;
                Some(text)
            }
        };
        current.span.end(attempt.status, attempt.failure.as_deref());
        self.event.attempts.push(current.attempt);
        text
    }

    /// What an attempt has spent: as reported, or estimated.
    fn spent(&self, current: &Current, seen: Option<&Observation>) -> Spent {
        if let Some(usage) = seen.and_then(|seen| current.believed(seen)) {
            return Spent::Known(usage);
        }
        if !self.endpoint.needs_model() && self.endpoint != Endpoint::Proxy {
            return Spent::Known(Usage::default());
        }
        let input = self.estimated_input(
            current.candidate.model.as_ref().map(|model| model.id),
            &current.input,
        );
        let usage = Usage {
            input,
            ..Usage::default()
        };
        match seen {
            Some(seen) if !seen.text.is_empty() => {
                let untold = seen.generated_bytes.saturating_sub(seen.text.len() as u64);
                let unread = seen.unread_bytes.saturating_add(untold);
                Spent::ToCount {
                    usage: Usage {
                        output: bytes_as_tokens(unread as usize),
                        ..usage
                    },
                    text: seen.text.clone(),
                }
            }
            Some(seen) if seen.unread_bytes > 0 => Spent::Known(Usage {
                output: bytes_as_tokens(seen.unread_bytes as usize),
                ..usage
            }),
            // Nothing was shown: what the model may have done in secret meanwhile.
            _ if self.endpoint.finishes() => {
                let secret = self
                    .shared
                    .pace
                    .tokens(self.last.model_id, current.began.elapsed());
                let ceiling = current
                    .candidate
                    .model
                    .as_ref()
                    .and_then(|model| model.max_output_tokens);
                let bound = current.bound.or(ceiling).unwrap_or(u64::MAX);
                Spent::Known(Usage {
                    output: secret.min(bound),
                    ..usage
                })
            }
            _ => Spent::Known(usage),
        }
    }

    fn estimated_input(&self, model: Option<ModelId>, input: &Input) -> u64 {
        self.shared.recorder.corrections().estimate_input(
            model,
            input.text_bytes,
            u64::from(input.images),
        )
    }

    fn learn(
        &self,
        model: ModelId,
        usage: &Usage,
        seen: Option<&Observation>,
        input: &Input,
        took: Duration,
    ) {
        let corrections = self.shared.recorder.corrections();
        self.shared.pace.learn(model, usage.output, took);
        if input.images == 0 && input.media_bytes == 0 {
            corrections.learn_input(model, usage.input, input.text_bytes);
        }
        let text = seen.map(|seen| seen.text.as_str()).unwrap_or_default();
        if !text.is_empty() && usage.reasoning == 0 && corrections.wants(model, text.len()) {
            self.shared.recorder.learn(
                model,
                self.last.tokenizer.clone(),
                text.to_owned(),
                usage.output,
            );
        }
    }
}

impl Drop for Account {
    /// The caller left. Only hands over: what must be counted is counted elsewhere.
    fn drop(&mut self) {
        self.conclude(Outcome::CutByClient, 499, None, None);
    }
}

/// What the account takes from a request's head.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    pub method: &'a str,
    pub traceparent: Option<&'a str>,
    pub client_request_id: Option<&'a str>,
}

impl Open {
    /// Tells metrics, log and trace.
    fn tell(self, shared: &Shared, event: &UsageEvent, told: &Told, endpoint: Endpoint) {
        let attempted = !event.attempts.is_empty();
        let usage = &event.usage;
        let tokens = by_type(usage);
        let total = Duration::from_micros(event.total_us);
        let first_byte = event.first_byte_us.map(Duration::from_micros);
        let overhead = attempted.then(|| Duration::from_micros(event.overhead_us));
        shared.metrics.request(&metrics::Request {
            provider: told.channel.as_deref(),
            model: told.model.as_deref(),
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
        if access_log::is_on() {
            access_log::write(&access_log::Line {
                id: &event.id,
                tenant: Some(&self.tenant),
                key: Some(&self.key),
                method: &self.method,
                endpoint: endpoint.label(),
                model,
                channel: told.channel.as_deref(),
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
            tenant: Some(&self.tenant),
            key: Some(&self.key),
            channel: told.channel.as_deref(),
            provider: told.kind,
            operation: Some(endpoint.operation()),
            model,
            response_model: told.response_model.as_deref(),
            input_tokens: counted(usage.input),
            output_tokens: counted(usage.output),
            attempts,
        });
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

/// Four bytes a token, rounded up: for text that no tokenizer will see.
fn bytes_as_tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

/// A caller's or an upstream's text, as long as an event keeps it.
fn bounded(text: &str) -> String {
    text.chars()
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= 256).then_some(c)
        })
        .collect()
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}
