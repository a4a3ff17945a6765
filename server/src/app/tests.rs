//! What only the parts of a running instance can show.

use actix_web::{
    FromRequest as _, HttpResponse, body::to_bytes, dev::Payload, error::PayloadError,
    http::header, test::TestRequest, web,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use sea_orm::EntityTrait as _;
use serde_json::Value;
use weir_entity::usage_event;

use super::{
    build::{Built, build},
    *,
};
use crate::{
    config::Sources,
    proxy::{Call, Endpoint},
    telemetry::span::Tracer,
};

const CHAT: &str = r#"{"model": "demo", "messages": [{"role": "user", "content": "hello"}]}"#;

async fn demo(data: &std::path::Path) -> (Built, upstream::Upstream) {
    let environment = [("WEIR_DATA_DIR", data.as_os_str())];
    let sources = Sources {
        environment: environment
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
        ..Sources::default()
    };
    let config = config::load(&sources).expect("settings").config;
    let options = Options {
        demo: true,
        ..Options::default()
    };
    let built = build(config, options, Tracer::off())
        .await
        .expect("an instance");
    let tls = upstream::tls_config(&[]).expect("TLS");
    (
        built,
        upstream::Upstream::new(&upstream::Config::default(), tls),
    )
}

/// Takes a request with this body its whole way.
async fn ask(
    built: &Built,
    upstream: &upstream::Upstream,
    body: impl futures_util::Stream<Item = Result<Bytes, PayloadError>> + 'static,
) -> HttpResponse {
    let key = built
        .demo
        .as_ref()
        .expect("the demo")
        .key()
        .expose()
        .to_owned();
    let request = TestRequest::post()
        .uri("/v1/chat/completions")
        .insert_header((header::AUTHORIZATION, format!("Bearer {key}")))
        .to_http_request();
    let mut payload: Payload =
        actix_http::Payload::from(Box::pin(body) as actix_http::BoxedPayloadStream);
    let payload = web::Payload::from_request(&request, &mut payload)
        .await
        .expect("a payload");
    let call = Call::new(request, Endpoint::Chat);
    proxy::handle(call, payload, &built.state.shared, upstream).await
}

/// Threats: H10.
#[actix_rt::test]
async fn a_panic_on_a_requests_way_is_told_booked_and_nobody_elses() {
    let data = tempfile::tempdir().expect("a folder");
    let (built, upstream) = demo(data.path()).await;
    let whole = || stream::iter([Ok(Bytes::from_static(CHAT.as_bytes()))]);
    for _ in 0..2 {
        let breaks = stream::iter([Ok(Bytes::from_static(b"{\"model\""))])
            .chain(stream::poll_fn(|_| panic!("sk-canary: what a panic says")));
        let response = ask(&built, &upstream, breaks).await;
        assert_eq!(response.status(), 500);
        let id = response
            .headers()
            .get("x-request-id")
            .expect("an id")
            .clone();
        let body = to_bytes(response.into_body()).await.expect("a body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["error"]["code"], "internal_error", "{body}");
        assert_eq!(body["error"]["request_id"], id.to_str().expect("ASCII"));
        assert!(!body.to_string().contains("canary"), "{body}");
        assert_eq!(ask(&built, &upstream, whole()).await.status(), 200);
    }
    assert!((built.state.admin.flush)(Duration::from_secs(10)).await);
    let events = usage_event::Entity::find().all(&built.state.admin.stores.usage.read);
    let mut outcomes: Vec<(String, i32, Option<String>)> = events
        .await
        .expect("events")
        .into_iter()
        .map(|event| (event.outcome, event.status.into(), event.error_code))
        .collect();
    outcomes.sort();
    let interrupted = (
        "interrupted".to_owned(),
        500,
        Some("internal_error".to_owned()),
    );
    let ok = ("ok".to_owned(), 200, None);
    assert_eq!(outcomes, [interrupted.clone(), interrupted, ok.clone(), ok]);
    built.shutdown.cancel();
    built.working.join_all().await;
}
