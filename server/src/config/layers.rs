//! The places that settings come from, laid over each other: defaults < file < environment < flags.
//!
//! Every value is tried alone on top of the defaults before it counts, so that a bad one is refused with its own name
//! and the place it came from. Nothing here expands anything: `${…}` in a value stays what it is (threats.md, K3).

use std::{collections::BTreeMap, ffi::OsString, fmt, path::PathBuf};

use serde::Deserialize as _;
use thiserror::Error;
use toml::{Table, Value};
use zeroize::Zeroizing;

use super::{
    Config,
    settings::{Setting, Settings},
    value,
};

/// Variables that begin with `WEIR_` and are no settings of the server: the CLI's, the tests' and those of modules to come.
const OTHER_VARIABLES: [&str; 7] = [
    "WEIR_URL",
    "WEIR_TOKEN",
    "WEIR_RECORDINGS",
    "WEIR_CACHE",
    "WEIR_FAULTS",
    "WEIR_SMTP_URL",
    "WEIR_UPDATE_DOCS",
];
const TEST_VARIABLES: &str = "WEIR_TEST_";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Variable(String),
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("the defaults"),
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Variable(name) => write!(formatter, "the environment ({name})"),
            Self::Flag => formatter.write_str("the command line"),
        }
    }
}

/// Why the settings cannot be used. No message repeats a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    #[error("setting `{name}` from {origin}: {reason}")]
    Bad {
        name: String,
        origin: Origin,
        reason: String,
    },
    #[error("unknown setting `{name}` in {origin}; docs/settings.md lists them all")]
    Unknown { name: String, origin: Origin },
    #[error("settings file {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("the built-in defaults: {0}")]
    BuiltIn(String),
}

/// Everything that settings are read from; a test fills it by hand.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A file that must be there.
    pub file: Option<PathBuf>,
    /// A file that is read if it is there and `file` is not given.
    pub usual_file: Option<PathBuf>,
    pub environment: Vec<(OsString, OsString)>,
    /// Names and values, later ones winning.
    pub flags: Vec<(String, String)>,
}

