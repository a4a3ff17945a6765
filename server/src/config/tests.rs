use std::{io::Write as _, time::Duration};

use super::*;

/// Thirty-two zero bytes.
const MASTER_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

struct Given {
    sources: Sources,
    file: tempfile::NamedTempFile,
}

/// Sources with a settings file of this text.
fn file(text: &str) -> Given {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let sources = Sources {
        file: Some(file.path().to_owned()),
        ..Sources::default()
    };
    Given { sources, file }
}

impl Given {
    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, name: &str, value: &str) -> Self {
        self.sources.flags.push((name.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Config {
        load(&self.sources).expect("good settings").config
    }

    /// The error, with the file's name as `FILE`.
    fn refused(&self) -> String {
        let error = load(&self.sources).expect_err("refused").to_string();
        error.replace(&self.file.path().display().to_string(), "FILE")
    }
}

#[test]
fn defaults_load_without_any_source() {
    let loaded = load(&Sources::default()).expect("the defaults");
    let config = loaded.config;
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.proxy.body_bytes, Bytes(32 << 20));
    assert_eq!(config.proxy.head_timeout.0, Duration::from_secs(10));
    assert_eq!(config.spool.on_full, OnFull::Refuse);
    assert_eq!(config.migrate, Migrate::Auto);
    assert!(config.admin_listen.is_none() && config.database_url.is_none());
    assert!(!config.instance.is_empty());
    assert!(config.worker_count() > 0);
    assert!(config.sealer().expect("no key").is_none());
    assert!(loaded.warnings.is_empty());
}

#[test]
fn a_later_place_wins() {
    let given = file(
        "log = 'warn'\nworkers = 3\n[proxy]\nbody_bytes = '1MiB'\nkeep_alive = '5s'\n[spool]\non_full = 'go_on'",
    );
    assert_eq!(given.load().workers, 3);
    assert_eq!(given.load().proxy.keep_alive.0, Duration::from_secs(5));
    assert_eq!(given.load().spool.on_full, OnFull::GoOn);
    let given = given
        .variable("WEIR_WORKERS", "4")
        .variable("WEIR_PROXY_BODY_BYTES", "2MiB")
        .variable("WEIR_TRUSTED_PROXIES", "10.0.0.0/8, ::1/128")
        .variable("WEIR_ACCESS_LOG", "off");
    let config = given.load();
    assert_eq!(
        (config.workers, config.proxy.body_bytes),
        (4, Bytes(2 << 20))
    );
    assert_eq!(config.trusted_proxies.len(), 2);
    assert!(!config.access_log);
    assert_eq!(config.log, "warn");
    let given = given
        .flag("workers", "5")
        .flag("workers", "6")
        .flag("proxy.body_bytes", "4096");
    let config = given.load();
    assert_eq!((config.workers, config.proxy.body_bytes), (6, Bytes(4096)));
}

#[test]
fn an_empty_variable_unsets_what_the_file_gave() {
    let given = file("admin_listen = '127.0.0.1:9000'").variable("WEIR_ADMIN_LISTEN", "");
    assert!(given.load().admin_listen.is_none());
}

#[test]
fn the_usual_file_is_read_if_it_is_there() {
    let mut given = file("workers = 7");
    given.sources.usual_file = given.sources.file.take();
    assert_eq!(given.load().workers, 7);
    given.sources.usual_file = Some("/nonexistent/weir.toml".into());
    assert_ne!(given.load().workers, 7);
    given.sources.file = Some("/nonexistent/weir.toml".into());
    assert!(
        given
            .refused()
            .starts_with("settings file /nonexistent/weir.toml: ")
    );
}

#[test]
fn a_bad_file_is_refused_with_name_place_and_reason() {
    for (text, reason) in [
        ("lisen = '127.0.0.1:80'", "unknown setting `lisen` in FILE"),
        (
            "[proxy]\nbodybytes = 1",
            "unknown setting `proxy.bodybytes` in FILE",
        ),
        ("[nothing]\nx = 1", "unknown setting `nothing.x` in FILE"),
        ("proxy = 3", "unknown setting `proxy` in FILE"),
        (
            "listen = 'here'",
            "setting `listen` from FILE: invalid socket address",
        ),
        ("listen = {a = 1}", "setting `listen` from FILE: "),
        ("workers = -1", "setting `workers` from FILE: "),
        (
            "[proxy]\nhead_timeout = '5 parsecs'",
            "setting `proxy.head_timeout` from FILE: \"5 parsecs\" is not a length of time",
        ),
        (
            "[proxy]\nhead_timeout = '0s'",
            "setting `proxy.head_timeout` from FILE: must be more than 0",
        ),
        (
            "[proxy]\nbody_bytes = '32MB'",
            "setting `proxy.body_bytes` from FILE: \"32MB\" is not a size",
        ),
        (
            "[spool]\nmax_bytes = 1",
            "setting `spool.max_bytes` from FILE: must be at least",
        ),
        (
            "[spool]\non_full = 'burst'",
            "setting `spool.on_full` from FILE: unknown variant",
        ),
        (
            "trusted_proxies = ['10.0.0.300/8']",
            "setting `trusted_proxies` from FILE: ",
        ),
        (
            "migrate = 'maybe'",
            "setting `migrate` from FILE: unknown variant",
        ),
        ("log = 'weir=loud'", "setting `log` from FILE: "),
        (
            "log_format = 'xml'",
            "setting `log_format` from FILE: unknown variant",
        ),
        (
            "instance = \"a\\nb\"",
            "setting `instance` from FILE: must be",
        ),
        (
            "public_url = 'ftp://x'",
            "setting `public_url` from FILE: must be an address",
        ),
        (
            "public_url = 'https://user@x'",
            "setting `public_url` from FILE: must be an address",
        ),
        (
            "smtp_url = 'smtp://127.0.0.1'",
            "setting `public_url` from the defaults: must be given together with `smtp_url`",
        ),
        (
            "tls_cert = 'cert.pem'",
            "setting `tls_cert` from FILE: must be given together",
        ),
        (
            "admin_listen = '127.0.0.1:8080'",
            "setting `admin_listen` from FILE: must not be the same",
        ),
        (
            "[telemetry]\ntrace_sample = 1.5",
            "setting `telemetry.trace_sample` from FILE: must be from",
        ),
        (
            "[redis]\nprefix = 'a b'",
            "setting `redis.prefix` from FILE: must be made of",
        ),
        (
            "management_hosts = ['https://weir']",
            "setting `management_hosts` from FILE: \"https://weir\" is not a name",
        ),
        (
            "data_dir = ''",
            "setting `data_dir` from FILE: must not be empty",
        ),
    ] {
        let error = file(text).refused();
        assert!(error.starts_with(reason), "{text}: {error}");
    }
}

#[test]
fn bad_variables_and_flags_are_refused_with_their_names() {
    for (name, value, reason) in [
        (
            "WEIR_WORKERS",
            "many",
            "setting `workers` from the environment (WEIR_WORKERS): must be a whole number",
        ),
        (
            "WEIR_ACCESS_LOG",
            "maybe",
            "setting `access_log` from the environment (WEIR_ACCESS_LOG): must be true or false",
        ),
        (
            "WEIR_TELEMETRY_TRACE_SAMPLE",
            "all",
            "setting `telemetry.trace_sample` from the environment (WEIR_TELEMETRY_TRACE_SAMPLE): must be a number",
        ),
        (
            "WEIR_TELEMETRY_TRACE_SAMPLE",
            "NaN",
            "setting `telemetry.trace_sample` from the environment (WEIR_TELEMETRY_TRACE_SAMPLE): must be from",
        ),
        (
            "WEIR_LISTEN",
            "",
            "setting `listen` from the environment (WEIR_LISTEN): ",
        ),
    ] {
        let error = file("").variable(name, value).refused();
        assert!(error.starts_with(reason), "{name}: {error}");
    }
    let unknown = file("").flag("lisen", "x").refused();
    assert!(
        unknown.starts_with("unknown setting `lisen` in the command line"),
        "{unknown}"
    );
    let bad = file("").flag("spool.sync_every", "soon").refused();
    assert!(
        bad.starts_with("setting `spool.sync_every` from the command line: "),
        "{bad}"
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;
    let mut given = file("");
    let value = std::ffi::OsString::from_vec(vec![0xff]);
    given.sources.environment.push(("WEIR_LOG".into(), value));
    assert_eq!(
        given.refused(),
        "setting `log` from the environment (WEIR_LOG): is not UTF-8"
    );
}

#[test]
fn an_unknown_variable_is_a_warning() {
    let given = file("")
        .variable("WEIR_PORT", "tcp://10.0.0.1:8080")
        .variable("WEIR_URL", "http://x")
        .variable("WEIR_TEST_DATABASE_URL", "postgres://x")
        .variable("PATH", "/bin");
    let warnings = load(&given.sources).expect("good settings").warnings;
    assert_eq!(
        warnings,
        ["the variable WEIR_PORT is no setting of Weir and is ignored"]
    );
}

#[test]
fn secrets_are_never_shown_nor_taken_from_flags() {
    let canary = "canary-0123456789-0123456789-0123456789";
    let given = file("")
        .variable("WEIR_ADMIN_TOKEN", canary)
        .variable("WEIR_METRICS_TOKEN", canary)
        .variable("WEIR_DATABASE_URL", canary)
        .variable("WEIR_REDIS_URL", canary)
        .variable("WEIR_MASTER_KEY", MASTER_KEY);
    let config = given.load();
    assert_eq!(
        config.admin_token.as_ref().map(Secret::expose),
        Some(canary)
    );
    assert!(config.sealer().expect("a good key").is_some());
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("canary") && !shown.contains(MASTER_KEY),
        "{shown}"
    );

    let refusals = [
        file("").flag("admin_token", canary).refused(),
        file(&format!("admin_token = '{canary}")).refused(),
        file(&format!("admin_token = ['{canary}']")).refused(),
        file("admin_token = 777000777").refused(),
        file("").variable("WEIR_ADMIN_TOKEN", "canary").refused(),
        file("").variable("WEIR_MASTER_KEY", "canary").refused(),
    ];
    for error in refusals {
        assert!(
            !error.contains("canary") && !error.contains("777000777"),
            "{error}"
        );
    }
}

#[test]
fn tokens_and_keys_have_a_least_strength() {
    for name in ["WEIR_ADMIN_TOKEN", "WEIR_METRICS_TOKEN"] {
        let error = file("")
            .variable(name, "0123456789012345678901234567890")
            .refused();
        assert!(error.ends_with("must have at least 32 bytes"), "{error}");
    }
    let error = file("").variable("WEIR_MASTER_KEY", "c2hvcnQ=").refused();
    assert!(error.ends_with("must be 32 bytes in base64"), "{error}");
    let both = file("master_key_file = 'key'")
        .variable("WEIR_MASTER_KEY", MASTER_KEY)
        .refused();
    assert!(both.contains("must not be given together"), "{both}");
}

#[test]
fn the_master_key_may_stand_in_a_file() {
    let key = file(&format!("{MASTER_KEY}\n"));
    let path = key.file.path().display().to_string();
    let config = file("").variable("WEIR_MASTER_KEY_FILE", &path).load();
    assert!(config.sealer().expect("a good key").is_some());
    let config = file("")
        .variable("WEIR_MASTER_KEY_FILE", "/nonexistent/key")
        .load();
    assert!(config.sealer().is_err());
}

#[test]
fn every_secret_may_stand_in_a_file() {
    let secret = "secret-0123456789-0123456789-0123456789";
    let held = file(&format!("{secret}\n \n"));
    let path = held.file.path().display().to_string();
    for name in [
        "WEIR_DATABASE_URL",
        "WEIR_REDIS_URL",
        "WEIR_ADMIN_TOKEN",
        "WEIR_METRICS_TOKEN",
    ] {
        let in_file = format!("{name}_FILE");
        let given = file("").variable(&in_file, &path);
        let loaded = load(&given.sources).expect("good settings");
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let config = loaded.config;
        let taken = [
            config.database_url,
            config.redis_url,
            config.admin_token,
            config.metrics_token,
        ];
        let taken: Vec<Secret> = taken.into_iter().flatten().collect();
        assert!(
            matches!(&taken[..], [one] if one.expose() == secret),
            "{name}"
        );

        let both = given.variable(name, secret).refused();
        assert!(
            both.ends_with(&format!("must not be given together with {name}"))
                && !both.contains(secret),
            "{both}"
        );
        let gone = file("").variable(&in_file, "/nonexistent/secret").refused();
        assert!(gone.contains("/nonexistent/secret: "), "{gone}");
    }
    let empty = file(" \n");
    let path = empty.file.path().display().to_string();
    let refused = file("").variable("WEIR_ADMIN_TOKEN_FILE", &path).refused();
    assert!(refused.ends_with("is empty"), "{refused}");
    // Only secrets: another setting's name with `_FILE` is none of ours.
    let unknown = file("").variable("WEIR_LISTEN_FILE", &path);
    assert_eq!(
        load(&unknown.sources)
            .expect("good settings")
            .warnings
            .len(),
        1
    );
}

#[test]
fn nothing_is_expanded() {
    let given = file("[redis]\nprefix = '${HOME}'").refused();
    assert!(given.starts_with("setting `redis.prefix`"), "{given}");
    let config = file("data_dir = '${HOME}/data'").load();
    assert_eq!(config.data_dir.to_str(), Some("${HOME}/data"));
}

#[test]
fn flags_become_sources() {
    use clap::{Args as _, FromArgMatches as _};
    let command = Flags::augment_args(clap::Command::new("weir"));
    let matches = command.get_matches_from([
        "weir",
        "--set",
        "workers=2",
        "--listen",
        "127.0.0.1:0",
        "--config",
        "x.toml",
    ]);
    let sources = Flags::from_arg_matches(&matches).expect("flags").sources();
    assert_eq!(sources.file, Some("x.toml".into()));
    let expected = [("workers", "2"), ("listen", "127.0.0.1:0")];
    assert_eq!(
        sources.flags,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}
