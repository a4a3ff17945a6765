//! The flags of `weir serve` that carry settings. The commonest have a name of their own; `--set` takes any other.

use std::path::PathBuf;

use super::Sources;

/// The file that is read when no `--config` names one.
const USUAL_FILE: &str = "weir.toml";

/// Settings on the command line. Secrets have no flag on purpose: the arguments of a process can be read by others.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Flags {
    /// The settings file; ./weir.toml is read if there is one and this is not given.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Any setting by its name, such as proxy.body_bytes=64MiB; may be given several times.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub set: Vec<(String, String)>,
    /// The address and port that programs call.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// A listener of its own for management, portal, docs and metrics.
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// The folder for the spool and the embedded database.
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<String>,
    /// What is logged, such as info or info,weir::proxy=debug.
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// How log lines are written: text or json.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl Flags {
    /// These flags over this process's environment and the usual file.
    pub fn sources(self) -> Sources {
        let named = [
            ("listen", self.listen),
            ("admin_listen", self.admin_listen),
            ("data_dir", self.data_dir),
            ("log", self.log),
            ("log_format", self.log_format),
        ];
        let named = named
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Sources {
            file: self.config,
            usual_file: Some(PathBuf::from(USUAL_FILE)),
            environment: std::env::vars_os().collect(),
            flags: self.set.into_iter().chain(named).collect(),
        }
    }
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "must be NAME=VALUE".to_owned())
}