/// The values that were given, each with its place.
pub(super) struct Layers<'a> {
    settings: &'a Settings,
    /// The defaults as one table, for trying values on.
    defaults: Table,
    given: BTreeMap<String, (Value, Origin)>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Layers<'a> {
    pub(super) fn read(settings: &'a Settings, sources: &Sources) -> Result<Self, Error> {
        let mut defaults = Table::new();
        for setting in settings.all() {
            put(&mut defaults, &setting.name, setting.default.clone());
        }
        let mut layers = Self {
            settings,
            defaults,
            given: BTreeMap::new(),
            warnings: Vec::new(),
        };
        layers.file(sources)?;
        layers.environment(&sources.environment)?;
        layers.flags(&sources.flags)?;
        Ok(layers)
    }

    /// The configuration that all layers together make.
    pub(super) fn config(&self) -> Result<Config, Error> {
        let mut table = self.defaults.clone();
        for (name, (value, _)) in &self.given {
            put(&mut table, name, value.clone());
        }
        Config::deserialize(table).map_err(|error| Error::BuiltIn(error.message().to_owned()))
    }

    /// The error for a setting that does not go with others.
    pub(super) fn refuse(&self, name: &str, reason: String) -> Error {
        let origin = self
            .given
            .get(name)
            .map_or(Origin::Default, |(_, origin)| origin.clone());
        Error::Bad {
            name: name.to_owned(),
            origin,
            reason,
        }
    }

    fn file(&mut self, sources: &Sources) -> Result<(), Error> {
        let usual = sources.usual_file.as_ref().filter(|path| path.exists());
        let Some(path) = sources.file.as_ref().or(usual) else {
            return Ok(());
        };
        let failed = |reason: String| Error::File {
            path: path.clone(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        // The parser's own display shows the line, and the line may hold a secret.
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(0, |before| before.matches('\n').count()) + 1;
            failed(format!("line {line}: {}", error.message()))
        })?;
        let origin = Origin::File(path.clone());
        for (key, value) in table {
            match value {
                Value::Table(section) if self.settings.named(&key).is_none() => {
                    for (inner, value) in section {
                        self.give(&format!("{key}.{inner}"), value, &origin)?;
                    }
                }
                value => self.give(&key, value, &origin)?,
            }
        }
        Ok(())
    }

    fn environment(&mut self, variables: &[(OsString, OsString)]) -> Result<(), Error> {
        let mut variables: Vec<(String, &OsString)> = variables
            .iter()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
            .filter(|(name, _)| name.starts_with("WEIR_"))
            .collect();
        variables.sort();
        for (variable, value) in &variables {
            let Some(setting) = self.settings.of_variable(variable) else {
                if let Some(setting) = self.secret_in_file(variable) {
                    self.secret_from_file(setting, variable, value, &variables)?;
                    continue;
                }
                if !OTHER_VARIABLES.contains(&variable.as_str())
                    && !variable.starts_with(TEST_VARIABLES)
                {
                    self.warnings.push(format!(
                        "the variable {variable} is no setting of Weir and is ignored"
                    ));
                }
                continue;
            };
            let origin = Origin::Variable(variable.clone());
            let Some(text) = value.to_str() else {
                return Err(Error::Bad {
                    name: setting.name.clone(),
                    origin,
                    reason: "is not UTF-8".to_owned(),
                });
            };
            self.give_text(setting, text, origin)?;
        }
        Ok(())
    }

    /// The secret that a variable names a file for: `WEIR_DATABASE_URL_FILE`.
    fn secret_in_file(&self, variable: &str) -> Option<&'a Setting> {
        let setting = self.settings.of_variable(variable.strip_suffix("_FILE")?)?;
        setting.secret.then_some(setting)
    }

    /// Takes a secret out of a file, as orchestrators mount them; the line's end belongs to the file, not to the secret.
    fn secret_from_file(
        &mut self,
        setting: &Setting,
        variable: &str,
        path: &OsString,
        variables: &[(String, &OsString)],
    ) -> Result<(), Error> {
        if path.is_empty() {
            return Ok(());
        }
        let origin = Origin::Variable(variable.to_owned());
        let bad = |reason: String| Error::Bad {
            name: setting.name.clone(),
            origin: origin.clone(),
            reason,
        };
        let is_given =
            |(name, value): &(String, &OsString)| *name == setting.env && !value.is_empty();
        if variables.iter().any(is_given) {
            return Err(bad(format!(
                "must not be given together with {}",
                setting.env
            )));
        }
        let path = PathBuf::from(path);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| bad(format!("{}: {error}", path.display())))?;
        let text = Zeroizing::new(text);
        if text.trim().is_empty() {
            return Err(bad(format!("{} is empty", path.display())));
        }
        self.give_text(setting, &text, origin)
    }

    fn flags(&mut self, flags: &[(String, String)]) -> Result<(), Error> {
        for (name, text) in flags {
            let name = name.trim();
            let Some(setting) = self.settings.named(name) else {
                return Err(Error::Unknown {
                    name: name.to_owned(),
                    origin: Origin::Flag,
                });
            };
            if setting.secret {
                let reason = format!(
                    "a secret on the command line can be read by every user of the machine; set {} instead",
                    setting.env
                );
                return Err(Error::Bad {
                    name: name.to_owned(),
                    origin: Origin::Flag,
                    reason,
                });
            }
            self.give_text(setting, text, Origin::Flag)?;
        }
        Ok(())
    }

    fn give_text(&mut self, setting: &Setting, text: &str, origin: Origin) -> Result<(), Error> {
        let value = value::from_text(text, &setting.default).map_err(|reason| Error::Bad {
            name: setting.name.clone(),
            origin: origin.clone(),
            reason,
        })?;
        self.give(&setting.name, value, &origin)
    }

    /// Takes a value after it has been tried alone on top of the defaults.
    fn give(&mut self, name: &str, value: Value, origin: &Origin) -> Result<(), Error> {
        if self.settings.named(name).is_none() {
            return Err(Error::Unknown {
                name: name.to_owned(),
                origin: origin.clone(),
            });
        }
        let mut trial = self.defaults.clone();
        put(&mut trial, name, value.clone());
        Config::deserialize(trial).map_err(|error| Error::Bad {
            name: name.to_owned(),
            origin: origin.clone(),
            reason: error.message().to_owned(),
        })?;
        self.given.insert(name.to_owned(), (value, origin.clone()));
        Ok(())
    }
}

/// Sets `section.key` or `key` in a table.
fn put(table: &mut Table, name: &str, value: Value) {
    let Some((section, key)) = name.split_once('.') else {
        table.insert(name.to_owned(), value);
        return;
    };
    let section = table
        .entry(section)
        .or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(key.to_owned(), value);
    }
}
