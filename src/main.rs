//! The `gpuscale` command: arguments in, exit code out. All work is in [`cli`] and the library.

mod cli;
mod error;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::run(&cli::Cli::parse())
}
