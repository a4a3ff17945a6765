//! Vendors with certificates, right and wrong.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_upstream::{Identity, Vendor};

use crate::client::{CHAT, chat, request};

async fn ask(identity: Identity, name: &'static str) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let vendor = Vendor::spawn_tls(identity);
    assert!(vendor.base_url().starts_with("https://"));
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let socket = TcpStream::connect(vendor.addr).await?;
    let mut socket = connector
        .connect(ServerName::try_from(name).unwrap(), socket)
        .await?;
    let request = request(CHAT, &chat(1, false).to_string());
    socket
        .write_all(
            request
                .replace("Host:", "Connection: close\r\nHost:")
                .as_bytes(),
        )
        .await?;
    let mut text = String::new();
    socket.read_to_string(&mut text).await?;
    assert_eq!(vendor.bill().len(), 1);
    Ok(text)
}

#[tokio::test]
async fn right_certificate_is_served() {
    let identity = Identity::self_signed(&["vendor.test"]).unwrap();
    let text = ask(identity, "vendor.test").await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn wrong_certificates_are_presented() {
    let identity = Identity::self_signed(&["other.test"]).unwrap();
    assert!(ask(identity, "vendor.test").await.is_err());
    let identity = Identity::expired(&["vendor.test"]).unwrap();
    assert!(ask(identity, "vendor.test").await.is_err());
}
