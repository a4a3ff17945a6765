//! A request's account while it is under way: what becomes its usage event, its metrics, its span and its log line.
//!
//! Opened once the caller is known, and closed exactly once: by `refuse`, by `close`, or, when the caller leaves and
//! actix drops the request, by `Drop`, which only hands over. `attempt` follows one attempt; what it cost is
//! decided in `spent`, from what the observer saw; `tell` says it all to metrics, log and trace.

mod attempt;
mod spent;
mod tell;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::http::Method;
use bytes::Bytes;
use tokio::sync::oneshot;
use weir_dialect::neutral::Usage;

use super::{Shared, endpoint::Endpoint, error::Refusal, identify::Caller, plausible::believed};
use crate::{
    billing::Money,
    bodies::Capture,
    limits::{Permit, busy::Present},
    metering::{
        Outcome, Source, UsageEvent,
        inflight::Start,
        recorder::{Draft, Flight},
    },
    routing::Candidate,
    tenancy::RequestId,
};

use attempt::Current;
use tell::{Open, Told};

/// One request's account.
pub struct Account {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    started: Instant,
    /// Not shared, and thus written to in place, until the account is closed.
    event: Arc<UsageEvent>,
    /// What the tenant owes, once that is sure.
    charge: Money,
    flight: Option<Flight>,
    current: Option<Current>,
    last: Told,
    /// What limits and budgets hold for it; gone when the account is.
    permit: Option<Permit>,
    /// The most output tokens that hard budgets have room for.
    room: Option<u64>,
    /// That the tenant has one more call under way.
    present: Option<Present>,
    /// What is said, where the tenant wants it kept.
    capture: Option<Box<Capture>>,
    /// Taken when the account is closed.
    open: Option<Open>,
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
        let days = caller.tenant.policies.log_bodies_days;
        let capture = days.map(|days| shared.bodies.capture(id, caller.tenant.id, days));
        let open = Open {
            method: head.method.clone(),
            address: caller.address,
            tenant: Arc::clone(&caller.tenant),
            key: Arc::clone(&caller.key),
            span: shared
                .tracer
                .request(head.method.as_str(), endpoint.label(), head.traceparent),
            in_flight: shared.metrics.in_flight(),
        };
        Self {
            shared: Arc::clone(shared),
            endpoint,
            started,
            event: Arc::new(event),
            charge: Money::ZERO,
            flight: None,
            current: None,
            last: Told::default(),
            permit: None,
            room: None,
            present: None,
            capture,
            open: Some(open),
        }
    }

    fn event(&mut self) -> &mut UsageEvent {
        Arc::make_mut(&mut self.event)
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
        let event = self.event();
        event.model = asked.model.map(bounded).unwrap_or_default();
        event.streamed = asked.streamed;
        event.request_bytes = asked.request_bytes;
        event.end_user = asked.end_user.map(bounded);
    }

    /// The body that is sent on: kept, where the tenant wants that.
    pub fn asks(&mut self, body: &Bytes) {
        if let Some(capture) = &mut self.capture {
            capture.asked(body);
        }
    }

    /// Takes note of the public model that the call is priced by, which under `/proxy/` is not the body's word.
    pub fn routed(&mut self, candidates: &[Candidate]) {
        if let Some(model) = candidates
            .first()
            .and_then(|candidate| candidate.model.as_ref())
        {
            self.event().model.clone_from(&model.name);
        }
    }

    /// Closes the account of a request that no upstream saw.
    pub fn refuse(mut self, refusal: &Refusal) {
        let total_us = micros(self.started.elapsed());
        let event = self.event();
        event.outcome = Outcome::Refused;
        event.status = refusal.status();
        event.error_code = Some(refusal.code().to_owned());
        event.total_us = total_us;
        self.shared.metrics.refusal(refusal.code());
        if let Some(open) = self.open.take() {
            open.tell(&self.shared, &self.event, &self.last, self.endpoint);
        }
        if let Err(error) = self.shared.recorder.record(UsageEvent::clone(&self.event)) {
            tracing::warn!(%error, "a refusal waits in memory");
        }
    }

    /// Keeps note that the tenant has one more call under way, as long as that is so.
    pub fn present(&mut self, present: Present) {
        self.present = Some(present);
    }

    /// Takes what limits and budgets hold for the call, and the most output tokens that hard budgets have room for.
    pub fn admitted(&mut self, permit: Permit, room: Option<u64>) {
        (self.permit, self.room) = (Some(permit), room);
    }

    /// Whether the upstream has generated more than hard budgets have room for. Only that is said which is sure: a token of
    /// text has some four bytes, hardly ever more than eight.
    pub fn is_beyond_bound(&self) -> bool {
        let Some(room) = self.room else { return false };
        let observer = self
            .current
            .as_ref()
            .and_then(|current| current.observer.as_ref());
        let generated = observer.map_or(0, |observer| observer.seen().generated_bytes);
        generated
            > room
                .saturating_add(BEYOND_TOKENS)
                .saturating_mul(BEYOND_BYTES)
    }

    /// Puts the call on record. Nothing leaves before this; from now on its event settles what it holds.
    pub fn record(&mut self) -> Result<(), Refusal> {
        let start = Start::from(&*self.event);
        let flight = self.shared.recorder.begin(&start).map_err(|error| {
            tracing::error!(%error, "a call cannot be put on record");
            Refusal::SpoolFull
        })?;
        self.flight = Some(flight);
        if let Some(permit) = &mut self.permit {
            permit.keep();
        }
        Ok(())
    }

    /// The first byte of an answer's body is about to be sent on.
    pub fn first_byte(&mut self) {
        if self.event.first_byte_us.is_none() {
            self.event().first_byte_us = Some(micros(self.started.elapsed()));
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
            Ok(charge) => self.charge = charge,
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
        self.charge
    }

    fn conclude(
        &mut self,
        outcome: Outcome,
        status: u16,
        code: Option<&'static str>,
        closed: Option<oneshot::Sender<Money>>,
    ) {
        let Some(open) = self.open.take() else { return };
        // Its concurrency slots are free before the last byte leaves: the caller's next call may come at once.
        (self.permit, self.present) = (None, None);
        let total_us = micros(self.started.elapsed());
        let event = self.event();
        event.outcome = outcome;
        event.status = status;
        event.error_code = code.map(str::to_owned);
        event.total_us = total_us;
        let text = self
            .current
            .take()
            .and_then(|current| self.conclude_attempt(current, outcome));
        // What no upstream saw is not kept: whoever is refused could fill the database with it.
        if let Some(capture) = self.capture.take()
            && !self.event.attempts.is_empty()
        {
            self.shared.bodies.keep(*capture);
        }
        self.event().price();
        self.charge = self.event.charge;
        let event = Arc::clone(&self.event);
        let recorded = match (self.flight.take(), text) {
            (Some(flight), Some(text)) => {
                let (shared, told, endpoint) =
                    (Arc::clone(&self.shared), self.last.clone(), self.endpoint);
                let draft = Draft {
                    attempt: event.attempts.len().saturating_sub(1),
                    event: UsageEvent::clone(&event),
                    text,
                    tokenizer: self.last.tokenizer(),
                    model: self.last.model_id(),
                    done: Box::new(move |event| {
                        open.tell(&shared, event, &told, endpoint);
                        confirm(closed, event.charge);
                    }),
                };
                return self.shared.recorder.settle_later(flight, draft);
            }
            (Some(flight), None) => flight.finish(event),
            (None, _) => self.shared.recorder.record(UsageEvent::clone(&event)),
        };
        if let Err(error) = recorded {
            tracing::warn!(%error, "a usage event waits in memory");
        }
        open.tell(&self.shared, &self.event, &self.last, self.endpoint);
        confirm(closed, self.event.charge);
    }
}

