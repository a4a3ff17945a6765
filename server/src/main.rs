//! Reads the command and calls the server or the management API.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let _ = weir::app::serve(
        &weir::config::Sources {
            environment: std::env::vars_os().collect(),
            ..Default::default()
        },
        weir::app::Options {
            demo: true,
            ..Default::default()
        },
    );
    ExitCode::SUCCESS
}
