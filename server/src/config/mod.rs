//! The settings that an operator gives at start: `server/config/default.toml` < `weir.toml` < environment < flags.
//!
//! `app` loads them once and hands each module its own part. Environment and files are read here, at start, and nowhere
//! else. What is changed while Weir runs (tenants, channels, prices, limits) is data in the catalog and no setting.

mod flags;
mod layers;
mod settings;
#[cfg(test)]
mod tests;
mod value;

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use serde::Deserialize;
use weir_api_types::span::Span;

use crate::{
    redis,
    secrets::{Sealer, Secret},
    telemetry,
};

pub use flags::Flags;
pub use layers::{Error, Origin, Sources};
pub use settings::{Setting, Settings};
pub use value::Bytes;

/// Fewest bytes of a token that an operator chooses (threats.md, T8).
const TOKEN_MIN_BYTES: usize = 32;

/// All settings. Each field's meaning is its sentence in `default.toml`; what is `None` was left empty.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub listen: SocketAddr,
    #[serde(deserialize_with = "value::optional")]
    pub admin_listen: Option<SocketAddr>,
    #[serde(deserialize_with = "value::public_url")]
    pub public_url: Option<String>,
    pub management_hosts: Vec<String>,
    pub trusted_proxies: Vec<IpNet>,
    pub data_dir: PathBuf,
    #[serde(deserialize_with = "value::secret")]
    pub database_url: Option<Secret>,
    #[serde(deserialize_with = "value::secret")]
    pub redis_url: Option<Secret>,
    #[serde(deserialize_with = "value::secret")]
    pub master_key: Option<Secret>,
    #[serde(deserialize_with = "value::optional")]
    pub master_key_file: Option<PathBuf>,
    #[serde(deserialize_with = "value::secret")]
    pub admin_token: Option<Secret>,
    #[serde(deserialize_with = "value::secret")]
    pub metrics_token: Option<Secret>,
    #[serde(deserialize_with = "value::secret")]
    pub smtp_url: Option<Secret>,
    pub mail_from: String,
    pub migrate: Migrate,
    pub workers: usize,
    pub shutdown_deadline: Span,
    /// After loading never empty: the host's name stands in.
    pub instance: String,
    pub log: String,
    pub log_format: telemetry::LogFormat,
    pub access_log: bool,
    #[serde(deserialize_with = "value::optional")]
    pub tls_cert: Option<PathBuf>,
    #[serde(deserialize_with = "value::optional")]
    pub tls_key: Option<PathBuf>,
    pub tls_reload_every: Span,
    pub proxy: Proxy,
    pub limits: Limits,
    pub spool: Spool,
    pub catalog: Catalog,
    pub redis: Redis,
    pub telemetry: telemetry::Config,
    pub management: Management,
}

/// The management API: `[management]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Management {
    pub calls_per_minute: u32,
}

/// Whether `serve` migrates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Migrate {
    Auto,
    Never,
}

/// The way of a request: `[proxy]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    pub body_bytes: Bytes,
    pub upload_bytes: Bytes,
    pub gathered_bytes: Bytes,
    pub head_timeout: Span,
    pub body_idle_timeout: Span,
    pub body_timeout: Span,
    pub keep_alive: Span,
    pub silence_comment: Span,
    pub max_connections: usize,
    pub upstream_keep_alive: Span,
    pub upstream_lifetime: Span,
    #[serde(deserialize_with = "value::optional")]
    pub upstream_roots: Option<PathBuf>,
    pub upstream_connections: usize,
    pub cut_grace: Span,
    pub unidentified_per_minute: u32,
}

/// Limits and budgets: `[limits]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub reserved_wait: Span,
    pub tenant_requests: u32,
    #[serde(deserialize_with = "value::budget_exceeded_status")]
    pub budget_exceeded_status: u16,
}

/// The file that usage events go to: `[spool]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spool {
    pub sync_every: Span,
    pub segment_bytes: Bytes,
    pub segment_age: Span,
    pub max_bytes: Bytes,
    pub on_full: OnFull,
}

/// What happens to calls when the spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    Refuse,
    GoOn,
}

/// The picture that requests read: `[catalog]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    pub poll: Span,
}

/// What the instances share: `[redis]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    pub prefix: String,
    pub cluster: bool,
    pub timeout: Span,
}

/// Settings that have been read, and what an operator should hear about them once there is a log.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<String>,
}

/// Reads all sources, checks every value and that they go together.
pub fn load(sources: &Sources) -> Result<Loaded, Error> {
    let settings = Settings::built_in().map_err(|error| Error::BuiltIn(error.to_string()))?;
    let layers = layers::Layers::read(&settings, sources)?;
    let mut config = layers.config()?;
    check(&config).map_err(|(name, reason)| layers.refuse(name, reason))?;
    if config.instance.is_empty() {
        config.instance = host_name();
    }
    Ok(Loaded {
        config,
        warnings: layers.warnings,
    })
}

impl Config {
    /// Worker threads to start: the setting, or one per core.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
    }

    /// What `Redis::open` wants to know.
    pub fn redis(&self) -> redis::Config {
        redis::Config {
            url: self.redis_url.clone(),
            prefix: self.redis.prefix.clone(),
            cluster: self.redis.cluster,
            timeout: self.redis.timeout.0,
        }
    }

    /// What `telemetry::start` wants to know of the log.
    pub fn logs(&self) -> telemetry::Logs {
        telemetry::Logs {
            filter: self.log.clone(),
            format: self.log_format,
            access: self.access_log,
        }
    }

    /// The sealer under the given master key, from the setting or its file; `None` when neither is given.
    pub fn sealer(&self) -> Result<Option<Sealer>, Error> {
        let bad = |name: &str, origin, reason: String| Error::Bad {
            name: name.to_owned(),
            origin,
            reason,
        };
        if let Some(path) = &self.master_key_file {
            let failed = |reason| bad("master_key_file", Origin::File(path.clone()), reason);
            return Sealer::from_file(path)
                .map(Some)
                .map_err(|error| failed(error.to_string()));
        }
        match &self.master_key {
            Some(key) => Sealer::from_base64(key.expose())
                .map(Some)
                .map_err(|error| bad("master_key", Origin::Default, error.to_string())),
            None => Ok(None),
        }
    }
}

