//! The command line: files in, reports out.
//!
//! This is the only place that opens files, looks at the terminal or starts threads. It computes nothing itself:
//! every command reads its inputs into the library's types, calls it, and prints what a report renders.

mod ahead;
mod check;
mod crd;
#[cfg(all(feature = "aks", feature = "emulator", feature = "serve"))]
mod demo;
#[cfg(feature = "emulator")]
mod emulator;
mod input;
mod journal_dir;
mod optimum;
mod output;
mod quality;
#[cfg(feature = "source")]
mod record;
mod recordings;
mod replay;
#[cfg(all(feature = "aks", feature = "serve"))]
mod run;
mod simulate;
#[cfg(feature = "source")]
mod sources;
mod sweep;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::error::Error;

const ABOUT: &str = "Resizes GPU node pools by policies, and judges such policies beforehand";

const LONG_ABOUT: &str = "\
Resizes GPU node pools by policies, and judges such policies beforehand.

A policy is a GpuScalePolicy document. `run` resizes node pools of AKS by it. `simulate` replays a recorded demand through it and prints a \
scorecard: what it cost and what it missed, beside the least that was possible and beside what people \
run today. Node-hours and miss percentage always stand together, because either alone can be made as \
good as one likes.";

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  2  an input cannot be used, or the work could not be done; the message says which, where and what to do
  3  a gate failed (`--fail-if`, `--enforce-bars`), `check` found errors, or `replay` a difference

Start here:
  gpuscale simulate simulations/servegen-m-small";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "gpuscale", version, about = ABOUT, long_about = LONG_ABOUT, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Width of tables in characters; the terminal's, or 120 where there is none
    #[arg(long, global = true, env = "COLUMNS", value_name = "N", value_parser = clap::value_parser!(u16).range(40..))]
    width: Option<u16>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay a recorded demand through policies and print their scorecard
    #[command(long_about = simulate::ABOUT, after_help = simulate::EXAMPLES)]
    Simulate(Box<simulate::Simulate>),
    /// Print what a demand costs at least, to an operator who knows the future
    #[command(long_about = optimum::ABOUT)]
    Optimum(optimum::OptimumArgs),
    /// Judge a policy on a suite of long traces, against fixed bars
    #[command(long_about = quality::ABOUT)]
    Quality(quality::Quality),
    /// Make every decision of a journal again and compare it with the record
    #[command(long_about = replay::ABOUT, after_help = replay::EXAMPLES)]
    Replay(replay::ReplayArgs),
    /// Validate policies, scenarios and configuration; with `--live` ask the metrics sources too
    #[command(long_about = check::ABOUT, after_help = check::EXAMPLES)]
    Check(check::CheckArgs),
    /// Save what a policy reads from its metrics source, for a simulation
    #[cfg(feature = "source")]
    #[command(long_about = record::ABOUT, after_help = record::EXAMPLES)]
    Record(record::RecordArgs),
    /// Keep node pools at the size that policies want
    #[cfg(all(feature = "aks", feature = "serve"))]
    #[command(long_about = run::ABOUT, after_help = run::EXAMPLES)]
    Run(Box<run::RunArgs>),
    /// Give up resizes that `run` has on their way
    #[cfg(all(feature = "aks", feature = "serve"))]
    #[command(long_about = run::abort::ABOUT)]
    Abort(run::abort::AbortArgs),
    /// Show the whole system on this machine, with nothing else installed
    #[cfg(all(feature = "aks", feature = "emulator", feature = "serve"))]
    #[command(long_about = demo::ABOUT, after_help = demo::EXAMPLES)]
    Demo(demo::DemoArgs),
    /// Emulate a cluster of AKS on this machine, with its nodes and their metrics
    #[cfg(feature = "emulator")]
    #[command(long_about = emulator::ABOUT, after_help = emulator::EXAMPLES)]
    Emulator(emulator::EmulatorArgs),
    /// Print the custom resource definition of a policy as YAML
    #[command(after_help = "Example:\n  gpuscale crd | kubectl apply --server-side -f -")]
    Crd,
}

/// Form of the result on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs; the keys are documented in simulations/README.md
    Json,
}

#[derive(Debug, Args)]
struct FormatArgs {
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Runs a command and reports its failure, one cause per line.
pub(crate) fn run(cli: &Cli) -> ExitCode {
    let terminal = output::Terminal::new(cli.width);
    let result = match &cli.command {
        Command::Simulate(args) => simulate::run(args, &terminal),
        Command::Optimum(args) => optimum::run(args, &terminal),
        Command::Quality(args) => quality::run(args, &terminal),
        Command::Replay(args) => replay::run(args, &terminal),
        Command::Check(args) => check::run(args, &terminal),
        #[cfg(feature = "source")]
        Command::Record(args) => record::run(args, &terminal),
        #[cfg(all(feature = "aks", feature = "serve"))]
        Command::Run(args) => run::run(args, &terminal),
        #[cfg(all(feature = "aks", feature = "serve"))]
        Command::Abort(args) => run::abort::run(args, &terminal),
        #[cfg(all(feature = "aks", feature = "emulator", feature = "serve"))]
        Command::Demo(args) => demo::run(args, &terminal),
        #[cfg(feature = "emulator")]
        Command::Emulator(args) => emulator::run(args),
        Command::Crd => crd::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            // Findings were drawn already, and there is nothing to add to them.
            if code != 0 && !matches!(error, Error::Findings) {
                report(error);
            }
            ExitCode::from(code)
        }
    }
}

/// Standard error may be closed as well; there is nobody left to tell.
fn report(error: Error) {
    use std::io::Write;
    let mut stderr = anstream::stderr().lock();
    let is_gate = matches!(error, Error::Failed(_));
    let error = anyhow::Error::from(error);
    let mut causes = error.chain().map(ToString::to_string);
    let first = causes.next().unwrap_or_default();
    if is_gate {
        for line in first.lines() {
            let _ = writeln!(stderr, "gate failed: {line}");
        }
        return;
    }
    let _ = writeln!(stderr, "error: {first}");
    for cause in causes {
        let _ = writeln!(stderr, "  {}", cause.replace('\n', "\n  "));
    }
}
