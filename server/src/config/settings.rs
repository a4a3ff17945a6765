//! Every setting there is: read out of `server/config/default.toml`, the one place where they are written down.
//!
//! Names, defaults and sentences come from that file; `docs/settings.md` is made of them, and so are the names of the
//! environment's variables.

use std::fmt::Write as _;

use toml::{Table, Value};

const DEFAULTS: &str = include_str!("../../config/default.toml");

/// A setting begins its sentence with this word when its value must not be shown.
const SECRET: &str = "Secret.";

/// One setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// As the file and flags name it: `listen`, `proxy.body_bytes`.
    pub name: String,
    /// As the environment names it: `WEIR_LISTEN`, `WEIR_PROXY_BODY_BYTES`.
    pub env: String,
    pub default: Value,
    /// What it does.
    pub doc: String,
    /// Whether its value must not be shown.
    pub secret: bool,
}

/// All settings with their sections' sentences, in the order of `default.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    all: Vec<Setting>,
    /// Name and sentence of each section.
    sections: Vec<(String, String)>,
}

impl Settings {
    /// Reads the file that is compiled in. It fails only for a file that the tests would not have let pass.
    pub fn built_in() -> Result<Self, toml::de::Error> {
        let defaults: Table = DEFAULTS.parse()?;
        let mut found = Self {
            all: Vec::new(),
            sections: Vec::new(),
        };
        let mut doc: Vec<&str> = Vec::new();
        for line in DEFAULTS.lines() {
            let section = || found.sections.last().map(|(name, _)| name.as_str());
            if let Some(sentence) = line.strip_prefix('#') {
                doc.push(sentence.trim());
            } else if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                found.sections.push((name.to_owned(), doc.join(" ")));
                doc.clear();
            } else if let Some((key, _)) = line.split_once('=') {
                let setting = setting(&defaults, section(), key.trim(), &doc.join(" "));
                found.all.extend(setting);
                doc.clear();
            } else {
                doc.clear();
            }
        }
        Ok(found)
    }

    /// Every setting, in the order of `default.toml`.
    pub fn all(&self) -> &[Setting] {
        &self.all
    }

    /// The setting with this name.
    pub fn named(&self, name: &str) -> Option<&Setting> {
        self.all.iter().find(|setting| setting.name == name)
    }

    /// The setting that this variable sets.
    pub fn of_variable(&self, variable: &str) -> Option<&Setting> {
        self.all.iter().find(|setting| setting.env == variable)
    }

    /// `docs/settings.md`.
    pub fn markdown(&self) -> String {
        let mut page = String::from(PREFACE);
        let top = (String::new(), String::new());
        for (section, doc) in std::iter::once(&top).chain(&self.sections) {
            if !section.is_empty() {
                let _ = write!(page, "\n## [{section}]\n\n{doc}\n");
            }
            page.push('\n');
            page.push_str(&self.table(section));
        }
        page
    }

    /// The settings of a section; of none: those at the top.
    fn table(&self, section: &str) -> String {
        let mut table =
            String::from("| setting | variable | default | |\n| --- | --- | --- | --- |\n");
        let of_section = |setting: &&Setting| {
            let parts = setting.name.split_once('.');
            parts.map_or("", |(section, _)| section) == section
        };
        for setting in self.all.iter().filter(of_section) {
            let default = match &setting.default {
                Value::String(text) if text.is_empty() => String::new(),
                value => format!("`{value}`"),
            };
            let Setting { name, env, doc, .. } = setting;
            let _ = writeln!(table, "| `{name}` | `{env}` | {default} | {doc} |");
        }
        table
    }
}

const PREFACE: &str = "\
# Settings

Made from `server/config/default.toml` by `WEIR_UPDATE_DOCS=1 cargo test -p weir --lib the_page_of`; do not edit.

A later place wins: the defaults below, then `weir.toml` (or the file that `--config` names), then the environment, then
flags (`--set proxy.body_bytes=64MiB`, and named ones such as `--listen`). An unknown setting in the file or the flags, or
a bad value anywhere, stops the start with its name and the reason; an unknown `WEIR_…` variable is a warning. Lengths of
time are written `250ms`, `5s`, `30m`, `2h` or `7d`, sizes `64KiB`, `32MiB` or `4GiB`; lists stand in the environment and
in flags with commas between. A secret is taken from the file or the environment, never from a flag, which every user of
the machine could read; the environment may also name a file that holds it, by the variable's name and `_FILE`
(`WEIR_DATABASE_URL_FILE=/run/secrets/database_url`).
";

fn setting(defaults: &Table, section: Option<&str>, key: &str, doc: &str) -> Option<Setting> {
    let (table, name) = match section {
        Some(section) => (
            defaults.get(section)?.as_table()?,
            format!("{section}.{key}"),
        ),
        None => (defaults, key.to_owned()),
    };
    Some(Setting {
        env: format!("WEIR_{}", name.to_ascii_uppercase().replace('.', "_")),
        default: table.get(key)?.clone(),
        doc: doc.to_owned(),
        secret: doc.starts_with(SECRET),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::generated;

    #[test]
    fn every_setting_has_a_sentence_and_a_variable_of_its_own() {
        let settings = Settings::built_in().expect("the defaults");
        let leaves: usize = DEFAULTS
            .parse::<Table>()
            .expect("the defaults")
            .values()
            .map(|value| value.as_table().map_or(1, Table::len))
            .sum();
        assert_eq!(settings.all().len(), leaves);
        for setting in settings.all() {
            assert!(setting.doc.ends_with('.'), "{}", setting.name);
            assert_eq!(settings.of_variable(&setting.env), Some(setting));
        }
        let secrets: Vec<&str> = settings
            .all()
            .iter()
            .filter(|one| one.secret)
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(
            secrets,
            [
                "database_url",
                "redis_url",
                "master_key",
                "admin_token",
                "metrics_token",
                "smtp_url"
            ]
        );
    }

    #[test]
    fn the_page_of_settings_is_current() {
        let settings = Settings::built_in().expect("the defaults");
        generated::assert_current("docs/settings.md", &settings.markdown());
        generated::assert_part_current("README.md", "settings", &settings.table(""));
    }
}
