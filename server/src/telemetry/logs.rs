//! The log: one line an event, text or JSON, to standard error.
//!
//! The setting `log` decides what Weir's own code tells. Libraries tell nothing below `warn` unless the filter names
//! them: at `info` they tell of their own workers and queries, and at `trace` some print what goes through them
//! (threats.md, D1). The access log has its own switch.

use std::{io, sync::OnceLock};

use serde::Deserialize;
use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt as _, filter_fn},
    fmt::MakeWriter,
    layer::{Filter, SubscriberExt as _},
    reload,
    util::SubscriberInitExt as _,
};

use super::{Error, access_log, escape::Escaping, escape::cut, flood::Bounded};

/// Targets of Weir's own events begin with one of these.
const OWN_TARGETS: [&str; 2] = ["weir", access_log::TARGET];

/// Longest message of a panic in the log.
const PANIC_BYTES: usize = 512;

/// How the log is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// A level, or a list such as `info,weir::proxy=debug`.
    pub filter: String,
    pub format: LogFormat,
    /// Whether each request leaves a line.
    pub access: bool,
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

/// Whether a filter can be used, and if not, why.
pub fn check_filter(filter: &str) -> Result<(), String> {
    if !filter.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        return Err("has more than visible ASCII".to_owned());
    }
    EnvFilter::builder()
        .parse(filter)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Sets up the process's log; one that is set up already stays.
pub(super) fn install(logs: &Logs) -> Result<(), Error> {
    let (filter, handle) = reload::Layer::new(filter(logs)?);
    let layer = lines(logs, filter, || Escaping(io::stderr()));
    if tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .is_ok()
    {
        FILTER.get_or_init(|| handle);
    }
    Ok(())
}

/// From now on tells by another filter. Where the process's log is not ours, as in a test, nothing changes.
pub fn change(logs: &Logs) -> Result<(), Error> {
    let filter = filter(logs)?;
    match FILTER.get() {
        Some(handle) => {
            let changed = handle.reload(filter);
            changed.map_err(|error| Error::Filter(error.to_string()))
        }
        None => Ok(()),
    }
}

/// Sends panics to the log, where what they say is escaped and cut. For `main` alone: a test wants its own words whole.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let said = cut(panic.payload_as_str().unwrap_or_default(), PANIC_BYTES);
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, said = &*said, "panic");
    }));
}

/// What decides whether an event is told.
type BoxFilter = Box<dyn Filter<Registry> + Send + Sync>;

/// The way to change what the process's log tells.
static FILTER: OnceLock<reload::Handle<BoxFilter, Registry>> = OnceLock::new();

#[cfg(test)]
fn layer<W>(logs: &Logs, writer: W) -> Result<Box<dyn Layer<Registry> + Send + Sync>, Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    Ok(lines(logs, filter(logs)?, writer))
}

fn filter(logs: &Logs) -> Result<BoxFilter, Error> {
    let access = if logs.access { "info" } else { "off" };
    let directives = format!("{},{}={access}", logs.filter, access_log::TARGET);
    let filter = EnvFilter::builder()
        .parse(&directives)
        .map_err(|error| Error::Filter(error.to_string()))?;
    let named = named_targets(&logs.filter);
    let told = filter_fn(move |metadata| may_tell(metadata, &named));
    Ok(Box::new(filter.and(told).and(Bounded)))
}

fn lines<F, W>(logs: &Logs, filter: F, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    F: Filter<Registry> + Send + Sync + 'static,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(writer);
    match logs.format {
        LogFormat::Text => lines.with_filter(filter).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_filter(filter)
            .boxed(),
    }
}

/// The targets that a filter's directives name.
fn named_targets(filter: &str) -> Vec<String> {
    filter
        .split(',')
        .filter_map(|directive| {
            let target = directive.split(['=', '[']).next()?.trim();
            let is_level = target.parse::<LevelFilter>().is_ok();
            (!target.is_empty() && !is_level).then(|| target.to_owned())
        })
        .collect()
}

fn may_tell(metadata: &Metadata<'_>, named: &[String]) -> bool {
    let target = metadata.target();
    *metadata.level() <= tracing::Level::WARN
        || OWN_TARGETS.iter().any(|own| target.starts_with(own))
        || named.iter().any(|name| target.starts_with(name.as_str()))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// What `work` logs under these settings.
    pub fn logged(logs: &Logs, work: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let layer = layer(logs, move || Escaping(Sink(sink.clone()))).expect("a filter");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        let lines = lines.lock();
        String::from_utf8(lines.clone()).expect("text")
    }

    pub fn settings(filter: &str, format: LogFormat) -> Logs {
        Logs {
            filter: filter.to_owned(),
            format,
            access: true,
        }
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const FORGED: &str = "x\r\n2026-01-01T00:00:00Z ERROR weir: forged\n{\"level\":\"ERROR\"}\u{1b}[2J\u{202e}\u{2028}\u{9b}\"}";

    #[test]
    fn a_value_cannot_forge_a_line() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(&settings("info", format), || {
                tracing::warn!(model = FORGED, shown = %FORGED, debug = ?FORGED, "said {FORGED}");
            });
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(
                text.trim_end_matches('\n').chars().all(|c| !c.is_control()),
                "{text}"
            );
            assert!(
                !text.contains('\u{202e}') && !text.contains('\u{2028}'),
                "{text}"
            );
        }
    }

    #[test]
    fn json_keeps_the_value_it_escapes() {
        let text = logged(&settings("info", LogFormat::Json), || {
            tracing::warn!(model = FORGED, "said")
        });
        let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(line["model"], FORGED);
        assert_eq!(
            (&line["message"], &line["level"]),
            (&"said".into(), &"WARN".into())
        );
    }

    #[test]
    fn libraries_stay_quiet_below_warn_unless_named() {
        let tell = || {
            tracing::trace!(target: "hyper::proto", "from hyper");
            tracing::trace!(target: "sqlx::query", "from sqlx");
            tracing::trace!(target: "weir::proxy", "from weir");
            tracing::info!(target: "sqlx::query", "from sqlx");
            tracing::warn!(target: "sqlx::query", "notable");
        };
        let text = logged(&settings("trace", LogFormat::Text), tell);
        assert!(
            text.contains("from weir") && text.contains("notable"),
            "{text}"
        );
        assert!(
            !text.contains("from hyper") && !text.contains("from sqlx"),
            "{text}"
        );
        let text = logged(&settings("info,hyper=trace", LogFormat::Text), tell);
        assert!(
            text.contains("from hyper") && !text.contains("from sqlx"),
            "{text}"
        );
    }

    #[test]
    fn filters_are_checked() {
        for good in ["info", "warn,weir::proxy=debug", "off", ""] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in ["weir=loud", "info,,=="] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
    }
}
