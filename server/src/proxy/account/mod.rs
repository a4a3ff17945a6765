//! A request's account while it is under way: what becomes its usage event, its metrics, its span and its log line.
//!
//! Opened once the caller is known, and closed exactly once: by `refuse`, by `close`, or, when the caller leaves and
//! actix drops the request, by `Drop`, which only hands over. What an attempt cost is decided in `spent`, from what the
//! observer saw; `tell` says it all to metrics, log and trace.

mod spent;
mod tell;

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use weir_dialect::{
    neutral::{Observation, Usage},
    openai::{Input, Limits, Observer},
};

use super::{
    Shared, answer::EVENT_STREAM, endpoint::Endpoint, error::Refusal, identify::Caller,
    plausible::believed,
};
use crate::{
    billing::Money,
    metering::{
        Attempt, Outcome, Source, UsageEvent,
        inflight::Start,
        recorder::{Draft, Flight},
    },
    routing::{Candidate, health::Lease},
    telemetry::span::{AttemptSpan, Begin},
    tenancy::RequestId,
};

use spent::{Spent, bytes_as_tokens};
use tell::{Open, Told};

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
    /// Whether the answer's bytes can be text that the model wrote; sound and pictures are not.
    is_text: bool,
    /// Whether the request went out at all: set by the call.
    reached: Rc<Cell<bool>>,
    /// How long after its beginning the first text came.
    first_text: Option<Duration>,
}

/// What a request is, once its body has been read.
#[derive(Debug, Default)]
pub struct Asked<'a> {
    pub model: Option<&'a str>,
    pub streamed: bool,
    pub request_bytes: u64,
    pub end_user: Option<&'a str>,
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
            in_flight: shared.metrics.in_flight(),
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

    /// Takes note of the public model that the call is priced by, which under `/proxy/` is not the body's word.
    pub fn routed(&mut self, candidates: &[Candidate]) {
        if let Some(model) = candidates
            .first()
            .and_then(|candidate| candidate.model.as_ref())
        {
            self.event.model.clone_from(&model.name);
        }
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
        let start = Start::from(&self.event);
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
            is_text: true,
            reached: Rc::default(),
            first_text: None,
        });
        traceparent
    }

    /// What the call of the attempt under way marks when its request goes out.
    pub fn reached(&self) -> Rc<Cell<bool>> {
        self.current
            .as_ref()
            .map(|current| Rc::clone(&current.reached))
            .unwrap_or_default()
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
                output: usage.output + bytes_as_tokens(text.len() as u64),
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
    pub fn answered(&mut self, status: u16, upstream_request_id: Option<String>, kind: &str) {
        self.event.upstream_request_id = upstream_request_id.as_deref().map(bounded);
        if let Some(current) = &mut self.current {
            current.attempt.status = Some(status);
            current.is_text =
                kind == EVENT_STREAM || kind.ends_with("json") || kind.starts_with("text/");
            let limits = Limits::default();
            current.observer = Some(match kind {
                EVENT_STREAM => Observer::stream(limits),
                _ => Observer::json(limits),
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
        if current.first_text.is_none() && observer.seen().started {
            current.first_text = Some(current.began.elapsed());
        }
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
        let is_error = current.attempt.status.is_some_and(|status| status >= 300);
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
