//! What `weir serve` is told; the serving itself is `app::serve`.

use std::path::PathBuf;

use crate::config::Flags;

/// The command line of `weir serve`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub settings: Flags,
    /// A configuration file to apply at start; its ${UPPER_CASE} come from this process's environment.
    #[arg(long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// Apply the file again whenever it changes.
    #[arg(long, requires = "resources")]
    pub watch: bool,
    /// Make a tenant, a key and a channel whose answers are plainly marked as no model's, and print how to call it.
    #[arg(long)]
    pub demo: bool,
}
