//! Events and starts for tests.

use weir_dialect::neutral::Usage;

use super::{Attempt, Outcome, Source, UsageEvent};
use crate::{
    billing::Money,
    tenancy::{ChannelId, CredentialId, KeyId, RequestId, TenantId, UserId},
};

/// The key that tests authenticate with.
pub(crate) const KEY: [u8; 32] = [7; 32];

/// A usual event of one attempt.
pub(crate) fn event() -> UsageEvent {
    UsageEvent {
        id: RequestId::new(),
        tenant: TenantId::random(),
        key: KeyId::random(),
        user: Some(UserId::random()),
        group: None,
        started_ms: 1_785_000_000_000,
        endpoint: "/v1/chat/completions".to_owned(),
        dialect: "openai".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        source: Source::Api,
        outcome: Outcome::Ok,
        status: 200,
        error_code: None,
        streamed: true,
        count: 1,
        usage: usage(),
        estimated: false,
        unpriced: false,
        cost: Money::from_nanos(123_000),
        charge: Money::from_nanos(123_000),
        rates: None,
        first_byte_us: Some(412_345),
        total_us: 2_345_678,
        overhead_us: 431,
        request_bytes: 4_321,
        response_bytes: 65_432,
        client_request_id: Some("caller's\r\nown".to_owned()),
        upstream_request_id: Some("req_0123456789abcdef".to_owned()),
        end_user: None,
        attempts: vec![attempt()],
        instance: "weir-0".to_owned(),
    }
}

pub(crate) fn usage() -> Usage {
    Usage {
        input: 1_000,
        cached_read: 400,
        output: 250,
        ..Usage::default()
    }
}

pub(crate) fn attempt() -> Attempt {
    Attempt {
        channel: ChannelId::random(),
        credential: Some(CredentialId::random()),
        upstream_model: "gpt-4o-mini-2024-07-18".to_owned(),
        started_us: 431,
        took_us: 2_345_000,
        status: Some(200),
        failure: None,
        usage: usage(),
        estimated: false,
        cost: Money::from_nanos(123_000),
    }
}
