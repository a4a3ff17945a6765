//! `weir completions`: what completes the commands in a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

/// `weir completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that it is for.
    shell: Shell,
}

/// Writes the script to standard output.
pub fn write(args: &CompletionsArgs) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weir", &mut script);
    // A reader that has enough is no failure.
    drop(std::io::Write::write_all(&mut std::io::stdout(), &script));
}
