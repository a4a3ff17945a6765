//! What the parts of a request cost by themselves: reading the body, observing an answer, admission and settlement. The whole
//! way is measured by `make bench`; this tells which part has changed.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::{
    billing::{Money, Rates},
    catalog::{Catalog, Current, Delta, Entry},
    limits::{Admitted, Claim, Config, Limits, Local, Most, Output, Who},
    metering::{Outcome, Source, UsageEvent},
    tenancy::{Budget, BudgetId, KeyId, Limit, LimitId, RequestId, Scope, TenantId, limit::Amount},
};
use weir_api_types::limit::{self as wire, Metric, Mode, Per, Period};
use weir_dialect::{
    neutral::Usage,
    openai::{self, Ask, Observer},
};

const TENANT: TenantId = TenantId(uuid::Uuid::from_u128(1));
const KEY: KeyId = KeyId(uuid::Uuid::from_u128(2));

/// A chat request of about a kilobyte.
fn body() -> Bytes {
    let system = "You are a concise assistant. ".repeat(8);
    let user = "Summarise the following paragraph in one sentence. ".repeat(10);
    let body = serde_json::json!({
        "model": "bench", "max_tokens": 64, "stream": true,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
    });
    Bytes::from(body.to_string())
}

/// An answer of fifty chunks, with its usage at the end.
fn stream() -> Vec<u8> {
    let chunk = |delta: &str| {
        format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\",\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n"
        )
    };
    let mut text = chunk("{\"role\":\"assistant\"}");
    for _ in 0..50 {
        text.push_str(&chunk("{\"content\":\" word\"}"));
    }
    text.push_str("data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":50,\"total_tokens\":59}}\n\ndata: [DONE]\n\n");
    text.into_bytes()
}

fn parsing(criterion: &mut Criterion) {
    let body = body();
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("chat request", |bencher| {
        bencher.iter(|| Ask::read(&body, openai::Endpoint::Chat));
    });
    let stream = stream();
    group.throughput(Throughput::Bytes(stream.len() as u64));
    group.bench_function("streamed answer", |bencher| {
        bencher.iter(|| {
            let mut observer = Observer::stream(openai::Limits::default());
            for piece in stream.chunks(200) {
                observer.feed(piece);
            }
            observer.finish()
        });
    });
    group.finish();
}

fn rule(metric: Metric, per: Option<Per>) -> wire::Limit {
    wire::Limit::new(metric, per, 1_000_000_000_000)
}

/// A tenant with three limits and a hard budget.
fn catalog() -> Catalog {
    let scope = Scope::Tenant(TENANT);
    let rules = [
        rule(Metric::Requests, Some(Per::Second)),
        rule(Metric::Tokens, Some(Per::Minute)),
        rule(Metric::Concurrent, None),
    ];
    let limits = rules.into_iter().zip(0..).map(|(rule, position)| {
        Entry::Limit(Limit {
            id: LimitId::random(),
            scope,
            rule,
            position,
        })
    });
    let budget = Entry::Budget(Budget {
        id: BudgetId::random(),
        scope,
        amount: Amount::Money(Money::from_nanos(i64::MAX / 2)),
        period: Period::Forever,
        mode: Mode::Hard,
        alert_at: vec![80, 100],
        position: 0,
    });
    Catalog::default().after(Delta {
        entries: limits.chain([budget]).collect(),
        ..Delta::default()
    })
}

fn event(id: RequestId) -> UsageEvent {
    UsageEvent {
        id,
        tenant: TENANT,
        key: KEY,
        user: None,
        group: None,
        started_ms: id.at_ms(),
        endpoint: "/v1/chat/completions".to_owned(),
        dialect: "openai".to_owned(),
        model: "bench".to_owned(),
        source: Source::Api,
        outcome: Outcome::Ok,
        status: 200,
        error_code: None,
        streamed: false,
        count: 1,
        usage: Usage {
            input: 9,
            output: 50,
            ..Usage::default()
        },
        estimated: false,
        unpriced: false,
        cost: Money::from_nanos(31_350),
        charge: Money::from_nanos(31_350),
        rates: None,
        first_byte_us: None,
        total_us: 1,
        overhead_us: 1,
        request_bytes: 1,
        response_bytes: 1,
        client_request_id: None,
        upstream_request_id: None,
        end_user: None,
        attempts: Vec::new(),
        instance: String::new(),
    }
}

fn counting(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let current = Arc::new(Current::default());
    current.swap(catalog());
    let config = Config {
        reserved_wait: Duration::ZERO,
        are_shared: false,
    };
    let (limits, _alerts) = Limits::new(config, Arc::clone(&current), Box::new(Local::default()));
    limits.expect_budgets(&current.load());
    for (account, window) in limits.unfilled() {
        limits.fill(account, window, 0);
    }
    let catalog = current.load();
    let who = Who {
        tenant: TENANT,
        group: None,
        user: None,
        key: KEY,
        address: Ipv4Addr::LOCALHOST.into(),
        model: None,
        endpoint: "/v1/chat/completions",
    };
    let admit = || -> (RequestId, Admitted) {
        let id = RequestId::new();
        let mut claim = Claim::of(&catalog, &who, id);
        claim.estimated_tokens = 100;
        claim.most = Most {
            input: Some(800),
            output: Output::Bounded(64),
            rates: Some(Rates::default()),
        };
        let admitted = runtime.block_on(limits.admit(&claim));
        (
            id,
            admitted.unwrap_or_else(|rejected| panic!("{rejected:?}")),
        )
    };
    let mut group = criterion.benchmark_group("count");
    group.bench_function(
        "three limits and a hard budget, admitted and given back",
        |bencher| {
            bencher.iter(|| drop(admit()));
        },
    );
    group.bench_function("the same, admitted and settled", |bencher| {
        bencher.iter_batched(
            || (),
            |()| {
                let (id, mut admitted) = admit();
                admitted.permit.keep();
                limits.settle(&event(id));
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(parts, parsing, counting);
criterion_main!(parts);
