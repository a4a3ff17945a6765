//! One attempt of a call: what is known when it begins, what its answer shows on the way, and what it was when it ends.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use weir_dialect::{
    neutral::{Observation, Usage},
    openai::{Input, Limits, Observer},
};

use super::{
    Account, bounded, micros,
    spent::{Spent, bytes_as_tokens},
    tell::Told,
};
use crate::{
    billing::Money,
    limits::AttemptPermit,
    metering::{Attempt, Outcome},
    proxy::{answer::EVENT_STREAM, plausible::believed},
    routing::{Candidate, health::Lease},
    telemetry::span::{AttemptSpan, Begin},
};

/// The attempt under way.
pub(super) struct Current {
    pub(super) attempt: Attempt,
    pub(super) began: Instant,
    pub(super) candidate: Candidate,
    pub(super) lease: Option<Lease>,
    /// What the channel's limits hold for it.
    pub(super) _permit: AttemptPermit,
    pub(super) span: AttemptSpan,
    pub(super) observer: Option<Observer>,
    pub(super) input: Input,
    /// The most tokens that the call lets the model generate, if it says.
    pub(super) bound: Option<u64>,
    pub(super) relayed_bytes: u64,
    /// Whether the answer's bytes can be text that the model wrote; sound and pictures are not.
    pub(super) is_text: bool,
    /// Whether the request went out at all: set by the call.
    pub(super) reached: Rc<Cell<bool>>,
    /// How long after its beginning the first text came.
    pub(super) first_text: Option<Duration>,
}

impl Account {
    /// Begins an attempt; the one before must have been ended. Returns the `traceparent` to send on.
    pub fn begin_attempt(
        &mut self,
        candidate: &Candidate,
        lease: Option<Lease>,
        permit: AttemptPermit,
        input: Input,
        bound: Option<u64>,
    ) -> Option<String> {
        let channel = &candidate.channel;
        let model_id = candidate.model.as_ref().map(|model| model.id);
        self.last = Told {
            channel: Some(Arc::clone(channel)),
            model: candidate.model.clone(),
            response_model: None,
        };
        if let Some(model) = &candidate.model {
            self.event().model = model.name.clone();
        }
        self.event().rates = candidate.rates.clone();
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
            self.event().overhead_us = attempt.started_us;
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
            _permit: permit,
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
        self.event().attempts.push(current.attempt);
    }

    /// An upstream answered with a head that will be relayed.
    pub fn answered(&mut self, status: u16, upstream_request_id: Option<String>, kind: &str) {
        self.event().upstream_request_id = upstream_request_id.as_deref().map(bounded);
        if let Some(capture) = &mut self.capture {
            // Of an attempt before that was cut, nothing.
            capture.answered(kind == EVENT_STREAM);
        }
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
        if let Some(capture) = &mut self.capture {
            capture.told(bytes);
        }
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

    /// Ends the attempt that was relayed. The text that is still to be counted, if any.
    pub(super) fn conclude_attempt(
        &mut self,
        mut current: Current,
        outcome: Outcome,
    ) -> Option<String> {
        let took = current.began.elapsed();
        let seen = current.observer.take().map(Observer::finish);
        self.last.response_model = seen.as_ref().and_then(|seen| seen.model.clone());
        self.event().response_bytes = current.relayed_bytes;
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
                if let (Some(model), true) = (self.last.model_id(), is_reported) {
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
        self.event().attempts.push(current.attempt);
        text
    }
}
