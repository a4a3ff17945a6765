//! `weir completions`: what completes the commands in a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, output};

/// `weir completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that it is for.
    shell: Shell,
}

/// Writes the script to standard output.
pub fn write(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weir", &mut script);
    output::print(&String::from_utf8(script)?)
}
