//! K8: a certificate that is not the vendor's, and not a byte of a credential.

use weir_upstream::{Identity, Vendor};

use super::{MODEL, ONE, code, failures};
use crate::support::{
    Bench,
    gateway::{hello, hello_stream},
};

/// A bench before a vendor with this certificate, which is believed as a root where `trusted`.
async fn bench(identity: Identity, trusted: bool, host: &str) -> (Bench, Vendor) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, &identity.certificate_pem).unwrap();
    let vendor = Vendor::spawn_tls(identity);
    let url = format!("https://{host}:{}/v1", vendor.addr.port());
    let channel = format!(
        "{{name: vendor, kind: openai, base_url: \"{url}\", credentials: [{ONE}], retry: {{attempts: 2}}}}"
    );
    let mut settings = vec![("WEIR_WORKERS", "1".to_owned())];
    if trusted {
        settings.push(("WEIR_PROXY_UPSTREAM_ROOTS", root.display().to_string()));
    }
    let bench = super::start(settings, super::resources(&channel, "{channel: vendor}")).await;
    (bench, vendor)
}

#[tokio::test]
async fn a_right_certificate_is_called_with_the_credential() {
    let identity = Identity::self_signed(&["localhost", "127.0.0.1"]).unwrap();
    let (bench, vendor) = bench(identity, true, "localhost").await;
    for body in [hello(MODEL), hello_stream(MODEL)] {
        let answer = bench.chat(body).await;
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    }
    let bill = vendor.bill();
    assert!(
        bill.iter()
            .all(|line| line.credential.as_deref() == Some(ONE))
    );
    assert_eq!(
        bill[0].connection, bill[1].connection,
        "TLS connections are kept too"
    );
}

async fn is_refused(identity: Identity, trusted: bool) {
    let (bench, vendor) = bench(identity, trusted, "localhost").await;
    for body in [hello(MODEL), hello_stream(MODEL)] {
        let answer = bench.chat(body).await;
        assert_eq!(answer.status(), 502);
        assert_eq!(code(answer).await, "upstream_error");
    }
    assert!(vendor.counters().connections >= 2, "it was tried");
    assert_eq!(vendor.counters().requests, 0, "and nothing was sent");
    let books = bench.books().await;
    for event in &books.events {
        assert_eq!(failures(&event.attempts), ["connect", "connect"]);
        assert_eq!(event.cost_nanos, 0);
    }
}

/// Threats: K8.
#[tokio::test]
async fn an_expired_certificate_gets_nothing() {
    is_refused(Identity::expired(&["localhost"]).unwrap(), true).await;
}

/// Threats: K8.
#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_gets_nothing() {
    is_refused(Identity::self_signed(&["localhost"]).unwrap(), false).await;
}

/// Threats: K8.
#[tokio::test]
async fn a_certificate_of_another_name_gets_nothing() {
    is_refused(Identity::self_signed(&["other.example"]).unwrap(), true).await;
}