impl Drop for Account {
    /// The caller left, or the handler panicked. Only hands over: what must be counted is counted elsewhere.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return self.conclude(Outcome::CutByClient, 499, None, None);
        }
        let refusal = Refusal::Panicked;
        let (status, code) = (refusal.status(), Some(refusal.code()));
        // A panic that leaves a destructor during another one ends the process; what was on record is told by its slot.
        let concluded = catch_unwind(AssertUnwindSafe(|| {
            self.conclude(Outcome::Interrupted, status, code, None);
        }));
        if concluded.is_err() {
            tracing::error!(id = %self.event.id, "the account of a call that panicked cannot be closed");
        }
    }
}

/// Tells whoever waits for an account to be closed.
fn confirm(closed: Option<oneshot::Sender<Money>>, charge: Money) {
    if closed.is_some_and(|closed| closed.send(charge).is_err()) {
        tracing::trace!("the caller left while the account was closed");
    }
}

/// Tokens beyond the bound, and bytes of each, from which it is sure that a vendor does not keep to it.
const BEYOND_TOKENS: u64 = 64;
const BEYOND_BYTES: u64 = 8;

/// What the account takes from a request's head.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    pub method: &'a Method,
    pub traceparent: Option<&'a str>,
    pub client_request_id: Option<&'a str>,
}

/// A caller's or an upstream's text, as long as an event keeps it.
fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(256)].to_owned()
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}
