//! The usage event: the source of every figure.

use serde::{Deserialize, Serialize};
use weir_dialect::neutral::Usage;

use crate::{
    billing::{Money, Rates},
    tenancy::{ChannelId, CredentialId, GroupId, KeyId, RequestId, TenantId, UserId},
};

/// The record of one request of a known key. Written down, it goes without the fields that are empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageEvent {
    pub id: RequestId,
    pub tenant: TenantId,
    pub key: KeyId,
    /// The user that the key belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The one group that limits and reports count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// Unix milliseconds at which the request's head had been read.
    pub started_ms: i64,
    /// The path's shape, such as `/v1/chat/completions` or `/proxy`; of a bounded set.
    pub endpoint: String,
    /// The dialect the caller spoke: `openai`, or `none` under `/proxy/`.
    pub dialect: String,
    /// The public model name; for a name that is not known, at most 256 bytes as the caller sent it; empty if none.
    pub model: String,
    pub source: Source,
    pub outcome: Outcome,
    /// The HTTP status that the caller got, or would have got.
    pub status: u16,
    /// Weir's code of the refusal or failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    pub streamed: bool,
    /// Requests that share this event: more than 1 only for refusals in a flood.
    pub count: u32,
    /// Tokens the tenant is charged for: those of the attempt that answered, or of the last that generated anything.
    pub usage: Usage,
    /// Whether any of the tokens charged were counted by Weir and not reported by the upstream.
    pub estimated: bool,
    /// Whether the model had no price.
    pub unpriced: bool,
    /// What all attempts' vendors bill.
    pub cost: Money,
    /// What the tenant owes.
    pub charge: Money,
    /// The rates it was billed at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// Microseconds from the request's head to the first byte of the answer's body sent on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_us: Option<u64>,
    /// Microseconds from the request's head to the end.
    pub total_us: u64,
    /// Microseconds that Weir itself spent before the (last) upstream call was under way.
    pub overhead_us: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// The caller's own id of the request: a label, nothing more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_request_id: Option<String>,
    /// The upstream's id of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_request_id: Option<String>,
    /// The caller's label of its own user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_user: Option<String>,
    pub attempts: Vec<Attempt>,
    /// The instance that served it.
    pub instance: String,
}

impl UsageEvent {
    /// Computes cost and charge from the attempts' usage at `rates`: what every attempt's vendor bills, and of that what
    /// the tenant owes, which is the attempt that answered, or else the last that generated anything.
    pub fn price(&mut self) {
        for attempt in &mut self.attempts {
            let rates = self.rates.as_ref().filter(|_| attempt.is_billed());
            attempt.cost = rates.map_or(Money::ZERO, |rates| rates.cost(&attempt.usage));
        }
        self.cost = self.attempts.iter().map(|attempt| attempt.cost).sum();
        let mut last_first = self.attempts.iter().rev();
        let charged = last_first.clone().find(|attempt| attempt.answered());
        let charged =
            charged.or_else(|| last_first.clone().find(|attempt| attempt.usage.output > 0));
        let charged = charged.or_else(|| last_first.find(|attempt| attempt.is_billed()));
        self.charge = charged.map_or(Money::ZERO, |attempt| attempt.cost);
        self.usage = charged.map(|attempt| attempt.usage).unwrap_or_default();
        self.estimated = charged.is_some_and(|attempt| attempt.estimated);
        self.unpriced = charged.is_some() && self.rates.is_none();
    }
}

/// One call to one channel with one credential.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub channel: ChannelId,
    pub credential: Option<CredentialId>,
    pub upstream_model: String,
    /// Microseconds after the request's head at which it began.
    pub started_us: u64,
    /// Microseconds that it took.
    pub took_us: u64,
    /// The upstream's status, if it answered.
    pub status: Option<u16>,
    /// What went wrong, as a word of a bounded set, such as `connect` or `first_byte_timeout`.
    pub failure: Option<String>,
    pub usage: Usage,
    pub estimated: bool,
    /// What its vendor bills.
    pub cost: Money,
}

impl Attempt {
    /// Whether its answer is the one that the caller got.
    pub fn answered(&self) -> bool {
        self.status
            .is_some_and(|status| (200..300).contains(&status))
            && self.failure.is_none()
    }

    /// Whether its vendor bills it: it answered, or generated something before it failed.
    pub fn is_billed(&self) -> bool {
        self.answered() || self.usage != Usage::default()
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The upstream's answer was relayed whole.
    Ok,
    /// Weir refused it before any upstream.
    Refused,
    /// No upstream gave an answer, or the answer was the upstream's failure (5xx, 429, 401 and 403).
    UpstreamError,
    /// The upstream said that the request was wrong (other 4xx).
    ClientError,
    /// The caller left before the end.
    CutByClient,
    /// The upstream broke off.
    CutByUpstream,
    /// Weir ended the stream: a deadline, a revoked key, a bound.
    CutByWeir,
    /// The process died under it, and the event was made at replay from the in-flight record; or its handler panicked.
    Interrupted,
}

impl Outcome {
    /// The word that the API, the database and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::UpstreamError => "upstream_error",
            Self::ClientError => "client_error",
            Self::CutByClient => "cut_by_client",
            Self::CutByUpstream => "cut_by_upstream",
            Self::CutByWeir => "cut_by_weir",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether reports count it among the errors: all but `ok` and a caller's own leaving.
    pub fn is_error(self) -> bool {
        !matches!(self, Self::Ok | Self::CutByClient)
    }
}

/// Where a request came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    #[default]
    Api,
    Playground,
    Probe,
}

impl Source {
    /// The word that the API and the database use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Playground => "playground",
            Self::Probe => "probe",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metering::sample;

    fn attempt(status: u16, input: u64, output: u64) -> Attempt {
        let usage = Usage {
            input,
            output,
            ..Usage::default()
        };
        let failure = (status >= 300).then(|| "broken".to_owned());
        Attempt {
            status: Some(status),
            failure,
            usage,
            ..sample::event().attempts[0].clone()
        }
    }

    fn priced(attempts: Vec<Attempt>) -> UsageEvent {
        let rates = Rates {
            input: "1".parse().ok(),
            output: "2".parse().ok(),
            ..Rates::default()
        };
        let mut event = UsageEvent {
            attempts,
            rates: Some(rates),
            ..sample::event()
        };
        event.price();
        event
    }

    #[test]
    fn the_tenant_pays_for_the_answer_and_the_cost_is_of_all_attempts() {
        let event = priced(vec![attempt(500, 10, 5), attempt(200, 10, 20)]);
        assert_eq!((event.charge.nanos(), event.cost.nanos()), (50_000, 70_000));
        assert_eq!(event.usage.output, 20);
    }

    #[test]
    fn without_an_answer_the_last_attempt_that_generated_anything_is_charged() {
        let event = priced(vec![attempt(500, 10, 5), attempt(502, 10, 0)]);
        assert_eq!((event.charge.nanos(), event.cost.nanos()), (20_000, 30_000));
        assert_eq!(priced(vec![attempt(502, 0, 0)]).charge, Money::ZERO);
    }

    #[test]
    fn a_model_without_a_price_is_flagged_and_free() {
        let mut event = UsageEvent {
            attempts: vec![attempt(200, 10, 20)],
            rates: None,
            ..sample::event()
        };
        event.price();
        assert!(event.unpriced && event.charge == Money::ZERO && event.usage.output == 20);
    }
}
