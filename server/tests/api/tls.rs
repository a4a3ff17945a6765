//! TLS on the listeners: 1.2 and 1.3, HTTP/1.1 alone, and a certificate that changes on disk (threats.md, O4, H8).

use std::{
    io::{Read as _, Write as _},
    path::Path,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use weir_upstream::Identity;

use crate::support::{
    Bench, Raw, SOON, Setup, Store,
    gateway::{KEY, hello_stream},
    stores::ADMIN_TOKEN,
};

/// Takes any certificate: which one it was is looked at afterwards.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

async fn handshake(
    url: &str,
    version: &'static SupportedProtocolVersion,
    offered: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = offered
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let socket = TcpStream::connect(url.trim_start_matches("https://")).await?;
    let name = ServerName::try_from("weir.test").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
}

fn write(folder: &Path, identity: &Identity) {
    std::fs::write(folder.join("key.pem"), &identity.key_pem).unwrap();
    std::fs::write(folder.join("cert.pem"), &identity.certificate_pem).unwrap();
}

fn setup(folder: &Path) -> Setup {
    let file = |name: &str| folder.join(name).display().to_string();
    Setup {
        environment: vec![
            ("WEIR_TLS_CERT", file("cert.pem")),
            ("WEIR_TLS_KEY", file("key.pem")),
            ("WEIR_TLS_RELOAD_EVERY", "20ms".to_owned()),
            ("WEIR_ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
        ],
        ..Setup::default()
    }
}

async fn bench() -> (Bench, tempfile::TempDir, Identity) {
    bench_with(&[]).await
}

async fn bench_with(further: &[(&'static str, &str)]) -> (Bench, tempfile::TempDir, Identity) {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::self_signed(&["weir.test"]).unwrap();
    write(folder.path(), &identity);
    let mut setup = setup(folder.path());
    let further = further
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    setup.environment.extend(further);
    let bench = Bench::start(Store::Embedded, setup).await;
    (bench, folder, identity)
}

/// Threats: O4, H8.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_of_both_versions_serves_http_1_1_whatever_else_is_offered() {
    let (bench, _folder, _) = bench().await;
    assert!(bench.url.starts_with("https://") && bench.admin_url.starts_with("https://"));
    for version in [&TLS12, &TLS13] {
        for url in [&bench.url, &bench.admin_url] {
            let offered = ["h2", "http/1.1"];
            let mut stream = handshake(url, version, &offered).await.unwrap();
            let (_, session) = stream.get_ref();
            assert_eq!(
                session.alpn_protocol(),
                Some(&b"http/1.1"[..]),
                "{version:?}"
            );
            assert_eq!(session.protocol_version(), Some(version.version));
            let request = "GET /health HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            // Without ALPN too; HTTP/2 alone gets no connection.
            assert!(handshake(url, version, &[]).await.is_ok());
            assert!(handshake(url, version, &["h2"]).await.is_err());
        }
    }
}

/// A client hello of a version before 1.2, with the suites of its time and without what came later.
fn old_hello(version: [u8; 2]) -> Vec<u8> {
    let suites: [u8; 8] = [0xC0, 0x13, 0xC0, 0x14, 0x00, 0x2F, 0x00, 0x35];
    let mut hello = version.to_vec();
    hello.extend([7; 32]);
    hello.extend([0, 0, suites.len() as u8]);
    hello.extend(suites);
    hello.extend([1, 0]);
    let mut record = vec![
        22,
        3,
        1,
        0,
        hello.len() as u8 + 4,
        1,
        0,
        0,
        hello.len() as u8,
    ];
    record.extend(hello);
    record
}

/// Threats: O4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_versions_and_handshakes_that_never_end_get_no_connection() {
    const ALERT: u8 = 21;
    let (bench, _folder, _) = bench_with(&[("WEIR_PROXY_HEAD_TIMEOUT", "500ms")]).await;
    for url in [&bench.url, &bench.admin_url] {
        let url = &url.replace("https://", "http://");
        for version in [[3, 0], [3, 1], [3, 2]] {
            let mut raw = Raw::connect(url).await;
            raw.send(old_hello(version)).await;
            let mut said = Vec::new();
            let reading = raw.0.read_to_end(&mut said);
            drop(tokio::time::timeout(SOON, reading).await.expect("an end"));
            assert_eq!(said.first(), Some(&ALERT), "{version:?}: {said:?}");
            assert_eq!(said.get(5), Some(&2), "a fatal one: {said:?}");
        }
        // Neither does one who says nothing, or half a hello, keep a connection.
        let half = old_hello([3, 3]);
        for beginning in [&[][..], &half[..half.len() / 2]] {
            let mut raw = Raw::connect(url).await;
            raw.send(beginning).await;
            assert!(raw.is_closed(SOON).await, "{beginning:?}");
        }
    }
}

/// What is sent before a handshake has ended can be sent again by anybody: no ticket allows it.
///
/// Threats: O4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_before_a_handshake_has_ended() {
    let (bench, _folder, _) = bench().await;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.enable_early_data = true;
    let (config, url) = (Arc::new(config), bench.url.clone());
    let calls = move || {
        let mut resumed = false;
        for _ in 0..3 {
            let mut socket =
                std::net::TcpStream::connect(url.trim_start_matches("https://")).unwrap();
            let name = ServerName::try_from("weir.test").unwrap();
            let mut session = ClientConnection::new(Arc::clone(&config), name).unwrap();
            assert!(session.early_data().is_none(), "a ticket allows it");
            let mut stream = rustls::Stream::new(&mut session, &mut socket);
            let request = "GET /health HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            resumed |= session.handshake_kind() == Some(HandshakeKind::Resumed);
        }
        assert!(resumed, "there were tickets");
    };
    tokio::task::spawn_blocking(calls).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_and_operators_are_served_over_tls_as_without_it() {
    let (bench, _folder, _) = bench().await;
    let answer = bench.chat(hello_stream("gpt-test")).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    assert_eq!(bench.books().await.only().outcome, "ok");
    // Nothing is spoken without TLS, least of all by management.
    for url in [&bench.url, &bench.admin_url] {
        let plain = url.replace("https://", "http://");
        let asked = bench
            .http
            .get(format!("{plain}/v1/admin/keys"))
            .bearer_auth(ADMIN_TOKEN);
        assert!(asked.send().await.is_err(), "{plain}");
    }
}

/// Threats: O4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let (bench, folder, first) = bench().await;
    let shown = async || {
        let stream = handshake(&bench.url, &TLS13, &[]).await.unwrap();
        let (_, session) = stream.get_ref();
        session.peer_certificates().unwrap()[0].clone()
    };
    let of = |identity: &Identity| {
        use rustls_pki_types::pem::PemObject as _;
        CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap()
    };
    assert_eq!(shown().await, of(&first));
    // An open connection outlives the change.
    let mut open = handshake(&bench.url, &TLS13, &[]).await.unwrap();

    std::fs::write(folder.path().join("cert.pem"), "half a certif").unwrap();
    let second = Identity::self_signed(&["weir.test"]).unwrap();
    // The key of another: the two do not go together, until the certificate has come as well.
    std::fs::write(folder.path().join("key.pem"), &second.key_pem).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(shown().await, of(&first));

    write(folder.path(), &second);
    let deadline = tokio::time::Instant::now() + SOON;
    while shown().await != of(&second) {
        assert!(tokio::time::Instant::now() < deadline, "never read again");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let request = format!(
        "GET /v1/models HTTP/1.1\r\nhost: weir\r\nx-api-key: {KEY}\r\nconnection: close\r\n\r\n"
    );
    open.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    open.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}