/// What a value's own kind does not say: bounds, and settings that go together. Gives the setting's name and the reason.
fn check(config: &Config) -> Result<(), (&'static str, String)> {
    let proxy = &config.proxy;
    let spool = &config.spool;
    check_tokens(config)?;
    if let Err(reason) = telemetry::check_filter(&config.log) {
        return Err(("log", reason));
    }
    if config.tls_cert.is_some() != config.tls_key.is_some() {
        return Err((
            "tls_cert",
            "must be given together with `tls_key`".to_owned(),
        ));
    }
    if config.admin_listen == Some(config.listen) && config.listen.port() != 0 {
        return Err((
            "admin_listen",
            "must not be the same as `listen`".to_owned(),
        ));
    }
    if config.smtp_url.is_some() && config.public_url.is_none() {
        let reason = "must be given together with `smtp_url`: what is mailed leads there";
        return Err(("public_url", reason.to_owned()));
    }
    if !(0.0..=1.0).contains(&config.telemetry.trace_sample) {
        return Err((
            "telemetry.trace_sample",
            "must be from 0.0 to 1.0".to_owned(),
        ));
    }
    if config.data_dir.as_os_str().is_empty() {
        return Err(("data_dir", "must not be empty".to_owned()));
    }
    if let Some(name) = config.management_hosts.iter().find(|name| !is_host(name)) {
        return Err((
            "management_hosts",
            format!("{name:?} is not a name such as weir.internal"),
        ));
    }
    if config.redis.prefix.is_empty() || !config.redis.prefix.bytes().all(is_word_byte) {
        let reason = "must be made of letters, digits, `-`, `_` and `.`";
        return Err(("redis.prefix", reason.to_owned()));
    }
    if !config.instance.bytes().all(is_word_byte) || config.instance.len() > 64 {
        let reason = "must be at most 64 letters, digits, `-`, `_` and `.`";
        return Err(("instance", reason.to_owned()));
    }
    if spool.max_bytes < spool.segment_bytes {
        return Err((
            "spool.max_bytes",
            "must be at least `spool.segment_bytes`".to_owned(),
        ));
    }
    let never_zero = [
        ("shutdown_deadline", config.shutdown_deadline.0.is_zero()),
        ("tls_reload_every", config.tls_reload_every.0.is_zero()),
        ("catalog.poll", config.catalog.poll.0.is_zero()),
        ("proxy.body_bytes", proxy.body_bytes.0 == 0),
        ("proxy.upload_bytes", proxy.upload_bytes.0 == 0),
        ("proxy.head_timeout", proxy.head_timeout.0.is_zero()),
        (
            "proxy.body_idle_timeout",
            proxy.body_idle_timeout.0.is_zero(),
        ),
        ("proxy.body_timeout", proxy.body_timeout.0.is_zero()),
        ("proxy.silence_comment", proxy.silence_comment.0.is_zero()),
        ("proxy.max_connections", proxy.max_connections == 0),
        (
            "proxy.upstream_lifetime",
            proxy.upstream_lifetime.0.is_zero(),
        ),
        (
            "proxy.upstream_connections",
            proxy.upstream_connections == 0,
        ),
        (
            "proxy.unidentified_per_minute",
            proxy.unidentified_per_minute == 0,
        ),
        ("spool.sync_every", spool.sync_every.0.is_zero()),
        ("spool.segment_bytes", spool.segment_bytes.0 == 0),
        ("spool.segment_age", spool.segment_age.0.is_zero()),
        ("telemetry.max_series", config.telemetry.max_series == 0),
        (
            "management.calls_per_minute",
            config.management.calls_per_minute == 0,
        ),
    ];
    match never_zero.into_iter().find(|(_, zero)| *zero) {
        Some((name, _)) => Err((name, "must be more than 0".to_owned())),
        None => Ok(()),
    }
}

fn check_tokens(config: &Config) -> Result<(), (&'static str, String)> {
    let tokens = [
        ("admin_token", &config.admin_token),
        ("metrics_token", &config.metrics_token),
    ];
    for (name, token) in tokens {
        if token
            .as_ref()
            .is_some_and(|token| token.expose().len() < TOKEN_MIN_BYTES)
        {
            return Err((name, format!("must have at least {TOKEN_MIN_BYTES} bytes")));
        }
    }
    let Some(key) = &config.master_key else {
        return Ok(());
    };
    if config.master_key_file.is_some() {
        return Err((
            "master_key_file",
            "must not be given together with `master_key`".to_owned(),
        ));
    }
    Sealer::from_base64(key.expose())
        .map(|_| ())
        .map_err(|error| ("master_key", error.to_string()))
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// A name or an address, with a port or without; no URL and no pattern.
fn is_host(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| is_word_byte(byte) || b"[]:".contains(&byte))
}

/// The host's name, or a random one where the host tells none that can stand in a label.
fn host_name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let told = told.trim();
    if told.is_empty() || told.len() > 64 || !told.bytes().all(is_word_byte) {
        return format!("weir-{:08x}", rand::random::<u32>());
    }
    told.to_owned()
}
