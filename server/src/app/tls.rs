//! TLS of the listener: 1.2 and 1.3 by rustls, HTTP/1.1 alone, the certificate read again when its file changes.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// The certificate that handshakes get.
#[derive(Debug)]
struct Present(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Present {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// The listener's TLS, if it has any; starts the job that reads changed files.
pub fn server_config(
    config: &Config,
    jobs: &Handle,
    shutdown: &CancellationToken,
) -> anyhow::Result<Option<ServerConfig>> {
    let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) else {
        return Ok(None);
    };
    let files = Files {
        cert: cert.clone(),
        key: key.clone(),
    };
    let present = Arc::new(Present(ArcSwap::from_pointee(files.read()?)));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&present) as Arc<dyn ResolvesServerCert>);
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let every = config.tls_reload_every.0;
    jobs.spawn(follow(files, present, every, shutdown.clone()));
    Ok(Some(server))
}

/// Further roots that upstream certificates may come from.
pub fn extra_roots(config: &Config) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let Some(path) = &config.proxy.upstream_roots else {
        return Ok(Vec::new());
    };
    read_certificates(path)
}

struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn read(&self) -> anyhow::Result<CertifiedKey> {
        let certificates = read_certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .with_context(|| format!("the private key {}", self.key.display()))?;
        let certified = CertifiedKey::from_der(certificates, key, &aws_lc_rs::default_provider());
        certified.with_context(|| {
            format!(
                "{} and {} do not go together",
                self.cert.display(),
                self.key.display()
            )
        })
    }

    /// Changes when either file does.
    fn stamp(&self) -> Option<(std::time::SystemTime, std::time::SystemTime)> {
        let changed = |path: &PathBuf| {
            std::fs::metadata(path)
                .and_then(|file| file.modified())
                .ok()
        };
        Some((changed(&self.cert)?, changed(&self.key)?))
    }
}

fn read_certificates(path: &PathBuf) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read =
        CertificateDer::pem_file_iter(path).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    let certificates = read.with_context(|| format!("the certificates in {}", path.display()))?;
    anyhow::ensure!(
        !certificates.is_empty(),
        "{} holds no certificate",
        path.display()
    );
    Ok(certificates)
}

/// Puts a changed certificate in place; a broken one leaves the old.
async fn follow(files: Files, present: Arc<Present>, every: Duration, shutdown: CancellationToken) {
    let mut seen = files.stamp();
    while shutdown
        .run_until_cancelled(tokio::time::sleep(every))
        .await
        .is_some()
    {
        let stamp = files.stamp();
        if stamp == seen || stamp.is_none() {
            continue;
        }
        match files.read() {
            Ok(certified) => {
                present.0.store(Arc::new(certified));
                seen = stamp;
                tracing::info!("the listener's certificate was read again");
            }
            // The other of the two files may still be on its way.
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "the changed certificate is not used"
            ),
        }
    }
}
